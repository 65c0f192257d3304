"""One row of a table of metrics, the same row a group, and how far groups lie apart."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from guardkit.errors import InputError
from guardkit.metrics.bootstrap import Estimate, Metric, estimate
from guardkit.metrics.ranking import Bools, Counts, Floats, Ranking, always_positive_f1, rank
from guardkit.metrics.shares import wilson_interval

FEW = 20
"""Fewer positives than this are too few to trust: one row moves recall by more than 5 points."""
FPR_LIMIT = 0.01
"""The false-positive rate at which recall is reported."""
_RANKED: dict[str, Metric] = {
    "auprc": Ranking.auprc,
    "roc_auc": Ranking.roc_auc,
    "recall_at_1_percent_fpr": functools.partial(Ranking.recall_at_fpr, limit=FPR_LIMIT),
}
_COUNTED: dict[str, Callable[[Counts], float | None]] = {
    "precision": operator.attrgetter("precision"),
    "recall": operator.attrgetter("recall"),
    "f1": operator.attrgetter("f1"),
    "fpr": operator.attrgetter("false_positive_rate"),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure on every group alike."""

    threshold: float
    """`score >= threshold` is called positive."""
    resamples: int
    """Draws of an interval; 0 for none."""
    seed: int
    is_ranked: bool = True
    """False for yes-or-no answers, of which a ranking says nothing."""


@dataclass(frozen=True, slots=True)
class Row:
    """The metrics of one set of rows."""

    rows: int
    positives: int
    is_thin: bool
    """Fewer than `FEW` positives: too few to trust."""
    metrics: Mapping[str, Estimate]
    """Name -> number and interval; `precision`, `recall`, `f1` and `fpr` are at the threshold."""
    always_positive_f1: float | None
    """The F1 of calling every row positive."""
    false_positives: int | None = None
    """Negatives called positive; None in reports older than this field."""
    fpr_bounds: tuple[float, float] | None = None
    """The 95 % Wilson interval of `fpr`, which says something of 0 false positives too; None without negatives."""


@dataclass(frozen=True, slots=True)
class Gap:
    """How far the groups lie apart in one metric."""

    metric: str
    lowest: str
    """The group with the lowest value."""
    highest: str
    difference: float
    """Highest minus lowest, at least 0; noise alone makes it positive."""
    intervals_overlap: bool | None
    """Of these two groups: if they do, noise explains the gap well; None without intervals."""


def measure(truth: Bools, scores: Floats, plan: Plan) -> Row:
    """Every metric on one set of rows.

    Args:
        truth: bool [rows].
        scores: f64 [rows], finite.
        plan: Threshold and intervals.

    Raises:
        InputError: Rows that `rank` refuses.

    >>> row = measure(np.array([True, False]), np.array([0.9, 0.1]), Plan(0.5, 0, 1))
    >>> row.metrics["f1"].value, row.is_thin
    (1.0, True)
    """
    ranking = rank(truth, scores)
    false_positives = ranking.counts_at(plan.threshold).false_positives
    return Row(
        rows=len(truth),
        positives=ranking.positives,
        is_thin=ranking.positives < FEW,
        metrics=estimate(ranking, _metrics(plan), resamples=plan.resamples, seed=plan.seed),
        always_positive_f1=always_positive_f1(ranking.positives, len(truth)),
        false_positives=false_positives,
        fpr_bounds=wilson_interval(false_positives, ranking.negatives)
        if ranking.negatives
        else None,
    )


def measure_groups(
    truth: Bools, scores: Floats, groups: Sequence[str], plan: Plan
) -> dict[str, Row]:
    """The same row for every group, the groups in order of first appearance.

    Args:
        truth: bool [rows].
        scores: f64 [rows], finite.
        groups: The group of each row.
        plan: Threshold and intervals, the same for all.

    Raises:
        InputError: There is not one group a row, or rows that `rank` refuses.
    """
    if len(groups) != len(truth):
        raise InputError(f"{len(groups)} groups for {len(truth)} rows. Expected one a row.")
    number = {name: index for index, name in enumerate(dict.fromkeys(groups))}
    of_row = np.array([number[name] for name in groups], np.int64)
    return {
        name: measure(truth[of_row == index], scores[of_row == index], plan)
        for name, index in number.items()
    }


def gaps(rows: Mapping[str, Row]) -> tuple[Gap, ...]:
    """The widest difference between groups, a metric; groups with too few rows are left out.

    A group takes part with at least `FEW` positives (but for `fpr`, which needs none) and `FEW`
    negatives (but for `recall`). A metric that fewer than two such groups have is left out.
    """
    return tuple(_gaps(rows))


def _gaps(rows: Mapping[str, Row]) -> Iterator[Gap]:
    for metric in next(iter(rows.values())).metrics if rows else ():
        trusted = {
            name: row.metrics[metric] for name, row in rows.items() if _is_trusted(row, metric)
        }
        if (gap := widest_gap(metric, trusted)) is not None:
            yield gap


def widest_gap(metric: str, estimates: Mapping[str, Estimate]) -> Gap | None:
    """How far the groups lie apart in one metric; None when fewer than two have a value.

    >>> gap = widest_gap("tp", {"a": Estimate(0.25), "b": Estimate(0.75), "c": Estimate(None)})
    >>> gap.lowest, gap.highest, gap.difference
    ('a', 'b', 0.5)
    """
    found = {name: one.value for name, one in estimates.items() if one.value is not None}
    if len(found) < 2:
        return None
    lowest, highest = min(found, key=found.__getitem__), max(found, key=found.__getitem__)
    overlap = _overlap(estimates[lowest], estimates[highest])
    return Gap(metric, lowest, highest, found[highest] - found[lowest], overlap)


def _is_trusted(row: Row, metric: str) -> bool:
    has_positives = metric == "fpr" or row.positives >= FEW
    has_negatives = metric == "recall" or row.rows - row.positives >= FEW
    return has_positives and has_negatives


def _overlap(low: Estimate, high: Estimate) -> bool | None:
    if low.high is None or high.low is None:
        return None
    return high.low <= low.high


def _metrics(plan: Plan) -> dict[str, Metric]:
    counted: dict[str, Metric] = {
        name: functools.partial(_counted, threshold=plan.threshold, read=read)
        for name, read in _COUNTED.items()
    }
    return {**(_RANKED if plan.is_ranked else {}), **counted}


def _counted(
    ranking: Ranking, *, threshold: float, read: Callable[[Counts], float | None]
) -> float | None:
    return read(ranking.counts_at(threshold))
