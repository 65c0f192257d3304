"""Run anybody's code within a time limit, without a thread being started for every call.

Python cannot stop a running thread. A step that hangs is abandoned on a daemon thread, which never
keeps the process from ending; too many abandoned steps and new ones are refused at once, so that a
hanging scorer cannot eat the machine.
"""

from __future__ import annotations

import os
import queue
import threading
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

    def __init__(self, *, most_busy: int = _MOST_BUSY) -> None:
        self._most_busy = most_busy
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

    def start(self, work: Callable[[], None], *, name: str) -> None:
        """Run something and do not wait for it; it says itself what came of it.

        Raises:
            DeadlineError: Too many earlier calls still hang.
        """
        self._submit(_Job[object](work), name)

    def _submit(self, job: _Job[object], name: str) -> None:
        if self._process != os.getpid():
            self._reset()  # threads do not survive a fork; their inboxes would wait for ever
        with self._lock:
            inbox = self._idle.pop() if self._idle else None
            if inbox is None:
                if self._busy >= self._most_busy:
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
