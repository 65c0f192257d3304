"""Drawing without replacement: exact balance over what was drawn, where independent draws drift.

What is promised, for weights that add up to W and value i of weight w, after the first n draws of a bag, for every n:
value i was drawn more than n w / W - 1 and less than n w / W + 1 times. With equal weights the counts of two values therefore never
differ by more than 1; over n draws in a row that begin anywhere, by no more than 2. (1 anywhere would take one order
for ever, and then two bags would tie their values together: every second woman old.)
"""

from __future__ import annotations

import math
import os
import random
import threading
from collections.abc import Mapping
from fractions import Fraction


class ShuffleBag:
    """Values drawn in random order, each as often as its weight says; safe to share between threads.

    A forked process starts over with a bag of its own: full, and with a seed in the same order.

    >>> bag = ShuffleBag({"heads": 1, "tails": 1}, seed="7")
    >>> sorted(bag.draw() for _ in range(4))
    ['heads', 'heads', 'tails', 'tails']
    """

    def __init__(self, weights: Mapping[str, float], *, seed: str | None) -> None:
        """Fill a bag.

        Args:
            weights: Value -> weight, above 0; at least one.
            seed: Equal seeds give equal draws; None: drawn anew every time.
        """
        self._shares = _whole(weights)
        self._seed = seed
        self._turn = self._full()

    def draw(self) -> str:
        """Take one value; an empty bag is filled again first."""
        if self._turn.process != os.getpid():
            self._turn = self._full()  # a lock may be held across a fork, and is then held for ever
        turn = self._turn
        with turn.lock:
            return turn.next(self._shares)

    def _full(self) -> _Turn:
        return _Turn(self._shares, self._seed)


class _Turn:
    """Where a bag stands, in one process."""

    def __init__(self, shares: Mapping[str, int], seed: str | None) -> None:
        self.process = os.getpid()
        self.lock = threading.Lock()
        self._random = random.Random(seed)  # noqa: S311  no secret; None: seeded by the system
        self._size = sum(shares.values())
        self._drawn = dict.fromkeys(shares, 0)
        self._count = 0

    def next(self, shares: Mapping[str, int]) -> str:
        """The value that must come soonest, of those whose time has come; by lot among equals.

        Draw j of value i may come after draw floor((j - 1) W / w) and must come by draw ceil(j W / w). Taking the
        nearest deadline meets all of them (Baruah et al., Proportionate progress, Algorithmica 15, 1996), and a
        count within its window is less than 1 away from n w / W. Equal weights share every window: each W draws
        are then a fair shuffle of all values.
        """
        size, count, drawn = self._size, self._count, self._drawn
        soonest, first = size + 1, list[str]()
        for value, share in shares.items():
            done = drawn[value]
            if done * size // share > count:
                continue
            deadline = -((done + 1) * size // -share)
            if deadline < soonest:
                soonest, first = deadline, [value]
            elif deadline == soonest:
                first.append(value)
        value = first[int(self._random.random() * len(first))]
        self._drawn[value] += 1
        self._count += 1
        if self._count == size:  # every value was drawn as often as its weight says
            self._drawn, self._count = dict.fromkeys(shares, 0), 0
        return value


def _whole(weights: Mapping[str, float]) -> dict[str, int]:
    """The weights as the smallest whole numbers of the same ratio.

    >>> _whole({"a": 0.5, "b": 1.5})
    {'a': 1, 'b': 3}
    """
    exact = {value: Fraction(str(weight)) for value, weight in weights.items()}
    scale = math.lcm(*(one.denominator for one in exact.values()))
    whole = {value: int(one * scale) for value, one in exact.items()}
    common = math.gcd(*whole.values())
    return {value: one // common for value, one in whole.items()}
