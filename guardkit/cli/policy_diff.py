"""`guardkit policy diff`: which texts two policies decide otherwise, and why."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from guardkit.cli.shared import Verbs, add_verb, policy_file, print_json
from guardkit.evaluate.read import read_texts
from guardkit.guard import Guard
from guardkit.rollout.diff import Change, changes
from guardkit.taxonomy import Stage


def add(actions: Verbs) -> None:
    """Add the sub-verb."""
    parser = add_verb(
        actions,
        "diff",
        text="say which texts two policies decide otherwise, and why; 1 when there are some",
        example="guardkit policy diff chat storefront.yaml --data texts.csv",
    )
    parser.add_argument("before", metavar="A", help="preset or YAML file")
    parser.add_argument("after", metavar="B", help="preset or YAML file")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="FILE",
        help="CSV, JSONL or parquet with a column of texts",
    )
    parser.add_argument("--text-column", default="text", metavar="NAME")
    parser.add_argument("--stage", choices=("prompt", "output-text"), default="prompt")
    parser.add_argument("--include-text", action="store_true", help="show the texts as well")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=run_diff)


def run_diff(args: argparse.Namespace) -> int:
    """Compare; 1 when a text is decided otherwise."""
    texts = read_texts(args.data, text_column=args.text_column)
    before, after = (Guard.from_file(policy_file(name)) for name in (args.before, args.after))
    found = changes(before, after, texts, stage=Stage(args.stage))
    if args.json:
        told = [_to_dict(change, include_text=args.include_text) for change in found]
        ids = {"before": before.policy.id, "after": after.policy.id}
        print_json({**ids, "texts": len(texts), "changes": told})
    else:
        print(f"A {before.policy.id}\nB {after.policy.id}")
        print("\n".join(_lines(found, len(texts), include_text=args.include_text)))
    return int(bool(found))


def _lines(found: Sequence[Change], texts: int, *, include_text: bool) -> Iterator[str]:
    stricter = sum(change.is_stricter for change in found)
    laxer = sum(change.after < change.before for change in found)
    yield f"{len(found)} of {texts} texts are decided otherwise: B is stricter on {stricter}, laxer on {laxer}"
    moves = Counter((change.before, change.after) for change in found)
    for (old, new), count in sorted(moves.items()):
        yield f"  {count:5}  {old.value} -> {new.value}"
    for change in found:
        yield f"text {change.row + 1}: {change.before.value} -> {change.after.value}"
        yield from ([f"    {change.text}"] if include_text else [])
        yield from (f"    {sentence}" for sentence in change.why)


def _to_dict(change: Change, *, include_text: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
        "row": change.row,
        "before": change.before.value,
        "after": change.after.value,
        "why": list(change.why),
    }
    return {**told, "text": change.text} if include_text else told
