"""Whether scores can be read as probabilities: reliability bins and their mean error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from guardkit.errors import InputError
from guardkit.metrics.ranking import Bools, Floats, check_rows

_BINS = 10  # chosen: the count most papers on calibration use, so numbers can be compared


@dataclass(frozen=True, slots=True)
class Bin:
    """The rows whose score lies in [low, high); the last bin holds 1 too."""

    low: float
    high: float
    rows: int
    """At least 1: empty bins are left out."""
    mean_score: float
    """Mean score of the rows, in [low, high]."""
    positive_share: float
    """Share of the rows whose truth is positive; equals `mean_score` when calibrated."""


def reliability(truth: Bools, scores: Floats, *, bins: int = _BINS) -> tuple[Bin, ...]:
    """Rows in bins of equal width over [0, 1], lowest first; empty bins are left out.

    Args:
        truth: bool [rows].
        scores: f64 [rows], each in [0, 1].
        bins: How many, at least 1.

    Raises:
        InputError: Rows that `rank` would refuse, a score outside [0, 1], or no bins.

    >>> [one] = reliability(np.array([True, False]), np.array([0.25, 0.25]))
    >>> one.low, one.mean_score, one.positive_share
    (0.2, 0.25, 0.5)
    """
    check_rows(truth, scores)
    if bins < 1:
        raise InputError(f"bins is {bins}. Expected at least 1.")
    outside = int(np.count_nonzero((scores < 0) | (scores > 1)))
    if outside:
        raise InputError(f"{outside} of {len(scores)} scores lie outside [0, 1]. Calibrate them.")
    edges = np.arange(bins + 1) / bins
    # Searched, not floor(score * bins): 0.29 * 100 is below 29, and a score on an edge would slip.
    of_row = np.minimum(np.searchsorted(edges, scores, side="right") - 1, bins - 1)
    rows = np.bincount(of_row, minlength=bins)
    score_sums = np.bincount(of_row, weights=scores, minlength=bins)
    positives = np.bincount(of_row, weights=truth, minlength=bins)
    return tuple(
        Bin(
            low=float(edges[b]),
            high=float(edges[b + 1]),
            rows=int(rows[b]),
            mean_score=float(score_sums[b] / rows[b]),
            positive_share=float(positives[b] / rows[b]),
        )
        for b in np.flatnonzero(rows).tolist()
    )


def expected_calibration_error(bins: Sequence[Bin]) -> float | None:
    """Mean over rows of |mean score - positive share| of their bin, in [0, 1]; None without rows.

    >>> expected_calibration_error([Bin(0.2, 0.3, 2, 0.25, 0.5)])
    0.25
    """
    rows = sum(one.rows for one in bins)
    if rows == 0:
        return None
    return sum(one.rows * abs(one.mean_score - one.positive_share) for one in bins) / rows
