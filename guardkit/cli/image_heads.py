"""`guardkit train image-head`, `guardkit export image-heads | image-concepts`: categories of one's own in images."""

from __future__ import annotations

import argparse
from pathlib import Path

from guardkit.cli.shared import Verbs, add_verb, log_progress, require_torch
from guardkit.evaluate.images import LabelledImages, read_image_folder, read_image_table
from guardkit.export.label_map import IMAGE_CATEGORIES


def add_training(models: Verbs) -> None:
    """Add what trains heads."""
    head = add_verb(
        models,
        "image-head",
        text="train a head for each category of labelled pictures, on a frozen encoder",
        example="guardkit train image-head --base efficientnet-lite0-57934424.pth --data pictures --work runs/heads",
    )
    head.add_argument(
        "--base",
        required=True,
        help="weights of EfficientNet-Lite0 (.pth), or a folder or hub name of a CLIP model",
    )
    head.add_argument(
        "--data",
        required=True,
        type=Path,
        help="folder with safe/ and a folder a category, or a table, as guardkit eval image reads",
    )
    head.add_argument("--work", required=True, type=Path, help="the result goes here")
    head.add_argument(
        "--pairs",
        type=int,
        default=1000,
        help="cut-paste pairs a category; 0: none (default: 1000)",
    )
    head.add_argument("--epochs", type=int, default=31)
    head.add_argument("--seed", type=int, default=2022, help="of all that is drawn")
    head.add_argument("--threads", type=int, default=1)
    head.set_defaults(run=run_train)


def add_exports(kinds: Verbs) -> None:
    """Add what writes artifacts."""
    heads = add_verb(
        kinds,
        "image-heads",
        text="put trained heads behind their encoder, in one graph that a policy can name",
        example="guardkit export image-heads --work runs/heads --name my-heads --out models",
    )
    heads.add_argument(
        "--work",
        required=True,
        type=Path,
        nargs="+",
        help="what guardkit train image-head left, of one training or several",
    )
    heads.add_argument("--base", help="where the encoder lies now (default: as in training)")
    _add_about(heads)
    heads.set_defaults(run=run_heads)
    concepts = add_verb(
        kinds,
        "image-concepts",
        text="score concepts described in words by a CLIP model of your own",
        example="guardkit export image-concepts --clip ./clip --concepts concepts.yaml --name my-concepts",
    )
    concepts.add_argument("--clip", required=True, help="a folder or hub name of a CLIP model")
    concepts.add_argument(
        "--concepts",
        required=True,
        type=Path,
        metavar="YAML",
        help="category: list of {text: ..., at_least: cosine}",
    )
    _add_about(concepts)
    concepts.set_defaults(run=run_concepts)


def _add_about(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", required=True, help="what a policy calls it, kebab-case")
    parser.add_argument("--out", type=Path, default=Path("exported_models"))
    parser.add_argument("--licence", default="not stated", help="of the model, for the manifest")
    parser.add_argument("--version", default="0.1.0")


def run_train(args: argparse.Namespace) -> int:
    """Train the heads and tell what was measured."""
    require_torch("training", "train")
    from guardkit.train import image_heads  # torch: an optional package

    log_progress()
    labelled = _labelled(args.data)
    labels = {name: one for name, one in labelled.labels.items() if one.truth.any()}
    pictures = image_heads.LabelledPictures(
        labelled.images,
        {name: one.truth for name, one in labels.items()},
        {name: one.known for name, one in labels.items()},
    )
    settings = image_heads.HeadSettings(
        pairs=args.pairs, epochs=args.epochs, seed=args.seed, threads=args.threads
    )
    made = image_heads.train_heads(args.base, pictures, args.work, settings)
    for category, one in made.measured.items():
        pasted = "no pairs" if one.pasted_auc is None else f"pairs {one.pasted_auc}"
        print(
            f"{category}: ROC AUC of {one.positives} of {one.pictures} held-out pictures "
            f"{one.whole_auc}, {pasted}"
        )
    print(f"wrote {args.work}")
    return 0


def _labelled(data: Path) -> LabelledImages:
    if data.is_dir():
        return read_image_folder(data, categories=IMAGE_CATEGORIES)
    return read_image_table(data, categories=IMAGE_CATEGORIES)


def run_heads(args: argparse.Namespace) -> int:
    """Export heads."""
    require_torch("export", "export")
    from guardkit.export.image_heads import HeadsRequest, export_image_heads  # torch

    log_progress()
    request = HeadsRequest(
        tuple(args.work), args.name, base=args.base, licence=args.licence, version=args.version
    )
    artifact = export_image_heads(request, args.out)
    print(f"wrote {artifact.path}")
    print(f"scores {', '.join(artifact.manifest.categories)}")
    return 0


def run_concepts(args: argparse.Namespace) -> int:
    """Export concepts."""
    require_torch("export", "export")
    from guardkit.export.concepts import ConceptsRequest, export_concepts  # torch

    log_progress()
    request = ConceptsRequest(
        args.clip, args.concepts, args.name, licence=args.licence, version=args.version
    )
    artifact = export_concepts(request, args.out)
    print(f"wrote {artifact.path}")
    print(f"scores {', '.join(artifact.manifest.categories)}")
    return 0
