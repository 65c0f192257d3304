"""Whatever the weights, a bag keeps its promise after every draw."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from guardkit.text.shuffle_bag import ShuffleBag

WEIGHTS = st.dictionaries(
    st.sampled_from("abcdefg"),
    st.integers(1, 12) | st.sampled_from([0.5, 0.25, 0.1, 0.3, 2.75]),
    min_size=1,
)


@given(weights=WEIGHTS, seed=st.text(max_size=3), draws=st.integers(1, 150))
def test_counts_stay_within_one_of_their_share_after_every_draw(
    weights: dict[str, float], seed: str, draws: int
) -> None:
    exact = {value: Fraction(str(weight)) for value, weight in weights.items()}
    total = sum(exact.values())
    bag, counts = ShuffleBag(weights, seed=seed), Counter[str]()
    for n in range(1, draws + 1):
        counts[bag.draw()] += 1
        assert all(abs(counts[value] - n * one / total) < 1 for value, one in exact.items())


@given(
    values=st.integers(1, 7), seed=st.integers(0, 999), skipped=st.integers(0, 30), n=st.integers(0, 60)
)  # fmt: skip
def test_equal_weights_differ_by_one_from_the_start_and_by_two_from_anywhere(
    values: int, seed: int, skipped: int, n: int
) -> None:
    bag = ShuffleBag(dict.fromkeys("abcdefg"[:values], 1.0), seed=str(seed))
    before = Counter(bag.draw() for _ in range(skipped))
    after = Counter(bag.draw() for _ in range(n))
    assert _spread(before, values) <= 1
    assert _spread(before + after, values) <= 1
    assert _spread(after, values) <= 2


def _spread(counts: Counter[str], values: int) -> int:
    found = [counts[value] for value in "abcdefg"[:values]]
    return max(found) - min(found)
