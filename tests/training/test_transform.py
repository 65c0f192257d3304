"""Edits made by code, what counts as harm beside a request, and a head that learns it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from msgspec.structs import replace

from guardkit.errors import InputError
from guardkit.export.image_parity import drawn_crops
from guardkit.export.transform_graph import SEEN_NAMES, seeing_graph
from guardkit.image.decode import Pixels, decode
from guardkit.image.signals import SIGNALS
from guardkit.train.edit_features import Edits, joined
from guardkit.train.edit_folds import folds_of_kinds
from guardkit.train.edit_prompts import (
    CATEGORIES,
    CLASSES,
    HARMFUL,
    harm_of,
    load_requests,
)
from guardkit.train.edit_scene import Effect, Scene, suits
from guardkit.train.edit_scenes import split_of
from guardkit.train.edits import HELD_OUT, KINDS
from guardkit.train.transform_head import (
    Head,
    Said,
    Settings,
    draw_pairs,
    logits_of,
    numbers_of,
    train_heads,
)
from tests.pictures import PORTRAIT

ROOT = Path(__file__).parents[2]
WRITTEN = ROOT / "data" / "written" / "edits" / "train.tsv"
APART = [ROOT / "bench" / "proxies" / name for name in ("edit_prompts.tsv", "edit_prompts_second.tsv")]  # fmt: skip
FACE = (96.0, 60.0, 156.0, 136.0)


@pytest.fixture(scope="module")
def scene() -> Scene:
    portrait = decode(PORTRAIT).frames[0]
    return Scene(portrait, (FACE,), (portrait[150:226, 96:156],), portrait[::-1])


def far(one: Pixels, other: Pixels) -> np.ndarray:
    return np.abs(one.astype(int) - other.astype(int)).max(axis=-1)


# --- edits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_changes_the_picture_and_keeps_its_type(name: str, scene: Scene) -> None:
    assert suits(KINDS[name], scene)
    after = KINDS[name].edit(scene, np.random.default_rng(1))
    assert after.dtype == np.uint8
    assert after.shape[2] == 3
    if after.shape == scene.pixels.shape:
        assert far(after, scene.pixels).max() > 5


@pytest.mark.parametrize(
    "name",
    [
        "skin-lighter",
        "face-paint",
        "face-bulge",
        "scribble",
        "face-swap",
        "porcelain",
        "swirl",
        "features-turned",
        "badge",
    ],
)
def test_an_edit_of_a_face_leaves_the_rest_alone(name: str, scene: Scene) -> None:
    after = KINDS[name].edit(scene, np.random.default_rng(1))
    changed = far(after, scene.pixels) > 3
    near = np.zeros_like(changed)
    near[10:190, 40:215] = True
    assert changed[60:136, 96:156].mean() > 0.05
    assert not changed[~near].any()


def test_the_held_out_kinds_are_of_effects_that_training_knows() -> None:
    seen = {kind.effect for name, kind in KINDS.items() if name not in HELD_OUT}
    held = [KINDS[name].effect for name in sorted(HELD_OUT)]
    assert set(held) <= seen
    harmless = sum(harm_of(one, None, has_face=True, angle=0) is None for one in held)
    assert harmless >= 3
    assert len(held) - harmless >= 3


def test_kinds_left_out_in_turn_are_none_that_the_test_holds_out() -> None:
    folds = folds_of_kinds()
    assert set(folds) == set(KINDS) - HELD_OUT
    for effect in {KINDS[name].effect for name in folds} - {Effect.BARE}:
        of_effect = [fold for name, fold in folds.items() if KINDS[name].effect == effect]
        assert all(
            set(of_effect) - {fold} for fold in range(4)
        )  # no fold leaves none to learn from


# --- requests -------------------------------------------------------------------------------------


def test_no_request_of_a_proxy_is_trained_on() -> None:
    lines = [set(file.read_text("utf-8").splitlines()) for file in (WRITTEN, *APART)]
    assert all(len(one & other) == 0 for at, one in enumerate(lines) for other in lines[at + 1 :])


@pytest.mark.parametrize("file", [WRITTEN, *APART], ids=["train", "first", "second"])
def test_every_kind_of_request_is_written(file: Path) -> None:
    counts = Counter(one.kind for one in load_requests(file, each=1, seed=0))
    assert set(counts) == set(CLASSES)
    assert min(counts.values()) >= 5


def test_the_validation_requests_are_apart() -> None:
    texts = {
        split: {one.text for one in load_requests(WRITTEN, each=1, seed=0, split=split)}
        for split in ("train", "valid")
    }
    assert not texts["train"] & texts["valid"]
    assert 20 < len(texts["valid"]) < 0.25 * len(texts["train"])


def test_a_line_that_is_no_template_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.tsv"
    file.write_text("brighten\tmore light\nlighten\tmore light\n")
    with pytest.raises(InputError, match=r"a\.tsv:2: expected one of brighten"):
        load_requests(file, each=1, seed=0)


@pytest.mark.parametrize(
    ("effect", "asked", "harm"),
    [
        pytest.param(Effect.LIGHT, "brighten", None, id="brighter, as asked"),
        pytest.param(Effect.LIGHT, "beautify", "bias", id="lighter skin for beauty"),
        pytest.param(Effect.LIGHT, None, None, id="brighter, nobody said why"),
        pytest.param(Effect.SKIN_LIGHTER, None, "bias", id="lighter skin alone"),
        pytest.param(Effect.SKIN_LIGHTER, "brighten", None, id="a face in shadow"),
        pytest.param(Effect.REMOVED, "remove", None, id="removed, as asked"),
        pytest.param(Effect.REMOVED, "beautify", "bias", id="removed unasked"),
        pytest.param(Effect.SHAPE, "mock", "harassment", id="mocked"),
        pytest.param(Effect.RED, "violence", "violence", id="blood"),
        pytest.param(Effect.BARE, "undress", "sexual", id="undressed"),
        pytest.param(Effect.NONE, "undress", None, id="asked for and not done"),
        pytest.param(Effect.DEFACED, "add", "unclear", id="arguable"),
    ],
)
def test_harm_is_what_was_done_unless_it_was_asked_for(
    effect: Effect, asked: str | None, harm: str | None
) -> None:
    assert harm_of(effect, asked, has_face=True, angle=20.0) == harm


@pytest.mark.parametrize("asked", HARMFUL)
@pytest.mark.parametrize("effect", [one for one in Effect if one not in (Effect.NONE, Effect.LIGHT, Effect.DARK)])  # fmt: skip
def test_asking_for_harm_excuses_nothing(effect: Effect, asked: str) -> None:
    assert harm_of(effect, asked, has_face=True, angle=20.0) in CATEGORIES


def test_a_picture_stays_in_its_split() -> None:
    splits = Counter(split_of(f"face-{number:04}.png") for number in range(2000))
    assert splits["train"] == pytest.approx(1100, abs=100)
    assert splits["test"] == pytest.approx(600, abs=100)


# --- what the encoder sees ------------------------------------------------------------------------


def test_the_encoder_gives_the_scores_of_image_safety_and_no_distance_to_itself() -> None:
    model = ROOT / "exported_models" / "image-safety" / "1" / "model.onnx"
    crops = drawn_crops(4, 224).reshape(2, 2, 224, 224, 3).copy()
    crops[1, 1] = crops[1, 0]
    graph = seeing_graph(model).SerializeToString()
    one, other = (
        onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        for content in (graph, model.read_bytes())
    )
    cells = np.full((2, 49), 0.5, np.float32)
    seen, _ = one.run(None, {"crops": crops, "cells": cells})
    logits = other.run(None, {"crops": crops.reshape(4, 224, 224, 3)})[0].reshape(2, 4)
    column = SEEN_NAMES.index
    assert seen[:, :4] == pytest.approx(logits * 0.2, abs=1e-4)
    assert seen[1, 4:] == pytest.approx(np.zeros(7), abs=1e-4)  # nothing changed
    assert seen[0, column("distance")] > 0.001
    on, off = seen[0, column("distance on faces")], seen[0, column("distance off faces")]
    assert on == pytest.approx(off, rel=1e-3)  # every cell is half a face


# --- the head -------------------------------------------------------------------------------------


def planted(count: int, seed: int) -> Edits:
    """Edits whose effect can be read off one signal each."""
    random = np.random.default_rng(seed)
    kinds = ("grain", "skin-lighter", "face-bulge", "red-patch")
    drawn = random.integers(0, len(kinds), count)
    signals = random.normal(0, 0.3, (count, len(SIGNALS))).astype(np.float32)
    signals[np.arange(count), drawn] += 2
    return Edits(
        seen=np.zeros((count, 11), np.float32),
        signals=signals,
        afters=np.zeros((count, 3), np.float32),
        kinds=tuple(kinds[one] for one in drawn),
        scenes=np.arange(count),
        has_faces=np.ones(count, bool),
        angles=np.full(count, 20.0, np.float32),
    )


def planted_said() -> Said:
    """A sentence a class, each along an axis of its own."""
    vectors = np.eye(384, dtype=np.float32)[: len(CLASSES)]
    return Said(CLASSES, vectors, np.zeros((len(CLASSES), 12), np.float32))


def test_a_head_learns_what_was_done_and_what_was_asked_for() -> None:
    settings = Settings(epochs=20, each=6, members=1)
    said, test = planted_said(), planted(300, seed=2)
    heads = train_heads(planted(600, seed=1), said, settings)
    random = np.random.default_rng(3)
    pairs = draw_pairs(test, said, random, without_request=0.1, each=2)
    harm = pairs.harms >= 0
    logits = logits_of(heads, numbers_of(test), said, pairs).max(1)
    assert ((logits > 0) == harm).mean() > 0.95
    deaf = replace(pairs, said=random.permutation(pairs.said))
    assert ((logits_of(heads, numbers_of(test), said, deaf).max(1) > 0) == harm).mean() < 0.85


def test_without_a_request_no_sentence_counts() -> None:
    torch.manual_seed(0)
    head = Head(Settings()).eval()
    numbers, none = torch.randn(4, 11 + len(SIGNALS)), torch.zeros(4, 1)
    said = [head(numbers, torch.randn(4, 384), torch.randn(4, 12), none)[0] for _ in range(2)]
    assert torch.equal(said[0], said[1])


def test_measured_edits_are_kept_and_read_again(tmp_path: Path) -> None:
    edits = joined([planted(5, seed=1), planted(4, seed=2)])
    edits.save(tmp_path / "a.npz")
    again = Edits.load(tmp_path / "a.npz")
    assert again is not None
    assert again.kinds == edits.kinds
    assert np.array_equal(again.signals, edits.signals)
    assert len(set(edits.scenes)) == 9
    assert Edits.load(tmp_path / "b.npz") is None
