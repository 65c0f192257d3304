"""Percentiles and medians of samples, with an interval that says how sure they are."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct

SMALLEST_FOR_P99 = 1000
"""Fewer samples hold fewer than ten beyond the 99th percentile: it would be luck."""
_Z = 1.96  # of the normal distribution: 95 % lie within


class Interval(Struct, frozen=True):
    """A median and the range that holds the true one 19 times in 20."""

    median: float
    low: float
    high: float


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: the smallest value that at least `share` of them do not exceed.

    Args:
        values: In any order, at least one.
        share: In (0, 1]; 0.95 asks for the 95th percentile.

    >>> percentile([4.0, 1.0, 3.0, 2.0], 0.5)
    2.0
    """
    return sorted(values)[math.ceil(share * len(values)) - 1]


def p99(values: Sequence[float]) -> float | None:
    """The 99th percentile; None with fewer than `SMALLEST_FOR_P99` values.

    >>> p99([1.0] * 999) is None
    True
    """
    return percentile(values, 0.99) if len(values) >= SMALLEST_FOR_P99 else None


def median_interval(values: Sequence[float]) -> Interval:
    """The median and its 95 % interval from order statistics, which assume no distribution.

    The ranks around the middle: n / 2 -+ 1.96 * sqrt(n) / 2, from the binomial's normal limit.

    >>> median_interval([float(n) for n in range(1, 101)])
    Interval(median=50.0, low=41.0, high=60.0)
    """
    ordered = sorted(values)
    count = len(ordered)
    reach = _Z * math.sqrt(count) / 2
    low = max(math.ceil(count / 2 - reach), 1)
    high = min(math.ceil(count / 2 + reach), count)
    return Interval(percentile(ordered, 0.5), ordered[low - 1], ordered[high - 1])
