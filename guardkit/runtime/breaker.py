"""A circuit breaker: a server that fails again and again is left alone for a while.

closed --failures in a row--> open --pause--> half-open: one call tries
   ^                            ^                  |
   +--------- it answers -------+---- it fails ----+
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from guardkit.artifacts import Breaker
from guardkit.errors import RunError

_FREE = float("-inf")


class CircuitBreaker:
    """Counts failures in a row; safe to share between threads.

    Its two fields are written without a lock, which a fork could leave locked: what two threads can
    get wrong is one failure more or less, or a second call that tries.
    """

    def __init__(self, options: Breaker, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._clock = clock
        self._failures = 0
        self._closed_until_s = _FREE  # to calls: no call before this moment

    @contextmanager
    def attempt(self, where: str) -> Iterator[None]:
        """A call: an exception that leaves the block is a failure.

        Raises:
            RunError: The circuit is open; no call is made.
        """
        now_s = self._clock()
        if now_s < self._closed_until_s:
            raise RunError(
                f"{where}: left alone for {1000 * (self._closed_until_s - now_s):.0f} ms more, after "
                f"{self._failures} failures in a row."
            )
        if self._failures >= self._options.failures:  # half-open: others wait for this one
            self._pause()
        try:
            yield
        except Exception:
            self._failures += 1
            if self._failures >= self._options.failures:
                self._pause()
            raise
        self._failures, self._closed_until_s = 0, _FREE

    def _pause(self) -> None:
        self._closed_until_s = self._clock() + self._options.pause_ms / 1000
