"""Which machine and which versions a number comes from."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from guardkit.bench.report import Machine
from guardkit.runtime.processor import has_vnni, processor_words

_PACKAGES = ("guardkit", "onnxruntime", "onnxruntime-gpu", "numpy", "tokenizers", "msgspec")


def load_average() -> float:
    """Processes that wanted a core over the last minute; 0 where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def describe_machine(*, load_before: float) -> Machine:
    """This machine, now.

    Args:
        load_before: The load average when the run began.
    """
    return Machine(
        cpu=_cpu(), cores=_cores(), load_before=load_before, load_after=load_average(), versions=_versions(), int8=_int8()
    )  # fmt: skip


def slug(machine: Machine) -> str:
    """A file name for results of this kind of machine.

    >>> slug(Machine("AMD EPYC(tm) 7", 2, 0.0, 0.0, {}))
    'amd-epyc-tm-7-2-cores'
    """
    return re.sub(r"[^a-z0-9]+", "-", machine.name.lower()).strip("-")


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "unknown"


def _int8() -> str:
    """The widest instructions for int8 that the processor names; half the speed hangs on VNNI."""
    flags = processor_words()
    if not flags & {"avx2", "avx512f"}:
        return ""
    width = "AVX512" if "avx512f" in flags else "AVX2"
    return f"{width}, {'VNNI' if has_vnni() else 'no VNNI'}"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue  # onnxruntime or onnxruntime-gpu, never both
    return versions
