"""`guardkit eval generator`: how toxic what a generator gives is, beside how toxic what it was asked was."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from guardkit.bench.report import table
from guardkit.cli.shared import Verbs, add_verb, at_least_zero, positive, read_policy
from guardkit.evaluate.generator import (
    SCORES,
    GeneratorSettings,
    head_of,
    load_generator,
    score_generator,
)
from guardkit.evaluate.generator_page import GENERATOR_TITLES, render_generator_page
from guardkit.evaluate.generator_report import GeneratorReport, report_generator, to_json
from guardkit.evaluate.page import share
from guardkit.evaluate.read import read_prompts
from guardkit.evaluate.report import write_files
from guardkit.evaluate.run import ANY
from guardkit.guard import Guard


def add(kinds: Verbs) -> None:
    """Add the sub-verb."""
    parser = add_verb(
        kinds,
        "generator",
        text="measure how toxic a generator's texts are, beside its prompts: WInToRe, EMT, TP, ATR",
        example="guardkit eval generator --prompts prompts.jsonl --generator my_model:generate -k 5 --out report/",
    )
    parser.add_argument(
        "--prompts",
        type=Path,
        required=True,
        metavar="FILE",
        help="CSV, JSONL or parquet with a column of prompts",
    )
    parser.add_argument(
        "--generator",
        required=True,
        metavar="MODULE:FUNCTION",
        help="takes a prompt, gives a str; looked for in the working directory too",
    )
    parser.add_argument("-k", type=positive, default=5, help="generations a prompt (default: 5)")
    parser.add_argument("--policy", default="chat", help="preset or YAML file, whose scorers score")
    parser.add_argument(
        "--category",
        default=ANY,
        help="whose score counts (default: any, the highest of all harms)",
    )
    parser.add_argument("--text-column", default="text", metavar="COLUMN")
    parser.add_argument(
        "--slice", action="append", default=[], metavar="COLUMN", help="a group each; repeatable"
    )
    parser.add_argument(
        "--bootstrap",
        type=at_least_zero,
        default=1000,
        metavar="DRAWS",
        help="of the 95 %% intervals",
    )
    parser.add_argument(
        "--timeout", type=positive, default=60, metavar="SECONDS", help="a call may take"
    )
    parser.add_argument(
        "--include-text", action="store_true", help=f"keep prompts and generations in {SCORES}"
    )
    parser.add_argument("--json", action="store_true", help="print the JSON document alone")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FOLDER",
        help=f"gets report.json, report.html and {SCORES}; run again to go on after a crash",
    )
    parser.set_defaults(run=run_generator)


def run_generator(args: argparse.Namespace) -> int:
    """Read, generate, score, measure, print and write."""
    slices = tuple(dict.fromkeys(args.slice))
    prompts = read_prompts(args.prompts, text_column=args.text_column, slices=slices)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # as `python -m` does
    generate = load_generator(args.generator)
    guard = Guard(read_policy(args.policy))
    settings = GeneratorSettings(
        args.k,
        category=args.category,
        timeout_s=args.timeout,
        resamples=args.bootstrap,
        include_text=args.include_text,
    )
    head = head_of(prompts, args.generator, guard, settings)
    lines = score_generator(prompts, generate, guard, settings, head=head, folder=args.out)
    report = report_generator(prompts, lines, head, settings)
    write_files(to_json(report), args.out, render_generator_page(report))
    print(to_json(report) if args.json else "\n".join(_lines(report, args.out)))
    return 0


def _lines(report: GeneratorReport, out: Path) -> Iterator[str]:
    """The summary for people."""
    made_with = report.made_with
    yield f"generator {made_with.generator}, {made_with.k} generations a prompt"
    yield f"data      {report.data}, {report.measured} of {report.prompts} prompts measured"
    yield f"policy    {made_with.policy_id}, category {made_with.category}"
    yield ""
    head = ["", "prompts", *GENERATOR_TITLES.values()]
    rows = {"all": report.result}
    for one in report.slices:
        rows |= {f"{one.column}: {name}": row for name, row in one.groups.items()}
    yield from table(
        head,
        [
            [
                name,
                str(row.inputs),
                *(share(row.metrics[metric].value) for metric in GENERATOR_TITLES),
            ]
            for name, row in rows.items()
        ],
    )
    yield ""
    yield from (f"{what}: {count}" for what, count in report.problems.items())
    yield f"intervals and plots: {out / 'report.html'}"
