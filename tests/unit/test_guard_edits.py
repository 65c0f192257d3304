"""`check_edit`: an edit is judged by both pictures and by what was asked for, and nothing that failed is permission."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from guardkit import Guard, Policy
from guardkit.artifacts import RunnerOptions
from guardkit.cli.main import main
from guardkit.errors import InputError, ManifestError, PolicyError
from guardkit.image.decode import ImageInput
from guardkit.policy.rules import ImageLimits, Limits, StagePolicy
from guardkit.types import Action, Status
from tests.conftest import WriteFile
from tests.fake_steps import rule
from tests.pictures import BLUE, RED, WHITE, animated, declared_png, encoded, halves, plain
from tests.tiny import change_manifest
from tests.tiny_edits import build_tiny_edits
from tests.tiny_image import HIGH, LOW

STAGE = StagePolicy(
    scorers=("image-transform",),
    rules=(rule("bias", Action.REGENERATE), rule("violence", Action.BLOCK)),
)
POLICY = Policy("edits", edit=STAGE)
CHEQUERS = (
    np.random.default_rng(2).integers(0, 256, (8, 8, 3), np.uint8).repeat(16, 0).repeat(16, 1)
)
OTHER = np.random.default_rng(3).integers(0, 256, (8, 8, 3), np.uint8).repeat(16, 0).repeat(16, 1)
OTHER[..., 0] //= 4
CHEQUERS[..., 0] //= 4  # little red: no face and no violence, to the tiny models


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = build_tiny_edits(tmp_path / "edit_models")
    monkeypatch.setenv("GUARDKIT_MODELS", str(folder))
    return folder


@pytest.fixture
def guard(models: Path) -> Guard:
    return Guard(POLICY)


# --- decisions ------------------------------------------------------------------------------------


def test_a_picture_that_came_out_as_it_went_in_is_allowed(guard: Guard) -> None:
    decision = guard.check_edit(before=CHEQUERS, after=CHEQUERS)
    assert decision.action is Action.ALLOW
    assert decision.scores["bias"] == pytest.approx(LOW, abs=1e-3)
    assert decision.image is CHEQUERS
    assert set(decision.models) == {"image-transform@0.0.1", "face-detector@0.0.1"}


def test_the_change_is_judged_and_not_the_result(guard: Guard) -> None:
    red = plain(RED, width=128, height=128)
    assert guard.check_edit(before=red, after=red).scores["bias"] == pytest.approx(LOW, abs=1e-3)


def test_what_was_asked_for_counts(guard: Guard) -> None:
    edit = {"before": CHEQUERS, "after": OTHER}
    assert guard.check_edit(**edit).action is Action.REGENERATE
    assert guard.check_edit(**edit, prompt="a sea").action is Action.ALLOW
    assert guard.check_edit(**edit, prompt="a sea, you idiot").action is Action.REGENERATE


@pytest.mark.parametrize("how", ["option", "no prompt"])
def test_a_text_agnostic_verdict_is_the_same_for_any_request(models: Path, how: str) -> None:
    options = {"image-transform": RunnerOptions(reads_request=how != "option")}
    guard = Guard(replace(POLICY, models=options))
    edit = {"before": CHEQUERS, "after": OTHER}
    requests = (
        ["", "a sea", "you idiot", "x" * 500, "\u0000", "kill"] if how == "option" else [None]
    )
    found = {tuple(guard.check_edit(**edit, prompt=one).scores.items()) for one in requests}
    assert len(found) == 1
    assert found == {tuple(Guard(POLICY).check_edit(**edit).scores.items())}


def test_scorers_of_images_look_at_the_result(models: Path) -> None:
    stage = StagePolicy(scorers=("image-safety",), rules=(rule("sexual", Action.BLOCK),))
    guard = Guard(Policy("results", edit=stage))
    blue, red = plain(BLUE), plain(RED)
    assert guard.check_edit(before=red, after=blue).action is Action.ALLOW
    assert guard.check_edit(before=blue, after=red).action is Action.BLOCK


def test_a_long_request_is_read_whole(guard: Guard) -> None:
    edit = {"before": CHEQUERS, "after": OTHER}
    assert guard.check_edit(**edit, prompt="a sea " * 20 + "idiot").action is Action.REGENERATE


def test_faces_of_the_result_are_regions(models: Path) -> None:
    before, after = plain(BLUE, width=128, height=128), plain(BLUE, width=128, height=128)
    for picture in (before, after):
        picture[40:44, 64:68] = RED  # a face, to the tiny detector
    after[60:] = WHITE
    stage = replace(STAGE, rules=(rule("bias", Action.BLOCK),))
    decision = Guard(Policy("edits", edit=stage)).check_edit(before=before, after=after)
    (region,) = decision.regions
    assert (region.left, region.top, region.right, region.bottom) == (50, 26, 82, 58)
    assert (region.category, region.source, region.kind) == ("bias", "image-transform", "FACE")


def test_an_animation_is_judged_frame_by_frame(guard: Guard) -> None:
    still = plain((0, 0, 0), width=32, height=32)
    moving = animated(4)
    assert guard.check_edit(before=moving, after=moving).scores["bias"] == pytest.approx(
        LOW, abs=1e-3
    )
    red_at_the_end = guard.check_edit(before=still, after=moving)
    assert red_at_the_end.scores["violence"] == pytest.approx(HIGH, abs=1e-2)


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(CHEQUERS[16:112, 16:112], id="crop"),
        pytest.param(CHEQUERS[::2, ::2], id="smaller"),
        pytest.param(CHEQUERS.repeat(2, 0).repeat(2, 1), id="larger"),
        pytest.param(CHEQUERS[:, ::-1], id="mirror"),
    ],
)
def test_a_picture_of_another_size_is_matched_first(guard: Guard, after: ImageInput) -> None:
    decision = guard.check_edit(before=CHEQUERS, after=after)
    assert decision.status is Status.OK
    assert decision.scores["bias"] == pytest.approx(LOW, abs=0.03)


async def _asked(guard: Guard) -> Action:
    return (await guard.acheck_edit(before=CHEQUERS, after=plain(RED), prompt="a sea")).action


def test_the_async_twin_answers_alike(guard: Guard) -> None:
    assert asyncio.run(_asked(guard)) is Action.BLOCK


def test_a_guard_of_edits_goes_to_another_process(guard: Guard) -> None:
    copy = pickle.loads(pickle.dumps(guard))  # noqa: S301  our own bytes
    assert copy.check_edit(before=CHEQUERS, after=plain(RED)).action is Action.BLOCK


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"no picture at all", id="text"),
        pytest.param(encoded(CHEQUERS)[:300], id="cut"),
        pytest.param(declared_png(30_000, 30_000), id="bomb"),
        pytest.param(plain(width=1, height=1), id="1x1"),
    ],
)
def test_a_broken_picture_on_either_side_is_no_permission(
    guard: Guard, side: str, broken: ImageInput
) -> None:
    other = {"before": "after", "after": "before"}[side]
    edit: dict[str, ImageInput] = {side: broken, other: CHEQUERS}
    decision = guard.check_edit(before=edit["before"], after=edit["after"])
    assert decision.action is Action.BLOCK
    assert decision.status is Status.ERROR
    assert set(decision.scores.values()) == {None}
    assert "the image: " in " ".join(decision.reasons)


def test_a_request_that_cannot_be_read_is_no_permission(guard: Guard) -> None:
    decision = guard.check_edit(before=CHEQUERS, after=CHEQUERS, prompt="sea " * 3000)
    assert decision.action is Action.BLOCK
    assert set(decision.scores.values()) == {None}


def test_limits_hold_for_both_pictures(models: Path) -> None:
    small = Guard(replace(POLICY, limits=Limits(images=ImageLimits(max_pixels=64 * 64))))
    assert small.check_edit(before=CHEQUERS, after=plain()).status is Status.ERROR
    assert small.check_edit(before=plain(), after=CHEQUERS).status is Status.ERROR


@pytest.mark.parametrize(
    ("given", "told"),
    [
        pytest.param({"before": 3, "after": CHEQUERS}, "image is int", id="before"),
        pytest.param({"before": CHEQUERS, "after": None}, "image is NoneType", id="after"),
        pytest.param({"before": None, "after": CHEQUERS}, "before is NoneType", id="none"),
        pytest.param({"before": CHEQUERS, "after": CHEQUERS, "prompt": 3}, "prompt is int", id="prompt"),
        pytest.param({"before": CHEQUERS.astype(float), "after": CHEQUERS}, "dtype float64", id="dtype"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_refused(guard: Guard, given: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        guard.check_edit(**given)  # type: ignore[arg-type]


def test_a_policy_without_the_stage_says_so(models: Path) -> None:
    guard = Guard(Policy("none", output_image=StagePolicy(scorers=("image-safety",))))
    with pytest.raises(InputError, match="edit"):
        guard.check_edit(before=CHEQUERS, after=CHEQUERS)


def test_no_edit_can_be_scored_where_nothing_was_before(models: Path) -> None:
    stage = StagePolicy(scorers=("image-transform",))
    with pytest.raises(PolicyError, match="compares a picture with the one before it"):
        Guard(Policy("outputs", output_image=stage))
    with pytest.raises(PolicyError, match="reads images, the stage has text"):
        Guard(Policy("prompts", prompt=stage))


def test_text_scorers_are_refused_under_edit(models: Path) -> None:
    with pytest.raises(PolicyError, match="'text-safety' reads text, the stage has images"):
        Guard(Policy("texts", edit=StagePolicy(scorers=("text-safety",))))


def test_an_artifact_for_other_signals_is_refused(models: Path) -> None:
    edits = {"side": 32, "signals": ["changed"], "said": ["insult", "threat"]}
    change_manifest(models / "image-transform", {"edits": edits})
    with pytest.raises(ManifestError, match="made for 1 signals"):
        Guard(POLICY)


# --- from the command line ------------------------------------------------------------------------

FILE = """
policy: edits
edit:
  scorers: [image-transform]
  rules:
    - {name: unasked, when: {category: bias, at_least: 0.5}, action: block}
"""


def test_an_edit_is_checked_from_the_command_line(
    models: Path, tmp_path: Path, write_file: WriteFile, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = tmp_path / "before.png", tmp_path / "after.png"
    before.write_bytes(encoded(CHEQUERS))
    after.write_bytes(encoded(halves(width=128, height=128)))
    policy = str(write_file("edits.yaml", FILE))
    check = ["check", "--policy", policy, "--before", str(before), "--after", str(after)]
    assert main(check) == 1
    assert capsys.readouterr().out.startswith("block ")
    assert main([*check, "--prompt", "a sea"]) == 0
    assert capsys.readouterr().out.startswith("allow ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(["--before", "a.png"], "--before and --after: go together", id="before"),
        pytest.param(["--after", "a.png"], "--before and --after: go together", id="after"),
        pytest.param(["--before", "a", "--after", "b", "--image", "c"], "--after: goes without", id="image"),
    ],
)  # fmt: skip
def test_half_an_edit_is_refused(
    models: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *arguments]) == 2
    assert told in capsys.readouterr().err
