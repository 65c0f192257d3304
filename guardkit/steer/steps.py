"""Watch the steps of a generator and stop it as soon as its output is known to be unsafe.

Denoising previews show early what a picture or a video will be (LVD, arXiv 2407.12581): each of the
first `eta` steps votes unsafe when any category reaches its threshold, and the output is unsafe when at
least `eta * lam` of them did. The answer is often certain before step `eta`: the votes are there, or the
steps left cannot bring them. From then on nothing is scored, and an unsafe generation is aborted; the
answer is that of the full run.

The paper trains a detector a category and step. Here one scorer serves all steps, and gets the step's
number: whether it tells early steps apart is up to it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import Any, NamedTuple, TypeVar

from guardkit.errors import InputError
from guardkit.types import Scores

_log = logging.getLogger(__name__)
Array = TypeVar("Array")
Score = Callable[[Any, int], Mapping[str, float | None]]
"""A preview and the number of its step to the probability of harm a category; None: not measured."""
_NOTHING = Scores()


class Signal(StrEnum):
    """What the generator should do after a step."""

    CONTINUE = "continue"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What came of watching one generation."""

    is_unsafe: bool | None
    """None: too little was seen to tell."""
    votes: int
    """Steps that voted unsafe."""
    seen: int
    """Steps that were scored, at most `eta`."""
    failed: int
    """Of these, steps whose scores were not all measured."""
    decided_at: int | None
    """The number of the step after which the answer was certain; None: it came with the end."""
    scores_saved: int
    """Of the first `eta` steps, those that need not be scored."""
    steps_saved: int | None
    """Steps the generator need not take, for it was aborted; None when `steps` was not told."""
    voted: Scores = field(default_factory=Scores)
    """Of each category that voted, its highest score: what to steer away from."""


class StepVote(NamedTuple):
    """What one step says."""

    is_unsafe: bool
    is_measured: bool
    """All of it was."""
    reached: Scores
    """Of the categories that reached their thresholds."""


class StepGuard:
    """How the steps of a generation are watched; immutable, one for many generations.

    The same class watches denoising previews and the prefixes of a text: what a preview is, the scorer knows.
    """

    def __init__(
        self,
        eta: int,
        lam: float,
        *,
        score: Score,
        at_least: float | Mapping[str, float] = 0.5,
        failures_vote: bool = True,
    ) -> None:
        """Say what votes, and how many votes it takes.

        Args:
            eta: Steps that vote, at least 1; the paper's example is 20 of 50.
            lam: The share of them that makes an output unsafe, in (0, 1]; the paper's example is 0.6, and 1 for
                small `eta`.
            score: Scores a preview. It may raise; the step then counts as not measured.
            at_least: A category votes at or above its threshold. One number: for every category that `score`
                names. A mapping: for these; one that `score` then leaves out is not measured.
            failures_vote: A step of which something was not measured votes unsafe. False lets what cannot be
                measured pass.

        Raises:
            InputError: A number is out of range.

        >>> guard = StepGuard(4, 0.5, score=lambda preview, step: {"gore": preview})
        >>> watch = guard.watch(steps=10)
        >>> [watch.on_step(step, preview).value for step, preview in enumerate([0.9, 0.1, 0.7], 1)]
        ['continue', 'continue', 'abort']
        >>> watch.end().steps_saved
        7
        """
        if eta < 1 or not 0 < lam <= 1:
            raise InputError(f"eta is {eta}, lam {lam}. Expected at least 1, and within (0, 1].")
        named = at_least if isinstance(at_least, Mapping) else {"at_least": at_least}
        for name, threshold in named.items():
            if not 0 < threshold <= 1:
                raise InputError(f"{name} is {threshold}. Expected a threshold in (0, 1].")
        self.eta = eta
        self.lam = lam
        self.needed = votes_needed(eta, lam)
        """Votes that make an output unsafe, at least 1."""
        self._score = score
        self._at_least = at_least
        self._failures_vote = failures_vote

    def watch(self, steps: int | None = None) -> StepWatch:
        """Begin to watch one generation.

        Args:
            steps: How many the generator would take, if that is known; for `steps_saved` alone.

        Raises:
            InputError: `steps` is below 1.
        """
        if steps is not None and steps < 1:
            raise InputError(f"steps is {steps}. Expected at least 1, or None.")
        return StepWatch(self, steps)

    def votes(self, preview: object, step: int) -> StepVote:
        """What a step says."""
        scores = self._scores(preview, step)
        thresholds = self._at_least
        if not isinstance(thresholds, Mapping):
            thresholds = dict.fromkeys(scores, thresholds)
        found = [(name, scores.get(name), threshold) for name, threshold in thresholds.items()]
        is_measured = bool(found) and all(score is not None for _, score, _ in found)
        reached = {
            name: score
            for name, score, threshold in found
            if score is not None and score >= threshold
        }
        is_unsafe = bool(reached) or (not is_measured and self._failures_vote)
        return StepVote(is_unsafe, is_measured, Scores(reached))

    def _scores(self, preview: object, step: int) -> Scores:
        try:
            return Scores(self._score(preview, step))
        except Exception as e:  # noqa: BLE001  a failure boundary: the scorer is the caller's code
            _log.warning("step %d was not scored: %s", step, type(e).__name__)
            return _NOTHING


class StepWatch:
    """One generation under watch; not to be shared between threads."""

    def __init__(self, guard: StepGuard, steps: int | None) -> None:
        self._guard = guard
        self._steps = steps
        self._votes = self._seen = self._failed = self._last = 0
        self._is_unsafe: bool | None = None
        self._decided_at: int | None = None
        self._voted = _NOTHING

    @property
    def is_decided(self) -> bool:
        """Nothing is scored any more: previews need not even be made."""
        return self._decided_at is not None

    def on_step(self, step: int, preview: object) -> Signal:
        """Take note of a step.

        Args:
            step: The generator's number of it, from 1; each larger than the last.
            preview: What the scorer takes. It is not looked at once the answer is certain.

        Raises:
            InputError: `step` is not larger than the last one.
        """
        if step <= self._last:
            raise InputError(f"step {step} came after step {self._last}. Expected a larger number.")
        self._last = step
        if not self.is_decided:
            self._vote(step, preview)
        return Signal.ABORT if self._is_unsafe else Signal.CONTINUE

    def end(self) -> StepRecord:
        """What came of it; a generation that ended before `eta` steps is judged by the share of those it took."""
        is_unsafe = self._is_unsafe
        if not self.is_decided and self._seen:
            is_unsafe = self._votes >= votes_needed(self._seen, self._guard.lam)
        saved = None
        if self._steps is not None:
            was_aborted = self._is_unsafe and self._decided_at is not None
            saved = max(self._steps - (self._decided_at or 0), 0) if was_aborted else 0
        return StepRecord(
            is_unsafe=is_unsafe,
            votes=self._votes,
            seen=self._seen,
            failed=self._failed,
            decided_at=self._decided_at,
            scores_saved=self._guard.eta - self._seen if self.is_decided else 0,
            steps_saved=saved,
            voted=self._voted,
        )

    def _vote(self, step: int, preview: object) -> None:
        vote = self._guard.votes(preview, step)
        self._seen += 1
        self._votes += vote.is_unsafe
        self._failed += not vote.is_measured
        self._voted = self._voted.merged(vote.reached)
        left = self._guard.eta - self._seen
        if self._votes >= self._guard.needed or self._votes + left < self._guard.needed:
            self._is_unsafe = self._votes >= self._guard.needed
            self._decided_at = step


def votes_needed(eta: int, lam: float) -> int:
    """The least whole number of votes that is at least `eta * lam`.

    `lam` is taken as the decimal it is written as: in floating point, 0.07 * 100 is above 7.

    >>> votes_needed(20, 0.6), votes_needed(100, 0.07), votes_needed(3, 0.5)
    (12, 7, 2)
    """
    return math.ceil(eta * Fraction(str(lam)))


def predicted_x0(noisy: Array, noise: Array, alpha_bar: float) -> Array:
    """The picture (or latent) that a denoising step is heading for: a preview.

    x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps  =>  x_0 = (x_t - sqrt(1 - abar) eps) / sqrt(abar)

    Args:
        noisy: x_t, any array or tensor.
        noise: The model's eps, of the same shape.
        alpha_bar: The schedule's cumulative product at this step, in (0, 1].

    Raises:
        InputError: `alpha_bar` is out of range.

    >>> round(predicted_x0(1.4, 1.0, 0.64), 6)
    1.0
    """
    if not 0 < alpha_bar <= 1:
        raise InputError(f"alpha_bar is {alpha_bar}. Expected within (0, 1].")
    x_t: Any = noisy
    x_0: Array = (x_t - math.sqrt(1 - alpha_bar) * noise) / math.sqrt(alpha_bar)  # type: ignore[operator]
    return x_0
