"""Freed memory back to the system: what a large picture took is not kept beside the next one."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable


def give_back() -> None:
    """Return the pages of freed memory, where the C library can (glibc).

    Pillow frees its 16 MB blocks one by one. glibc keeps what lies below anything that is still in use: of a picture of
    20 megapixels measured at 60 MB, and 36 MB of opening the models.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # musl and macOS lack it; Windows takes no None
        return None
    return found
