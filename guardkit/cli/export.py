"""`guardkit export text-safety | text-safety-multi | card`."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from guardkit.cli.shared import Verbs, add_verb, read_policy
from guardkit.cli.train import add_sources, require_torch


def add(verbs: Verbs) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs,
        "export",
        text="turn trained models into artifacts (extra: export)",
        example="guardkit export text-safety --help",
    )
    kinds = parser.add_subparsers(metavar="MODEL", required=True)
    for name, version in (("text-safety", "0.3.0"), ("text-safety-multi", "0.1.0")):
        text = add_verb(
            kinds,
            name,
            text="write the int8 artifact with manifest, calibration and parity card",
            example=f"guardkit export {name} --work runs/v2 --data shared/data --out exported_models",
        )
        text.add_argument("--work", required=True, type=Path, help="what guardkit train left")
        add_sources(text)
        text.add_argument("--out", type=Path, default=Path("exported_models"))
        text.add_argument("--version", default=version)
        text.set_defaults(run=run_text_safety, kind=name)
    card = add_verb(
        kinds,
        "card",
        text="measure a text classifier on the validation rows and write its CARD.md",
        example="guardkit export card --data shared/data --fp32 runs/v2/fp32/text-safety",
    )
    card.add_argument(
        "--model", choices=("text-safety", "text-safety-multi"), default="text-safety"
    )
    add_sources(card)
    card.add_argument("--models", type=Path, default=Path("exported_models"))
    card.add_argument("--fp32", type=Path, help="the fp32 twin, to measure what int8 costs")
    card.add_argument("--policy", default="text-to-image", help="whose thresholds are reported")
    card.set_defaults(run=run_card)


def run_text_safety(args: argparse.Namespace) -> int:
    """Export a text classifier."""
    _prepare()
    from guardkit.export import text_safety  # torch: an optional package
    from guardkit.train.mixture import Folders

    kinds = {one.name: one for one in (text_safety.TEXT_SAFETY, text_safety.TEXT_SAFETY_MULTI)}
    artifact = text_safety.export_text_safety(
        args.work,
        Folders(args.data, args.own),
        args.out,
        version=args.version,
        kind=kinds[args.kind],
    )
    print(f"wrote {artifact.path}")
    return 0


def run_card(args: argparse.Namespace) -> int:
    """Measure and write the card."""
    _prepare()
    from guardkit.export.card import write_card  # scikit-learn: an optional package
    from guardkit.export.multi_card import write_multi_card
    from guardkit.train.mixture import Folders

    folders = Folders(args.data, args.own)
    policy = read_policy(args.policy)
    write = write_multi_card if args.model == "text-safety-multi" else write_card
    path = write(args.models / args.model, folders, policy, fp32=args.fp32)
    print(f"wrote {path}")
    return 0


def _prepare() -> None:
    require_torch("export", "export")
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    logging.getLogger("guardkit").setLevel(logging.INFO)
