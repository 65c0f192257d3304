"""A shuffle bag is exact where independent draws are only fair on average."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections import Counter

import pytest

from guardkit.text.shuffle_bag import ShuffleBag


def test_equal_seeds_give_equal_draws() -> None:
    weights = {"a": 1.0, "b": 1.0, "c": 1.0}
    first, second = (ShuffleBag(weights, seed="7") for _ in range(2))
    assert [first.draw() for _ in range(50)] == [second.draw() for _ in range(50)]


def test_another_seed_gives_another_order() -> None:
    weights = dict.fromkeys("abcdefgh", 1.0)
    first, second = (ShuffleBag(weights, seed=seed) for seed in ("7", "8"))
    assert [first.draw() for _ in range(50)] != [second.draw() for _ in range(50)]


def test_every_order_of_equal_values_comes_up() -> None:
    bag = ShuffleBag(dict.fromkeys("abc", 1.0), seed="7")
    orders = Counter("".join(bag.draw() for _ in range(3)) for _ in range(600))
    assert len(orders) == 6
    assert min(orders.values()) > 60  # 100 each in the long run; 60 is 4.4 standard deviations off


def test_without_a_seed_two_bags_differ() -> None:
    weights = dict.fromkeys("abcdefgh", 1.0)
    first, second = (ShuffleBag(weights, seed=None) for _ in range(2))
    assert [first.draw() for _ in range(80)] != [second.draw() for _ in range(80)]


def test_a_single_value_is_always_drawn() -> None:
    bag = ShuffleBag({"only": 0.3}, seed=None)
    assert {bag.draw() for _ in range(5)} == {"only"}


def test_weights_far_apart_hold_too() -> None:
    bag = ShuffleBag({"often": 99.5, "rare": 0.5}, seed="1")
    assert Counter(bag.draw() for _ in range(200)) == {"often": 199, "rare": 1}


def test_threads_share_one_bag_and_the_balance_holds() -> None:
    bag = ShuffleBag(dict.fromkeys("abcd", 1.0), seed="7")
    drawn: list[str] = []

    def draw() -> None:
        for _ in range(500):
            drawn.append(bag.draw())  # noqa: PERF401  list.append is atomic, += is not

    threads = [threading.Thread(target=draw) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(drawn) == dict.fromkeys("abcd", 1000)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forking with threads: what is tested
def test_a_forked_process_has_a_bag_of_its_own() -> None:
    bag = ShuffleBag(dict.fromkeys("abcdef", 1.0), seed="7")
    before = [bag.draw() for _ in range(4)]
    with bag._turn.lock:  # held while forking: the child must not wait for it
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        child = context.Process(target=lambda: theirs.send([bag.draw() for _ in range(4)]))
        child.start()
        assert ours.poll(20)
        assert ours.recv() == before
        child.join()
