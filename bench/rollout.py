"""Many threads on one policy file that is rewritten all the while: every decision has to be the serial one.

    python -m bench.rollout --out bench/results/rollout.json

Mixed calls (a prompt, an output, two prompts, a run, a stream) on a policy of word lists, and on one that has the model
text-safety beside them; two versions of a file decide differently. A thread rewrites the file and reloads it; a call takes the guard of the moment, and its answer
is compared with what that policy answers alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.tables import rendered
from guardkit import Decision, Guard
from guardkit.rollout import PolicyFile

_RULE = "    - {{name: {category}, when: {{category: {category}, at_least: {at_least}}}, action: {action}}}"
_VERSIONS = (
    {"rude": "edit, using: redact", "election": "block"},
    {"rude": "block", "election": "regenerate"},
)
_LISTS = {"rude": ("rude", 1), "election": ("election", 1)}
"""Category -> the version's action that it has, and its threshold."""
_POLICIES = {
    "blocklist": _LISTS,
    "blocklist, text-safety": {**_LISTS, "insult": ("rude", 0.5), "threat": ("election", 0.23)},
}
_TEXTS = (
    "a boat",
    "you idiot",
    "a vote",
    "a vote for an idiot",
    "mist over the harbour " * 8,
    "You are a fool and a coward.",
    "I will kill you tonight.",
)
_CALLS: tuple[Callable[[Guard, str], object], ...] = (
    lambda guard, text: _told(guard.check_prompt(text)),
    lambda guard, text: _told(guard.check_output(text=text)),
    lambda guard, text: [_told(one) for one in guard.check_prompts([text, "a boat"])],
    lambda guard, text: guard.run(lambda prompt: prompt, text, seed=1).output,
    lambda guard, text: "".join(guard.stream(text.split(" "))),
)


def main() -> int:
    """Measure, print, write; 1 when an answer differs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("bench/results/rollout.json"))
    parser.add_argument("--threads", type=int, default=64)
    parser.add_argument("--calls", type=int, default=1000, help="of each thread")
    arguments = parser.parse_args()
    rows = [_measured(scorers, arguments.threads, arguments.calls) for scorers in _POLICIES]
    models = [
        f"{one.name}@{one.version} {one.precision}" for one in Guard.from_preset("chat").info()
    ]
    found = {
        "models": ["word lists", models[0], f"{os.cpu_count()} cores"],
        "mixed calls while the policy file is rewritten": rows,
    }
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(rendered(found))
    return int(any(row["answers that differ"] for row in rows))


def _policy(scorers: str, version: dict[str, str]) -> str:
    rules = [
        _RULE.format(category=category, at_least=at_least, action=version[action])
        for category, (action, at_least) in _POLICIES[scorers].items()
    ]
    stage = "\n".join([f"  scorers: [{scorers}]", "  editors: [redact]", "  rules:", *rules])
    lists = "lists: {rude: {block: [idiot]}, election: {block: [vote]}}"
    return f"policy: live\nprompt:\n{stage}\noutput-text:\n{stage}\n{lists}\n"


def _measured(scorers: str, threads: int, calls: int) -> dict[str, Any]:
    versions = [_policy(scorers, version) for version in _VERSIONS]
    jobs = [(call, text) for call in range(len(_CALLS)) for text in _TEXTS]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "live.yaml"
        expected: dict[tuple[str, int, str], object] = {}
        for version in versions:
            path.write_text(version)
            alone = Guard.from_file(path)
            expected |= {(alone.policy.id, *job): _CALLS[job[0]](alone, job[1]) for job in jobs}
        file, over = PolicyFile(path), threading.Event()

        def work(first: int) -> int:
            differ = 0
            for at in range(first, first + calls):
                guard, (call, text) = file.guard, jobs[at % len(jobs)]
                differ += _CALLS[call](guard, text) != expected[guard.policy.id, call, text]
            return differ

        def rewrite() -> int:
            reloads = 0
            while not over.is_set():
                path.write_text(versions[reloads % 2])
                reloads += file.reload()
            return reloads

        started = time.perf_counter()
        with ThreadPoolExecutor(threads + 1) as pool:
            reloads = pool.submit(rewrite)
            differ = sum(pool.map(work, range(threads)))
            over.set()
        took_s = time.perf_counter() - started
    return {
        "what": f"{threads} threads, {calls} calls each: {scorers}",
        "answers that differ": differ,
        "reloads": reloads.result(),
        "s": f"{took_s:.0f}",
    }


def _told(decision: Decision) -> dict[str, Any]:
    return {**decision.to_dict(include_text=True), "timings_ms": None}


if __name__ == "__main__":
    sys.exit(main())
