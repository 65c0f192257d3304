"""A progress bar on a terminal; nothing in a pipe."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

_WIDTH = 30  # characters of the bar
_EVERY_S = 0.1  # between two drawings: quicker is flicker
_ERASE = "\r\x1b[K"


class Progress:
    """How far some work is. Whatever else is written to the terminal comes after a `clear`."""

    def __init__(
        self, stream: TextIO, total: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Draw nothing yet.

        Args:
            stream: Standard error; where it is no terminal, nothing is ever drawn.
            total: Things to do.
            clock: Seconds.
        """
        self._stream, self._total, self._clock = stream, total, clock
        self._is_shown = stream.isatty()
        self._begin, self._last = clock(), float("-inf")

    def show(self, done: int, note: str = "") -> None:
        """Draw the bar, unless it was drawn a moment ago; there may be more done than was announced."""
        now = self._clock()
        if not self._is_shown or now - self._last < _EVERY_S:
            return
        self._last = now
        total = max(self._total, done)
        full = _WIDTH * done // total if total else _WIDTH
        rate = done / (now - self._begin) if now > self._begin else 0.0
        bar = "#" * full + "-" * (_WIDTH - full)
        self._stream.write(f"{_ERASE}[{bar}] {done}/{total}  {rate:.1f}/s  {note}")
        self._stream.flush()

    def clear(self) -> None:
        """Take the bar away, until the next `show`."""
        if self._is_shown and self._last > float("-inf"):
            self._stream.write(_ERASE)
            self._stream.flush()
            self._last = float("-inf")
