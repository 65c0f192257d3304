"""A pipeline's steps steered by a gradient, and its text read otherwise."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, StableDiffusionPipeline

from guardkit.errors import InputError
from guardkit.integrations.bottleneck import attach
from guardkit.integrations.diffusers_steer import Remapped, steered
from tests.diffusers.tiny_pipeline import scheduler_of, tiny

# Schedulers of diffusers 0.42 hand tensors to numpy in a way that numpy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def latents(pipe: Any, *, guidance: float = 3.0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(3)
    made = pipe("a boat", num_inference_steps=6, guidance_scale=guidance, generator=draw, output_type="latent")  # fmt: skip
    return torch.as_tensor(made.images)


def up(x_t: torch.Tensor, _: float) -> torch.Tensor:
    """What is unsafe lies where latents are large."""
    return torch.ones_like(x_t)


@pytest.mark.parametrize("kind", [DDIMScheduler, EulerDiscreteScheduler])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_steps_go_away_from_what_is_unsafe_and_the_pipeline_is_as_before_behind(
    kind: Any, prediction: str, guidance: float
) -> None:
    pipe = tiny(StableDiffusionPipeline, scheduler_of(kind, prediction_type=prediction))
    before = latents(pipe, guidance=guidance)
    with steered(pipe, up, strength=0.1):
        after = latents(pipe, guidance=guidance)
    assert float((after < before).float().mean()) > 0.9
    torch.testing.assert_close(latents(pipe, guidance=guidance), before)


def test_noise_and_v_are_steered_by_as_much() -> None:
    """One step of DDIM: x_0 moves by the same, whatever the network predicts."""
    moved = []
    for prediction in ("epsilon", "v_prediction"):
        pipe = tiny(StableDiffusionPipeline, scheduler_of(DDIMScheduler, prediction_type=prediction))  # fmt: skip
        x_t, step = torch.randn(1, 4, 32, 32), torch.tensor(500)
        states = torch.zeros(1, 77, pipe.text_encoder.config.hidden_size)
        found = []
        for strength in (0.0, 0.2):
            with torch.no_grad(), steered(pipe, up, strength=strength):
                noise = pipe.unet(x_t, step, encoder_hidden_states=states, return_dict=False)[0]
            pipe.scheduler.set_timesteps(10)
            found.append(pipe.scheduler.step(noise, 500, x_t).pred_original_sample)
        moved.append(found[1] - found[0])
    torch.testing.assert_close(moved[0], moved[1])


def test_both_halves_of_guidance_are_asked_for_once() -> None:
    asked = list[int]()

    def away(x_t: torch.Tensor, _: float) -> torch.Tensor:
        asked.append(len(x_t))
        return torch.zeros_like(x_t)

    pipe = tiny(StableDiffusionPipeline)
    with steered(pipe, away, strength=1.0):
        latents(pipe)
    assert set(asked) == {1}


@pytest.mark.parametrize("gradient", [torch.zeros(1), torch.full((1, 4, 32, 32), torch.nan)])
def test_a_gradient_that_cannot_be_used_is_an_error(gradient: torch.Tensor) -> None:
    pipe = tiny(StableDiffusionPipeline)
    with steered(pipe, lambda *_: gradient, strength=1.0), pytest.raises(InputError, match="gradient of shape"):  # fmt: skip
        latents(pipe)


def test_a_pipeline_of_another_kind_is_refused() -> None:
    with pytest.raises(InputError, match="Expected a pipeline with a unet"), steered(SimpleNamespace(), up, strength=1.0):  # fmt: skip
        pass


def test_a_remap_has_the_text_read_otherwise() -> None:
    pipe = tiny(StableDiffusionPipeline)
    before = latents(pipe)
    width = pipe.text_encoder.config.hidden_size
    # `text_model.final_layer_norm`, or without its first part from transformers 5 on.
    (layer,) = (name for name, _ in pipe.text_encoder.named_modules() if name.endswith("final_layer_norm"))  # fmt: skip
    with attach(pipe.text_encoder, layer, Remapped(np.eye(width))):
        torch.testing.assert_close(latents(pipe), before)
    with attach(pipe.text_encoder, layer, Remapped(np.zeros((width, width)))):
        assert not torch.allclose(latents(pipe), before)
