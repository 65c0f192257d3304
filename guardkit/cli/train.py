"""`guardkit train MODEL`."""

from __future__ import annotations

import argparse
import logging
from importlib.util import find_spec
from pathlib import Path

from guardkit.cli.shared import Verbs, add_verb
from guardkit.errors import MissingExtraError


def add(verbs: Verbs) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs,
        "train",
        text="train models (extra: train)",
        example="guardkit train text-safety --help",
    )
    models = parser.add_subparsers(metavar="MODEL", required=True)
    text = add_verb(
        models,
        "text-safety",
        text="fine-tune an encoder on the labelled pool; start again to resume",
        example="guardkit train text-safety --base minilm-l6 --data shared/data --work runs/v2",
    )
    text.add_argument("--base", required=True, help="local folder or hub name of a BERT encoder")
    add_sources(text)
    text.add_argument("--start", type=Path, help="go on from this artifact's weights")
    text.add_argument("--work", required=True, type=Path, help="checkpoints and result go here")
    text.add_argument("--rows", type=int, default=130_000, help="texts drawn from all sources")
    text.add_argument("--threads", type=int, default=2)
    text.set_defaults(run=run_text_safety)
    fast = add_verb(
        models,
        "text-safety-fast",
        text="distil the shipped text-safety into a first tier, and export it; start again to resume",
        example="guardkit train text-safety-fast --data shared/data --work runs/fast",
    )
    add_sources(fast)
    fast.add_argument("--work", required=True, type=Path, help="scored texts and weights go here")
    fast.add_argument("--out", type=Path, default=Path("exported_models"))
    fast.add_argument("--rows", type=int, default=60_000, help="training texts to draw")
    fast.add_argument("--processes", type=int, default=2)
    fast.add_argument("--flagged", type=int, default=3000, help="texts the bounds need, at least")
    fast.add_argument("--version", default="0.2.0")
    fast.set_defaults(run=run_text_safety_fast)


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Where the texts lie: `guardkit.train.mixture.Folders`."""
    parser.add_argument(
        "--data",
        required=True,
        type=Path,
        help="folder with text/unified.parquet, multilingual and bias",
    )
    parser.add_argument("--own", type=Path, default=Path("data"), help="written texts and labels")


def run_text_safety(args: argparse.Namespace) -> int:
    """Train the text classifier."""
    require_torch("training", "train")
    from guardkit.train.classifier import Settings, train  # torch: an optional package
    from guardkit.train.mixture import Folders

    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("guardkit").setLevel(logging.INFO)
    settings = Settings(rows=args.rows, threads=args.threads)
    train(args.base, Folders(args.data, args.own), args.work, settings, start=args.start)
    return 0


def run_text_safety_fast(args: argparse.Namespace) -> int:
    """Score texts with the full model, distil it and export the fast tier."""
    require_torch("training", "train")
    from guardkit.artifacts import find_artifact
    from guardkit.export.distil import Plan, distil_fast  # torch: an optional package
    from guardkit.train.mixture import Folders

    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("guardkit").setLevel(logging.INFO)
    plan = Plan(args.rows, args.processes, args.version, args.flagged)
    full = find_artifact("text-safety")
    artifact = distil_fast(full, Folders(args.data, args.own), args.work, args.out, plan)
    print(f"wrote {artifact.path}")
    return 0


def require_torch(feature: str, extra: str) -> None:
    """Say which extra is missing before a long import fails.

    Raises:
        MissingExtraError: torch is not installed.
    """
    if find_spec("torch") is None:
        raise MissingExtraError(feature, extra)
