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
        example="guardkit train text-safety --base minilm-l6 --data data/text --work runs/v1",
    )
    text.add_argument("--base", required=True, help="local folder or hub name of a BERT encoder")
    text.add_argument("--data", required=True, type=Path, help="folder with unified.parquet")
    text.add_argument("--work", required=True, type=Path, help="checkpoints and result go here")
    text.add_argument("--rows", type=int, default=200_000, help="texts drawn from the pool")
    text.add_argument("--threads", type=int, default=2)
    text.set_defaults(run=run_text_safety)


def run_text_safety(args: argparse.Namespace) -> int:
    """Train the text classifier."""
    require_torch("training", "train")
    from guardkit.train.classifier import Settings, train  # torch: an optional package

    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("guardkit").setLevel(logging.INFO)
    train(args.base, args.data, args.work, Settings(rows=args.rows, threads=args.threads))
    return 0


def require_torch(feature: str, extra: str) -> None:
    """Say which extra is missing before a long import fails.

    Raises:
        MissingExtraError: torch is not installed.
    """
    if find_spec("torch") is None:
        raise MissingExtraError(feature, extra)
