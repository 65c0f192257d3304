"""Metrics: values by hand, ties, classes that do not occur, and intervals against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from guardkit.errors import InputError
from guardkit.metrics.bootstrap import Estimate, estimate
from guardkit.metrics.calibration import expected_calibration_error, reliability
from guardkit.metrics.ranking import (
    Bools,
    Counts,
    Floats,
    Ranking,
    always_positive_f1,
    auprc,
    counts_at,
    rank,
    recall_at_fpr,
    roc_auc,
)
from guardkit.metrics.slices import FEW, Gap, Plan, Row, gaps, measure, measure_groups

# By hand: a positive at .9, a negative at .8, one of each at .7 (a tie), two negatives below.
TRUTH = np.array([True, False, True, False, False, False])
SCORES = np.array([0.9, 0.8, 0.7, 0.7, 0.1, 0.05])
NONE = np.zeros(3, np.bool_)
PLAIN = Plan(threshold=0.5, resamples=0, seed=1)


def test_average_precision_takes_a_tie_as_one_step() -> None:
    assert auprc(TRUTH, SCORES) == pytest.approx(0.5 * 1 / 1 + 0.5 * 2 / 4)


def test_roc_auc_counts_a_tie_one_half() -> None:
    assert roc_auc(TRUTH, SCORES) == (4 + 2.5) / 8  # .9 beats four; .7 beats two and ties with one


def test_areas_equal_the_example_that_scikit_learn_publishes() -> None:
    # scikit-learn's docstrings of average_precision_score (0.83...) and roc_auc_score (0.75).
    truth, scores = np.array([False, False, True, True]), np.array([0.1, 0.4, 0.35, 0.8])
    assert auprc(truth, scores) == pytest.approx(5 / 6)
    assert roc_auc(truth, scores) == 0.75


@pytest.mark.parametrize(
    ("limit", "recall"),
    [
        pytest.param(0.0, 0.5, id="none-allowed"),
        pytest.param(0.01, 0.5, id="one-percent-of-four-is-none"),
        pytest.param(0.25, 0.5, id="one-of-four"),
        pytest.param(0.49, 0.5, id="the-tie-may-not-be-split"),
        pytest.param(0.5, 1.0, id="exactly-the-limit"),
        pytest.param(1.0, 1.0, id="everything"),
    ],
)
def test_recall_at_a_false_positive_rate(limit: float, recall: float) -> None:
    assert recall_at_fpr(TRUTH, SCORES, limit) == recall


def test_a_rate_equal_to_the_limit_is_allowed_whatever_the_rounding() -> None:
    truth = np.array([False] * 29 + [True] + [False] * 71)  # 29 > 0.29 * 100 in floating point
    assert recall_at_fpr(truth, np.linspace(1, 0, 101), 0.29) == 1.0


def test_recall_at_fpr_is_zero_when_a_negative_stands_on_top() -> None:
    assert recall_at_fpr(np.array([False, True]), np.array([0.9, 0.1]), 0.01) == 0.0


def test_counts_include_the_scores_at_the_threshold() -> None:
    counts = counts_at(TRUTH, SCORES, 0.7)
    assert counts == Counts(2, 2, 0, 2)
    assert (counts.precision, counts.recall, counts.false_positive_rate) == (0.5, 1.0, 0.5)
    assert counts.f1 == pytest.approx(2 / 3)
    assert counts_at(TRUTH, SCORES, 0.71) == Counts(1, 1, 1, 3)


def test_a_threshold_above_everything_calls_nothing_positive() -> None:
    counts = counts_at(TRUTH, SCORES, 0.95)
    assert counts == Counts(0, 0, 2, 4)
    assert (counts.precision, counts.recall, counts.f1) == (None, 0.0, 0.0)


def test_the_f1_of_always_positive_is_the_f1_at_threshold_zero() -> None:
    assert always_positive_f1(2, 6) == 0.5 == counts_at(TRUTH, SCORES, 0.0).f1
    assert always_positive_f1(0, 0) is None


@pytest.mark.parametrize(
    "truth",
    [
        pytest.param(NONE, id="no-positives"),
        pytest.param(~NONE, id="no-negatives"),
        pytest.param(NONE[:0], id="no-rows"),
    ],
)
def test_what_needs_both_classes_is_none_without_them(truth: Bools) -> None:
    scores = np.linspace(0, 1, 3)[: len(truth)]
    assert auprc(truth, scores) is None
    assert roc_auc(truth, scores) is None
    assert recall_at_fpr(truth, scores, 0.01) is None
    for curve in (rank(truth, scores).pr_curve, rank(truth, scores).roc_curve):
        with pytest.raises(InputError, match="not defined"):
            curve()


def test_recall_and_false_positive_rate_are_none_without_their_class() -> None:
    assert counts_at(NONE, np.zeros(3), 0.5).recall is None
    assert counts_at(NONE, np.zeros(3), 0.5).f1 is None
    assert counts_at(~NONE, np.zeros(3), 0.5).false_positive_rate is None


@pytest.mark.parametrize(
    ("truth", "scores", "message"),
    [
        pytest.param(TRUTH, SCORES[:5], "shape", id="shapes"),
        pytest.param(TRUTH.astype(np.float64), SCORES, "Expected bool", id="fractions"),
        pytest.param(NONE, np.array([0.1, np.nan, np.inf]), "2 of 3 scores", id="nan"),
    ],
)
def test_rows_that_cannot_be_ranked_are_refused(truth: Bools, scores: Floats, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rank(truth, scores)


def test_curves_have_one_point_a_distinct_score() -> None:
    recall, precision = rank(TRUTH, SCORES).pr_curve()
    assert recall.tolist() == [0.5, 0.5, 1.0, 1.0, 1.0]
    assert precision.tolist() == [1.0, 0.5, 0.5, 2 / 5, 2 / 6]
    rates, hits = rank(TRUTH, SCORES).roc_curve()
    assert rates.tolist() == [0.0, 0.0, 0.25, 0.5, 0.75, 1.0]
    assert hits.tolist() == [0.0, 0.5, 0.5, 1.0, 1.0, 1.0]


# --- calibration ----------------------------------------------------------------------------------


def test_reliability_bins_are_half_open_and_the_last_is_closed() -> None:
    scores = np.array([0.0, 0.1, 0.29, 0.3, 1.0])
    bins = reliability(np.array([False, True, False, True, True]), scores)
    assert [(one.low, one.high, one.rows) for one in bins] == [
        (0.0, 0.1, 1), (0.1, 0.2, 1), (0.2, 0.3, 1), (0.3, 0.4, 1), (0.9, 1.0, 1),
    ]  # fmt: skip


def test_a_score_on_an_edge_lies_in_the_bin_that_begins_there() -> None:
    (one,) = reliability(np.array([True]), np.array([0.29]), bins=100)
    assert one.low == 0.29  # although 0.29 * 100 is less than 29


def test_calibration_error_weighs_bins_by_rows() -> None:
    scores = np.array([0.15, 0.15, 0.15, 0.95])
    bins = reliability(np.array([True, False, False, False]), scores)
    assert expected_calibration_error(bins) == pytest.approx((3 * abs(0.15 - 1 / 3) + 1 * 0.95) / 4)
    assert expected_calibration_error(()) is None


@pytest.mark.parametrize(
    ("score", "bins", "message"),
    [
        pytest.param(1.01, 10, "outside", id="above-one"),
        pytest.param(-0.01, 10, "outside", id="below-zero"),
        pytest.param(0.5, 0, "at least 1", id="no-bins"),
    ],
)
def test_reliability_refuses_what_is_no_probability(score: float, bins: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        reliability(np.array([True]), np.array([score]), bins=bins)


# --- intervals ------------------------------------------------------------------------------------


def drawn(rows: int, seed: int) -> tuple[Bools, Floats]:
    """Rows with many ties, positives a little higher."""
    rng = np.random.default_rng(seed)
    truth = rng.random(rows) < 0.4
    return truth, np.round(rng.random(rows) * 0.7 + 0.3 * truth, 1).astype(np.float64)


def test_intervals_equal_those_of_resampling_the_rows_themselves() -> None:
    truth, scores = drawn(60, seed=3)
    order = np.lexsort((-scores, ~truth))  # positives first, highest first: the order of the cells
    rng = np.random.default_rng(11)
    values = []
    for _ in range(200):
        rows = order[rng.integers(0, 60, 60)]
        values.append(auprc(truth[rows], scores[rows]) or 0.0)
    found = estimate(rank(truth, scores), {"auprc": Ranking.auprc}, resamples=200, seed=11)
    one = found["auprc"]
    assert one.value == auprc(truth, scores)
    assert [one.low, one.high] == pytest.approx(np.quantile(values, [0.025, 0.975]).tolist())


def test_an_interval_of_a_share_is_as_wide_as_the_binomial_says() -> None:
    truth = np.ones(400, np.bool_)
    scores = np.array([0.9, 0.1] * 200)
    plan = Plan(threshold=0.5, resamples=2000, seed=5)
    recall = measure(truth, scores, plan).metrics["recall"]
    half = 1.96 * np.sqrt(0.25 / 400)  # 0.049
    assert recall.low == pytest.approx(0.5 - half, abs=0.008)
    assert recall.high == pytest.approx(0.5 + half, abs=0.008)


def test_a_seed_fixes_the_intervals_and_another_seed_moves_them() -> None:
    truth, scores = drawn(50, seed=4)
    one, same, other = (
        estimate(rank(truth, scores), {"auc": Ranking.roc_auc}, resamples=50, seed=seed)["auc"]
        for seed in (1, 1, 2)
    )
    assert one == same != other


def test_there_is_no_interval_where_most_draws_do_not_define_the_metric() -> None:
    def rarely(ranking: Ranking) -> float | None:
        return 1.0 if int(ranking.true_positives[0]) >= 3 else None  # 1 row: mostly drawn 0 to 2

    def on_the_rows(ranking: Ranking) -> float | None:
        return rarely(ranking) or (0.5 if int(ranking.true_positives[0]) == 1 else None)

    ranking = rank(TRUTH, SCORES)
    found = estimate(ranking, {"no": rarely, "some": on_the_rows}, resamples=400, seed=1)
    assert found["no"] == Estimate(None)
    assert found["some"].value == 0.5  # once in 37 % of the draws, three times or more in 6 %
    assert found["some"].low is None


@pytest.mark.parametrize(
    ("resamples", "level"),
    [pytest.param(-1, 0.95, id="draws"), pytest.param(10, 1.0, id="level")],
)
def test_settings_out_of_range_are_refused(resamples: int, level: float) -> None:
    with pytest.raises(InputError, match="Expected at least 0"):
        estimate(rank(TRUTH, SCORES), {}, resamples=resamples, seed=1, level=level)


def test_no_rows_give_no_numbers_and_no_intervals() -> None:
    row = measure(NONE[:0], np.zeros(0), Plan(threshold=0.5, resamples=10, seed=1))
    assert row.rows == row.positives == 0
    assert set(row.metrics.values()) == {Estimate(None)}


# --- groups ---------------------------------------------------------------------------------------


def rows_of(positives: int, negatives: int, caught: int) -> tuple[Bools, Floats]:
    """Positives of which so many are above 0.5, and negatives that are all below."""
    truth = np.arange(positives + negatives) < positives
    scores = np.where(np.arange(positives + negatives) < caught, 0.9, 0.1)
    return truth, scores


def grouped(*groups: tuple[str, int, int, int]) -> dict[str, Row]:
    """The row of every (name, positives, negatives, caught)."""
    parts = [rows_of(*numbers) for _, *numbers in groups]
    truth, scores = (np.concatenate(part) for part in zip(*parts, strict=True))
    names = [name for name, p, n, _ in groups for _ in range(p + n)]
    return measure_groups(truth, scores, names, PLAIN)


def test_every_group_has_the_row_it_would_have_alone() -> None:
    rows = grouped(("b", 30, 20, 15), ("a", 20, 40, 20))
    assert list(rows) == ["b", "a"]
    assert rows["b"] == measure(*rows_of(30, 20, 15), PLAIN)
    assert rows["b"].metrics["recall"].value == 0.5
    assert rows["a"].metrics["recall"].value == 1.0


def test_a_row_says_when_its_positives_are_too_few() -> None:
    assert [measure(*rows_of(n, 5, 1), PLAIN).is_thin for n in (FEW - 1, FEW)] == [True, False]


def test_gaps_name_the_lowest_and_the_highest_group() -> None:
    found = {gap.metric: gap for gap in gaps(grouped(("a", 20, 20, 10), ("b", 20, 20, 20)))}
    assert found["recall"] == Gap("recall", "a", "b", 0.5, intervals_overlap=None)
    assert found["fpr"].difference == 0.0


@pytest.mark.parametrize(
    ("other", "metrics"),
    [
        pytest.param(("b", 19, 20, 5), {"fpr"}, id="few-positives-leave-fpr"),
        pytest.param(("b", 20, 19, 5), {"recall"}, id="few-negatives-leave-recall"),
        pytest.param(("b", 19, 19, 5), set(), id="few-of-both"),
    ],
)
def test_a_group_with_too_few_rows_of_a_class_makes_no_gap_that_needs_them(
    other: tuple[str, int, int, int], metrics: set[str]
) -> None:
    assert {gap.metric for gap in gaps(grouped(("a", 20, 20, 10), other))} == metrics
    assert gaps({}) == ()


@pytest.mark.parametrize(
    ("low", "high", "overlap"),
    [
        pytest.param((0.1, 0.3), (0.2, 0.5), True, id="they-do"),
        pytest.param((0.1, 0.3), (0.3, 0.5), True, id="they-touch"),
        pytest.param((0.1, 0.3), (0.4, 0.5), False, id="they-do-not"),
    ],
)
def test_a_gap_says_whether_the_intervals_overlap(
    low: tuple[float, float], high: tuple[float, float], overlap: bool
) -> None:
    rows = {
        name: Row(100, 50, is_thin=False, metrics={"f1": Estimate(sum(ends) / 2, *ends)}, always_positive_f1=None)
        for name, ends in (("one", low), ("two", high))
    }  # fmt: skip
    (gap,) = gaps(rows)
    assert gap.intervals_overlap is overlap


def test_yes_or_no_answers_are_not_ranked() -> None:
    plan = Plan(threshold=0.5, resamples=0, seed=1, is_ranked=False)
    assert set(measure(TRUTH, SCORES, plan).metrics) == {"precision", "recall", "f1", "fpr"}


def test_groups_must_be_one_a_row() -> None:
    with pytest.raises(InputError, match="2 groups for 6 rows"):
        measure_groups(TRUTH, SCORES, ["a", "b"], PLAIN)
