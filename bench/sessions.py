"""What two session options cost and give on this machine: `python -m bench.sessions`.

Exact int8 sums (`session.x64quantprecision`, which guardkit sets where the processor has no VNNI) against onnxruntime's default, on the
workload's prompts: with VNNI the sums are the same, and asking for them costs time. Opening `text-safety` plainly and from a kept optimized graph (`models.<name>.cache`).
CPU time, one thread, in turn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from bench.tables import rendered
from guardkit.artifacts import Artifact, RunnerOptions, find_artifact
from guardkit.bench.machine import describe_machine
from guardkit.bench.quantiles import median_interval
from guardkit.bench.workload import PROMPTS, load_workload
from guardkit.runtime.base import open_runner
from guardkit.runtime.sessions import open_session
from guardkit.text.normalize import normalize
from guardkit.text.score import TextScorer

_BUCKETS = ("8", "16", "32", "64")
_OPENINGS = 9


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("bench/results/sessions.json"))
    arguments = parser.parse_args()
    artifact = find_artifact("text-safety")
    found = {
        "models": [artifact.manifest.id, describe_machine(load_before=0).name],
        "exact int8 sums against onnxruntime's default": [_exactness(artifact)],
        "opening the model, CPU ms": _openings(artifact),
    }
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(rendered(found))
    return 0


def _exactness(artifact: Artifact) -> dict[str, Any]:
    scorer = TextScorer(artifact, open_runner(artifact, RunnerOptions()))
    exact, plain = (_session(artifact, is_exact=is_exact) for is_exact in (True, False))
    buckets = load_workload(PROMPTS).buckets
    texts = [text for name in _BUCKETS for text in buckets[name]]
    differences, ratios = [], []
    for text in texts:
        inputs = scorer.encode(normalize(text, words=scorer.words())).inputs
        started = time.process_time()
        theirs = plain.run(["logits"], inputs)[0]
        between = time.process_time()
        ours = exact.run(["logits"], inputs)[0]
        ratios.append((time.process_time() - between) / (between - started))
        differences.append(float(np.abs(ours - theirs).max()))
    ratio = median_interval(ratios)
    return {
        "what": f"{len(texts)} prompts",
        "time": f"{ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]",
        "logits apart, median": f"{statistics.median(differences):.3f}",
        "at most": f"{max(differences):.3f}",
    }


def _session(artifact: Artifact, *, is_exact: bool) -> Any:
    options = onnxruntime.SessionOptions()
    if is_exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = artifact.read(artifact.manifest.model)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _openings(artifact: Artifact) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as cache:
        kept = RunnerOptions(cache=cache)
        open_session(artifact, kept)  # makes the graph; the session is gone at once
        took: dict[str, list[float]] = {"plainly": [], "from the kept graph": []}
        for _ in range(_OPENINGS):
            took["plainly"].append(_cpu_ms(lambda: open_session(artifact, RunnerOptions())))
            took["from the kept graph"].append(_cpu_ms(lambda: open_session(artifact, kept)))
    return [{"what": how, "ms": f"{statistics.median(ms):.0f}"} for how, ms in took.items()]


def _cpu_ms(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return (time.process_time() - started) * 1000


if __name__ == "__main__":
    sys.exit(main())
