"""A guard around a diffusers pipeline of Stable Diffusion's kind, through its public callbacks.

    draw = guarded(StableDiffusionPipeline.from_pretrained(...), guard)
    drawing = draw("a boat at dusk", num_inference_steps=30)
    drawing.images[0]                        # a PIL image, or None where it was blocked
    drawing.pictures[0].result.decision      # why

    prompt      checked and edited; then what its brackets say, the negative prompt, and what both add up to
    steps       previews of the picture are scored, and a generation that is surely unsafe is stopped (`Terms.steps`)
    picture     checked; drawn again with another seed and a negative prompt, within the budget, by `Guard.run`
    block       no picture, and the decision; nothing is raised

Neither diffusers nor torch is imported before a picture is drawn: any pipeline of that shape will do. Each picture is a run of
its own, one after the other: the decision on one stops none of the others. What cannot be read (embeddings, other pictures than
`image`) is refused by name, unless it may pass.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guardkit.errors import InputError
from guardkit.guard import Guard
from guardkit.integrations.diffusers_draw import (
    CALLBACK,
    TENSORS,
    Asked,
    Course,
    Drawn,
    Terms,
    parameters,
    scale_of,
)
from guardkit.integrations.diffusers_prompts import text_embedding
from guardkit.integrations.diffusers_steps import Previews, preview_guard

__all__ = [
    "Drawing",
    "Drawn",
    "GuardedPipeline",
    "Terms",
    "guarded",
    "preview_guard",
    "text_embedding",
]

_SEED_BITS = 31
# Arguments of a pipeline that say how a picture is drawn, and not what is on it.
_MANNER = frozenset({"height", "width", "num_inference_steps", "timesteps", "sigmas", "guidance_scale", "guidance_rescale", "eta",
    "clip_skip", "cross_attention_kwargs", "strength", "mask_image", "padding_mask_crop", "original_size", "target_size",
    "crops_coords_top_left", "denoising_start", "denoising_end", "max_sequence_length", CALLBACK, TENSORS})  # fmt: skip
_INSTEAD = {
    "generator": "Pictures are drawn again with other seeds: give seed=, an int.",
    "output_type": "Pictures come as PIL images.",
    "return_dict": "A Drawing is what comes.",
    "callback": "Use callback_on_step_end.",
    "callback_steps": "Use callback_on_step_end.",
}


_TERMS = Terms()


@dataclass(frozen=True, slots=True)
class Drawing:
    """What came of one call."""

    pictures: tuple[Drawn, ...]
    """In the pipeline's order: `num_images_per_prompt` of the first prompt, then of the second."""

    @property
    def images(self) -> list[Any]:
        """The pictures to use, PIL images; None for one that was blocked."""
        return [one.result.output for one in self.pictures]


def guarded(pipeline: Any, guard: Guard, terms: Terms = _TERMS) -> GuardedPipeline:
    """A pipeline whose prompts, steps and pictures a guard checks.

    Args:
        pipeline: Takes `prompt`, `negative_prompt` and `callback_on_step_end`, and can be interrupted, as the pipelines
            of Stable Diffusion (also XL; image to image, inpainting).
        guard: Its policy has a stage `output-image`; a stage `prompt`, if prompts are to be checked.
        terms: How often it may draw, what watches the steps, your own negative prompt.

    Raises:
        InputError: The policy has no such stage, or the pipeline is none of that kind.

    >>> from guardkit import Action, Policy
    >>> from guardkit.policy.rules import Rule, StagePolicy, When, WordList
    >>> no_harm = Rule("no-harm", When("harm", 0.5), Action.BLOCK)
    >>> no_gore = Rule("no-gore", When("gore", 0.6), Action.REGENERATE)
    >>> policy = Policy("pictures", lists={"harm": WordList(block=("harm",))}, prompt=StagePolicy(("blocklist",), rules=(no_harm,)), output_image=StagePolicy(("image-safety",), rules=(no_gore,)))
    >>> class Pipeline:
    ...     interrupt = False
    ...     def __call__(self, prompt, negative_prompt=None, guidance_scale=7.5, callback_on_step_end=None): ...
    >>> draw = guarded(Pipeline(), Guard(policy))
    >>> drawing = draw("a picture of harm")
    >>> drawing.images, drawing.pictures[0].result.decision.reasons
    ([None], ('no-harm: harm scored 1.00, at least 0.50: block',))
    """
    if guard.policy.output_image is None:
        name = guard.policy.policy
        raise InputError(f"policy '{name}' has no stage output-image: pictures would not be checked. Add one to it.")  # fmt: skip
    kind = type(pipeline)
    takes = parameters(pipeline)
    lacks = [name for name in ("prompt", "negative_prompt", CALLBACK) if name not in takes]
    lacks += [] if hasattr(kind, "interrupt") else ["interrupt"]
    if lacks:
        raise InputError(f"{kind.__name__} has no {', '.join(lacks)}. Expected a pipeline like StableDiffusionPipeline.")  # fmt: skip
    if terms.steps is not None:
        Previews(pipeline, terms.decode)  # refuses a sampler whose steps give none
    return GuardedPipeline(pipeline, guard, terms)


class GuardedPipeline:
    """A pipeline under guard; several threads may call it, and it draws for one at a time."""

    def __init__(self, pipeline: Any, guard: Guard, terms: Terms) -> None:
        self._pipeline = pipeline
        self._guard = guard
        self._terms = terms
        self._lock = threading.Lock()

    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        negative_prompt: str | Sequence[str] | None = None,
        num_images_per_prompt: int = 1,
        image: Any = None,
        seed: int | None = None,
        **arguments: Any,
    ) -> Drawing:
        """As the pipeline's own.

        Args:
            prompt: One, or several.
            negative_prompt: The user's, checked like a prompt; one for all, or one each.
            num_images_per_prompt: Pictures of each prompt.
            image: For pipelines that begin with one: a PIL image or uint8 array [H, W, 3] for all, or a list. The stage `output-image`
                checks it; what it does not allow is not used.
            seed: Of the first picture; the next ones have the next seeds. None: new ones every time.
            arguments: The pipeline's own.

        Raises:
            InputError: Something cannot be checked, or nothing can steer the pipeline when it is asked again.
        """
        prompts = _texts(prompt, "prompt")
        negatives = _each("" if negative_prompt is None else negative_prompt, "negative_prompt", len(prompts))  # fmt: skip
        images = _each(image, "image", len(prompts))
        self._refuse(arguments)
        if not isinstance(num_images_per_prompt, int) or num_images_per_prompt < 1:
            raise InputError(f"num_images_per_prompt is {num_images_per_prompt}. Expected at least 1.")  # fmt: skip
        first = random.SystemRandom().getrandbits(_SEED_BITS) if seed is None else seed
        drawn: list[Drawn] = []
        for text, negative, start in zip(prompts, negatives, images, strict=True):
            for _ in range(num_images_per_prompt):
                asked = Asked(negative, start, arguments, first + len(drawn))
                drawn.append(Course(self._pipeline, self._guard, self._terms, asked).drawn(text, self._lock))  # fmt: skip
        return Drawing(tuple(drawn))

    def _refuse(self, arguments: Mapping[str, Any]) -> None:
        for name in arguments:
            if name in _INSTEAD:
                raise InputError(f"{name}: cannot be given to a guarded pipeline. {_INSTEAD[name]}")
            if name not in _MANNER and not self._terms.pass_unchecked:
                raise InputError(f"{name}: nothing here can read it. Leave it out, or let it pass with Terms(pass_unchecked=True).")  # fmt: skip
        if self._terms.steps is not None and arguments.get("eta"):
            raise InputError("eta is not 0: steps that add noise give no preview. Leave it out, or Terms.steps.")  # fmt: skip
        allowed = self._terms.budget.regenerations
        allowed = self._guard.policy.limits.regenerations if allowed is None else allowed
        if allowed and scale_of(self._pipeline, arguments) <= 1:
            raise InputError("guidance_scale is not above 1, so a negative prompt has no effect, and drawing again would be a new seed alone. Raise it, or allow no regenerations (Terms.budget).")  # fmt: skip


def _texts(given: Any, name: str) -> list[str]:
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, list | tuple) or not listed:
        raise InputError(f"{name} is {type(given).__name__}. Expected str, or a list of at least one.")  # fmt: skip
    for at, text in enumerate(listed):
        if not isinstance(text, str):
            raise InputError(f"{name}[{at}] is {type(text).__name__}. Expected str.")
    return list(listed)


def _each(given: Any, name: str, count: int) -> list[Any]:
    """One a prompt: a list as it is, anything else for all of them."""
    listed = list(given) if isinstance(given, list | tuple) else [given] * count
    if name == "negative_prompt":
        listed = _texts(listed, name)
    if len(listed) != count:
        raise InputError(f"{name}: {len(listed)} for {count} prompts. Expected one, or one each.")
    return listed
