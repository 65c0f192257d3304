"""A guarded pipeline of random weights: prompts, brackets, pictures, regeneration, and what cannot be checked."""

from __future__ import annotations

import threading
from types import SimpleNamespace as Shape
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionImg2ImgPipeline
from msgspec.structs import replace
from PIL import Image

from guardkit import Guard, Policy
from guardkit.errors import DeadlineError, InputError
from guardkit.integrations.diffusers import Terms, guarded, preview_guard, text_embedding
from guardkit.loop import Budget
from guardkit.policy.rules import Limits
from guardkit.steer import StepGuard
from guardkit.text.composition import Concept
from guardkit.types import Action
from tests.diffusers.conftest import POLICY, QUARTER, Asked, Corner, Eyes, guard_of
from tests.diffusers.tiny_pipeline import SIDE, scheduler_of, tiny
from tests.pictures import BLUE, plain
from tests.unit.test_loop_run import Words

# Schedulers of diffusers 0.42 hand tensors to numpy in a way that numpy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SEED = 5
GORY = StepGuard(4, 0.5, score=lambda _, __: {"gore": 0.9})
"""Two votes make a picture unsafe, and every preview votes."""
CALM = StepGuard(4, 0.5, score=lambda _, __: {"gore": 0.1})


def pixels(image: Any) -> Any:
    return np.asarray(image)


# --- prompts ------------------------------------------------------------------------------------------


def test_a_picture_that_is_allowed_is_the_pipelines_own(pipeline: Asked) -> None:
    alone = pipeline("a boat", generator=torch.Generator().manual_seed(SEED)).images[0]
    drawing = guarded(pipeline, guard_of())("a boat", seed=SEED)
    (image,), (drawn,) = drawing.images, drawing.pictures
    assert isinstance(image, Image.Image)
    assert np.array_equal(pixels(image), pixels(alone))
    assert (drawn.seed, drawn.result.decision.action, len(drawn.result.attempts)) == (SEED, Action.ALLOW, 1)  # fmt: skip
    assert pipeline.asked[1] == {"prompt": "a boat", "negative_prompt": None, "seed": SEED}


def test_a_prompt_that_is_blocked_never_reaches_the_pipeline(pipeline: Asked) -> None:
    drawing = guarded(pipeline, guard_of())("kill him")
    assert drawing.images == [None]
    assert drawing.pictures[0].result.decision.action is Action.BLOCK
    assert (pipeline.asked, pipeline.steps) == ([], 0)


def test_an_edited_prompt_is_what_is_drawn(pipeline: Asked) -> None:
    guarded(pipeline, guard_of())("draw the idiot boat")
    assert [one["prompt"] for one in pipeline.asked] == ["draw the boat"]


def test_each_picture_of_each_prompt_is_a_run_of_its_own(pipeline: Asked) -> None:
    drawing = guarded(pipeline, guard_of())(["a boat", "kill", "fog"], num_images_per_prompt=2, seed=SEED)  # fmt: skip
    assert [image is None for image in drawing.images] == [False, False, True, True, False, False]
    assert [one["prompt"] for one in pipeline.asked] == ["a boat"] * 2 + ["fog"] * 2
    assert [one.seed for one in drawing.pictures] == list(range(SEED, SEED + 6))
    assert not np.array_equal(pixels(drawing.images[0]), pixels(drawing.images[1]))


def test_the_same_seed_draws_the_same_pictures_again(pipeline: Asked) -> None:
    draw = guarded(pipeline, guard_of({"gore": 0.9}, {}, {"gore": 0.9}, {}))
    one, two = (draw("a boat", seed=SEED) for _ in range(2))
    assert np.array_equal(pixels(one.images[0]), pixels(two.images[0]))
    assert [asked["seed"] for asked in pipeline.asked[:2]] == [asked["seed"] for asked in pipeline.asked[2:]]  # fmt: skip


# --- the negative prompt, brackets, compositions --------------------------------------------------------


def test_the_users_negative_prompt_is_checked_and_the_callers_own_is_not(pipeline: Asked) -> None:
    draw = guarded(pipeline, guard_of(), Terms(negative_prompt="kill, blur"))
    assert draw("a boat", negative_prompt="kill").images == [None]
    assert not pipeline.asked
    drawing = draw("a boat", negative_prompt="an idiot fog")
    assert drawing.images[0] is not None
    assert pipeline.asked[0]["negative_prompt"] == "kill, blur, an fog"


def test_one_negative_prompt_is_for_all_and_a_list_is_one_each(pipeline: Asked) -> None:
    draw = guarded(pipeline, guard_of())
    draw(["a boat", "a car"], negative_prompt="fog")
    draw(["a boat", "a car"], negative_prompt=["fog", "rain"])
    assert [one["negative_prompt"] for one in pipeline.asked] == ["fog", "fog", "fog", "rain"]


@pytest.mark.parametrize(
    "prompt",
    [
        pytest.param("I (ki:1.2)(ll:1) him", id="a-word-in-two"),
        pytest.param("a boat [boat:ki[l]l:0.5]", id="from-half-of-the-steps-on"),
        pytest.param("a boat AND k(i)ll :0.1", id="one-of-several"),
    ],
)
def test_what_brackets_spell_is_blocked(prompt: str, pipeline: Asked) -> None:
    drawing = guarded(pipeline, guard_of())(prompt)
    assert drawing.images == [None]
    decision = drawing.pictures[0].result.decision
    assert decision.action is Action.BLOCK
    assert "within brackets" in decision.reasons[-1]
    assert not pipeline.asked


def test_what_brackets_hide_from_an_editor_is_answered_by_after_edit(pipeline: Asked) -> None:
    hidden = "an (id:1.2)(iot:1)"
    assert guarded(pipeline, guard_of())(hidden).images == [None]
    assert POLICY.prompt is not None
    lax = replace(POLICY, prompt=replace(POLICY.prompt, after_edit="allow"))
    assert guarded(pipeline, guard_of(policy=lax))(hidden).images != [None]


def test_prompts_that_together_come_near_a_concept_are_blocked(pipeline: Asked) -> None:
    null, boat, fog = (text_embedding(pipeline, text) for text in ("", "a boat", "fog"))
    # What the guidance of scale 7.5 makes of "a boat" without "fog": 7.5 (E - E0) - 6.5 (E' - E0).
    concept = Concept("planted", 7.5 * (boat - null) - 6.5 * (fog - null), 0.999)
    draw = guarded(pipeline, guard_of(), Terms(concepts=[concept]))
    assert draw("a boat").images != [None]
    assert draw("a car", negative_prompt="fog").images != [None]
    drawing = draw("a boat", negative_prompt="fog")
    assert drawing.images == [None]
    assert drawing.pictures[0].result.decision.reasons == ("together the prompts come near planted: block",)  # fmt: skip
    assert draw("a boat", negative_prompt="fog", guidance_scale=2.0).images != [None]


# --- pictures -----------------------------------------------------------------------------------------


def test_a_picture_is_drawn_again_with_another_seed_and_a_negative_prompt(pipeline: Asked) -> None:
    drawing = guarded(pipeline, guard_of({"gore": 0.9}, {}))("a boat", negative_prompt="fog", seed=SEED)  # fmt: skip
    first, second = pipeline.asked
    assert (first["negative_prompt"], first["seed"]) == ("fog", SEED)
    assert second["negative_prompt"] == "fog, gore, blood"
    assert second["seed"] != SEED
    attempts = drawing.pictures[0].result.attempts
    assert [one.decision.action for one in attempts] == [Action.REGENERATE, Action.ALLOW]
    assert attempts[1].guidance is not None
    assert attempts[1].guidance.seed == second["seed"]


def test_pictures_that_are_never_allowed_are_blocked_with_the_record_kept(pipeline: Asked) -> None:
    drawing = guarded(pipeline, guard_of({"gore": 0.9}))("a boat")
    result = drawing.pictures[0].result
    assert (result.output, result.decision.action, len(result.attempts)) == (None, Action.BLOCK, 3)


def test_an_edited_picture_is_a_pil_image_too(pipeline: Asked) -> None:
    guard = Guard(POLICY, scorers=[Words()], image_scorers=[Corner()])
    drawing = guarded(pipeline, guard)("a boat")
    (image,) = drawing.images
    assert drawing.pictures[0].result.decision.action is Action.EDIT
    assert isinstance(image, Image.Image)
    assert len(np.unique(pixels(image)[:QUARTER, :QUARTER].reshape(-1, 3), axis=0)) == 1


def test_what_the_pipelines_own_checker_blacked_out_is_drawn_again(pipeline: Asked) -> None:
    verdicts = iter([[True], [False]])
    pipeline.run_safety_checker = lambda image, *_: (image, next(verdicts))
    drawing = guarded(pipeline, guard_of())("a boat")
    assert drawing.images[0] is not None
    assert pipeline.asked[1]["negative_prompt"] == "nudity, sexual content"


def test_what_the_pipeline_raises_is_in_the_record(pipeline: Asked) -> None:
    drawing = guarded(pipeline, guard_of())("a boat", height=7, width=7)
    (attempt,) = drawing.pictures[0].result.attempts
    assert drawing.images == [None]
    assert attempt.problem == "the generator raised ValueError"
    assert "divisible by 8" in str(attempt.error)


def test_a_picture_to_begin_with_is_checked_first() -> None:
    eyes = Eyes({"violence": 0.9}, {})
    begins = tiny(StableDiffusionImg2ImgPipeline)
    draw = guarded(begins, Guard(POLICY, scorers=[Words()], image_scorers=[eyes]))
    start = Image.fromarray(plain(BLUE, width=SIDE, height=SIDE))
    blocked = draw("a boat", image=start, num_inference_steps=4)
    assert blocked.images == [None]
    assert blocked.pictures[0].result.decision.reasons[-1] == "the picture to begin with: block"
    assert len(eyes.seen) == 1
    allowed = draw("a boat", image=pixels(start), num_inference_steps=4)
    assert allowed.images[0].size == (SIDE, SIDE)
    assert len(eyes.seen) == 3
    with pytest.raises(InputError, match="image"):
        draw("a boat", image=torch.zeros(1, 3, SIDE, SIDE))


# --- steps --------------------------------------------------------------------------------------------


def test_a_generation_that_is_surely_unsafe_is_stopped_and_drawn_again(pipeline: Asked) -> None:
    draw = guarded(pipeline, guard_of(), Terms(steps=GORY))
    drawing = draw("a boat", num_inference_steps=20)
    (drawn,) = drawing.pictures
    # The first step has no preview; the second and third bring the two votes.
    assert pipeline.steps == 3 * 3
    assert [(one.decided_at, one.steps_saved) for one in drawn.steps] == [(3, 17)] * 3
    assert drawing.images == [None]
    first = drawn.result.attempts[0].decision
    assert first.reasons == ("stopped after step 3 of 20: 2 of 2 previews were unsafe: regenerate",)
    assert [one["negative_prompt"] for one in pipeline.asked] == [None, *["gore, blood"] * 2]


def test_a_generation_that_is_surely_safe_is_left_alone(pipeline: Asked) -> None:
    plainly = guarded(pipeline, guard_of())("a boat", seed=SEED)
    watched = guarded(pipeline, guard_of(), Terms(steps=CALM))("a boat", seed=SEED)
    assert np.array_equal(pixels(plainly.images[0]), pixels(watched.images[0]))
    (record,) = watched.pictures[0].steps
    assert (record.is_unsafe, record.seen, record.steps_saved) == (False, 3, 0)


def test_previews_are_scored_as_the_policy_scores_pictures(pipeline: Asked) -> None:
    guard = guard_of({"violence": 0.9})
    draw = guarded(pipeline, guard, Terms(steps=preview_guard(guard, eta=2, lam=0.5)))
    drawing = draw("a boat", num_inference_steps=20)
    result = drawing.pictures[0].result
    assert pipeline.steps == 2
    # The policy blocks violence: there is no second try.
    assert (result.decision.action, len(result.attempts)) == (Action.BLOCK, 1)


def test_a_policy_that_only_looks_on_stops_nothing(pipeline: Asked) -> None:
    guard = guard_of({"gore": 0.9}, policy=replace(POLICY, mode="shadow"))
    drawing = guarded(pipeline, guard, Terms(steps=GORY))("kill him", negative_prompt="kill")
    (drawn,) = drawing.pictures
    assert drawing.images[0] is not None
    assert pipeline.steps == 6
    assert drawn.steps[0].is_unsafe
    assert drawn.result.decision.shadow is Action.REGENERATE


def test_the_callers_own_callback_is_called_and_may_change_the_latents(pipeline: Asked) -> None:
    seen: list[int] = []

    def note(_: Any, step: int, __: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        seen.append(step)
        assert "prompt_embeds" in tensors
        return {"latents": torch.zeros_like(tensors["latents"])}

    draw = guarded(pipeline, guard_of(), Terms(steps=CALM))
    plainly = draw("a boat", seed=SEED)
    changed = draw("a boat", seed=SEED, callback_on_step_end=note, callback_on_step_end_tensor_inputs=["prompt_embeds"])  # fmt: skip
    assert seen == list(range(6))
    assert not np.array_equal(pixels(plainly.images[0]), pixels(changed.images[0]))


def test_a_call_that_is_late_is_stopped_at_its_next_step(pipeline: Asked) -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def wait(_: Any, step: int, __: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        begun.set()
        go_on.wait(30)
        return tensors

    decode = pipeline.vae.decode
    pipeline.vae.decode = lambda *given, **more: (ended.set(), decode(*given, **more))[1]
    draw = guarded(pipeline, guard_of(), Terms(budget=Budget(attempt_s=0.2)))
    (drawn,) = draw("a boat", num_inference_steps=20, callback_on_step_end=wait).pictures
    assert begun.is_set()
    assert drawn.result.decision.action is Action.BLOCK
    assert isinstance(drawn.result.attempts[0].error, DeadlineError)
    go_on.set()
    assert ended.wait(30)
    assert pipeline.steps == 2


# --- what cannot be checked -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        pytest.param({"prompt": None}, "prompt is NoneType", id="no-prompt"),
        pytest.param({"prompt": []}, "at least one", id="no-prompts"),
        pytest.param({"prompt": ["a", 3]}, r"prompt\[1\] is int", id="a-number"),
        pytest.param({"prompt_embeds": 1}, "prompt_embeds: nothing here can read it", id="embeds"),
        pytest.param({"ip_adapter_image": 1}, "ip_adapter_image: nothing", id="another-picture"),
        pytest.param({"prompt_2": "kill"}, "prompt_2: nothing", id="another-prompt"),
        pytest.param({"negative_prompt": ["a", "b"]}, "2 for 1 prompts", id="two-for-one"),
        pytest.param({"negative_prompt": 3}, r"negative_prompt\[0\] is int", id="negative-number"),
        pytest.param({"num_images_per_prompt": 0}, "is 0", id="no-pictures"),
        pytest.param({"generator": 1}, "give seed=", id="generator"),
        pytest.param({"output_type": "latent"}, "output_type: cannot be given", id="latents"),
        pytest.param({"guidance_scale": 1.0}, "guidance_scale is not above 1", id="no-guidance"),
        pytest.param({"eta": 0.5}, "eta is not 0", id="noisy-steps"),
    ],
)
def test_a_call_that_cannot_be_checked_is_refused(
    asked: dict[str, Any], problem: str, pipeline: Asked
) -> None:
    draw = guarded(pipeline, guard_of(), Terms(steps=CALM))
    with pytest.raises(InputError, match=problem):
        draw(**{"prompt": "a boat", **asked})
    assert not pipeline.asked


def test_what_nothing_reads_may_pass(pipeline: Asked) -> None:
    latents = torch.zeros(1, 4, SIDE // 2, SIDE // 2)
    draw = guarded(pipeline, guard_of(), Terms(pass_unchecked=True))
    assert draw("a boat", latents=latents).images[0] is not None


def test_without_guidance_a_picture_may_be_drawn_once(pipeline: Asked) -> None:
    draw = guarded(pipeline, guard_of({"gore": 0.9}), Terms(budget=Budget(regenerations=0)))
    assert draw("a boat", guidance_scale=1.0).images == [None]
    assert len(pipeline.asked) == 1


def test_a_pipeline_or_policy_of_another_kind_is_refused(pipeline: Asked) -> None:
    with pytest.raises(InputError, match="has no stage output-image"):
        guarded(pipeline, Guard(Policy("texts", prompt=POLICY.prompt), scorers=[Words()]))
    with pytest.raises(InputError, match="has no prompt, negative_prompt"):
        guarded(Shape(), guard_of())


def test_a_sampler_whose_steps_add_noise_has_no_previews() -> None:
    noisy = Asked.tiny(scheduler_of(EulerAncestralDiscreteScheduler))
    with pytest.raises(InputError, match="EulerAncestralDiscreteScheduler: not known to add no"):
        guarded(noisy, guard_of(), Terms(steps=CALM))
    assert guarded(noisy, guard_of())("a boat").images[0] is not None


def test_a_step_guard_needs_a_rule_that_would_stop_a_picture() -> None:
    assert POLICY.output_image is not None
    lax = replace(POLICY, output_image=replace(POLICY.output_image, rules=POLICY.output_image.rules[2:]), limits=Limits())  # fmt: skip
    with pytest.raises(InputError, match="no rule of output-image regenerates or blocks"):
        preview_guard(guard_of(policy=lax))
