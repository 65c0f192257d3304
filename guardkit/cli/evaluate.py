"""`guardkit eval`, and `eval text` and `eval image`: how well a policy finds what people labelled."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from guardkit.bench.report import table
from guardkit.cli import evaluate_generator
from guardkit.cli.progress import Progress
from guardkit.cli.shared import Verbs, add_verb, at_least_zero, read_policy
from guardkit.errors import InputError
from guardkit.evaluate.images import (
    LabelledImages,
    read_image_folder,
    read_image_table,
    run_image_evaluation,
)
from guardkit.evaluate.model import with_model
from guardkit.evaluate.page import (
    FALSE_POSITIVES,
    THIN,
    TITLES,
    false_positives,
    render_page,
    share,
)
from guardkit.evaluate.read import OVERALL, read_labelled
from guardkit.evaluate.report import Report, Target, to_json, write_report
from guardkit.evaluate.run import ANY, Settings, label_names, run_evaluation
from guardkit.guard import Guard
from guardkit.metrics.bootstrap import Estimate
from guardkit.taxonomy import Stage

_EXAMPLE = "guardkit eval text labelled.csv --policy chat --slice group --out report/"
_IMAGE_EXAMPLE = "guardkit eval image pictures/ --policy generated-images --out report/"
_NONE = Estimate(None)


def add(verbs: Verbs) -> None:
    """Add the verb `eval` and its sub-verbs."""
    parser = add_verb(
        verbs,
        "eval",
        text="measure a policy on labelled texts or images, or a generator",
        example=_EXAMPLE,
    )
    kinds = parser.add_subparsers(metavar="KIND", required=True)
    _add_text(kinds)
    _add_image(kinds)
    evaluate_generator.add(kinds)


def _add_text(kinds: Verbs) -> None:
    text = add_verb(
        kinds,
        "text",
        text="measure how well labelled texts are scored and flagged: a category, a group",
        example=_EXAMPLE,
    )
    text.add_argument(
        "file",
        type=Path,
        help="CSV, JSONL or parquet: a column of texts, and columns named like categories (0, 1, "
        "a fraction; empty for unknown), or 'any'",
    )
    text.add_argument("--policy", default="text-to-image", help="preset or YAML file")
    text.add_argument("--model", metavar="NAME", help="score with this artifact (name or folder)")
    text.add_argument("--text-column", default="text", metavar="COLUMN")
    _add_measuring(text)
    text.set_defaults(run=run_text)


def _add_image(kinds: Verbs) -> None:
    image = add_verb(
        kinds,
        "image",
        text="measure how well labelled images are scored and flagged: a category, a group",
        example=_IMAGE_EXAMPLE,
    )
    image.add_argument(
        "source",
        type=Path,
        help="a folder with a folder of pictures each for 'safe', a category, 'any'; or a CSV, JSONL or "
        "parquet file: a column of paths, and columns of labels as for texts",
    )
    image.add_argument("--policy", default="generated-images", help="preset or YAML file")
    image.add_argument("--image-column", default="image", metavar="COLUMN")
    _add_measuring(image)
    image.set_defaults(run=run_image)


def _add_measuring(parser: argparse.ArgumentParser) -> None:
    """What is measured of both kinds alike."""
    parser.add_argument(
        "--slice", action="append", default=[], metavar="COLUMN", help="a group each; repeatable"
    )
    parser.add_argument(
        "--threshold",
        action="append",
        default=[],
        type=_threshold,
        metavar="CATEGORY=NUMBER",
        help="instead of the policy's lowest; repeatable",
    )
    parser.add_argument(
        "--bootstrap",
        type=at_least_zero,
        default=1000,
        metavar="DRAWS",
        help="draws of the 95 %% intervals (default: 1000; 0: none)",
    )
    parser.add_argument("--json", action="store_true", help="print the JSON document alone")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="write report.json and report.html"
    )


def run_text(args: argparse.Namespace) -> int:
    """Read, score, measure, print and write."""
    policy = read_policy(args.policy)
    labelled = read_labelled(
        args.file,
        categories=label_names(policy),
        text_column=args.text_column,
        slices=_slices(args),
    )
    guard = Guard(policy if args.model is None else with_model(policy, args.model))
    return _tell(run_evaluation(labelled, guard, _settings(args)), args)


def run_image(args: argparse.Namespace) -> int:
    """Likewise, of images."""
    policy = read_policy(args.policy)
    if policy.output_image is None:
        found = ", ".join(policy.stages) or "none"
        raise InputError(f"--policy {args.policy}: has no stage output-image. Found {found}.")
    labelled = _labelled_images(args, label_names(policy, stage=Stage.OUTPUT_IMAGE))
    progress = Progress(sys.stderr, labelled.rows)
    report = run_image_evaluation(labelled, Guard(policy), _settings(args), progress=progress.show)
    progress.clear()
    return _tell(report, args)


def _labelled_images(args: argparse.Namespace, categories: tuple[str, ...]) -> LabelledImages:
    slices = _slices(args)
    if not args.source.is_dir():
        return read_image_table(
            args.source, categories=categories, image_column=args.image_column, slices=slices
        )
    if slices:
        raise InputError(
            f"--slice {slices[0]}: {args.source} is a folder, which has no columns. "
            "Name a CSV, JSONL or parquet file of its pictures."
        )
    return read_image_folder(args.source, categories=categories)


def _slices(args: argparse.Namespace) -> tuple[str, ...]:
    return tuple(dict.fromkeys(args.slice))


def _settings(args: argparse.Namespace) -> Settings:
    return Settings(dict(args.threshold), resamples=args.bootstrap)


def _tell(report: Report, args: argparse.Namespace) -> int:
    """Print a report, and write it where that is asked for."""
    if args.out is not None:
        write_report(report, args.out, render_page(report))
    print(to_json(report) if args.json else "\n".join(_lines(report, args.out)))
    return 0


def _lines(report: Report, out: Path | None) -> Iterator[str]:
    """The summary for people."""
    yield f"data      {report.data}, {report.rows} rows"
    yield f"policy    {report.policy_id}, models {', '.join(report.models) or 'none'}"
    yield ""
    more = ["positive / rows", "failed", "at"]
    head = ["category", *more, *TITLES.values(), FALSE_POSITIVES, "always-positive F1"]
    targets = (*report.overall, *report.categories)
    yield from table(head, [_row(target) for target in targets])
    yield ""
    thin = [target.name for target in targets if target.result.is_thin]
    for what, names in (
        (THIN, thin),
        ("not scored by this policy", report.not_scored),
        ("columns ignored", report.ignored_columns),
    ):
        if names:
            yield f"{what}: {', '.join(names)}"
    yield f"intervals and groups: {out / 'report.html' if out else '--out FOLDER'}"


def _row(target: Target) -> list[str]:
    row = target.result
    return [
        target.name,
        f"{row.positives} / {row.rows}",
        str(target.failed),
        f"{target.threshold:.2f}",
        *(share(row.metrics.get(metric, _NONE).value) for metric in TITLES),
        ", ".join(false_positives(row)),
        share(row.always_positive_f1),
    ]


def _threshold(text: str) -> tuple[str, float]:
    """`hate=0.5` as a pair; `flagged` means `any`."""
    name, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not name or not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not CATEGORY=NUMBER with a number in [0, 1], for example hate=0.5"
        )
    return ANY if name in OVERALL else name.replace("_", "-"), value
