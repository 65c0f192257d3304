"""What running short texts together saves: `check_prompts`, and concurrent `acheck_prompt`, interleaved with `check_prompt`.

    python -m bench.together --out bench/results/together.json

CPU time of one thread, the cascade off (it would hide the model), texts of the workload by their length. The
median of the rounds' ratios, with its range.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from bench.tables import rendered
from guardkit import Guard
from guardkit.artifacts import RunnerOptions
from guardkit.bench.workload import PROMPTS, load_workload
from guardkit.policy.load import load_preset

_ROUNDS = 9
_CALLERS = 64
_SHORT = ("8", "16", "32")


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("bench/results/together.json"))
    arguments = parser.parse_args()
    found = measure()
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(rendered(found))
    return 0


def measure() -> dict[str, Any]:
    """The table, as JSON."""
    policy = load_preset("chat")
    guard = Guard(replace(policy, models={"text-safety": RunnerOptions(cascade=False)}))
    buckets = load_workload(PROMPTS).buckets
    rows = [_compared(guard, bucket, list(texts)) for bucket, texts in buckets.items()]
    models = [f"{info.name}@{info.version} {info.precision}" for info in guard.info()]
    return {
        "models": models,
        "CPU of check_prompts, as a share of check_prompt's": rows,
        "CPU of concurrent acheck_prompt": [_gathered(guard, buckets)],
    }


def _compared(guard: Guard, bucket: str, texts: list[str]) -> dict[str, Any]:
    ratios = []
    for _ in range(_ROUNDS):
        alone = _cpu_s(lambda: [guard.check_prompt(text) for text in texts])
        ratios.append(_cpu_s(lambda: guard.check_prompts(texts)) / alone)
    return {
        "what": f"at most {bucket} tokens",
        "texts": len(texts),
        "ratio": f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]",
    }


def _gathered(guard: Guard, buckets: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Callers at once against one `check_prompts` of the same texts."""
    short = (text for bucket in _SHORT for text in buckets[bucket])
    texts = list(itertools.islice(short, _CALLERS))
    loop = asyncio.new_event_loop()

    async def ask() -> None:
        await asyncio.gather(*map(guard.acheck_prompt, texts))

    ratios = []
    for _ in range(_ROUNDS):
        sorted_s = _cpu_s(lambda: guard.check_prompts(texts))
        ratios.append(_cpu_s(lambda: loop.run_until_complete(ask())) / sorted_s)
    loop.close()
    return {
        "what": f"{len(texts)} callers, as a share of one check_prompts",
        "ratio": f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]",
    }


def _cpu_s(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    sys.exit(main())
