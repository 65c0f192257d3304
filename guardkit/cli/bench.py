"""`guardkit bench`: what checking prompts costs on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from guardkit.bench.report import render, to_json
from guardkit.bench.run import run_bench
from guardkit.bench.workload import PROMPTS
from guardkit.cli.shared import Verbs, add_verb, positive

_REPEATS = 25  # with 40 texts a bucket: the 1,000 samples that a 99th percentile needs
_QUICK_REPEATS = 4


def add(verbs: Verbs) -> None:
    """Add the verb `bench`."""
    parser = add_verb(
        verbs,
        "bench",
        text="measure latency, throughput, start-up, memory and size on this machine",
        example="guardkit bench --policy chat --out bench.json",
    )
    parser.add_argument("--policy", default="chat", help="a preset or a .yaml file")
    parser.add_argument("--workload", type=Path, default=PROMPTS, help="a JSONL file of texts")
    parser.add_argument(
        "--repeats",
        type=positive,
        help=f"measured calls a text ({_REPEATS}; {_QUICK_REPEATS} if quick)",
    )
    parser.add_argument("--quick", action="store_true", help="a few texts only: a smoke test")
    parser.add_argument("--json", action="store_true", help="print the JSON document alone")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the JSON document here too")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    repeats = args.repeats or (_QUICK_REPEATS if args.quick else _REPEATS)
    report = run_bench(args.policy, workload=args.workload, repeats=repeats, quick=args.quick)
    if args.out is not None:
        args.out.write_text(f"{to_json(report)}\n", "utf-8")
    print(to_json(report) if args.json else render(report))
    return 0
