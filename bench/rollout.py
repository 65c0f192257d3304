"""Many threads on one policy file that is rewritten all the while: every decision has to be the serial one.

    python -m bench.rollout --out bench/results/rollout.json

Mixed calls (a prompt, an output, two prompts, a run, a stream) on a policy of word lists, which two versions of a
file decide differently. A thread rewrites the file and reloads it; a call takes the guard of the moment, and its answer
is compared with what that policy answers alone.
"""

from __future__ import annotations

import argparse
import json
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

_POLICY = """
policy: live
prompt:
  scorers: [blocklist]
  editors: [redact]
  rules:
    - {name: no-rude, when: {category: rude, at_least: 1}, action: RUDE}
    - {name: no-election, when: {category: election, at_least: 1}, action: ELECTION}
output-text:
  scorers: [blocklist]
  editors: [redact]
  rules:
    - {name: no-rude, when: {category: rude, at_least: 1}, action: RUDE}
    - {name: no-election, when: {category: election, at_least: 1}, action: ELECTION}
lists: {rude: {block: [idiot]}, election: {block: [vote]}}
"""
_VERSIONS = (
    _POLICY.replace("RUDE", "edit, using: redact").replace("ELECTION", "block"),
    _POLICY.replace("RUDE", "block").replace("ELECTION", "regenerate"),
)
_TEXTS = ("a boat", "you idiot", "a vote", "a vote for an idiot", "mist over the harbour " * 8)
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
    row = _measured(arguments.threads, arguments.calls)
    found = {"models": ["blocklist"], "mixed calls while the policy file is rewritten": [row]}
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(rendered(found))
    return int(row["answers that differ"] != 0)


def _measured(threads: int, calls: int) -> dict[str, Any]:
    jobs = [(call, text) for call in range(len(_CALLS)) for text in _TEXTS]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "live.yaml"
        expected: dict[tuple[str, int, str], object] = {}
        for version in _VERSIONS:
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
                path.write_text(_VERSIONS[reloads % 2])
                reloads += file.reload()
            return reloads

        started = time.perf_counter()
        with ThreadPoolExecutor(threads + 1) as pool:
            reloads = pool.submit(rewrite)
            differ = sum(pool.map(work, range(threads)))
            over.set()
        took_s = time.perf_counter() - started
    return {
        "what": f"{threads} threads, {calls} calls each",
        "answers that differ": differ,
        "reloads": reloads.result(),
        "s": f"{took_s:.0f}",
    }


def _told(decision: Decision) -> dict[str, Any]:
    return {**decision.to_dict(include_text=True), "timings_ms": None}


if __name__ == "__main__":
    sys.exit(main())
