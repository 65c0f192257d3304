"""Previews from the latents before and after a step, against the x_0 that the sampler itself used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
)
from PIL import Image

from guardkit.errors import InputError
from guardkit.integrations.diffusers_steps import Previews, decoded
from guardkit.steer import predicted_x0
from tests.diffusers.tiny_pipeline import SIDE, scheduler_of, tiny
from tests.pictures import BLUE, plain

# Schedulers of diffusers 0.42 hand tensors to numpy in a way that numpy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
STEPS = 8
EXACT = [
    pytest.param(DDIMScheduler, {}, id="ddim"),
    pytest.param(DDIMScheduler, {"prediction_type": "v_prediction"}, id="ddim-v"),
    pytest.param(EulerDiscreteScheduler, {}, id="euler"),
    pytest.param(EulerDiscreteScheduler, {"use_karras_sigmas": True}, id="euler-karras"),
    pytest.param(DPMSolverMultistepScheduler, {"solver_order": 1}, id="dpm-first-order"),
]
NEAR = [
    pytest.param(DPMSolverMultistepScheduler, {}, id="dpm"),
    pytest.param(PNDMScheduler, {"skip_prk_steps": True}, id="pndm"),
]


def drawn(pipeline: Any, **asked: Any) -> tuple[list[Any], Any]:
    """The previews of a call as latents (None: a step had none), and the latents it ended with."""
    previews = Previews(pipeline, lambda latents: latents)
    found: list[Any] = []

    def look(pipe: Any, step: int, _: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        found.append(previews.of(pipe, step, tensors["latents"]))
        return tensors

    made = pipeline(
        prompt="a boat",
        num_inference_steps=STEPS,
        generator=torch.Generator().manual_seed(1),
        output_type="latent",
        callback_on_step_end=look,
        **asked,
    )
    return found, made.images


def used_x0(pipeline: Any) -> list[Any]:
    """Fills with the x_0 of each step: the scheduler's own, where it tells one."""
    told: list[Any] = []
    step = pipeline.scheduler.step

    def watched(noise: Any, timestep: Any, sample: Any, **more: Any) -> Any:
        scheduler = pipeline.scheduler
        if isinstance(scheduler, DPMSolverMultistepScheduler):
            if scheduler.step_index is None:
                scheduler._init_step_index(timestep)
            told.append(scheduler.convert_model_output(noise, sample=sample))
            return step(noise, timestep, sample, **more)
        again = {**more, "return_dict": True}
        answer = step(noise, timestep, sample, **again)
        told.append(answer.pred_original_sample)
        return (answer.prev_sample,)

    pipeline.scheduler.step = watched
    return told


@pytest.mark.parametrize(("kind", "settings"), EXACT)
def test_a_preview_is_the_x0_that_the_step_used(kind: type[Any], settings: dict[str, Any]) -> None:
    pipeline = tiny(StableDiffusionPipeline, scheduler_of(kind, **settings))
    told = used_x0(pipeline)
    found, end = drawn(pipeline)
    assert [one is None for one in found] == [True] + [False] * (STEPS - 1)
    for one, x_0 in zip(found[1:-1], told[1:-1], strict=True):
        assert torch.allclose(one, x_0, atol=2e-3 * float(x_0.abs().max()))
    assert torch.equal(found[-1], end)


def test_it_is_that_of_the_formula_of_the_noise() -> None:
    pipeline = tiny(StableDiffusionPipeline)
    noises: list[Any] = []
    pipeline.unet.register_forward_hook(lambda *given: noises.append(given[2][0]))
    latents: list[Any] = []

    def keep(_: Any, __: int, ___: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        latents.append(tensors["latents"])
        return tensors

    previews = Previews(pipeline, lambda one: one)
    found: list[Any] = []

    def look(pipe: Any, step: int, t: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        found.append(previews.of(pipe, step, tensors["latents"]))
        return keep(pipe, step, t, tensors)

    pipeline("a boat", num_inference_steps=STEPS, guidance_scale=1.0, output_type="latent", callback_on_step_end=look)  # fmt: skip
    timesteps = pipeline.scheduler.timesteps
    for step in range(1, STEPS - 1):
        alpha_bar = float(pipeline.scheduler.alphas_cumprod[timesteps[step]])
        x_0 = predicted_x0(latents[step - 1], noises[step], alpha_bar)
        assert torch.allclose(found[step], x_0, atol=1e-3 * float(x_0.abs().max()))


@pytest.mark.parametrize(("kind", "settings"), NEAR)
def test_of_a_sampler_of_higher_order_it_comes_to_the_picture(
    kind: type[Any], settings: dict[str, Any]
) -> None:
    found, end = drawn(tiny(StableDiffusionPipeline, scheduler_of(kind, **settings)))
    far = [float((one - end).norm()) for one in found if one is not None]
    assert len(far) >= STEPS - 1
    assert far[-1] == 0
    assert far[-2] < 0.5 * far[0]
    assert np.all(np.isfinite(far))


def test_a_pipeline_that_begins_with_a_picture_leaves_steps_out() -> None:
    pipeline = tiny(StableDiffusionImg2ImgPipeline)
    told = used_x0(pipeline)
    start = Image.fromarray(plain(BLUE, width=SIDE, height=SIDE))
    found, end = drawn(pipeline, image=start, strength=0.5)
    assert len(found) == STEPS // 2
    for one, x_0 in zip(found[1:-1], told[1:-1], strict=True):
        assert torch.allclose(one, x_0, atol=2e-3 * float(x_0.abs().max()))
    assert torch.equal(found[-1], end)


def test_a_preview_is_drawn_as_the_pipeline_draws_its_picture() -> None:
    pipeline = tiny(StableDiffusionPipeline)
    asked = {"prompt": "a boat", "num_inference_steps": 4}
    latents = pipeline(**asked, generator=torch.Generator().manual_seed(1), output_type="latent")
    picture = pipeline(**asked, generator=torch.Generator().manual_seed(1)).images[0]
    with torch.no_grad():
        assert np.array_equal(np.asarray(decoded(pipeline, latents.images)), np.asarray(picture))


def test_packed_latents_are_refused() -> None:
    pipeline = tiny(StableDiffusionPipeline)
    with pytest.raises(InputError, match="packed"):
        Previews(pipeline, None).of(pipeline, 0, torch.zeros(1, 16, 64))
