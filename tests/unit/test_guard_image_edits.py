"""Editing an image under a policy: what is hidden, what is scored again, and what answers when that is not enough."""

from __future__ import annotations

import logging
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from guardkit import Guard, Policy
from guardkit.artifacts import RunnerOptions
from guardkit.errors import ManifestError, PolicyError
from guardkit.image.decode import Picture
from guardkit.policy.rules import EditorEntry, Limits, Rule, StagePolicy, When
from guardkit.types import Action, Region, Scored, Scores, Status
from tests.fake_steps import rule
from tests.pictures import BLUE, RED, animated, encoded, plain
from tests.tiny_image import SIDE, build_tiny_faces, build_tiny_images, build_tiny_stripes

FACE = (50, 26, 82, 58)
"""Of `with_face`."""
HIDE_FACES = rule("privacy", Action.EDIT, "blur-faces")
NAMED = "a portrait of Albert Einstein at the beach"


def stage(*rules: Rule, scorers: Sequence[str] = ("face-detector",), **rest: Any) -> StagePolicy:
    editors = tuple(dict.fromkeys(one.using for one in rules if one.using))
    return StagePolicy(scorers=tuple(scorers), rules=rules, **{"editors": editors, **rest})


def policy(*rules: Rule, **rest: Any) -> Policy:
    return Policy("edits", output_image=stage(*rules, **rest))


def with_face(side: int = 128) -> NDArray[np.uint8]:
    """Blue, with a red dot that the tiny detector takes for the middle of a face."""
    picture = plain(BLUE, width=side, height=side)
    picture[40:44, 64:68] = RED
    return picture


def striped(rows: slice, columns: slice, *, scale: int = 1) -> NDArray[np.uint8]:
    """Blue, with stripes of red that the tiny model takes for sexual: 32x32, or that times `scale`."""
    picture = plain(BLUE, width=SIDE, height=SIDE)
    part = picture[rows, columns]
    part[:, ::2] = RED
    return picture.repeat(scale, axis=0).repeat(scale, axis=1)


def box_of(region: Region) -> tuple[int, int, int, int]:
    return region.left, region.top, region.right, region.bottom


def edited_pixels(decision: Any) -> NDArray[np.uint8]:
    assert isinstance(decision.image, np.ndarray)
    assert decision.image.dtype == np.uint8
    return decision.image


@pytest.fixture(autouse=True)
def face_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = build_tiny_faces(build_tiny_images(tmp_path / "edit_models"))
    monkeypatch.setenv("GUARDKIT_MODELS", str(folder))
    return folder


# --- faces ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("editor", ["blur-faces", "pixelate-faces", "fill-faces"])
def test_faces_are_hidden_and_nothing_else_changes(editor: str) -> None:
    picture = with_face()
    decision = Guard(policy(rule("privacy", Action.EDIT, editor))).check_output(image=picture)
    assert (decision.action, decision.status) == (Action.EDIT, Status.OK)
    assert decision.flagged is False
    (region,) = decision.regions
    assert (box_of(region), region.kind, region.editor) == (FACE, "FACE", editor)
    pixels = edited_pixels(decision)
    assert np.array_equal(picture, with_face())  # the caller's array stays
    assert (pixels[40:44, 64:68] != RED).any()
    far = np.hypot(*np.ogrid[-42:86, -66:62]) > 30  # 16 * 1.7 = 27.2 from (66, 42)
    assert np.array_equal(pixels[far], picture[far])
    assert {"face-detector", editor, "decode", "total"} == set(decision.timings_ms)
    assert decision.to_dict()["regions"][0]["editor"] == editor


def test_an_image_without_a_face_is_handed_back_as_it_came() -> None:
    content = encoded(plain(BLUE))
    decision = Guard(policy(HIDE_FACES)).check_output(image=content)
    assert (decision.action, decision.regions) == (Action.ALLOW, ())
    assert decision.image is content


def test_an_editor_of_faces_can_always_run() -> None:
    only = StagePolicy(scorers=("image-safety",), editors=(EditorEntry("fill-faces", "always"),))
    guard = Guard(Policy("always", output_image=only))
    decision = guard.check_output(image=with_face())
    assert (decision.action, decision.flagged, decision.fired) == (Action.EDIT, False, ())
    assert decision.models == ("image-safety@0.0.1", "face-detector@0.0.1")
    content = encoded(plain(BLUE))
    nobody = guard.check_output(image=content)
    assert (nobody.action, nobody.image) == (Action.ALLOW, content)
    assert nobody.models == ("image-safety@0.0.1",)


def test_the_whole_picture_is_edited_not_the_one_that_was_scored() -> None:
    large = with_face().repeat(8, axis=0).repeat(8, axis=1)  # scored at a fraction of its size
    decision = Guard(policy(HIDE_FACES)).check_output(image=encoded(large))
    assert edited_pixels(decision).shape == (1024, 1024, 3)
    (region,) = decision.regions
    assert box_of(region) == pytest.approx([8 * edge for edge in FACE], abs=8)


# --- a named public figure ------------------------------------------------------------------------

OF_FIGURES = rule("public-figure", Action.EDIT, "blur-faces")


def peak_of_edit(image: NDArray[np.uint8] | bytes) -> int:
    """The most that numpy held at once; Pillow's memory is not traced."""
    guard = Guard(policy(HIDE_FACES))
    tracemalloc.start()
    decision = guard.check_output(image=image)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (decision.action, decision.status) == (Action.EDIT, Status.OK)
    assert decision.image is not image
    return peak


def test_a_picture_is_edited_in_one_copy_of_its_pixels() -> None:
    picture = with_face().repeat(12, axis=0).repeat(12, axis=1)
    before = picture.copy()
    assert peak_of_edit(encoded(picture)) < 1.8 * picture.nbytes
    assert peak_of_edit(picture) < 1.8 * picture.nbytes
    np.testing.assert_array_equal(picture, before)


def figures(**rest: Any) -> Guard:
    return Guard(replace(policy(OF_FIGURES, scorers=("public-figures",)), **rest))


def test_faces_are_blurred_when_the_prompt_names_a_public_figure() -> None:
    decision = figures().check_output(image=with_face(), prompt=NAMED)
    assert decision.action is Action.EDIT
    assert decision.scores["public-figure"] == pytest.approx(0.9997, abs=1e-4)
    assert [box_of(region) for region in decision.regions] == [FACE]
    assert decision.flagged is False


@pytest.mark.parametrize(
    ("picture", "prompt"),
    [
        pytest.param(with_face(), "a portrait of a sailor", id="nobody-is-named"),
        pytest.param(plain(BLUE, width=128, height=128), NAMED, id="no-face-is-seen"),
    ],
)
def test_otherwise_the_image_passes(picture: NDArray[np.uint8], prompt: str) -> None:
    decision = figures().check_output(image=picture, prompt=prompt)
    assert (decision.action, decision.status) == (Action.ALLOW, Status.OK)
    assert decision.image is picture


def test_a_prompt_that_is_read_and_not_given_is_no_permission() -> None:
    decision = figures().check_output(image=plain(BLUE))
    assert (decision.action, decision.scores["public-figure"]) == (Action.BLOCK, None)
    assert decision.reasons[0] == "prompt: not given, and the scorer public-figures reads it"


def test_scoring_images_alone_knows_no_prompt() -> None:
    assert figures().score_images([with_face()]) == [Scores({"public-figure": None})]


# --- whatever fired -------------------------------------------------------------------------------

STRIPES = (slice(0, 13), slice(19, 32))
"""A corner: 2x2 of the map's 5x5 cells."""


@pytest.fixture
def stripes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUARDKIT_MODELS", str(build_tiny_stripes(tmp_path / "stripes")))


@pytest.mark.usefixtures("stripes")
@pytest.mark.parametrize("editor", ["blur", "pixelate", "fill"])
@pytest.mark.parametrize("scale", [1, 6])
def test_the_region_that_carries_the_score_is_hidden(editor: str, scale: int) -> None:
    picture = striped(*STRIPES, scale=scale)
    rules = (Rule("stripes", When("sexual", 0.1), Action.EDIT, editor),)
    decision = Guard(policy(*rules, scorers=("image-safety",))).check_output(image=picture)
    assert decision.action is Action.EDIT
    assert decision.flagged is True
    (region,) = decision.regions
    assert (region.category, region.source, region.editor) == ("sexual", "image-safety", editor)
    assert region.score == pytest.approx(decision.scores["sexual"], abs=1e-6)
    assert region.left >= 9 * scale  # the half without stripes
    assert region.bottom <= 23 * scale
    pixels = edited_pixels(decision)
    assert np.array_equal(pixels[:, : region.left], picture[:, : region.left])
    assert np.array_equal(pixels[region.bottom :], picture[region.bottom :])
    assert not np.array_equal(pixels, picture)


@pytest.mark.usefixtures("stripes")
def test_only_the_crop_that_scores_too_much_is_edited() -> None:
    long = np.concatenate([plain(BLUE, width=SIDE * 2, height=SIDE), striped(*STRIPES)], axis=1)
    rules = (Rule("stripes", When("sexual", 0.1), Action.EDIT, "fill"),)
    decision = Guard(policy(*rules, scorers=("image-safety",))).check_output(image=long)
    assert decision.action is Action.EDIT
    assert all(region.left >= 2 * SIDE for region in decision.regions)


@pytest.mark.parametrize("after", ["block", "regenerate"])
def test_what_is_not_enough_is_answered_by_after_edit(after: Any) -> None:
    """The tiny model judges the mean colour, which no editor changes."""
    rules = (rule("sexual", Action.EDIT, "blur"),)
    guard = Guard(policy(*rules, scorers=("image-safety",), after_edit=after))
    decision = guard.check_output(image=plain(RED))
    assert decision.action is Action(after)
    assert decision.image is None
    assert decision.reasons[-1].startswith("after edit, still not allowed (sexual-edit")
    assert all(region.editor == "" for region in decision.regions)  # nothing edited is handed out
    assert (decision.guidance is not None) is (after == "regenerate")


@dataclass
class Pointing:
    """Says where; until the picture's box is one colour."""

    box: tuple[int, int, int, int] | None
    name: str = "mine"
    categories: Sequence[str] = ("hate-symbol",)
    prompts: tuple[str | None, ...] = ()

    def score(self, pictures: Sequence[Picture]) -> list[Scored]:
        self.prompts = (*self.prompts, *(picture.prompt for picture in pictures))
        return [self._score(picture.frames[0]) for picture in pictures]

    def _score(self, pixels: NDArray[np.uint8]) -> Scored:
        steps = np.abs(np.diff(pixels[..., 0].astype(int), axis=1)) > 200
        score = steps.sum() / (steps.sum() + 20)
        regions = (Region(*self.box, "hate-symbol", score, "mine"),) if self.box else ()
        return Scored(Scores({"hate-symbol": score}), regions=regions)


MINE = rule("hate-symbol", Action.EDIT, "fill")


@pytest.mark.parametrize("box", [(18, 0, 32, 14), None], ids=["regions-of-its-own", "by-occlusion"])
def test_a_scorer_of_ones_own_is_believed_or_tried(box: tuple[int, int, int, int] | None) -> None:
    scorer = Pointing(box)
    guard = Guard(policy(MINE, scorers=("mine",)), image_scorers=[scorer])
    decision = guard.check_output(image=striped(*STRIPES), prompt="a barn")
    assert decision.action is Action.EDIT
    (region,) = decision.regions
    assert (region.source, region.editor) == ("mine", "fill")
    if box:
        assert box_of(region) == box
    assert edited_pixels(decision)[20:, :10].tolist() == plain(BLUE, width=10, height=12).tolist()
    assert set(scorer.prompts) == {"a barn"}


# --- what goes wrong ------------------------------------------------------------------------------


class Failing(Pointing):
    """Scores once, and never again."""

    def score(self, pictures: Sequence[Picture]) -> list[Scored]:
        if self.prompts:
            raise ValueError("SECRET")
        return super().score(pictures)


def test_an_editor_that_fails_is_no_permission(caplog: pytest.LogCaptureFixture) -> None:
    guard = Guard(policy(MINE, scorers=("mine",)), image_scorers=[Failing(None)])
    decision = guard.check_output(image=striped(*STRIPES))
    assert (decision.action, decision.status) == (Action.BLOCK, Status.DEGRADED)
    assert decision.image is None
    assert "an editor failed: block" in decision.reasons[-1]
    assert "SECRET" not in caplog.text + str(decision.to_dict())
    assert any(record.levelno == logging.WARNING for record in caplog.records)


def test_an_animation_is_not_edited() -> None:
    rules = (rule("sexual", Action.EDIT, "fill"),)
    decision = Guard(policy(*rules, scorers=("image-safety",))).check_output(image=animated(5))
    assert (decision.action, decision.image) == (Action.BLOCK, None)
    assert "an animation cannot be edited" in decision.reasons[-1]


def test_an_editor_that_finds_no_face_is_answered_by_after_edit() -> None:
    rules = (rule("sexual", Action.EDIT, "blur-faces"),)
    red = plain((200, 0, 0))  # of 0.91; as faces too unsure
    decision = Guard(policy(*rules, scorers=("image-safety",))).check_output(image=red)
    found = decision.reasons[-1]
    assert decision.action is Action.BLOCK
    assert "still not allowed" in found or "no editor found anything to change" in found


def test_faces_that_hiding_brings_about_are_not_hidden_for_ever() -> None:
    """Dots on a ground that is almost a face: filled with their mean, all of it is one."""
    picture = plain((115, 0, 0), width=128, height=128)
    for row in range(4):
        picture[row::8] = [(255, 0, 0) if column % 8 < 4 else (115, 0, 0) for column in range(128)]
    decision = Guard(policy(rule("privacy", Action.EDIT, "fill-faces"))).check_output(image=picture)
    assert decision.action is Action.BLOCK
    assert "still not allowed" in decision.reasons[-1]


def test_no_edits_are_made_where_none_are_allowed() -> None:
    strict = replace(policy(HIDE_FACES), limits=Limits(edits=0))
    decision = Guard(strict).check_output(image=with_face())
    assert decision.action is Action.BLOCK
    assert "edits are limited to 0" in decision.reasons[-1]


def test_a_shadow_policy_edits_nothing() -> None:
    picture = with_face()
    decision = Guard(replace(policy(HIDE_FACES), mode="shadow")).check_output(image=picture)
    assert (decision.action, decision.shadow) == (Action.ALLOW, Action.EDIT)
    assert decision.image is picture


def test_an_image_that_cannot_be_decoded_is_not_edited() -> None:
    guard = Guard(replace(policy(HIDE_FACES), on_failure="regenerate"))
    assert guard.check_output(image=b"no image").action is Action.REGENERATE


# --- policies -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage_policy", "told"),
    [
        pytest.param(
            StagePolicy(scorers=("image-safety",), editors=("redact",)),
            "unknown editor of images 'redact'. Known: blur, blur-faces",
            id="an-editor-of-text",
        ),
        pytest.param(
            StagePolicy(scorers=("identifiers",)), "reads text, the stage has images", id="a-scorer"
        ),
    ],
)
def test_steps_for_texts_are_refused(stage_policy: StagePolicy, told: str) -> None:
    with pytest.raises(PolicyError, match=told):
        Guard(Policy("wrong", output_image=stage_policy))


def test_editors_of_images_are_for_images() -> None:
    with pytest.raises(PolicyError, match="unknown editor 'blur-faces'"):
        Guard(
            Policy("wrong", prompt=StagePolicy(scorers=("identifiers",), editors=("blur-faces",)))
        )


def test_the_detector_of_an_editor_takes_options(face_models: Path) -> None:
    used = policy(rule("sexual", Action.EDIT, "blur-faces"), scorers=("image-safety",))
    options = {"face-detector": RunnerOptions(path=str(face_models / "image-safety"))}
    with pytest.raises(ManifestError, match="does not detect faces"):
        Guard(replace(used, models=options))
    with pytest.raises(PolicyError, match="no stage uses a model 'face-detector'"):
        Guard(replace(policy(scorers=("image-safety",)), models=options))
