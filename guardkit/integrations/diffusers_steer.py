"""Steer the steps of a diffusers pipeline of Stable Diffusion's kind, and have it read one concept as another.

    with steered(pipe, away, strength=30):           # every step's noise, away from what a classifier calls unsafe
        pipe("a boat at dusk")
    with attach(pipe.text_encoder, "text_model.final_layer_norm", Remapped(matrix)):
        pipe("a boat at dusk")                       # `remap_matrix` on states of single words

`away(x_t, alpha_bar)` is the gradient of log p(unsafe | x_t) at latents x_t: of a classifier of noisy latents, with autograd or
`guardkit.steer.unsafe_risk_gradient`. guardkit ships none for a large model; docs/steering.md says what one needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from guardkit.errors import InputError
from guardkit.steer.guidance import guided_noise

Away = Callable[[Tensor, float], Tensor]
"""Noisy latents [N, C, h, w] and alpha_bar to a gradient of the same shape."""
_EPSILON, _V = "epsilon", "v_prediction"


@contextmanager
def steered(pipe: Any, away: Away, *, strength: float) -> Iterator[None]:
    """Guide every run of a pipeline's U-Net (`guardkit.steer.guided_noise`).

    Latents that the pipeline doubles for guidance without a classifier are asked for once, and both halves steered alike, so that
    what comes out is the pipeline's own guidance plus ours.

    Args:
        pipe: Has a `unet`, and a `scheduler` with `alphas_cumprod` that predicts the noise or v.
        away: The gradient.
        strength: As of `guided_noise`.

    Raises:
        InputError: Such a pipeline it is not; during a run: the gradient has another shape, or is not finite.
    """
    kind = _prediction(pipe)

    def hook(_module: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        x_t, step = inputs[0], inputs[1]
        alpha_bar = float(pipe.scheduler.alphas_cumprod[int(step)])
        once = _halved(x_t)
        gradient = _checked(away(once, alpha_bar), once).repeat(len(x_t) // len(once), 1, 1, 1)
        # v = (eps - sqrt(1 - abar) x_t) / sqrt(abar): what is added to the noise is added to v in that proportion.
        scale = 1.0 if kind == _EPSILON else alpha_bar**-0.5
        predicted = output[0]
        steps = guided_noise(torch.zeros_like(predicted), gradient.to(predicted), alpha_bar, strength=strength)  # fmt: skip
        changed = predicted + scale * steps
        return (changed, *output[1:]) if isinstance(output, tuple) else type(output)(sample=changed)

    handle = pipe.unet.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


class Remapped:
    """A remap as a layer that `guardkit.integrations.bottleneck.attach` takes."""

    def __init__(self, matrix: ArrayLike) -> None:
        """Take the matrix of `guardkit.steer.remap_matrix`, [d, d]."""
        self._matrix = torch.as_tensor(matrix, dtype=torch.float32)
        self.d = len(self._matrix)

    def __call__(self, states: Tensor) -> Tensor:
        """[..., d] to the same shape."""
        found: Tensor = states @ self._matrix.to(states.device).T
        return found


def _prediction(pipe: Any) -> str:
    scheduler = getattr(pipe, "scheduler", None)
    kind = str(getattr(getattr(scheduler, "config", None), "prediction_type", None))
    fits = isinstance(getattr(pipe, "unet", None), nn.Module) and hasattr(scheduler, "alphas_cumprod")  # fmt: skip
    if not fits or kind not in (_EPSILON, _V):
        raise InputError(
            f"{type(pipe).__name__}: prediction_type {kind}. Expected a pipeline with a unet, and a scheduler with "
            f"alphas_cumprod that predicts '{_EPSILON}' or '{_V}'."
        )
    return kind


def _halved(x_t: Tensor) -> Tensor:
    """The latents without the copy that guidance without a classifier makes."""
    half = len(x_t) // 2
    is_doubled = len(x_t) % 2 == 0 and torch.equal(x_t[:half], x_t[half:])
    return x_t[:half] if is_doubled else x_t


def _checked(gradient: Tensor, x_t: Tensor) -> Tensor:
    if tuple(gradient.shape) != tuple(x_t.shape) or not bool(torch.isfinite(gradient).all()):
        raise InputError(
            f"gradient of shape {list(gradient.shape)}. Expected finite numbers of the latents' shape {list(x_t.shape)}."
        )
    return gradient.detach()
