"""WInToRe and its neighbours: published and hand-made vectors, intervals, groups, bad input."""

from __future__ import annotations

import numpy as np
import pytest

from guardkit.errors import InputError
from guardkit.metrics import (
    atr,
    emt,
    emt_std,
    measure_generation_groups,
    measure_generations,
    tp,
    wintore,
)
from guardkit.metrics.toxicity import generation_gaps

# The example of the released code (ToViLaG, metrics/toxicity/wintore.py).
X = [0.8, 0.5, 0.7]
Y = [[0.4, 0.5, 0.7], [0.5, 0.6, 0.8], [0.7, 0.5, 0.6]]


@pytest.mark.parametrize(
    ("thresholds", "expected"),
    [
        # One threshold, .5: 2 of 3 inputs and 5 of 9 generations are above it.
        pytest.param(1, 2 / 3 - 5 / 9, id="one"),
        pytest.param(5, 0.088889, id="five"),
        pytest.param(20, 0.0777778, id="twenty"),
        pytest.param(2_000_000, 0.0777778, id="limit"),  # mean(x) - mean(y)
    ],
)
def test_wintore_is_that_of_the_released_code(thresholds: int, expected: float) -> None:
    assert wintore(X, Y, M=thresholds) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        pytest.param([0.9] * 4, [[0.1] * 3] * 4, 0.8, id="nothing-is-reflected"),
        pytest.param([0.1] * 4, [[0.9] * 3] * 4, -0.8, id="all-is-added"),
        pytest.param([0.3, 0.6], [[0.3], [0.6]], 0.0, id="all-is-reflected"),
        pytest.param([1.0], [[0.0]], 1.0, id="the-highest"),
        pytest.param([0.0], [[1.0]], -1.0, id="the-lowest"),
    ],
)
def test_wintore_of_plain_cases(x: list[float], y: list[list[float]], expected: float) -> None:
    assert wintore(x, y) == pytest.approx(expected)


def test_wintore_counts_above_a_threshold_or_at_it() -> None:
    # M=1: the threshold is .5; only the input lies on it.
    assert wintore([0.5], [[0.4]], M=1) == 0
    assert wintore([0.5], [[0.4]], M=1, inclusive=True) == 1


def test_wintore_looks_between_start_and_end_alone() -> None:
    # Thresholds .6, .7, .8, .9 of [.5, 1]: .75 passes two of them, .5 none.
    assert wintore([0.75], [[0.5]], M=4, start=0.5) == pytest.approx(0.5)


def test_the_other_metrics_by_hand() -> None:
    assert emt(Y) == pytest.approx((0.7 + 0.8 + 0.7) / 3)
    assert emt_std(Y) == pytest.approx(np.sqrt((2 * (0.1 / 3) ** 2 + (0.2 / 3) ** 2) / 3))
    assert tp([[0.1, 0.5], [0.4, 0.2], [0.9, 0.9]]) == pytest.approx(2 / 3)
    assert tp([[0.1, 0.5]], inclusive=False) == 0
    assert atr(Y) == pytest.approx(8 / 9)
    assert atr(Y, inclusive=False) == pytest.approx(5 / 9)
    assert atr(Y, threshold=0.7) == pytest.approx(3 / 9)


def test_all_metrics_together_are_those_one_by_one() -> None:
    row = measure_generations(X, Y, resamples=0, seed=1)
    found = {name: one.value for name, one in row.metrics.items()}
    assert found == pytest.approx(
        {"wintore": wintore(X, Y), "emt": emt(Y), "tp": tp(Y), "atr": atr(Y)}
    )
    assert (row.inputs, row.generations, row.emt_std) == (3, 3, pytest.approx(emt_std(Y)))
    assert row.metrics["atr"].low is None


def test_intervals_are_seeded_and_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for draw in range(200):
        y = rng.random((100, 4))  # mean of the maximum of four: 4/5
        one = measure_generations(np.full(100, 0.5), y.tolist(), resamples=200, seed=draw)
        assert one == measure_generations(np.full(100, 0.5), y.tolist(), resamples=200, seed=draw)
        low, high = one.metrics["emt"].low, one.metrics["emt"].high
        assert low is not None
        assert high is not None
        held += low <= 0.8 <= high
    assert 178 <= held <= 199  # 95 % of 200, four standard deviations below; not always


def test_groups_are_measured_apart_and_their_gap_is_told() -> None:
    groups = ["a", "b"] * 20
    y = [[0.9, 0.1] if group == "a" else [0.2, 0.1] for group in groups]
    rows = measure_generation_groups([0.5] * 40, y, groups, resamples=50, seed=1)
    assert list(rows) == ["a", "b"]
    assert (rows["a"].metrics["tp"].value, rows["b"].metrics["tp"].value) == (1, 0)
    gap = next(one for one in generation_gaps(rows) if one.metric == "tp")
    assert (gap.lowest, gap.highest, gap.difference) == ("b", "a", 1)
    assert gap.intervals_overlap is False


def test_small_groups_are_not_compared() -> None:
    rows = measure_generation_groups([0.5] * 21, [[0.5]] * 21, ["a"] * 20 + ["b"], seed=1)
    assert generation_gaps(rows) == ()


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        pytest.param([], [], {}, "0 inputs without generations", id="no-inputs"),
        pytest.param([0.5], [[]], {}, "1 inputs without generations", id="zero-generations"),
        pytest.param([0.5] * 2, [[0.5], [0.5, 0.5]], {}, r"y\[1\] has 2 .* y\[0\] 1", id="unequal"),
        pytest.param([0.5], [[0.5], [0.5]], {}, "x has 1 inputs, y 2", id="lengths"),
        pytest.param([0.5], [[None]], {}, "y: 1 of 1 scores are missing", id="none"),
        pytest.param([float("nan")], [[0.5]], {}, "x: 1 of 1 scores are missing", id="nan"),
        pytest.param([0.5], [[1.5]], {}, "outside", id="no-probability"),
        pytest.param([0.5], [["high"]], {}, "no number", id="words"),
        pytest.param([[0.5]], [[0.5]], {}, "x has 2 dimensions", id="nested"),
        pytest.param([0.5], [[0.5]], {"M": 0}, "M is 0", id="no-thresholds"),
        pytest.param([0.5], [[0.5]], {"start": 0.5, "end": 0.5}, "start 0.5", id="no-range"),
    ],
)
def test_unusable_scores_are_refused(
    x: list[float], y: list[list[float]], options: dict[str, float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        wintore(x, y, **options)  # type: ignore[arg-type]


def test_groups_are_one_an_input() -> None:
    with pytest.raises(InputError, match="1 groups, 2 inputs"):
        measure_generation_groups([0.5, 0.5], [[0.5], [0.5]], ["a"], seed=1)
