"""Several prompts in one generation, weighted: each may be harmless, and what they add up to may not be.

Composable guidance uses eps = eps(null) + sum_i w_i (eps(c_i) - eps(null)); a concept that is kept out of every single
prompt can be rebuilt from others: (t + x) minus x (arXiv 2404.13706). So

    a  every prompt with a weight is checked, negative ones and negative prompts among them
    b  the weighted sum of embeddings, sum_i w_i (E(c_i) - E("")), is held against the directions of concepts
    c  weights, schedules and AND inside a prompt are read first (`prompt_syntax.py`)

Nothing here knows a model: what checks a text, and what embeds one, are handed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from guardkit.decision import Decision
from guardkit.errors import InputError
from guardkit.text.prompt_syntax import Parsed, parse_prompt
from guardkit.types import Action

Floats = NDArray[np.float64]
Embed = Callable[[str], ArrayLike]
"""A text to its embedding, [D]; the empty text is the null condition."""
Moment = tuple[tuple[str, float], ...]
"""The texts that guide one step, each with its weight; sorted, for their order means nothing."""
_STEPS = 50  # of a usual sampler


@dataclass(frozen=True, slots=True)
class Concept:
    """What a composition must not point at."""

    name: str
    direction: Floats
    """f64 [D], not zero: for example E("the concept") - E("")."""
    at_least: float
    """In (0, 1]: a sum whose cosine with the direction is at least this is blocked."""


@dataclass(frozen=True, slots=True)
class Composed:
    """What came of checking a composition."""

    decisions: tuple[Decision, ...] = field(repr=False)
    """On each text, in alphabetical order of the texts."""
    cosines: Mapping[str, float]
    """Concept -> the largest cosine of any step, in [-1, 1]."""
    near: tuple[str, ...]
    """Concepts whose threshold was reached."""
    networks: tuple[str, ...]
    """Networks that the prompts load, `<lora:name:1>`: nothing here can judge them."""

    @property
    def action(self) -> Action:
        """The strictest; block where a concept is near."""
        found = (decision.action for decision in self.decisions)
        return Action.BLOCK if self.near else max(found, default=Action.ALLOW)


def check_composition(
    prompts: Sequence[str],
    weights: Sequence[float] | None = None,
    *,
    check: Callable[[str], Decision],
    embed: Embed | None = None,
    concepts: Sequence[Concept] = (),
    steps: int = _STEPS,
) -> Composed:
    """Check what guides one generation, together.

    The order of prompts means nothing. An `edit` is for the caller to do on each prompt: a text cannot be put back into the
    syntax it was read from.

    Args:
        prompts: At least one; a negative prompt is one with a negative weight.
        weights: One a prompt, finite; None: 1 each. A prompt of weight 0 has no say, and is not checked.
        check: A text to a decision, `Guard.check_prompt` for example.
        embed: The generator's text encoder; needed for concepts, and only for them.
        concepts: What the sum must not point at.
        steps: That the generator takes: which texts a schedule shows depends on them.

    Raises:
        InputError: Prompts, weights, steps, or a direction cannot be used.

    >>> decided = lambda text: Decision(action=Action.BLOCK if "harm" in text else Action.ALLOW, stage="prompt", scores={})
    >>> check_composition(["a boat", "(ha:1.2)[r|x]m"], [1, -0.5], check=decided).action
    <Action.BLOCK: 'block'>
    """
    parsed, weights = _looked_at(prompts, weights, steps)
    if concepts and embed is None:
        raise InputError("concepts are given without embed. Expected the generator's text encoder.")
    decisions = tuple(check(text) for text in texts_of(parsed, weights, steps))
    cosines: dict[str, float] = {}
    if embed is not None and concepts:
        cosines = _cosines(moments_of(parsed, weights, steps), embed, concepts)
    return Composed(
        decisions=decisions,
        cosines=cosines,
        near=tuple(one.name for one in concepts if cosines[one.name] >= one.at_least),
        networks=tuple(sorted({name for one in parsed for name in one.networks})),
    )


def texts_of(parsed: Sequence[Parsed], weights: Sequence[float], steps: int) -> list[str]:
    """Every text that guides any step, each once, sorted; a text without words guides nothing."""
    found = {
        text
        for prompt, weight in zip(parsed, weights, strict=True)
        for one in prompt.subprompts
        if weight * one.weight
        for step in range(1, steps + 1)
        for text in one.texts_at(step, steps)
    }
    return sorted(found - {""})


def moments_of(parsed: Sequence[Parsed], weights: Sequence[float], steps: int) -> list[Moment]:
    """What guides each step, each different one once."""
    moments = {
        tuple(
            sorted(
                (one.texts_at(step, steps)[0], weight * one.weight)
                for prompt, weight in zip(parsed, weights, strict=True)
                for one in prompt.subprompts
                if weight * one.weight
            )
        )
        for step in range(1, steps + 1)
    }
    return sorted(moments)


def _cosines(
    moments: Sequence[Moment], embed: Embed, concepts: Sequence[Concept]
) -> dict[str, float]:
    texts = dict.fromkeys(text for moment in moments for text, _ in moment)
    null = _vector(embed(""), "embed('')")
    offset = {text: _vector(embed(text), "embed", size=len(null)) - null for text in texts}
    sums = [
        sum((weight * offset[text] for text, weight in moment), np.zeros_like(null))
        for moment in moments
    ]
    return {one.name: _largest_cosine(sums, one, size=len(null)) for one in concepts}


def _largest_cosine(sums: Sequence[Floats], concept: Concept, *, size: int) -> float:
    where = f"concept '{concept.name}'"
    direction = _vector(concept.direction, where, size=size)
    if not 0 < concept.at_least <= 1 or not np.any(direction):
        raise InputError(f"{where}: expected a direction that is not 0, and at_least in (0, 1].")
    found = [float(one @ direction / (np.linalg.norm(one) * np.linalg.norm(direction))) if np.any(one) else 0.0 for one in sums]  # fmt: skip
    return min(max(found, default=0.0), 1.0)


def _vector(values: ArrayLike, where: str, *, size: int | None = None) -> Floats:
    vector = np.asarray(values, np.float64)
    if vector.ndim != 1 or size not in (None, len(vector)) or not np.all(np.isfinite(vector)):
        wanted = "[D]" if size is None else f"[{size}]"
        raise InputError(f"{where}: found {list(vector.shape)}. Expected finite numbers, {wanted}.")
    return vector


def _looked_at(
    prompts: Sequence[str], weights: Sequence[float] | None, steps: int
) -> tuple[list[Parsed], list[float]]:
    if isinstance(prompts, str) or not prompts or not all(isinstance(one, str) for one in prompts):
        raise InputError("prompts: expected a list of at least one str.")
    told = [1.0] * len(prompts) if weights is None else list(weights)
    if len(told) != len(prompts) or not all(math.isfinite(weight) for weight in told):
        raise InputError(
            f"weights: found {len(told)} for {len(prompts)} prompts. Expected a finite number each."
        )
    if steps < 1:
        raise InputError(f"steps is {steps}. Expected at least 1.")
    return [parse_prompt(prompt) for prompt in prompts], told
