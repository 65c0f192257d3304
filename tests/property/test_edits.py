"""Edits: what a text-agnostic verdict may depend on, and what signals keep."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardkit import Guard, Policy
from guardkit.artifacts import RunnerOptions
from guardkit.image.align import shown_of
from guardkit.image.skin import lab_of
from guardkit.policy.rules import StagePolicy
from tests.tiny_edits import build_tiny_edits

STAGE = StagePolicy(scorers=("image-transform",))
BEFORE, AFTER = (
    np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    for seed in (1, 2)
)


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Guard:
    models = build_tiny_edits(tmp_path_factory.mktemp("edit_models"))
    names = ("image-transform", "face-detector", "text-safety")
    options = {name: RunnerOptions(path=str(models / name)) for name in names}
    agnostic = RunnerOptions(path=str(models / "image-transform"), reads_request=False)
    return Guard(Policy("agnostic", edit=STAGE, models={**options, "image-transform": agnostic}))


@given(asked_for=st.text(max_size=300))
def test_a_text_agnostic_verdict_never_depends_on_the_request(guard: Guard, asked_for: str) -> None:
    plain = guard.check_edit(before=BEFORE, after=AFTER)
    asked = guard.check_edit(before=BEFORE, after=AFTER, prompt=asked_for)
    assert asked.scores == plain.scores
    assert asked.action is plain.action
    assert asked.reasons == plain.reasons


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_lightness_stays_within_its_bounds_and_grey_has_no_colour(rgb: tuple[int, ...]) -> None:
    lab = lab_of(np.array(rgb, np.uint8))
    assert -1e-3 <= lab[0] <= 100.001
    grey = lab_of(np.array([rgb[0]] * 3, np.uint8))
    assert np.abs(grey[1:]).max() < 0.02


@given(width=st.integers(16, 80), height=st.integers(16, 80), seed=st.integers(0, 99))
def test_what_is_shown_lies_within_the_picture(width: int, height: int, seed: int) -> None:
    after = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    shown = shown_of(BEFORE, after)
    assert 0 <= shown.left < shown.right <= 1 + 1e-6
    assert 0 <= shown.top < shown.bottom <= 1 + 1e-6
    assert -1.001 <= shown.correlation <= 1.001
