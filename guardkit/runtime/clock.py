"""The time of one check, and the two ways a step is held to it.

A model run can be stopped from outside, so it stays on the caller's thread and a watchdog stops it:
handing it to another thread would cost 0.3 ms of cold caches a check. Anybody's own code cannot be
stopped, so it runs on a thread that can be abandoned (`deadline.py`).
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from guardkit.errors import DeadlineError
from guardkit.runtime.deadline import DeadlineRunner

T = TypeVar("T")


class Stop:
    """The moment by which a check must be over; a run that can be stopped says how."""

    __slots__ = ("_cancel", "at_s", "is_done", "is_over")

    def __init__(self, at_s: float) -> None:
        self.at_s = at_s
        """On the clock of `time.monotonic`."""
        self.is_over = False
        """The moment has passed."""
        self.is_done = False
        """The check ended; nothing is left to stop."""
        self._cancel: Callable[[], None] | None = None

    def on_stop(self, cancel: Callable[[], None] | None) -> None:
        """What to call when the moment comes; None: nothing any more."""
        self._cancel = cancel
        if self.is_over and cancel is not None:  # it came between two steps
            cancel()

    def fire(self) -> None:
        """The moment has come."""
        self.is_over = True
        if (cancel := self._cancel) is not None:
            cancel()


class Watchdog:
    """One sleeping thread that fires the stops of many checks with one time limit."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._reset()

    def _reset(self) -> None:
        self._stops: deque[Stop] = deque()  # in the order of their moments: the limit is one
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._wakes_at_s = float("inf")
        self._thread: threading.Thread | None = None
        self._process = os.getpid()  # last: who reads it may use the rest

    def watch(self) -> Stop:
        """A stop that fires when the limit has passed from now, unless it is done before."""
        if self._process != os.getpid():
            self._reset()  # a thread does not survive a fork
        with self._lock:
            stop = Stop(time.monotonic() + self._limit_s)  # in the lock: moments stay in order
            while self._stops and self._stops[0].is_done:
                self._stops.popleft()
            self._stops.append(stop)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="guardkit-watchdog", daemon=True
                )
                self._thread.start()
            elif self._wakes_at_s > stop.at_s:  # asleep for good; else it wakes early enough
                self._wake.notify()
        return stop

    def _work(self) -> None:
        while True:
            with self._wake:
                now_s = time.monotonic()
                due: list[Stop] = []
                while self._stops and (self._stops[0].is_done or self._stops[0].at_s <= now_s):
                    due.append(self._stops.popleft())
                if not due:
                    left_s = self._stops[0].at_s - now_s if self._stops else None
                    self._wakes_at_s = float("inf") if left_s is None else now_s + left_s
                    self._wake.wait(left_s)
            for stop in due:
                if not stop.is_done:
                    stop.fire()


class Clock:
    """The time of one check: what each step took, and how much is left."""

    def __init__(self, threads: DeadlineRunner, watchdog: Watchdog | None) -> None:
        """Start now.

        Args:
            threads: Where steps run that cannot be stopped.
            watchdog: Stops those that can; None: there is no limit.
        """
        self._started = time.perf_counter()
        self._threads = threads
        self._steps: dict[str, float] = {}
        self._charged_ms = 0.0
        self.stop = None if watchdog is None else watchdog.watch()
        """For steps that can be stopped; None: there is no limit."""

    def timed(self, name: str, step: Callable[[], T]) -> T:
        """Run a step and add up its time under its name."""
        started = time.perf_counter()
        try:
            return step()
        finally:
            took_ms = (time.perf_counter() - started) * 1000
            self._steps[name] = self._steps.get(name, 0.0) + took_ms

    def charge(self, name: str, took_ms: float) -> None:
        """Add what a step took before this check began: its share of a run of several texts."""
        self._steps[name] = self._steps.get(name, 0.0) + took_ms
        self._charged_ms += took_ms

    def within_limit(self, step: Callable[[], T], *, name: str) -> T:
        """Run a step that cannot be stopped in what is left of the limit.

        Raises:
            DeadlineError: It did not finish.
        """
        if self.stop is None:
            return step()
        left_s = max(self.stop.at_s - time.monotonic(), 0.0)
        return self._threads.call(step, timeout_s=left_s, name=name)

    def end(self) -> dict[str, float]:
        """End the check.

        Returns:
            Milliseconds a step, and `total`.
        """
        if self.stop is not None:
            self.stop.is_done = True
            self.stop.on_stop(None)
        total_ms = (time.perf_counter() - self._started) * 1000 + self._charged_ms
        # A copy: a step that was given up may still be writing.
        steps = {**dict(self._steps), "total": total_ms}
        return {name: round(took, 3) for name, took in steps.items()}


def check_time(stop: Stop | None, name: str) -> None:
    """Refuse to begin a step when the moment has passed.

    Raises:
        DeadlineError: It has.
    """
    if stop is not None and (stop.is_over or time.monotonic() >= stop.at_s):
        raise DeadlineError(f"{name}: no time was left.")
