"""Shapes world's generator without torch: the exported networks, and a DDIM sampler in numpy.

Pictures are made of noise in `steps` steps, each from alpha_bar to the next:

    eps = eps(null) + sum_i w_i (eps(c_i) - eps(null))        one caption, weight w: classifier-free guidance
    x_0 = (x_t - sqrt(1 - abar) eps) / sqrt(abar), cut to [-1, 1]
    x_next = sqrt(abar') x_0 + sqrt(1 - abar') eps'           eps' fits the x_0 that was cut

What acts inside is handed in: `edit` on the text's states, `adjust` on each step's noise, `on_step` on its preview. From the first step on
that `adjust` changed, a picture may take each step several times (`_before`), for what it was pushed to is seldom what the denoiser draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guardkit.artifacts import RunnerOptions, find_artifact
from guardkit.errors import InputError
from guardkit.runtime.base import Runner, open_runner
from guardkit.shapes.captions import token_ids
from guardkit.shapes.scene import SIDE

Floats = NDArray[np.float32]
Edit = Callable[[Floats], NDArray[Any]]
"""States f32 [N, T, D] to states of the same shape: a bottleneck, a remap."""
Adjust = Callable[[Floats, Floats, float], NDArray[Any]]
"""x_t, eps, both f32 [N, 3, 16, 16], and alpha_bar, to the eps to use: `guided_noise`."""
OnStep = Callable[[int, Floats], bool]
"""The number of a step from 1, and its preview x_0 f32 [N, 3, 16, 16] in [-1, 1]; True: stop, nothing is made."""
ENCODER, DENOISER, CLASSIFIER = "shapes-world-encoder", "shapes-world-denoiser", "shapes-world-classifier"  # fmt: skip
_START = 0.002  # alpha_bar of the first step: noise, but for a twentieth


@dataclass(frozen=True, slots=True)
class Condition:
    """A caption's states, and how much they guide."""

    states: Floats
    """f32 [N, T, D], one caption a picture."""
    weight: float


@dataclass(frozen=True, slots=True)
class _Guides:
    """What steers the pictures of a run, the null condition first."""

    conditions: tuple[Condition, ...]
    adjust: Adjust | None

    def of(self, rows: NDArray[np.intp]) -> _Guides:
        """Of some of the pictures."""
        some = tuple(Condition(one.states[rows], one.weight) for one in self.conditions)
        return _Guides(some, self.adjust)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How pictures are made."""

    steps: int = 20
    guidance: float = 1.8
    """The weight of a caption; 1: no guidance."""
    recurrence: int = 1
    """Times that each step is taken, from the first on that `adjust` changed."""


class ShapesGenerator:
    """The text encoder and the denoiser, opened; immutable, safe to share between threads."""

    def __init__(self, encoder: Runner, denoiser: Runner) -> None:
        """Take the opened networks; `ShapesGenerator.open()` opens those that guardkit ships."""
        self._encoder, self._denoiser = encoder, denoiser

    @classmethod
    def open(cls, options: RunnerOptions | None = None) -> ShapesGenerator:
        """Open the shipped artifacts.

        Raises:
            MissingArtifactError: They are not installed.
            MissingExtraError: onnxruntime is not installed.
        """
        told = options or RunnerOptions()
        return cls(*(open_runner(find_artifact(name), told) for name in (ENCODER, DENOISER)))

    def encode(self, texts: Sequence[str]) -> Floats:
        """The states of texts, f32 [N, T, D]; of the empty text, the null condition.

        Raises:
            InputError: A word is not in the vocabulary, or a text is too long.
        """
        states: Floats = self._encoder.run({"input_ids": token_ids(texts)})["states"]
        return states

    def predict(self, x_t: Floats, alpha_bar: float, states: Floats) -> Floats:
        """The noise in pictures: f32 [N, 3, 16, 16]."""
        level = np.full(len(x_t), alpha_bar, np.float32)
        inputs = {"x_t": x_t, "alpha_bar": level, "states": states}
        noise: Floats = self._denoiser.run(inputs)["noise"]
        return noise

    def generate(
        self,
        texts: Sequence[str],
        seeds: Sequence[int],
        *,
        edit: Edit | None = None,
        adjust: Adjust | None = None,
        on_step: OnStep | None = None,
        sampling: Sampling | None = None,
    ) -> Floats | None:
        """Pictures of texts, f32 [N, 16, 16, 3] in [0, 1]; None when `on_step` stopped it.

        Args:
            texts: One a picture.
            seeds: Likewise; the same text and seed give the same picture, in whatever company.
            edit: What is done to the states, the null condition's too.
            adjust: What is done to each step's noise.
            on_step: What looks at each step.
            sampling: How many steps, how much guidance.

        Raises:
            InputError: Seeds are not as many as texts, a text cannot be read, or `edit` gives other than states.
        """
        told = sampling or Sampling()
        states = self.encode(texts)
        conditions = [Condition(_edited(states, edit), told.guidance)]
        return self.compose(conditions, seeds, edit=edit, adjust=adjust, on_step=on_step, steps=told.steps, recurrence=told.recurrence)  # fmt: skip

    def compose(
        self,
        conditions: Sequence[Condition],
        seeds: Sequence[int],
        *,
        edit: Edit | None = None,
        adjust: Adjust | None = None,
        on_step: OnStep | None = None,
        steps: int = 20,
        recurrence: int = 1,
    ) -> Floats | None:
        """Pictures that several captions guide together, each with its weight; as `generate` otherwise."""
        count = len(seeds)
        found = [len(one.states) for one in conditions]
        if not count or not found or set(found) != {count} or steps < 2 or recurrence < 1:
            raise InputError(
                f"found {found} states for {count} seeds, {steps} steps, recurrence {recurrence}. Expected as many of each, at least 2 steps, and at least 1."
            )
        null = _edited(np.repeat(self.encode([""]), count, axis=0), edit)
        guides = _Guides((Condition(null, 1.0), *conditions), adjust)
        x = np.stack([_noise(seed) for seed in seeds])
        fresh = [np.random.default_rng((seed, 1)) for seed in seeds]
        adjusted = np.zeros(count, bool)
        levels = schedule(steps)
        for step, (level, following) in enumerate(zip(levels, [*levels[1:], 1.0], strict=True), 1):
            x_0, changed = self._preview(x, level, guides)
            adjusted |= changed
            rows = np.flatnonzero(adjusted)
            for _ in range(recurrence - 1 if rows.size else 0):
                noise = np.stack([fresh[row].standard_normal(x.shape[1:], np.float32) for row in rows])  # fmt: skip
                made = _noised(x[rows], x_0[rows], level, following)
                x[rows] = _before(made, noise, level, following)
                x_0[rows], _ = self._preview(x[rows], level, guides.of(rows))
            if on_step is not None and on_step(step, x_0):
                return None
            x = _noised(x, x_0, level, following)
        return np.clip(x.transpose(0, 2, 3, 1) / 2 + 0.5, 0, 1)

    def _preview(
        self, x: Floats, level: float, guides: _Guides
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """What a step takes for the finished pictures, and in which of them `adjust` changed the noise: bool [N]."""
        eps = self._guided(x, level, guides.conditions)
        used = eps if guides.adjust is None else np.asarray(guides.adjust(x, eps, level), np.float32)  # fmt: skip
        x_0 = np.clip(_less(x, used, 1 - level) / np.float32(math.sqrt(level)), -1, 1)
        return x_0, (used != eps).any(axis=(1, 2, 3))

    def _guided(self, x: Floats, level: float, conditions: Sequence[Condition]) -> Floats:
        """All predictions of a step in one run; the first condition is the null one."""
        states = np.concatenate([one.states for one in conditions])
        noises = self.predict(np.tile(x, (len(conditions), 1, 1, 1)), level, states)
        base, *others = np.split(noises, len(conditions))
        total = base.copy()
        for one, noise in zip(conditions[1:], others, strict=True):
            total += np.float32(one.weight) * (noise - base)
        return total


class NoisyClassifier:
    """Which forbidden concepts noisy pictures will show, and which way leads there; safe to share between threads."""

    def __init__(self, runner: Runner) -> None:
        """Take the opened network; `NoisyClassifier.open()` opens the one that guardkit ships."""
        self._runner = runner

    @classmethod
    def open(cls, options: RunnerOptions | None = None) -> NoisyClassifier:
        """Open the shipped artifact; errors as of `ShapesGenerator.open`."""
        return cls(open_runner(find_artifact(CLASSIFIER), options or RunnerOptions()))

    def logits_and_gradients(self, x_t: Floats, alpha_bar: float) -> tuple[Floats, Floats]:
        """Logits f32 [N, concepts], and their gradients at x_t, f32 [N, concepts, 3, 16, 16]."""
        level = np.full(len(x_t), alpha_bar, np.float32)
        found = self._runner.run({"x_t": x_t, "alpha_bar": level})
        return found["logits"], found["gradients"]


def _edited(states: Floats, edit: Edit | None) -> Floats:
    """States, edited where there is an edit, and still states then."""
    if edit is None:
        return states
    found = np.asarray(edit(states), np.float32)
    if found.shape != states.shape or not np.all(np.isfinite(found)):
        raise InputError(
            f"edit gave {list(found.shape)}, or NaN. Expected finite states of the same shape, {list(states.shape)}."
        )
    return found


def _noised(x: Floats, x_0: Floats, level: float, following: float) -> Floats:
    """The next step's pictures: x_0, and the noise of this step's that fits it."""
    eps = _less(x, x_0, level) / np.float32(math.sqrt(1 - level))
    return np.float32(math.sqrt(following)) * x_0 + np.float32(math.sqrt(1 - following)) * eps


def _before(made: Floats, noise: Floats, level: float, following: float) -> Floats:
    """The next step's pictures with fresh noise, as they may have been at this one; what `steer.noised_back` gives for generators that are not ours."""
    kept = level / following
    return np.float32(math.sqrt(kept)) * made + np.float32(math.sqrt(1 - kept)) * noise


def _less(x: Floats, part: Floats, share: float) -> Floats:
    return x - np.float32(math.sqrt(share)) * part


def of_whole_captions(edit: Edit) -> Edit:
    """An edit of captions, their words' states one after the other [N, 1, T * D], as one of states [N, T, D].

    What a word is beside others is seen by such an edit alone: no word of "a red star" is forbidden.
    """
    return lambda states: edit(states.reshape(len(states), 1, -1)).reshape(states.shape)


def schedule(steps: int) -> list[float]:
    """alpha_bar of each step, rising: even in the angle whose cosine is its root.

    >>> [round(level, 3) for level in schedule(3)]
    [0.002, 0.276, 0.763]
    """
    first = math.acos(math.sqrt(_START))
    return [math.cos(first * (1 - step / steps)) ** 2 for step in range(steps)]


def _noise(seed: int) -> Floats:
    return np.random.default_rng(seed).standard_normal((3, SIDE, SIDE), np.float32)
