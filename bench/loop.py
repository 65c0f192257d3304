"""What `Guard.run` costs beyond the checks and the generator it calls.

    python -m bench.loop --out bench/results/loop.json

CPU time of the process, both threads: a run with a time limit has its generator on a thread of its own. The same
checks and calls without the loop are measured in turn with it, on a guard whose scorer is a word list, as a model
would drown the difference. The difference of the sums a block of calls; over blocks the median, and the highest.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.tables import rendered
from guardkit import Guard, Guidance
from guardkit.loop import Budget
from guardkit.policy.load import policy_from_dict

_BLOCKS, _CALLS = 60, 50
_POLICY = {
    "policy": "bench",
    "prompt": {"scorers": ["blocklist"], "rules": [{"name": "no", "when": {"category": "rude", "at_least": 1}, "action": "block"}]},
    "output-text": {"scorers": ["blocklist"], "rules": [{"name": "again", "when": {"category": "rude", "at_least": 1}, "action": "regenerate"}]},
    "lists": {"rude": {"block": ["idiot"]}},
}  # fmt: skip
_PROMPT, _RUDE, _FINE = "describe the harbour at dawn", "you idiot", "boats lie in the mist"


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("bench/results/loop.json"))
    arguments = parser.parse_args()
    guard = Guard(policy_from_dict(_POLICY))
    rows = [
        _row(guard, what, attempts, budget)
        for what, attempts, budget in (
            ("one attempt, no time limit", 1, Budget(total_s=None)),
            ("one attempt", 1, Budget()),
            ("three attempts", 3, Budget(regenerations=2)),
        )
    ]
    found = {
        "models": ["blocklist"],
        "CPU ms of guard.run beyond its checks and its generator": rows,
    }
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(rendered(found))
    return 0


def _row(guard: Guard, what: str, attempts: int, budget: Budget) -> dict[str, Any]:
    def generate(_: str, guidance: Guidance | None = None) -> str:  # noqa: ARG001  it takes it
        nonlocal calls
        calls += 1
        return _FINE if calls % attempts == 0 else _RUDE

    def bare() -> None:
        guard.check_prompt(_PROMPT)
        for _ in range(attempts):
            guard.check_output(text=generate(_PROMPT))

    calls = 0
    result = guard.run(generate, _PROMPT, budget=budget)
    assert (result.output, len(result.attempts)) == (_FINE, attempts)  # noqa: S101
    added: list[float] = []
    for _ in range(_BLOCKS):
        plain_ms = _cpu_ms(bare)
        added.append(_cpu_ms(lambda: guard.run(generate, _PROMPT, budget=budget)) - plain_ms)
    return {
        "what": what,
        "median": f"{statistics.median(added):.3f}",
        "highest of blocks": f"{max(added):.3f}",
        "checks and generator": f"{plain_ms:.3f}",
    }


def _cpu_ms(call: Callable[[], object]) -> float:
    """Mean CPU milliseconds of a block of calls."""
    started = time.process_time()
    for _ in range(_CALLS):
        call()
    return (time.process_time() - started) * 1000 / _CALLS


if __name__ == "__main__":
    sys.exit(main())
