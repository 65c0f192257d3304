"""Concurrent callers share runs; none is lost, none waits for ever, too many are refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from guardkit import Guard
from guardkit.errors import InputError, OverloadError
from guardkit.policy.rules import Gather
from guardkit.runtime.gather import Gatherer, Ticket
from guardkit.types import Action, Context


class Doubler:
    """Answers with twice the number, and remembers its batches; may be held up."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_go = threading.Event()
        self.may_go.set()

    def __call__(self, tickets: Sequence[Ticket[int]]) -> list[int | Exception]:
        jobs = [ticket.job for ticket in tickets]
        self.batches.append(jobs)
        self.may_go.wait(5)
        return [ValueError("odd") if job == -1 else 2 * job for job in jobs]


def test_calls_at_once_are_one_batch() -> None:
    work = Doubler()
    gatherer = Gatherer[int, int](work, wait_ms=20, at_most=8, queue=100)

    async def ask() -> list[int]:
        return await asyncio.gather(*(gatherer.ask(number) for number in range(20)))

    assert asyncio.run(ask()) == [2 * number for number in range(20)]
    assert [len(batch) for batch in work.batches] == [8, 8, 4]


def test_each_caller_gets_its_own_error() -> None:
    gatherer = Gatherer[int, int](Doubler(), wait_ms=0, at_most=8, queue=100)

    async def ask() -> list[int | BaseException]:
        asked = (gatherer.ask(number) for number in (1, -1, 2))
        return await asyncio.gather(*asked, return_exceptions=True)

    one, odd, two = asyncio.run(ask())
    assert (one, two) == (2, 4)
    assert isinstance(odd, ValueError)


def test_an_error_of_the_batch_reaches_every_caller() -> None:
    def fail(_: Sequence[Ticket[int]]) -> list[int | Exception]:
        raise RuntimeError("broken")

    gatherer = Gatherer[int, int](fail, wait_ms=0, at_most=8, queue=100)

    async def ask() -> list[int | BaseException]:
        return await asyncio.gather(*map(gatherer.ask, (1, 2)), return_exceptions=True)

    for _ in range(2):  # and the desk works on
        assert [type(one) for one in asyncio.run(ask())] == [RuntimeError, RuntimeError]


def test_a_caller_that_goes_away_is_left_out() -> None:
    work = Doubler()
    gatherer = Gatherer[int, int](work, wait_ms=30, at_most=8, queue=100)

    async def ask() -> int:
        gone = asyncio.ensure_future(gatherer.ask(1))
        stays = asyncio.ensure_future(gatherer.ask(2))
        await asyncio.sleep(0)
        gone.cancel()
        return await stays

    assert asyncio.run(ask()) == 4
    assert work.batches == [[2]]


def test_too_many_waiting_callers_are_refused_and_room_is_made_by_those_who_leave() -> None:
    work = Doubler()
    work.may_go.clear()
    gatherer = Gatherer[int, int](work, wait_ms=0, at_most=1, queue=2)

    async def ask() -> list[int]:
        first = asyncio.ensure_future(gatherer.ask(0))
        await asyncio.sleep(0.02)  # it is being worked on
        waiting = [asyncio.ensure_future(gatherer.ask(number)) for number in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadError, match=r"2 checks wait already; refused.*gather\.queue"):
            await gatherer.ask(3)
        waiting[0].cancel()
        await asyncio.sleep(0)
        waiting.append(asyncio.ensure_future(gatherer.ask(4)))
        await asyncio.sleep(0)
        work.may_go.set()
        return await asyncio.gather(first, *waiting[1:])

    assert asyncio.run(ask()) == [0, 4, 8]


# --- in a guard -----------------------------------------------------------------------------------


def test_concurrent_checks_decide_as_single_ones(guard: Guard) -> None:
    texts = ["hello world", "you idiot", "i will kill you", "x" * 9000] * 8
    context = Context(audience="children")

    async def ask() -> list[object]:
        plain = [guard.acheck_prompt(text) for text in texts]
        told = [guard.acheck_prompt(text, context) for text in texts]
        return await asyncio.gather(*plain, *told)

    found = asyncio.run(ask())
    alone = [guard.check_prompt(t) for t in texts] + [guard.check_prompt(t, context) for t in texts]
    assert [replace(one, timings_ms={}) for one in found] == [
        replace(one, timings_ms={}) for one in alone
    ]
    assert {one.action for one in alone} == {Action.ALLOW, Action.EDIT, Action.BLOCK}


def test_the_time_a_caller_waited_is_told(guard: Guard) -> None:
    async def ask() -> dict[str, float]:
        return dict((await guard.acheck_prompt("hello")).timings_ms)

    steps = asyncio.run(ask())
    assert steps["total"] >= steps["gather"] >= 0.9  # the policy's wait, 1 ms


def test_bad_input_is_refused_before_it_waits(guard: Guard) -> None:
    with pytest.raises(InputError, match="text is int"):
        asyncio.run(guard.acheck_prompt(7))  # type: ignore[arg-type]


def test_a_policy_bounds_the_queue(guard: Guard) -> None:
    policy = replace(guard.policy, gather=Gather(wait_ms=50, at_most=4, queue=3))
    small = Guard(policy)

    async def ask() -> list[object]:
        asked = (small.acheck_prompt("hello") for _ in range(4))
        return await asyncio.gather(*asked, return_exceptions=True)

    refused = [one for one in asyncio.run(ask()) if isinstance(one, OverloadError)]
    assert len(refused) == 1
