"""Run a step within a time limit, without a thread being started for every call.

Python cannot stop a running thread. A step that hangs is abandoned on a daemon thread, which never
keeps the process from ending; too many abandoned steps and new ones are refused at once, so that a
hanging scorer cannot eat the machine.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from guardkit.errors import DeadlineError

T = TypeVar("T")

_MOST_BUSY = 64  # chosen: far above the parallel requests of one process, far below a thread limit


class _Job(Generic[T]):
    """One call and the event that says it ended."""

    def __init__(self, function: Callable[[], T]) -> None:
        self.function = function
        self.done = threading.Lock()
        self.done.acquire()
        self.value: T | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.value = self.function()
        except BaseException as e:  # noqa: BLE001  handed to the caller's thread, which raises it
            self.error = e
        finally:
            self.done.release()


class DeadlineRunner:
    """A small pool of daemon threads; idle ones are used again."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._idle: list[queue.SimpleQueue[_Job[object]]] = []
        self._lock = threading.Lock()
        self._busy = 0
        self._process = os.getpid()  # last: who reads it may use the rest

    def call(self, function: Callable[[], T], *, timeout_s: float, name: str) -> T:
        """Call a function and wait at most `timeout_s` seconds for it.

        Raises:
            DeadlineError: It did not finish in time, or too many earlier calls still hang.
        """
        job: _Job[T] = _Job(function)
        self._submit(job, name)  # type: ignore[arg-type]  # a job is run, never read, by its thread
        if not job.done.acquire(timeout=timeout_s):
            raise DeadlineError(f"{name}: no answer within {timeout_s * 1000:.0f} ms.")
        if job.error is not None:
            raise job.error
        return job.value  # type: ignore[return-value]  # set: no error

    def _submit(self, job: _Job[object], name: str) -> None:
        if self._process != os.getpid():
            self._reset()  # threads do not survive a fork; their inboxes would wait for ever
        with self._lock:
            inbox = self._idle.pop() if self._idle else None
            if inbox is None:
                if self._busy >= _MOST_BUSY:
                    raise DeadlineError(f"{name}: {self._busy} calls still hang; refused.")
                inbox = queue.SimpleQueue()
                threading.Thread(
                    target=self._work, args=(inbox,), name="guardkit-step", daemon=True
                ).start()
            self._busy += 1
        inbox.put(job)

    def _work(self, inbox: queue.SimpleQueue[_Job[object]]) -> None:
        while True:
            inbox.get().run()
            with self._lock:
                self._busy -= 1
                self._idle.append(inbox)


class Clock:
    """The time of one check: what each step took, and how much is left."""

    def __init__(self, limit_ms: int | None, threads: DeadlineRunner) -> None:
        """Start now.

        Args:
            limit_ms: Milliseconds the check may take; None: no limit.
            threads: Where steps under a limit run.
        """
        self._started = time.perf_counter()
        self._limit_ms = limit_ms
        self._threads = threads
        self._steps: dict[str, float] = {}

    def timed(self, name: str, step: Callable[[], T]) -> T:
        """Run a step and add up its time under its name."""
        started = time.perf_counter()
        try:
            return step()
        finally:
            took_ms = (time.perf_counter() - started) * 1000
            self._steps[name] = self._steps.get(name, 0.0) + took_ms

    def within_limit(self, step: Callable[[], T], *, name: str) -> T:
        """Run a step in what is left of the limit.

        Raises:
            DeadlineError: It did not finish.
        """
        if self._limit_ms is None:
            return step()
        left_s = self._limit_ms / 1000 - (time.perf_counter() - self._started)
        return self._threads.call(step, timeout_s=max(left_s, 0.0), name=name)

    def timings_ms(self) -> dict[str, float]:
        """Milliseconds a step, and `total`."""
        total_ms = (time.perf_counter() - self._started) * 1000
        # A copy: a step that was given up may still be writing.
        steps = {**dict(self._steps), "total": total_ms}
        return {name: round(took, 3) for name, took in steps.items()}
