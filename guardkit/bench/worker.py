"""One of several processes that check prompts at once: `python worker.py POLICY SECONDS`.

Prints a line when it is ready, waits for one, checks prompts for so long, and prints how many a second.
"""

from __future__ import annotations

import sys
import time

from msgspec.structs import replace

from guardkit.artifacts import RunnerOptions
from guardkit.bench.report import HEADLINE_BUCKET
from guardkit.bench.workload import PROMPTS, load_workload
from guardkit.guard import Guard
from guardkit.policy.load import load_policy, load_preset

_FULL = "text-safety"


def main(policy: str, seconds: float) -> None:
    """Check prompts when told to."""
    read = load_policy(policy) if policy.endswith(".yaml") else load_preset(policy)
    options = replace(read.models.get(_FULL, RunnerOptions()), cascade=False)
    is_used = _FULL in read.scorers
    guard = Guard(replace(read, models={**read.models, _FULL: options}) if is_used else read)
    texts = load_workload(PROMPTS).buckets[HEADLINE_BUCKET]
    guard.check_prompts(texts[:8])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    count, started = 0, time.perf_counter()
    while (took := time.perf_counter() - started) < seconds:
        guard.check_prompt(texts[count % len(texts)])
        count += 1
    sys.stdout.write(f"{count / took}\n")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
