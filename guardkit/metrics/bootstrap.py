"""How sure a metric is: seeded percentile intervals over resampled rows.

Rows are sorted once. A resample is then a new count a step of the ranking, O(rows) and without a
sort, and every metric is computed on the same resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from guardkit.errors import InputError
from guardkit.metrics.ranking import Floats, Ranking

Metric = Callable[[Ranking], float | None]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its interval."""

    value: float | None
    """On the rows themselves; None when they do not define it."""
    low: float | None = None
    """None without an interval."""
    high: float | None = None


def estimate(
    ranking: Ranking,
    metrics: Mapping[str, Metric],
    *,
    resamples: int = 1000,
    seed: int,
    level: float = 0.95,
) -> dict[str, Estimate]:
    """Every metric with its percentile interval over `resamples` draws of as many rows.

    A resample on which a metric is not defined is left out for that metric. There is no interval
    when more than half are: what is left would be about a different kind of sample.

    Args:
        ranking: The rows, ranked.
        metrics: Name -> function.
        resamples: At least 0; 0 gives no intervals.
        seed: The same seed gives the same intervals.
        level: Share of the resamples inside the interval, in (0, 1).

    Raises:
        InputError: `resamples` or `level` is out of range.

    >>> from guardkit.metrics.ranking import rank
    >>> ranked = rank(np.array([True, True, False, False]), np.array([0.9, 0.8, 0.2, 0.1]))
    >>> estimate(ranked, {"roc_auc": Ranking.roc_auc}, resamples=20, seed=1)["roc_auc"]
    Estimate(value=1.0, low=1.0, high=1.0)
    """
    _check(resamples, level)
    drawn: dict[str, list[float]] = {name: [] for name in metrics}
    for again in _resampled(ranking, resamples, seed):
        for name, metric in metrics.items():
            value = metric(again)
            if value is not None:
                drawn[name].append(value)
    tails = [(1 - level) / 2, (1 + level) / 2]
    estimates: dict[str, Estimate] = {}
    for name, metric in metrics.items():
        value, low, high = metric(ranking), None, None
        if value is not None and 2 * len(drawn[name]) > resamples > 0:
            low, high = np.quantile(drawn[name], tails).tolist()
        estimates[name] = Estimate(value, low, high)
    return estimates


def estimate_means(
    values: Mapping[str, Floats], *, resamples: int = 1000, seed: int, level: float = 0.95
) -> dict[str, Estimate]:
    """Metrics that are means over rows, with percentile intervals; all on the same draws of rows.

    Args:
        values: Name -> f64 [rows], what each row adds; at least one row, as many in each.
        resamples: Draws of as many rows; 0 gives no intervals.
        seed: The same seed gives the same intervals.
        level: Share of the draws inside the interval, in (0, 1).

    Raises:
        InputError: `resamples` or `level` is out of range.

    >>> estimate_means({"share": np.array([1.0, 1.0])}, resamples=10, seed=1)["share"]
    Estimate(value=1.0, low=1.0, high=1.0)
    """
    _check(resamples, level)
    stacked = np.stack(list(values.values()), axis=1)  # f64 [rows, metrics]
    means = stacked.mean(axis=0).tolist()
    if resamples == 0:
        return {name: Estimate(mean) for name, mean in zip(values, means, strict=True)}
    rng, rows = np.random.default_rng(seed), len(stacked)
    drawn = np.stack(
        [stacked[rng.integers(0, rows, rows)].mean(axis=0) for _ in range(resamples)]
    )  # f64 [resamples, metrics]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0).tolist()
    return {
        name: Estimate(mean, low[column], high[column])
        for column, (name, mean) in enumerate(zip(values, means, strict=True))
    }


def _check(resamples: int, level: float) -> None:
    if resamples < 0 or not 0 < level < 1:
        raise InputError(
            f"resamples is {resamples}, level {level}. Expected at least 0, and inside (0, 1)."
        )


def _resampled(ranking: Ranking, resamples: int, seed: int) -> Iterator[Ranking]:
    """Rankings of as many rows, drawn with replacement; a step may hold no row any more."""
    steps = len(ranking.thresholds)
    held = np.concatenate(
        [np.diff(counts, prepend=0) for counts in (ranking.true_positives, ranking.false_positives)]
    )  # int64 [2 * steps]: rows a step, positives first
    cells = np.repeat(np.arange(2 * steps), held)  # int64 [rows]: where each row is counted
    if not len(cells):
        return
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        rows = cells[rng.integers(0, len(cells), len(cells))]
        counts = np.bincount(rows, minlength=2 * steps).reshape(2, steps).cumsum(axis=1)
        yield Ranking(ranking.thresholds, counts[0], counts[1])
