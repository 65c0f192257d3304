"""The path of an image through a guard: decoded, scored, decided, and nothing that failed is permission."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from guardkit import Guard, Policy
from guardkit.artifacts import RunnerOptions, load_artifact
from guardkit.errors import InputError, ManifestError, PolicyError
from guardkit.image.decode import Picture
from guardkit.image.score import CropModel, CropScorer
from guardkit.policy.load import load_policy
from guardkit.policy.rules import ImageLimits, Limits, StagePolicy
from guardkit.runtime.base import Arrays
from guardkit.runtime.clock import Stop
from guardkit.runtime.fake import FakeRunner
from guardkit.runtime.onnx import OnnxRunner
from guardkit.types import Action, Scored, Scores, Status
from tests.conftest import WriteFile
from tests.fake_steps import AGAIN, rule
from tests.pictures import BLUE, GREEN, RED, animated, declared_png, encoded, halves, plain
from tests.tiny import change_manifest
from tests.tiny_image import EVEN, HIGH, LOW, build_tiny_images

NO_SEXUAL, NO_GORE = rule("sexual", Action.REGENERATE), rule("gore", Action.BLOCK)
STAGE = StagePolicy(scorers=("image-safety",), rules=(NO_SEXUAL, NO_GORE))
POLICY = Policy("pictures", output_image=STAGE)
PURPLE = (255, 0, 255)
EDGE = 0.002  # what a crop's neighbour moves its score by: resizing looks a pixel over the edge


@pytest.fixture
def image_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = build_tiny_images(tmp_path / "image_models")
    monkeypatch.setenv("GUARDKIT_MODELS", str(folder))
    return folder


@pytest.fixture
def guard(image_models: Path) -> Guard:
    return Guard(POLICY)


def precise(policy: Policy = POLICY) -> Policy:
    return replace(policy, models={"image-safety": RunnerOptions(mode="precise")})


def values(scores: Scores) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 3) for name, value in scores.items()}


# --- decisions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("colour", "action"),
    [
        pytest.param(BLUE, Action.ALLOW, id="neither"),
        pytest.param(RED, Action.REGENERATE, id="sexual"),
        pytest.param(GREEN, Action.BLOCK, id="gore"),
        pytest.param((255, 255, 0), Action.BLOCK, id="both"),
    ],
)
def test_an_image_is_decided_by_its_scores(
    guard: Guard, colour: tuple[int, int, int], action: Action
) -> None:
    decision = guard.check_output(image=plain(colour))
    assert decision.action is action
    assert decision.models == ("image-safety@0.0.1",)
    assert set(decision.timings_ms) == {"decode", "image-safety", "total"}
    assert decision.flagged is (action is not Action.ALLOW)


def test_an_allowed_image_is_handed_back_as_it_came(guard: Guard) -> None:
    content = encoded(plain(BLUE))
    assert guard.check_output(image=content).image is content
    decision = guard.check_output(image=plain(RED))
    assert (decision.image, decision.text) == (None, None)


def test_a_shadow_policy_lets_every_image_pass(image_models: Path) -> None:
    content = encoded(plain(GREEN))
    decision = Guard(replace(POLICY, mode="shadow")).check_output(image=content)
    assert (decision.action, decision.shadow) == (Action.ALLOW, Action.BLOCK)
    assert decision.image is content


def test_regenerate_carries_guidance(guard: Guard) -> None:
    guidance = guard.check_output(image=plain(RED)).guidance
    assert guidance is not None
    assert set(guidance.categories) == {"sexual"}


def test_the_prompt_does_not_change_the_verdict(guard: Guard) -> None:
    content = encoded(halves(RED, BLUE))
    alone = guard.check_output(image=content)
    for prompt in ("", "a quiet harbour", "something else altogether"):
        decision = guard.check_output(image=content, prompt=prompt)
        assert (decision.action, decision.scores) == (alone.action, alone.scores)


def test_a_batch_runs_image_by_image_and_the_crops_of_one_together(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    crops: list[int] = []
    run = OnnxRunner.run

    def counted(self: OnnxRunner, inputs: Arrays, *, stop: Stop | None = None) -> Arrays:
        crops.append(len(inputs["crops"]))
        return run(self, inputs, stop=stop)

    monkeypatch.setattr(OnnxRunner, "run", counted)
    guard.score_images([plain(RED), plain(RED, width=128), plain(RED)])
    assert crops == [1, 3, 1]


def test_every_kind_of_input_scores_alike(guard: Guard, tmp_path: Path) -> None:
    path, content = tmp_path / "red.png", encoded(plain(RED))
    path.write_bytes(content)
    found = guard.score_images([path, str(path), content, plain(RED)])
    assert [values(scores) for scores in found] == [{"sexual": HIGH, "gore": LOW}] * 4


def test_the_worst_crop_counts(guard: Guard) -> None:
    picture = plain(BLUE, width=300, height=100)
    picture[:, 200:] = RED
    (scores,) = guard.score_images([picture])
    assert scores == pytest.approx({"sexual": HIGH, "gore": LOW}, abs=EDGE)


def test_the_worst_frame_counts(guard: Guard) -> None:
    (scores,) = guard.score_images([animated(9, "PNG")])  # from black to red
    assert values(scores)["sexual"] == HIGH


def test_many_crops_run_a_few_at_a_time(guard: Guard) -> None:
    picture = plain(BLUE, width=1600, height=100)  # 16 crops
    picture[:, 1500:] = GREEN
    (scores,) = guard.score_images([picture])
    assert scores == pytest.approx({"sexual": LOW, "gore": HIGH}, abs=EDGE)


# --- two models -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("colour", "sexual"),
    [
        pytest.param(PURPLE, HIGH, id="both-models"),
        pytest.param(RED, EVEN, id="the-first-alone"),
        pytest.param(BLUE, EVEN, id="the-second-alone"),
        pytest.param(GREEN, LOW, id="neither"),
    ],
)
def test_two_models_vote(image_models: Path, colour: tuple[int, int, int], sexual: float) -> None:
    (scores,) = Guard(precise()).score_images([plain(colour)])
    assert values(scores)["sexual"] == sexual  # the mean of LOW and HIGH is EVEN


def test_they_vote_on_each_crop(image_models: Path) -> None:
    picture = plain(GREEN, width=300, height=100)
    picture[:, :100], picture[:, 200:] = RED, BLUE
    (scores,) = Guard(precise()).score_images([picture])
    assert values(scores)["sexual"] == EVEN  # no crop convinces both


def test_both_models_are_named(image_models: Path) -> None:
    guard = Guard(precise())
    both = ("image-safety@0.0.1", "image-safety-second@0.0.1")
    assert guard.check_output(image=plain(BLUE)).models == both
    assert tuple(one.id for one in guard.info()) == both


def test_the_second_model_is_looked_for_beside_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GUARDKIT_MODELS", raising=False)
    folder = build_tiny_images(tmp_path / "elsewhere")
    options = RunnerOptions(mode="precise", path=str(folder / "image-safety"))
    guard = Guard(replace(POLICY, models={"image-safety": options}))
    assert values(guard.score_images([plain(RED)])[0])["sexual"] == EVEN


def test_precise_needs_a_second_model(image_models: Path) -> None:
    change_manifest(image_models / "image-safety", {"image": {"side": 32}})
    with pytest.raises(ManifestError, match=r"names none\. Expected mode: fast"):
        Guard(precise())


def test_models_of_different_crops_cannot_vote(image_models: Path) -> None:
    spec = {"name": "crops", "dtype": "uint8", "shape": ["crops", 64, 64, 3]}
    folder = image_models / "image-safety-second"
    change_manifest(folder, {"image": {"side": 64}, "inputs": [spec]})
    runner = FakeRunner(lambda _: {})
    first, second = (
        CropModel(load_artifact(path), runner) for path in (image_models / "image-safety", folder)
    )
    with pytest.raises(ManifestError, match="cannot vote together"):
        CropScorer(first, second)


def test_an_artifact_of_other_tensors_is_refused(image_models: Path) -> None:
    spec = {"name": "crops", "dtype": "float32", "shape": ["crops", 32, 32, 3]}
    change_manifest(image_models / "image-safety", {"inputs": [spec]})
    with pytest.raises(ManifestError, match="float32"):
        Guard(POLICY)


# --- what goes wrong ------------------------------------------------------------------------------

UNREADABLE = [
    pytest.param(b"", id="zero-byte"),
    pytest.param(b"a text file that was renamed", id="text"),
    pytest.param(encoded(halves())[:70], id="truncated"),
    pytest.param(declared_png(30000, 30000), id="bomb"),
    pytest.param(encoded(plain(width=1, height=1)), id="one-pixel"),
    pytest.param(animated(600, side=16), id="animated-bomb"),
]


@pytest.mark.parametrize("content", UNREADABLE)
@pytest.mark.parametrize("on_failure", ["block", "regenerate", "allow"])
def test_on_failure_answers_for_an_image_that_cannot_be_decoded(
    image_models: Path, content: bytes, on_failure: Any
) -> None:
    decision = Guard(replace(POLICY, on_failure=on_failure)).check_output(image=content)
    assert decision.action is Action(on_failure)
    assert decision.status is Status.ERROR
    assert dict(decision.scores) == {"sexual": None, "gore": None}
    assert decision.reasons[0].startswith("the image: ")
    assert decision.image is (content if on_failure == "allow" else None)


@pytest.mark.parametrize("content", UNREADABLE)
def test_its_scores_are_none(guard: Guard, content: bytes) -> None:
    bad, good = guard.score_images([content, plain(RED)])
    assert dict(bad) == {"sexual": None, "gore": None}
    assert values(good)["sexual"] == HIGH


def test_limits_are_those_of_the_policy(image_models: Path) -> None:
    limits = Limits(images=ImageLimits(max_pixels=1000))
    decision = Guard(replace(POLICY, limits=limits)).check_output(image=plain())
    assert "64x64 pixels. Allowed: 1000 pixels" in decision.reasons[0]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param({}, "text is NoneType", id="nothing"),
        pytest.param({"text": "a", "image": b"b"}, "both are given", id="both"),
        pytest.param({"image": 3}, "image is int", id="no-image"),
        pytest.param({"image": np.zeros((8, 8, 3))}, "float64", id="floats"),
        pytest.param({"image": "/nowhere/a.png"}, "no such file", id="missing"),
        pytest.param({"image": b"b", "prompt": 3}, "is the str that", id="prompt-is-no-text"),
        pytest.param({"text": "a", "prompt": "b"}, "is the str that", id="prompt-of-a-text"),
        pytest.param({"text": "a"}, "no stage 'output-text'", id="no-such-stage"),
    ],
)
def test_a_callers_mistake_is_an_error(guard: Guard, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        guard.check_output(**arguments)


def test_score_images_wants_a_list(guard: Guard) -> None:
    with pytest.raises(InputError, match="Expected a list of images"):
        guard.score_images("picture.png")


def test_a_policy_without_the_stage_checks_no_image(use_tiny_models: Path) -> None:
    text = Policy("text", prompt=StagePolicy(scorers=("text-safety",)))
    with pytest.raises(InputError, match="no stage 'output-image'"):
        Guard(text).check_output(image=plain())


def test_no_picture_enters_a_log(guard: Guard, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    decision = guard.check_output(image=b"SECRETSECRET")
    assert "SECRET" not in caplog.text + str(decision.to_dict(include_text=True)) + repr(decision)
    json.dumps(decision.to_dict())


# --- scorers of one's own -------------------------------------------------------------------------


@dataclass
class OwnScorer:
    """Hands back whatever the test wants, right or wrong, after waiting for an event."""

    answer: Any
    name: str = "mine"
    categories: Sequence[str] = ("hate-symbol",)
    waits_for: threading.Event | None = None
    shape: tuple[int, ...] = ()

    def score(self, pictures: Sequence[Picture]) -> list[Scored]:
        self.shape = pictures[0].frames[0].shape
        if self.waits_for is not None:
            self.waits_for.wait(5)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]  # wrong on purpose


OWN = Policy(
    "own",
    output_image=StagePolicy(("image-safety", "mine"), rules=(rule("hate-symbol", Action.BLOCK),)),
)


def test_a_scorer_of_ones_own_gets_every_pixel(image_models: Path) -> None:
    mine = OwnScorer([Scored(Scores({"hate-symbol": 0.9}))])
    content = encoded(plain(BLUE, width=640, height=640), "JPEG")
    decision = Guard(OWN, image_scorers=[mine]).check_output(image=content)
    assert (decision.action, decision.status) == (Action.BLOCK, Status.OK)
    assert mine.shape == (640, 640, 3)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(ValueError("broken"), id="raises"),
        pytest.param([], id="no-answer"),
        pytest.param([{"hate-symbol": 0.0}], id="dict-instead-of-scored"),
        pytest.param([Scored(Scores())], id="category-left-out"),
        pytest.param([Scored({"hate-symbol": float("nan")})], id="nan"),  # type: ignore[arg-type]
    ],
)
def test_a_broken_scorer_is_no_permission(image_models: Path, answer: Any) -> None:
    decision = Guard(OWN, image_scorers=[OwnScorer(answer)]).check_output(image=plain(BLUE))
    assert (decision.action, decision.status) == (Action.BLOCK, Status.DEGRADED)
    assert decision.scores["hate-symbol"] is None


def test_a_late_scorer_is_answered_by_on_timeout(image_models: Path) -> None:
    event = threading.Event()
    mine = OwnScorer([Scored(Scores({"hate-symbol": 0.0}))], waits_for=event)
    policy = replace(OWN, timeout_ms=300, on_timeout="regenerate", on_failure="allow")
    decision = Guard(policy, image_scorers=[mine]).check_output(image=plain(BLUE))
    event.set()
    assert decision.action is Action.REGENERATE
    assert decision.scores["hate-symbol"] is None


def test_without_pillow_one_sentence_says_what_to_install(image_models: Path) -> None:
    code = (
        "import sys; sys.modules['PIL'] = None\n"
        "from guardkit import Guard, Policy\n"
        "from guardkit.policy.rules import StagePolicy\n"
        "Guard(Policy('text'))\n"
        "Guard(Policy('p', output_image=StagePolicy(scorers=('image-safety',))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith(
        "reading an image needs the extra 'image', which is not installed. "
        'Run: pip install "guardkit[image]"'
    )


# --- policies -------------------------------------------------------------------------------------


def test_a_text_model_cannot_look_at_images(own_artifact: Path) -> None:
    options = {"text-safety": RunnerOptions(path=str(own_artifact))}
    stage = StagePolicy(scorers=("text-safety",))
    with pytest.raises(PolicyError, match="'text-safety' reads text, the stage has images"):
        Guard(Policy("wrong", output_image=stage, models=options))


def test_an_image_model_cannot_read_text(image_models: Path) -> None:
    with pytest.raises(PolicyError, match="'image-safety' reads images, the stage has text"):
        Guard(Policy("wrong", prompt=StagePolicy(scorers=("image-safety",))))


def test_word_lists_do_not_read_images(image_models: Path) -> None:
    with pytest.raises(PolicyError, match="'identifiers' reads text"):
        Guard(Policy("wrong", output_image=StagePolicy(scorers=("identifiers",))))


def test_no_editor_of_texts_edits_images(image_models: Path) -> None:
    stage = replace(STAGE, editors=("cut",))
    with pytest.raises(PolicyError, match=r"unknown editor of images 'cut'\. Known: blur,"):
        Guard(Policy("wrong", output_image=stage))


def test_a_policy_file_says_all_of_it(image_models: Path, write_file: WriteFile) -> None:
    path = write_file(
        "pictures.yaml",
        "policy: pictures\n"
        "output-image:\n"
        "  scorers: [image-safety]\n"
        "  rules:\n"
        "    - {name: no-gore, when: {category: gore, at_least: 0.6}, action: block}\n"
        "limits: {images: {max_pixels: 5000, frames: 2}}\n"
        "models: {image-safety: {mode: precise}}\n",
    )
    policy = load_policy(path)
    assert policy.limits.images == ImageLimits(max_pixels=5000, frames=2)
    assert policy.models["image-safety"].mode == "precise"
    assert Guard.from_file(path).check_output(image=plain(GREEN)).action is Action.BLOCK


def test_the_mode_is_part_of_the_policys_digest() -> None:
    assert precise().digest != POLICY.digest


# --- other ways in --------------------------------------------------------------------------------


def test_the_async_twins_give_the_same(guard: Guard) -> None:
    async def ask() -> tuple[Action, list[Scores]]:
        decision = await guard.acheck_output(image=plain(RED))
        return decision.action, await guard.ascore_images([plain(RED)])

    action, scores = asyncio.run(ask())
    assert action is Action.REGENERATE
    assert scores == guard.score_images([plain(RED)])


def test_a_pickled_guard_checks_images(guard: Guard) -> None:
    again = pickle.loads(pickle.dumps(guard))  # noqa: S301  our own bytes
    assert again.check_output(image=plain(GREEN)).action is Action.BLOCK


def test_text_and_images_live_in_one_policy(tiny_models: Path, image_models: Path) -> None:
    shutil.copytree(tiny_models / "text-safety", image_models / "text-safety")
    output = StagePolicy(scorers=("text-safety",), rules=(AGAIN,))
    guard = Guard(replace(POLICY, output_text=output))
    assert guard.check_output(text="idiot").action is Action.REGENERATE
    assert guard.check_output(image=plain(GREEN)).action is Action.BLOCK
    assert guard.check_output(text="hello").models == ("text-safety@0.0.1",)
