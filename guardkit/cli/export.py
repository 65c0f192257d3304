"""`guardkit export text-safety | text-safety-multi | smib | image-safety | face-detector | hf | onnx | tensorrt | card`."""

from __future__ import annotations

import argparse
from pathlib import Path

from guardkit.artifacts import TensorRT
from guardkit.cli import image_heads, shapes_world
from guardkit.cli.export_hf import add_hf
from guardkit.cli.shared import (
    Verbs,
    add_verb,
    log_progress,
    named_artifact,
    positive,
    read_policy,
    require_torch,
)
from guardkit.cli.train import add_sources
from guardkit.errors import InputError, MissingExtraError


def add(verbs: Verbs) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs,
        "export",
        text="turn trained models into artifacts (extra: export)",
        example="guardkit export text-safety --help",
    )
    kinds = parser.add_subparsers(metavar="MODEL", required=True)
    for name, version in (("text-safety", "0.5.0"), ("text-safety-multi", "0.1.0")):
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
        text.add_argument("--blend", type=Path, help="artifact that the training began from")
        text.add_argument("--share", type=float, default=0.75, help="of the new weights in a blend")
        text.set_defaults(run=run_text_safety, kind=name)
    for name, run in (("pii-tagger", run_pii_tagger), ("prompt-rewriter", run_prompt_rewriter)):
        one = add_verb(
            kinds,
            name,
            text="write the int8 artifact of a training",
            example=f"guardkit export {name} --work runs/1 --data shared/data --out exported_models",
        )
        one.add_argument("--work", required=True, type=Path, help="what guardkit train left")
        one.add_argument("--data", required=True, type=Path, help="the folder training read")
        one.add_argument("--own", type=Path, default=Path("data"), help="written texts")
        one.add_argument("--out", type=Path, default=Path("exported_models"))
        one.add_argument("--version", default="0.1.0")
        one.set_defaults(run=run)
    _add_smib(kinds)
    _add_image_safety(kinds)
    image_heads.add_exports(kinds)
    shapes_world.add_export(kinds)
    add_hf(kinds)
    _add_conversions(kinds)
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


def _add_smib(kinds: Verbs) -> None:
    smib = add_verb(
        kinds,
        "smib",
        text="write a trained bottleneck as the artifact smib-NAME, with manifest and parity card",
        example="guardkit export smib --work runs/smib --name mine --base my-model --layer model.layers.22",
    )
    smib.add_argument("--work", required=True, type=Path, help="what guardkit train smib left")
    smib.add_argument("--name", required=True, help="of the artifact, after smib-")
    smib.add_argument("--base", required=True, help="the model whose features it takes")
    smib.add_argument("--layer", required=True, help="the module of it that gives them")
    smib.add_argument("--licence", default="Apache-2.0", help="of the weights")
    smib.add_argument("--out", type=Path, default=Path("exported_models"))
    smib.add_argument("--version", default="0.1.0")
    smib.set_defaults(run=run_smib)


def _add_image_safety(kinds: Verbs) -> None:
    images = add_verb(
        kinds,
        "image-safety",
        text="make image-safety and image-safety-second of two open classifiers, preprocessing inside",
        example="guardkit export image-safety --first image-safety-classifier-s.onnx --second open-nsfw.onnx",
    )
    images.add_argument("--first", required=True, type=Path, help="image-safety-s as ONNX")
    images.add_argument("--second", required=True, type=Path, help="open-nsfw as ONNX")
    images.add_argument("--out", type=Path, default=Path("exported_models"))
    images.add_argument("--version", default="0.1.0")
    images.set_defaults(run=run_image_safety)
    faces = add_verb(
        kinds,
        "face-detector",
        text="make face-detector of CenterFace, preprocessing inside, for pictures of any size",
        example="guardkit export face-detector --source centerface.onnx",
    )
    faces.add_argument("--source", required=True, type=Path, help="CenterFace as ONNX")
    faces.add_argument("--out", type=Path, default=Path("exported_models"))
    faces.add_argument("--version", default="0.1.0")
    faces.set_defaults(run=run_face_detector)
    edits = add_verb(
        kinds,
        "image-transform",
        text="make image-transform of what guardkit train image-transform left",
        example="guardkit export image-transform --work runs/transform --base minilm-l3",
    )
    edits.add_argument("--work", required=True, type=Path, help="what training left")
    edits.add_argument("--base", required=True, type=Path, help="the sentence encoder it took")
    edits.add_argument("--out", type=Path, default=Path("exported_models"))
    edits.add_argument("--version", default="0.2.0")
    edits.set_defaults(run=run_image_transform)


def _add_conversions(kinds: Verbs) -> None:
    onnx = add_verb(
        kinds,
        "onnx",
        text="write the twin of a model in another precision, for example for a GPU",
        example="guardkit export onnx text-safety --precision fp16 --out gpu_models",
    )
    onnx.add_argument("model", help="name or folder of an artifact")
    onnx.add_argument("--precision", required=True, choices=("fp32", "fp16", "int8"))
    onnx.add_argument("--out", required=True, type=Path, help="the twin's folder goes in here")
    onnx.add_argument(
        "--pictures",
        type=Path,
        help="folder of pictures: int8 of a model of images needs their ranges",
    )
    onnx.set_defaults(run=run_onnx)
    tensorrt = add_verb(
        kinds,
        "tensorrt",
        text="build the TensorRT engine of an fp32 or fp16 model, on the machine that will run it",
        example="guardkit export tensorrt gpu_models/text-safety --out gpu_models",
    )
    tensorrt.add_argument("model", help="name or folder of an artifact")
    tensorrt.add_argument("--out", required=True, type=Path, help="MODEL-trt goes in here")
    tensorrt.add_argument("--most-windows", type=positive, default=16, help="in one run")
    tensorrt.add_argument("--fp32", action="store_true", help="compute in full precision")
    tensorrt.set_defaults(run=run_tensorrt)


def run_pii_tagger(args: argparse.Namespace) -> int:
    """Export the tagger of personal data."""
    _prepare()
    from guardkit.export.tagger import export_tagger  # torch: an optional package

    written = args.own / "written" / "people"
    artifact = export_tagger(args.work, args.data, written, args.out, version=args.version)
    print(f"wrote {artifact.path}")
    return 0


def run_prompt_rewriter(args: argparse.Namespace) -> int:
    """Export the rewriter."""
    _prepare()
    from guardkit.export.rewriter import export_rewriter  # torch: an optional package

    written = args.own / "written" / "repairs"
    artifact = export_rewriter(args.work, args.data, written, args.out, version=args.version)
    print(f"wrote {artifact.path}")
    return 0


def run_image_safety(args: argparse.Namespace) -> int:
    """Export both image models."""
    _prepare()
    from guardkit.export.image_safety import export_image_safety  # onnx: an optional package

    for artifact in export_image_safety(args.first, args.second, args.out, version=args.version):
        print(f"wrote {artifact.path}")
    return 0


def run_face_detector(args: argparse.Namespace) -> int:
    """Export the detector of faces."""
    _prepare()
    from guardkit.export.face_detector import export_face_detector  # onnx: an optional package

    print(f"wrote {export_face_detector(args.source, args.out, version=args.version).path}")
    return 0


def run_image_transform(args: argparse.Namespace) -> int:
    """Export the check of edits."""
    _prepare()
    from guardkit.export.image_transform import export_image_transform  # onnx: an optional package

    artifact = export_image_transform(args.work, args.base, args.out, version=args.version)
    print(f"wrote {artifact.path}")
    return 0


def run_onnx(args: argparse.Namespace) -> int:
    """Convert an artifact."""
    _prepare()
    if args.pictures is not None:
        return _quantize_images(args)
    from guardkit.export.convert import convert  # torch: an optional package
    from guardkit.export.verify import ParityCard

    artifact, card = convert(named_artifact(args.model), args.precision, args.out)
    print(f"wrote {artifact.path}")
    if isinstance(card, ParityCard):
        print(
            f"logits within {card.worst} of the model it was made of, token logits within "
            f"{card.token_worst}; held to {card.tolerance} and {card.token_tolerance}"
        )
    else:
        print(
            f"scores within {card.worst:.6f} of the model it was made of; held to {card.tolerance}"
        )
    return 0


def _quantize_images(args: argparse.Namespace) -> int:
    from guardkit.export.quantize_images import quantize_images  # onnx: an optional package

    if args.precision != "int8":
        raise InputError(f"--pictures: are for --precision int8. Found {args.precision}.")
    artifact = quantize_images(named_artifact(args.model), args.pictures, args.out)
    print(f"wrote {artifact.path}")
    return 0


def run_tensorrt(args: argparse.Namespace) -> int:
    """Build an engine."""
    try:
        import onnxruntime  # the extra `gpu`
    except ImportError as e:
        raise MissingExtraError("guardkit export tensorrt", "gpu") from e
    from guardkit.export.to_tensorrt import build_engine, export_tensorrt

    folder = export_tensorrt(
        named_artifact(args.model),
        args.out,
        TensorRT(fp16=not args.fp32, most_windows=args.most_windows),
        available=onnxruntime.get_available_providers(),
        build=build_engine,
    )
    print(f"wrote {folder}")
    return 0


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
        blend=(args.blend, args.share) if args.blend else None,
    )
    print(f"wrote {artifact.path}")
    return 0


def run_smib(args: argparse.Namespace) -> int:
    """Export a bottleneck."""
    require_torch("export", "export")
    from guardkit.export.smib import AboutBottleneck, export_smib  # torch: an optional package
    from guardkit.train.smib_model import load_bottleneck

    about = AboutBottleneck(
        f"smib-{args.name}", args.version, args.licence, base=args.base, layer=args.layer
    )
    print(f"wrote {export_smib(load_bottleneck(args.work), args.out, about).path}")
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
    log_progress()
