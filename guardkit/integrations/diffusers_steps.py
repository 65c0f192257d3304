"""What the steps of a sampler head for, seen from outside: previews of the picture, and the watch over them.

A pipeline's callback gets the latents after a step, and not the model's guess of the noise. A sampler that adds no noise
moves them straight toward the picture it predicts, so two of them and their noise levels give it:

    x = scale (x_0 + sigma eps)  =>  x_0 = (sigma y' - sigma' y) / (sigma - sigma'),   y = x / scale

where y' follows y in one step with the same eps. Of a sampler of first order (DDIM, Euler) that is the x_0 it used
(methods: LVD, arXiv 2407.12581); of one of higher order, what its combined prediction comes to. The first step has no
latents before it, and no preview.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from guardkit.errors import InputError
from guardkit.guard import Guard
from guardkit.steer.steps import Signal, StepGuard, StepRecord, StepWatch
from guardkit.types import Action

Decode = Callable[[Any], Any]
"""Latents of one picture, a float tensor [1, C, h, w], to what `check_output` takes as an image."""
Level = tuple[float, float]
"""(scale, sigma)."""
_NDIM = 4


def preview_guard(guard: Guard, *, eta: int = 20, lam: float = 0.6) -> StepGuard:
    """A step guard that scores previews as the policy's stage `output-image` scores pictures.

    A step votes where a rule to regenerate or block would fire. The models were made for finished pictures: what they
    say of the blurred previews of early steps was not measured.

    Args:
        guard: Its policy has such a stage.
        eta: Steps that vote.
        lam: The share of them that makes a picture unsafe; both as in `StepGuard`, the defaults as in LVD's example of 50 steps.

    Raises:
        InputError: No rule of the stage regenerates or blocks, or a number is out of range.

    >>> preview_guard(Guard.from_preset("generated-images"), eta=10).needed
    6
    """
    stage = guard.policy.output_image
    strict = [one for one in stage.rules if one.action >= Action.REGENERATE] if stage else []
    if not strict:
        raise InputError(
            f"policy '{guard.policy.policy}': no rule of output-image regenerates or blocks. Add one, or make a StepGuard of your own."
        )
    lowest: dict[str, float] = {}
    for rule in strict:
        name, threshold = rule.when.category, rule.when.at_least
        lowest[name] = min(threshold, lowest.get(name, 1.0))
    return StepGuard(
        eta, lam, score=lambda preview, _: guard.score_images([preview])[0], at_least=lowest
    )


class Previews:
    """The pictures that one call of a pipeline heads for, step after step."""

    def __init__(self, pipeline: Any, decode: Decode | None) -> None:
        """Look at the sampler.

        Raises:
            InputError: It is not known to add no noise.
        """
        self._decode = decode or (lambda latents: decoded(pipeline, latents))
        self._level_of = _level_of(pipeline.scheduler)
        self._before: tuple[Any, Level] | None = None

    def of(self, pipeline: Any, step: int, latents: Any) -> Any:
        """The preview after a step, from 0; None: the step has none.

        Raises:
            InputError: The latents are packed.
        """
        if latents.ndim != _NDIM:
            raise InputError(
                f"latents of shape {list(latents.shape)}. Expected [1, C, h, w]: packed ones have no preview."
            )
        scheduler, latents = pipeline.scheduler, latents.float()
        # A pipeline that begins with a picture leaves the first of the scheduler's steps out.
        place = len(scheduler.timesteps) - pipeline.num_timesteps + step + 1
        if place >= len(scheduler.timesteps):
            return self._decode(latents)  # the last step: there is no noise left
        before, level = self._before, self._level_of(scheduler, place)
        self._before = latents, level
        if before is None or before[1] == level:  # a step that PNDM takes again
            return None
        return self._decode(headed_for(*before, latents, level))


@dataclass(frozen=True, slots=True)
class WatchTerms:
    """What a watch has to know of the call."""

    may_stop: bool
    """False: the policy only looks on (`mode: shadow`)."""
    is_over: Callable[[], bool]
    """Whether nobody waits for the call any more."""
    also: Callable[..., dict[str, Any]] | None
    """The caller's own callback."""


class Watch:
    """One call of a pipeline: its `callback_on_step_end`, and what came of it."""

    def __init__(
        self, guard: StepGuard | None, previews: Previews | None, terms: WatchTerms
    ) -> None:
        self._guard = guard
        self._watch: StepWatch | None = None
        self._previews = previews
        self._terms = terms
        self.last: Any = None
        """The last preview that was scored."""
        self.total = 0
        """Steps that the call would take; 0: it took none yet."""
        self.was_stopped = False

    def __call__(
        self, pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]
    ) -> dict[str, Any]:
        """After a step: look at what it heads for, and stop the pipeline where nothing is to be had of it."""
        if self._guard is not None and self._watch is None:
            self.total = pipeline.num_timesteps
            self._watch = self._guard.watch(self.total)
        if self._terms.is_over():
            pipeline._interrupt = True  # as diffusers documents it
        elif self._watch is not None and not self._watch.is_decided:
            self._look(pipeline, step, tensors["latents"], self._watch)
        also = self._terms.also
        return tensors if also is None else also(pipeline, step, timestep, tensors)

    def end(self) -> StepRecord | None:
        """What came of the steps; None: nobody watched them."""
        return None if self._watch is None else self._watch.end()

    def _look(self, pipeline: Any, step: int, latents: Any, watch: StepWatch) -> None:
        preview = None if self._previews is None else self._previews.of(pipeline, step, latents)
        if preview is None:
            return
        self.last = preview
        if watch.on_step(step + 1, preview) is Signal.ABORT and self._terms.may_stop:
            self.was_stopped = True
            pipeline._interrupt = True  # likewise


def headed_for(before: Any, level_before: Level, after: Any, level: Level) -> Any:
    """The x_0 of a step, from the latents before and after it.

    >>> x_0, eps = 2.0, 3.0  # scale (x_0 + sigma eps), by hand
    >>> headed_for(0.5 * (x_0 + 4.0 * eps), (0.5, 4.0), 0.8 * (x_0 + 1.5 * eps), (0.8, 1.5))
    2.0
    """
    (scale_before, sigma_before), (scale, sigma) = level_before, level
    y_before, y = before / scale_before, after / scale
    return (sigma_before * y - sigma * y_before) / (sigma_before - sigma)


def decoded(pipeline: Any, latents: Any) -> Any:
    """The picture of latents [1, C, h, w], as the pipeline's own decoder draws it: a PIL image."""
    vae = pipeline.vae
    scaled = latents / vae.config.scaling_factor + (vae.config.get("shift_factor") or 0.0)
    pixels = vae.decode(scaled.to(vae.dtype), return_dict=False)[0]
    return pipeline.image_processor.postprocess(pixels.detach(), output_type="pil")[0]


def _of_alphas(scheduler: Any, place: int) -> Level:
    alpha_bar = float(scheduler.alphas_cumprod[int(scheduler.timesteps[place])])
    return alpha_bar**0.5, (1 / alpha_bar - 1) ** 0.5


def _of_sigmas(scheduler: Any, place: int) -> Level:
    return 1.0, float(scheduler.sigmas[place])


def _of_scaled_sigmas(scheduler: Any, place: int) -> Level:
    sigma = float(scheduler.sigmas[place])
    return (1 + sigma**2) ** -0.5, sigma


_LEVELS: dict[str, Callable[[Any, int], Level]] = {
    "DDIMScheduler": _of_alphas,
    "PNDMScheduler": _of_alphas,
    "EulerDiscreteScheduler": _of_sigmas,
    "DPMSolverMultistepScheduler": _of_scaled_sigmas,
}


def _level_of(scheduler: Any) -> Callable[[Any, int], Level]:
    name = type(scheduler).__name__
    is_noisy = str(scheduler.config.get("algorithm_type", "")).startswith("sde")
    if name not in _LEVELS or is_noisy:
        raise InputError(
            f"scheduler {name}: not known to add no noise, so its steps give no preview. "
            f"Expected one of {', '.join(_LEVELS)} (without sde), or no `steps`."
        )
    return _LEVELS[name]
