"""`guardkit export hf`: a Hugging Face classifier as a scorer that a policy can name."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardkit.cli.shared import Verbs, add_verb, log_progress, require_torch
from guardkit.errors import InputError
from guardkit.evaluate.read import Labels, read_labelled
from guardkit.taxonomy import TAXONOMY
from guardkit.walk import ENDINGS, Kind, walk

if TYPE_CHECKING:
    from guardkit.export.hf_request import Examples

_TASKS = ("text-classification", "token-classification", "image-classification")
_IMAGES = "image-classification"


def add_hf(kinds: Verbs) -> None:
    """Add the verb."""
    hf = add_verb(
        kinds,
        "hf",
        text="make a Hugging Face classifier of texts, tokens or images a scorer that a policy can name",
        example="guardkit export hf ./my-classifier --labels map.yaml --name my-toxicity",
    )
    hf.add_argument("model", help="a folder that save_pretrained wrote, or a name of the hub")
    hf.add_argument("--task", choices=_TASKS, default="text-classification")
    hf.add_argument(
        "--labels",
        required=True,
        type=Path,
        metavar="YAML",
        help="category: label, or category: [label, label]",
    )
    hf.add_argument("--name", required=True, help="what a policy calls it, kebab-case")
    hf.add_argument("--out", type=Path, default=Path("exported_models"))
    hf.add_argument("--precision", choices=("fp32", "int8"), default="fp32")
    hf.add_argument(
        "--data",
        type=Path,
        help="labelled texts (CSV, JSONL, parquet) or images (a folder a category, or a table) that calibrate the scores",
    )
    hf.add_argument(
        "--pictures",
        type=Path,
        metavar="FOLDER",
        help="what an int8 classifier of images measures its ranges on (default: the images of --data)",
    )
    hf.add_argument(
        "--languages", nargs="+", default=[], metavar="CODE", help="those it knows (default: any)"
    )
    hf.add_argument("--licence", default="not stated", help="of the model, for the manifest")
    hf.add_argument("--version", default="0.1.0")
    hf.add_argument("--max-tokens", type=int, default=128, help="longest window (default: 128)")
    hf.add_argument(
        "--overlap", type=int, default=32, help="tokens that windows share (default: 32)"
    )
    hf.set_defaults(run=run_hf)


def run_hf(args: argparse.Namespace) -> int:
    """Export a classifier of the user's own."""
    require_torch("export", "export")
    log_progress()
    from guardkit.export.hf_model import Task  # torch: an optional package
    from guardkit.export.hf_request import Request

    request = Request(
        model=args.model,
        labels=args.labels,
        name=args.name,
        task=Task(args.task),
        precision=args.precision,
        languages=tuple(args.languages),
        licence=args.licence,
        version=args.version,
        max_tokens=args.max_tokens,
        overlap=args.overlap,
    )
    if args.task == _IMAGES:
        from guardkit.export.hf_image import export_hf_images

        examples = None if args.data is None else _labelled_images(args.data)
        pictures = _pictures(args.pictures) if args.pictures else examples.items if examples else ()
        artifact = export_hf_images(request, args.out, examples, pictures=pictures)
    else:
        from guardkit.export.hf import export_hf

        examples = None if args.data is None else _labelled_texts(args.data)
        artifact = export_hf(request, args.out, examples)
    print(f"wrote {artifact.path}")
    for category in artifact.manifest.categories:
        is_fitted = examples is not None and category in examples.truth
        print(f"{category}: {'calibrated' if is_fitted else 'as the model gives it'}")
    return 0


def _labelled_texts(data: Path) -> Examples:  # read here: evaluate stands above export
    labelled = read_labelled(data, categories=TAXONOMY)
    return _examples(labelled.file, labelled.texts, labelled.labels)


def _labelled_images(data: Path) -> Examples:
    from guardkit.evaluate.images import read_image_folder, read_image_table

    if not data.is_dir():
        labelled = read_image_table(data, categories=TAXONOMY)
        return _examples(labelled.file, labelled.images, labelled.labels)
    labelled = read_image_folder(data, categories=TAXONOMY)
    # The pictures in `safe` are none of any category, those that have no folder included.
    labels = {name: one for name, one in labelled.labels.items() if one.truth[one.known].any()}
    return _examples(labelled.file, labelled.images, labels)


def _examples(file: str, items: Sequence[Any], labels: Mapping[str, Labels]) -> Examples:
    from guardkit.export.hf_request import Examples

    truth = {name: one.truth for name, one in labels.items()}
    return Examples(file, items, truth, {name: one.known for name, one in labels.items()})


def _pictures(folder: Path) -> list[Path]:
    """Every picture under a folder.

    Raises:
        InputError: There is none.
    """
    found = [one.path for one in walk(folder) if one.kind is Kind.IMAGE]
    if not found:
        raise InputError(f"{folder}: no images. Expected {' '.join(ENDINGS[Kind.IMAGE])}.")
    return found
