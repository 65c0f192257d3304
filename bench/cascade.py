"""What the cascade loses and what it saves: `.venv-train/bin/python bench/cascade.py --data ../shared/data`.

Loss: training texts that the fast tier was not shown (by hash) go through a policy whose rules are the thresholds the
tier was fitted for. Flagged: the full model reaches one of them. Lost: flagged, and cleared by the fast tier. The full
model has seen these texts in its training; the loss on texts that neither saw is on the artifact's card.

Cost: two guards of one policy, cascade on and off, in one process, on mixes of 95 % harmless and 5 % flagged texts. A
few texts go to one guard, then the same to the other, in turn, so that whatever else the machine does hits both alike.
CPU time of a whole `check_prompt`, one call in flight, one thread.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from guardkit import Action, Guard, Policy
from guardkit.artifacts import Manifest, RunnerOptions, find_artifact
from guardkit.bench.machine import describe_machine, load_average
from guardkit.errors import GuardkitError, InputError
from guardkit.export.bounds import upper_bound
from guardkit.policy.load import load_preset
from guardkit.policy.rules import Rule, StagePolicy, When
from guardkit.text.cascade import FAST, FULL
from guardkit.train.data import HARMLESS_SOURCES, Pool
from guardkit.train.mixture import Folders
from guardkit.train.teacher import HELD, LEARN, draw_texts
from guardkit.types import Scores, Tier

RESULTS = Path(__file__).parent / "results" / "cascade.json"
BLOCK = 5  # texts to one guard before the other has its turn
WARM_UP = 20
BENIGN_SHARE = 0.95
SEED = 20261124
HARMLESS = 0.1  # no known label above it


def main() -> int:
    """Measure and write the JSON."""
    args, load_before = _parsed(), load_average()
    fast = find_artifact(FAST).manifest
    drawn = draw_texts(Folders(args.data, args.own), args.rows)
    held = drawn.pool.take(np.flatnonzero(drawn.uses == HELD))
    loss, flagged = measure_loss(held, fast, least=args.flagged)
    print(json.dumps(loss))
    unseen = drawn.pool.take(np.flatnonzero(drawn.uses != LEARN))
    harmful = [text for text, is_flagged in zip(held.texts, flagged, strict=True) if is_flagged]
    cost = {}
    for name, benign in harmless_kinds(unseen).items():
        texts = mix(benign, harmful, args.mix)
        cost[name] = measure_cost(load_preset(args.policy), texts)
        print(name, json.dumps(cost[name]))
    result = {
        "machine": msgspec.to_builtins(describe_machine(load_before=load_before)),
        "models": [find_artifact(FULL).manifest.id, fast.id],
        "bounds": fast.clears,
        "loss": loss,
        "policy": args.policy,
        "benign_share": BENIGN_SHARE,
        "cost": cost,
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", required=True, type=Path, help="as for guardkit train")
    parser.add_argument("--own", type=Path, default=Path("data"))
    parser.add_argument(
        "--rows", type=int, default=60_000, help="as in training; 12 % are held out"
    )
    parser.add_argument("--flagged", type=int, default=3000, help="flagged texts needed, at least")
    parser.add_argument("--mix", type=int, default=1000, help="texts of a mix")
    parser.add_argument(
        "--policy", default="chat", help="not one whose editors look at every text: it clears none"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


# --- loss -----------------------------------------------------------------------------------------


def measure_loss(
    pool: Pool, fast: Manifest, *, least: int
) -> tuple[dict[str, Any], NDArray[np.bool_]]:
    """How many flagged texts the fast tier clears, by the guard's own decisions.

    Raises:
        InputError: There is no usable fast tier, or fewer flagged texts than asked for.
    """
    if fast.fitted is None:
        raise InputError(f"{fast.id} is no fast tier.")
    thresholds = fast.fitted.thresholds
    guard = Guard(reference_policy(thresholds))
    if FAST not in (info.name for info in guard.info()):
        raise InputError(f"{fast.id} was not fitted for the {FULL} that is found here.")
    reached = np.array([_reaches(one, thresholds) for one in guard.score_prompts(pool.texts)])
    decisions = [guard.check_prompt(text) for text in pool.texts]
    cleared = np.array([decision.tier is Tier.FAST for decision in decisions])
    count, lost = int(reached.sum()), int((reached & cleared).sum())
    if count < least:
        raise InputError(f"{count} flagged texts, at least {least} are needed. Raise --rows.")
    return {
        "texts": len(pool.texts),
        "flagged": count,
        "lost": lost,
        "share": lost / count,
        "upper_95": upper_bound(lost, count),
        "cleared_of_not_flagged": float(cleared[~reached].mean()),
        "thresholds": thresholds,
    }, reached


def reference_policy(thresholds: Mapping[str, float]) -> Policy:
    """Blocks at the thresholds that a fast tier was fitted for."""
    rules = tuple(
        Rule(f"{category}-is-blocked", When(category, at_least), Action.BLOCK)
        for category, at_least in thresholds.items()
    )
    return Policy("reference", prompt=StagePolicy(scorers=(FULL,), rules=rules))


def _reaches(scores: Scores, thresholds: Mapping[str, float]) -> bool:
    return any((scores[name] or 0.0) >= threshold for name, threshold in thresholds.items())


# --- cost -----------------------------------------------------------------------------------------


def harmless_kinds(pool: Pool) -> dict[str, list[str]]:
    """Harmless texts by kind."""
    fine = (pool.labels * pool.weights).max(axis=1) < HARMLESS
    is_prompt = np.isin(pool.sources, HARMLESS_SOURCES)
    texts = np.array(pool.texts, dtype=object)
    return {"prompts": list(texts[fine & is_prompt]), "comments": list(texts[fine & ~is_prompt])}


def mix(benign: Sequence[str], harmful: Sequence[str], count: int) -> list[str]:
    """95 % harmless and 5 % flagged texts in a fixed random order; each benign text at most once."""
    rng = np.random.default_rng(SEED)
    fine = min(len(benign), round(count * BENIGN_SHARE))
    bad = round(fine * (1 - BENIGN_SHARE) / BENIGN_SHARE)
    texts = [benign[row] for row in rng.permutation(len(benign))[:fine]]
    texts += [harmful[row] for row in rng.permutation(len(harmful))[:bad]]
    return [texts[row] for row in rng.permutation(len(texts))]


@dataclasses.dataclass
class Cost:
    """CPU time of every check of one guard."""

    took_ms: list[float] = dataclasses.field(default_factory=list)
    cleared: list[bool] = dataclasses.field(default_factory=list)

    def run(self, guard: Guard, texts: Iterable[str]) -> None:
        """Check texts, one in flight."""
        for text in texts:
            started_ns = time.process_time_ns()
            decision = guard.check_prompt(text)
            self.took_ms.append((time.process_time_ns() - started_ns) / 1e6)
            self.cleared.append(decision.tier is Tier.FAST)

    def summary(self) -> dict[str, Any]:
        """The numbers of one guard."""
        quick = np.array(self.took_ms)[self.cleared]
        p50, p95 = np.percentile(self.took_ms, [50, 95])
        return {
            "mean_cpu_ms": round(float(np.mean(self.took_ms)), 4),
            "p50_cpu_ms": round(float(p50), 4),
            "p95_cpu_ms": round(float(p95), 4),
            "cleared": round(float(np.mean(self.cleared)), 4),
            "p50_cpu_ms_when_cleared": round(float(np.median(quick)), 4) if len(quick) else None,
        }


def measure_cost(policy: Policy, texts: Sequence[str]) -> dict[str, Any]:
    """Cascade on and off on the same texts, in turn."""
    options = replace(policy.models.get(FULL, RunnerOptions()), cascade=False)
    off = Guard(replace(policy, models={**policy.models, FULL: options}))
    sides = [(Guard(policy), Cost()), (off, Cost())]
    for guard, _ in sides:
        Cost().run(guard, texts[:WARM_UP])
    for start in range(0, len(texts), BLOCK):
        for guard, cost in sides if start // BLOCK % 2 else reversed(sides):
            cost.run(guard, texts[start : start + BLOCK])
    on, off_summary = (cost.summary() for _, cost in sides)
    return {
        "texts": len(texts),
        "on": on,
        "off": off_summary,
        "mean_ratio": round(on["mean_cpu_ms"] / off_summary["mean_cpu_ms"], 4),
    }


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except GuardkitError as e:
        raise SystemExit(f"{e}") from e
