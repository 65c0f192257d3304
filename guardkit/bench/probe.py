"""What a fresh process pays until its first decision. Run as a file: `python -P probe.py POLICY`.

Not `-m guardkit.bench.probe`: that would import guardkit before the first mark.
"""

from __future__ import annotations

import sys
import time  # every import up here is one that guardkit's own import no longer pays: keep it short

_PROMPT = "a watercolour of a lighthouse"
_MB = 1_000_000


def main(policy: str) -> dict[str, object]:
    """Import, construct, decide once; seconds of each, and the most memory held."""
    marks = [_mark()]
    from guardkit.guard import Guard  # this import is what is measured

    marks.append(_mark())
    is_file = policy.endswith(".yaml")
    guard = Guard.from_file(policy) if is_file else Guard.from_preset(policy)
    marks.append(_mark())
    guard.check_prompt(_PROMPT)
    marks.append(_mark())
    steps = range(1, len(marks))
    return {
        "cpu_s": [(marks[step][0] - marks[step - 1][0]) / 1e9 for step in steps],
        "wall_s": [(marks[step][1] - marks[step - 1][1]) / 1e9 for step in steps],
        "process_cpu_s": marks[-1][0] / 1e9,
        "peak_memory_mb": peak_memory_bytes() / _MB,
    }


def peak_memory_bytes() -> int:
    """The largest resident size of this process so far.

    From /proc where there is one: on Linux `ru_maxrss` survives exec, so a child would report the
    memory of the parent that started it.
    """
    from pathlib import Path

    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource  # not on Windows

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def _mark() -> tuple[int, int]:
    return time.process_time_ns(), time.perf_counter_ns()


if __name__ == "__main__":
    found = main(sys.argv[1])
    import json  # after the marks: what guardkit itself imports is counted, nothing else

    sys.stdout.write(json.dumps(found))
