"""Laws of metrics: bounds, no order of rows, brute force agrees, only the ranking counts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardkit.metrics.calibration import expected_calibration_error, reliability
from guardkit.metrics.ranking import (
    Bools,
    Floats,
    auprc,
    counts_at,
    rank,
    recall_at_fpr,
    roc_auc,
)

Rows = list[tuple[bool, float]]
# Few distinct scores, so that ties are the rule.
row = st.tuples(st.booleans(), st.integers(0, 8).map(lambda eighths: eighths / 8))
rows = st.lists(row, max_size=24)
both_classes = rows.map(lambda some: [(True, 0.5), (False, 0.25), *some])
thresholds = st.integers(0, 9).map(lambda eighths: eighths / 8)
limits = st.sampled_from([0.0, 0.01, 0.1, 0.25, 0.5, 1.0])


def arrays(some: Rows) -> tuple[Bools, Floats]:
    return np.array([t for t, _ in some], np.bool_), np.array([s for _, s in some], np.float64)


@given(both_classes)
def test_roc_auc_is_the_share_of_pairs_in_order(some: Rows) -> None:
    pairs = itertools.product([s for t, s in some if t], [s for t, s in some if not t])
    won = [1.0 if high > low else 0.5 if high == low else 0.0 for high, low in pairs]
    assert roc_auc(*arrays(some)) == pytest.approx(sum(won) / len(won))


@given(both_classes)
def test_average_precision_walks_the_thresholds_downwards(some: Rows) -> None:
    positives, total, before = sum(t for t, _ in some), 0.0, 0.0
    for threshold in sorted({s for _, s in some}, reverse=True):
        called = [t for t, s in some if s >= threshold]
        recall = sum(called) / positives
        total += (recall - before) * sum(called) / len(called)
        before = recall
    assert auprc(*arrays(some)) == pytest.approx(total)


@given(both_classes, limits)
def test_recall_at_fpr_is_the_best_of_all_thresholds(some: Rows, limit: float) -> None:
    found = [counts_at(*arrays(some), threshold) for threshold in (*{s for _, s in some}, 2.0)]
    allowed = [one.recall or 0.0 for one in found if (one.false_positive_rate or 0.0) <= limit]
    assert recall_at_fpr(*arrays(some), limit) == pytest.approx(max(allowed))


@given(rows, thresholds)
def test_counts_are_those_of_counting(some: Rows, threshold: float) -> None:
    counts = counts_at(*arrays(some), threshold)
    assert counts.true_positives == sum(t and s >= threshold for t, s in some)
    assert counts.false_positives == sum(not t and s >= threshold for t, s in some)
    assert counts.false_negatives == sum(t and s < threshold for t, s in some)
    assert counts.true_negatives == sum(not t and s < threshold for t, s in some)


@given(both_classes.flatmap(lambda some: st.tuples(st.just(some), st.permutations(some))))
def test_the_order_of_rows_is_irrelevant(orders: tuple[Rows, Rows]) -> None:
    one, two = (rank(*arrays(some)) for some in orders)
    assert one.thresholds.tolist() == two.thresholds.tolist()
    assert one.true_positives.tolist() == two.true_positives.tolist()
    assert one.false_positives.tolist() == two.false_positives.tolist()


@given(both_classes)
def test_areas_stay_in_bounds_and_see_only_the_order_of_scores(some: Rows) -> None:
    truth, scores = arrays(some)
    area, precision = roc_auc(truth, scores), auprc(truth, scores)
    assert area is not None
    assert precision is not None
    assert 0 <= area <= 1
    assert 0 < precision <= 1
    assert roc_auc(truth, np.exp(3 * scores) - 7) == area
    assert auprc(truth, np.exp(3 * scores) - 7) == precision
    assert roc_auc(truth, -scores) == pytest.approx(1 - area)


@given(both_classes)
def test_a_perfect_ranking_has_areas_of_one_and_a_constant_one_those_of_chance(some: Rows) -> None:
    truth, _ = arrays(some)
    perfect, constant = truth.astype(np.float64), np.full(len(truth), 0.5)
    assert (roc_auc(truth, perfect), auprc(truth, perfect)) == (1.0, 1.0)
    assert roc_auc(truth, constant) == 0.5
    assert auprc(truth, constant) == pytest.approx(truth.mean())


@given(rows, st.integers(1, 12))
def test_bins_hold_every_row_and_their_error_is_a_share(some: Rows, bins: int) -> None:
    found = reliability(*arrays(some), bins=bins)
    assert sum(one.rows for one in found) == len(some)
    assert all(one.low <= one.mean_score <= one.high for one in found)
    error = expected_calibration_error(found)
    assert error is None if not some else 0 <= (error or 0.0) <= 1
