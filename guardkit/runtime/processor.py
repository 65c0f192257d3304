"""What the processor says it can do."""

from __future__ import annotations

import functools
from pathlib import Path

_VNNI = {"avx512_vnni", "avx_vnni"}


@functools.cache
def processor_words() -> frozenset[str]:
    """The words of /proc/cpuinfo, flags among them; empty where the system does not say."""
    try:
        return frozenset(Path("/proc/cpuinfo").read_text("utf-8").split())
    except OSError:
        return frozenset()


def has_vnni() -> bool:
    """Whether int8 products are added exactly and fast; False where the system does not say."""
    return not _VNNI.isdisjoint(processor_words())
