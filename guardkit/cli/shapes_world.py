"""`guardkit train shapes-world` and `guardkit export shapes-world`."""

from __future__ import annotations

import argparse
from pathlib import Path

from guardkit.cli.shared import Verbs, add_verb, log_progress, require_torch


def add_training(models: Verbs) -> None:
    """Add `guardkit train shapes-world`."""
    parser = add_verb(
        models,
        "shapes-world",
        text="train the tiny text-to-image model that what acts inside a generator is tested on; start again to resume",
        example="guardkit train shapes-world --work runs/shapes --workers 2",
    )
    parser.add_argument("--work", required=True, type=Path, help="checkpoints and result go here")
    parser.add_argument("--only", choices=("generator", "classifier"), help="one of the two parts")
    parser.add_argument("--steps", type=int, default=6000, help="of the generator")
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread each")
    parser.set_defaults(run=run_training)


def add_export(kinds: Verbs) -> None:
    """Add `guardkit export shapes-world`."""
    parser = add_verb(
        kinds,
        "shapes-world",
        text="write the artifacts of shapes world: text encoder, denoiser, classifier of noisy pictures",
        example="guardkit export shapes-world --work runs/shapes --out exported_models",
    )
    parser.add_argument("--work", required=True, type=Path, help="what guardkit train left")
    parser.add_argument("--out", type=Path, default=Path("exported_models"))
    parser.add_argument("--version", default="0.1.0")
    parser.set_defaults(run=run_export)


def run_training(args: argparse.Namespace) -> int:
    """Train the generator, then the classifier."""
    require_torch("training", "train")
    from guardkit.train.shapes_classifier import ClassifierSettings, train_classifier  # torch
    from guardkit.train.shapes_world import ShapesSettings, train_shapes_world  # likewise

    log_progress()
    if args.only != "classifier":
        train_shapes_world(args.work, ShapesSettings(steps=args.steps, workers=args.workers))
    if args.only != "generator":
        train_classifier(args.work, ClassifierSettings())
    return 0


def run_export(args: argparse.Namespace) -> int:
    """Write the artifacts."""
    require_torch("export", "export")
    from guardkit.export.shapes_world import export_shapes_world  # torch: an optional package

    log_progress()
    for artifact in export_shapes_world(args.work, args.out, version=args.version):
        print(f"wrote {artifact.path}")
    return 0
