"""Start-up time, memory and installed size: what one process can only show once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import msgspec
from msgspec import Struct

from guardkit.bench import probe
from guardkit.bench.quantiles import percentile
from guardkit.bench.report import Footprint, Start, StartStep
from guardkit.errors import InputError

_MB = 1_000_000
_PACKAGE = Path(__file__).parent.parent
_STEPS = ("import", "construct", "first decision")
_TIMEOUT_S = 120  # chosen: a hundred times what a slow machine needs
_REQUIREMENT = re.compile(r"[A-Za-z0-9._-]+")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")


class _Probe(Struct):
    cpu_s: list[float]
    wall_s: list[float]
    process_cpu_s: float
    peak_memory_mb: float
    process_wall_s: float = 0.0


def measure_starts(policy: str, *, processes: int) -> tuple[Start, Start]:
    """Start fresh processes that check one prompt: with cold byte-code, then with warm.

    Args:
        policy: A preset or a policy file.
        processes: Processes of each kind; the numbers are medians.

    Raises:
        InputError: A process failed; the message ends with its last line.
    """
    cold: list[_Probe] = []
    warm: list[_Probe] = []
    for _ in range(processes):
        with tempfile.TemporaryDirectory(prefix="guardkit-bench-") as byte_code:
            cold.append(_run_probe(policy, byte_code))
            warm.append(_run_probe(policy, byte_code))
    return _start("cold", cold), _start("warm", warm)


def _run_probe(policy: str, byte_code: str) -> _Probe:
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": byte_code}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    started = time.perf_counter()
    done = subprocess.run(  # noqa: S603  our own interpreter and file; the policy is an argument
        [sys.executable, "-P", probe.__file__, policy],
        env=environment,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    wall_s = time.perf_counter() - started
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:]
        raise InputError(f"a fresh process with policy '{policy}' failed: {''.join(last)}")
    found = msgspec.json.decode(done.stdout, type=_Probe)
    found.process_wall_s = wall_s
    return found


def _start(byte_code: str, probes: Sequence[_Probe]) -> Start:
    steps = [
        StartStep(
            step=step,
            cpu_s=percentile([one.cpu_s[index] for one in probes], 0.5),
            wall_s=percentile([one.wall_s[index] for one in probes], 0.5),
        )
        for index, step in enumerate(_STEPS)
    ]
    whole = StartStep(
        step="process",
        cpu_s=percentile([one.process_cpu_s for one in probes], 0.5),
        wall_s=percentile([one.process_wall_s for one in probes], 0.5),
    )
    peak_mb = percentile([one.peak_memory_mb for one in probes], 0.5)
    return Start(byte_code=byte_code, steps=(*steps, whole), peak_memory_mb=peak_mb)


def measure_footprint(artifacts: Sequence[Path]) -> Footprint:
    """Size of guardkit with the extra `cpu`, of what both need, and of these artifacts.

    Read from the installed distributions; guardkit itself is its package folder, so that an
    editable installation counts the same as a wheel.
    """
    packages = {**installed_mb("guardkit", extra="cpu"), "guardkit": _folder_mb(_PACKAGE)}
    outside = [path for path in artifacts if not path.resolve().is_relative_to(_PACKAGE)]
    models_mb = sum(map(_folder_mb, outside))
    return Footprint(packages, models_mb, sum(packages.values()) + models_mb)


def installed_mb(name: str, *, extra: str = "") -> Mapping[str, float]:
    """A distribution and everything it needs, as far as it is installed: name -> 10^6 bytes.

    Raises:
        PackageNotFoundError: The distribution itself is not installed.
    """
    sizes = {name: _distribution_mb(distribution(name))}
    wanted = [name]
    while wanted:
        for needed in _requirements(distribution(wanted.pop()), extra):
            if needed not in sizes and (found := _installed(needed)) is not None:
                sizes[needed] = _distribution_mb(found)
                wanted.append(needed)
        extra = ""  # an extra belongs to the distribution that was asked for
    return sizes


def _requirements(found: Distribution, extra: str) -> list[str]:
    """Names of what a distribution needs. A marker other than an extra is answered by what is installed."""
    names = []
    for requirement in found.requires or ():
        extras = _EXTRA.findall(requirement)
        match = _REQUIREMENT.match(requirement)
        if match and (not extras or extra in extras):
            names.append(match.group().lower().replace("_", "-"))
    return names


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _distribution_mb(found: Distribution) -> float:
    paths = [Path(str(file.locate())) for file in found.files or ()]
    return sum(path.stat().st_size for path in paths if path.is_file()) / _MB


def _folder_mb(folder: Path) -> float:
    files = (path for path in folder.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files if "__pycache__" not in path.parts) / _MB
