"""Concurrent callers of one event loop, gathered: what they ask is worked on together.

The first caller waits at most `wait_ms` for others; whoever comes while a batch is worked on waits for
the next one, which then begins at once. A caller that goes away is left out, and when too many wait the
next is refused: a queue that only grows answers nobody in time.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from guardkit.errors import OverloadError

J = TypeVar("J")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Ticket(Generic[J]):
    """What one caller asks, and since when."""

    job: J
    asked_s: float
    """On the clock of `time.perf_counter`."""


Work = Callable[[Sequence[Ticket[J]]], Sequence[R | Exception]]
"""Answers tickets, on a thread of the event loop's pool: one result, or one error to raise, each."""


class Gatherer(Generic[J, R]):
    """Gathers what callers ask; one desk an event loop. Safe to share between threads."""

    def __init__(self, work: Work[J, R], *, wait_ms: float, at_most: int, queue: int) -> None:
        """Say how to gather.

        Args:
            work: Answers a batch.
            wait_ms: How long the first caller waits for others.
            at_most: Callers in one batch.
            queue: Callers that may wait; one more is refused.
        """
        self._work = work
        self._wait_s = wait_ms / 1000
        self._at_most = at_most
        self._queue = queue
        self._desks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Desk[J, R]] = (
            weakref.WeakKeyDictionary()
        )

    async def ask(self, job: J) -> R:
        """Ask, and wait for the answer.

        Raises:
            OverloadError: Too many wait already.
        """
        loop = asyncio.get_running_loop()
        desk = self._desks.get(loop)
        if desk is None:
            desk = self._desks[loop] = _Desk(self._work, self._wait_s, self._at_most, self._queue)
        return await desk.take(job)


class _Desk(Generic[J, R]):
    """The callers of one event loop, whose thread alone touches it."""

    def __init__(self, work: Work[J, R], wait_s: float, at_most: int, queue: int) -> None:
        self._work = work
        self._wait_s = wait_s
        self._at_most = at_most
        self._queue = queue
        self._waiting: deque[tuple[Ticket[J], asyncio.Future[R]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._is_busy = False

    def take(self, job: J) -> asyncio.Future[R]:
        """Let a caller wait for a batch; begin one when it is full."""
        if len(self._waiting) >= self._queue:
            self._drop_gone()
        if len(self._waiting) >= self._queue:
            raise OverloadError(
                f"{self._queue} checks wait already; refused. Send fewer at a time, or raise the "
                f"policy's gather.queue."
            )
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[R] = loop.create_future()
        self._waiting.append((Ticket(job, time.perf_counter()), answer))
        if self._is_busy:
            return answer
        if len(self._waiting) >= self._at_most:
            self._begin()
        elif self._timer is None:
            self._timer = loop.call_later(self._wait_s, self._begin)
        return answer

    def _drop_gone(self) -> None:
        self._waiting = deque(one for one in self._waiting if not one[1].done())

    def _begin(self) -> None:
        """Work on those who wait, as many as one batch takes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._drop_gone()
        batch = [self._waiting.popleft() for _ in range(min(self._at_most, len(self._waiting)))]
        if not batch:
            return
        self._is_busy = True
        tickets = [ticket for ticket, _ in batch]
        done = asyncio.get_running_loop().run_in_executor(None, self._work, tickets)
        done.add_done_callback(partial(self._hand_out, [answer for _, answer in batch]))

    def _hand_out(
        self,
        answers: Sequence[asyncio.Future[R]],
        done: asyncio.Future[Sequence[R | Exception]],
    ) -> None:
        """Give every caller of a batch its answer; begin the next batch."""
        self._is_busy = False
        error = done.exception()
        results = [error] * len(answers) if error is not None else done.result()
        for answer, result in zip(answers, results, strict=True):
            if answer.done():
                continue  # the caller went away
            if isinstance(result, BaseException):
                answer.set_exception(result)
            else:
                answer.set_result(result)
        if self._waiting:
            self._begin()
