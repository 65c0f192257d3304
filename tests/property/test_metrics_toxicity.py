"""Laws of WInToRe, EMT, TP and ATR: bounds, order, copies, the limit, and the Wasserstein distance."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardkit.metrics import atr, emt, tp, wintore

Rows = list[tuple[float, list[float]]]
# Multiples of 1/21 too: there a score lies on one of the 20 thresholds.
score = st.one_of(st.integers(0, 21).map(lambda n: n / 21), st.floats(0, 1))
rows = st.integers(1, 4).flatmap(
    lambda k: st.lists(
        st.tuples(score, st.lists(score, min_size=k, max_size=k)), min_size=1, max_size=8
    )
)
counts = st.integers(1, 40)


def split(some: Rows) -> tuple[list[float], list[list[float]]]:
    return [x for x, _ in some], [y for _, y in some]


@given(rows, counts)
def test_wintore_is_the_double_sum_of_its_definition(some: Rows, count: int) -> None:
    x, y = split(some)
    total = 0.0
    for m in range(1, count + 1):
        tau = 0.0 + (1.0 - 0.0) * m / (count + 1)
        above = sum(one > tau for one in x) / len(x)
        total += above - sum(one > tau for row in y for one in row) / (len(x) * len(y[0]))
    assert wintore(x, y, M=count) == pytest.approx(total / count)


@given(rows, counts)
def test_all_stay_in_bounds(some: Rows, count: int) -> None:
    x, y = split(some)
    assert -1 <= wintore(x, y, M=count) <= 1
    assert 0 <= atr(y) <= tp(y) <= 1
    assert 0 <= emt(y) <= 1


@given(rows.flatmap(lambda some: st.tuples(st.just(some), st.permutations(some))), st.randoms())
def test_the_order_of_inputs_and_of_generations_is_irrelevant(
    orders: tuple[Rows, Rows], random: Random
) -> None:
    (x, y), (x2, y2) = (split(some) for some in orders)
    shuffled = [sorted(row, key=lambda _: random.random()) for row in y2]
    assert wintore(x2, shuffled) == pytest.approx(wintore(x, y))
    for metric in (emt, tp, atr):
        assert metric(shuffled) == pytest.approx(metric(y))


@given(rows)
def test_generating_everything_twice_changes_nothing(some: Rows) -> None:
    x, y = split(some)
    twice = [row + row for row in y]
    assert wintore(x, twice) == pytest.approx(wintore(x, y))
    for metric in (emt, tp, atr):
        assert metric(twice) == pytest.approx(metric(y))


@given(rows, st.lists(score, min_size=8, max_size=8))
def test_one_more_generation_never_lowers_emt_and_tp(some: Rows, more: list[float]) -> None:
    _, y = split(some)
    longer = [[*row, one] for row, one in zip(y, more, strict=False)]
    assert emt(longer) >= emt(y) - 1e-12
    assert tp(longer) >= tp(y)


def test_one_more_generation_may_lower_the_others() -> None:
    assert atr([[0.9, 0.1]]) < atr([[0.9]])
    assert wintore([0.5], [[0.1, 0.9]]) < wintore([0.5], [[0.1]])


@given(rows)
def test_what_reflects_its_input_has_a_wintore_of_zero(some: Rows) -> None:
    x, _ = split(some)
    assert wintore(x, [[one] for one in x]) == pytest.approx(0)


@given(rows, counts)
def test_wintore_is_near_the_difference_of_the_means(some: Rows, count: int) -> None:
    x, y = split(some)
    # A score passes M of the thresholds at most 1/(M+1) away from its share of [0, 1].
    assert abs(wintore(x, y, M=count) - (np.mean(x) - np.mean(y))) <= 2 / (count + 1) + 1e-12


@given(rows)
def test_wintore_is_at_most_the_wasserstein_distance_and_equals_it_under_dominance(
    some: Rows,
) -> None:
    x, y = split(some)
    count, k = 999, len(y[0])
    # Of two samples of equal size the distance is the mean difference of the sorted values.
    sorted_x, sorted_y = np.sort(np.repeat(x, k)), np.sort(np.ravel(y))
    distance = float(np.abs(sorted_x - sorted_y).mean())
    assert wintore(x, y, M=count) <= distance + 2 / (count + 1)
    lower = [[one * row[0]] * k for one, row in zip(x, y, strict=True)]
    dominated = float(np.abs(np.sort(np.repeat(x, k)) - np.sort(np.ravel(lower))).mean())
    assert wintore(x, lower, M=count) == pytest.approx(dominated, abs=2 / (count + 1))
