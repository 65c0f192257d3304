"""What a fast tier may clear: bounds whose loss is known with confidence.

A text is flagged when the full model's score of some category reaches its threshold r_c, and cleared
when the fast score of every category is below its bound b_c = sigmoid(logit(r_c) - slack). One slack
for all is chosen: the loss is then a quantile of one number a text, its margin
max_c (logit(fast_c) - logit(r_c)), and the Clopper-Pearson bound of an order statistic is exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guardkit.errors import InputError

Floats = NDArray[np.float64]

LEVEL = 0.95
MOST_LOST = 0.002
"""Largest share of flagged texts that may be cleared, at the upper end of its confidence interval.

The promise is 0.5 %: what is left is for texts on which the bounds were not chosen."""
_EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class Loss:
    """Flagged texts, and how many of them would be cleared."""

    flagged: int
    cleared: int

    @property
    def upper(self) -> float:
        """The one-sided 95 % upper confidence bound of the share."""
        return upper_bound(self.cleared, self.flagged)

    def __str__(self) -> str:
        return f"{self.cleared} of {self.flagged} (at most {100 * self.upper:.2f} %)"


def upper_bound(hits: int, count: int, *, level: float = LEVEL) -> float:
    """Clopper-Pearson: the share at which `hits` or fewer of `count` have a chance of 1 - level.

    >>> round(upper_bound(0, 598), 4)  # the rule of three: 3 / 598
    0.005
    """
    if hits >= count:
        return 1.0
    low, high = hits / count, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(hits, count, middle) > 1 - level else (low, middle)
    return high


def _at_most(hits: int, count: int, share: float) -> float:
    """The chance of `hits` or fewer of `count`."""
    log_terms = (
        math.lgamma(count + 1)
        - math.lgamma(k + 1)
        - math.lgamma(count - k + 1)
        + k * math.log(share or _EPSILON)
        + (count - k) * math.log1p(-share)
        for k in range(hits + 1)
    )
    return sum(map(math.exp, log_terms))


def most_lost(count: int, share: float = MOST_LOST) -> int:
    """How many of `count` flagged texts may be cleared under a bound; -1: `count` is too small."""
    hits = -1
    while hits + 1 < count and upper_bound(hits + 1, count) <= share:
        hits += 1
    return hits


def margins(scores: Floats, thresholds: Mapping[int, float]) -> Floats:
    """How far the closest category of each text is above its threshold, in logits.

    Args:
        scores: f64 [texts, categories] in [0, 1].
        thresholds: Column -> threshold; other columns do not count.
    """
    columns = list(thresholds)
    return (_logit(scores[:, columns]) - _logit(np.array(list(thresholds.values())))).max(axis=1)


def choose_cut(flagged: Floats, share: float = MOST_LOST) -> float:
    """The highest margin below which a text may be cleared; never above 0.

    Args:
        flagged: The fast tier's margins of texts that the full model flags.
        share: The loss that is accepted.

    Raises:
        InputError: So few texts cannot show that the loss is that small.
    """
    allowed = most_lost(len(flagged), share)
    if allowed < 0:
        raise InputError(
            f"{len(flagged)} flagged texts were held out: too few to show a loss of at most "
            f"{100 * share:.1f} %. Draw more with --rows."
        )
    return min(0.0, float(np.sort(flagged)[allowed]))


def bounds_of(cut: float, thresholds: Mapping[str, float]) -> dict[str, float]:
    """The bound of each category, rounded down."""
    return {
        name: math.floor(1e6 / (1 + math.exp(-(float(_logit(np.array(value))) + cut)))) / 1e6
        for name, value in thresholds.items()
    }


def _logit(p: Floats) -> Floats:
    clipped = np.clip(p, _EPSILON, 1 - _EPSILON)
    values: Floats = np.log(clipped / (1 - clipped))
    return values
