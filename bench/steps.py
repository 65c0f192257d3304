"""What `StepGuard` saves, and that it answers as the full run does, on random traces.

    python -m bench.steps --out bench/results/steps.json

A trace is 50 steps of five categories. It has a rate of its own at which a step votes unsafe, so that safe
and unsafe traces are both common. The full run is the definition, on whole arrays and in whole numbers.
"""

from __future__ import annotations

import argparse
import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.tables import rendered
from guardkit.steer import Signal, StepGuard, StepRecord

_TRACES, _STEPS, _CATEGORIES, _SEED = 100_000, 50, ("a", "b", "c", "d", "e"), 7
_PLANS = ((20, 0.6), (20, 1.0), (10, 0.7), (5, 1.0), (50, 0.6), (20, 0.55))  # (eta, lam)
_THRESHOLD = 0.5


def main() -> int:
    """Measure, print, write; 1 when an answer differs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("bench/results/steps.json"))
    parser.add_argument("--traces", type=int, default=_TRACES)
    arguments = parser.parse_args()
    rows = [_measured(eta, lam, arguments.traces) for eta, lam in _PLANS]
    found = {"models": ["StepGuard"], f"{arguments.traces} random traces of 50 steps": rows}
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(rendered(found))
    return int(any(row["answers that differ"] for row in rows))


def _measured(eta: int, lam: float, traces: int) -> dict[str, Any]:
    scores = _traces(traces, np.random.default_rng(_SEED))
    votes = (scores[:, :eta] >= _THRESHOLD).any(axis=2).sum(axis=1)
    share = Fraction(str(lam))
    expected = votes * share.denominator >= eta * share.numerator
    guard = StepGuard(eta, lam, score=lambda row, _: dict(zip(_CATEGORIES, row, strict=True)))
    records = [_watched(guard, trace) for trace in scores.tolist()]
    answers = np.array([record.is_unsafe for record in records])
    saved = np.array([record.steps_saved for record in records])
    unscored = np.array([record.scores_saved for record in records])
    return {
        "what": f"eta {eta}, lam {lam}",
        "answers that differ": int(np.count_nonzero(answers != expected)),
        "unsafe": int(expected.sum()),
        "steps saved on unsafe, mean": f"{saved[expected].mean() / _STEPS:.3f}",
        "least": f"{saved[expected].min() / _STEPS:.2f}",
        "scores saved on safe, mean": f"{unscored[~expected].mean() / eta:.3f}",
    }


def _traces(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """f64 [count, steps, categories]: below the threshold, or above it at the trace's rate."""
    rates = rng.beta(1, 1, size=(count, 1, 1))  # that any of five votes
    is_high = rng.random((count, _STEPS, len(_CATEGORIES))) < 1 - (1 - rates) ** 0.2
    return np.asarray(rng.random(is_high.shape) * 0.499 + is_high * 0.5, np.float64)


def _watched(guard: StepGuard, trace: list[list[float]]) -> StepRecord:
    watch = guard.watch(_STEPS)
    for step, row in enumerate(trace, 1):
        if watch.on_step(step, row) is Signal.ABORT:
            break
    return watch.end()


if __name__ == "__main__":
    sys.exit(main())
