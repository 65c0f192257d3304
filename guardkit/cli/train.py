"""`guardkit train MODEL`."""

from __future__ import annotations

import argparse
from pathlib import Path

from guardkit.cli import image_heads, shapes_world
from guardkit.cli.shared import (
    Verbs,
    add_verb,
    at_least_zero,
    log_progress,
    positive,
    require_torch,
)


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
    _add_classifier(text)
    text.set_defaults(run=run_text_safety)
    multi = add_verb(
        models,
        "text-safety-multi",
        text="cut a multilingual encoder's vocabulary and fine-tune it; start again to resume",
        example="guardkit train text-safety-multi --base e5-small-multi --data shared/data --work runs/m1",
    )
    _add_classifier(multi)
    multi.add_argument("--pieces", type=int, default=72_000, help="size of the vocabulary")
    multi.set_defaults(run=run_text_safety_multi)
    soft = add_verb(
        models,
        "soft-labels",
        text="label training texts with a larger trained model; start again to resume",
        example="guardkit train soft-labels --teacher runs/mpnet --data shared/data --work runs/soft",
    )
    soft.add_argument("--teacher", required=True, type=Path, help="what guardkit train left")
    add_sources(soft)
    soft.add_argument("--work", required=True, type=Path, help="scored chunks go here")
    soft.add_argument("--rows", type=int, default=40_000, help="training texts to label")
    soft.add_argument("--threads", type=int, default=2)
    soft.set_defaults(run=run_soft_labels)
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
    fast.add_argument("--version", default="0.5.0")
    fast.set_defaults(run=run_text_safety_fast)
    tagger = add_verb(
        models,
        "pii-tagger",
        text="fine-tune an encoder to mark people, addresses and places; start again to resume",
        example="guardkit train pii-tagger --base minilm-l6 --data shared/data --work runs/pii",
    )
    tagger.add_argument("--base", required=True, help="local folder or hub name of a BERT encoder")
    tagger.add_argument("--data", required=True, type=Path, help="folder with pii/ and text/")
    tagger.add_argument("--own", type=Path, default=Path("data"), help="written texts")
    tagger.add_argument("--work", required=True, type=Path, help="checkpoints and result go here")
    tagger.add_argument("--share", type=float, default=1.0, help="of the usual number of texts")
    tagger.add_argument("--start", type=Path, help="--work of a run to go on from")
    tagger.add_argument("--rate", type=float, default=8e-5, help="learning rate")
    tagger.add_argument("--seed", type=int, default=20261126, help="of all that is drawn")
    tagger.add_argument("--threads", type=int, default=1)
    tagger.set_defaults(run=run_pii_tagger)
    rewriter = add_verb(
        models,
        "prompt-rewriter",
        text="train an encoder and a copying decoder on pairs; start again to resume",
        example="guardkit train prompt-rewriter --base minilm-l6 --data shared/data --work runs/r1",
    )
    rewriter.add_argument("--base", required=True, help="local folder or hub name of an encoder")
    rewriter.add_argument("--data", required=True, type=Path, help="folder with rewrite/ and text/")
    rewriter.add_argument("--own", type=Path, default=Path("data"), help="written pairs")
    rewriter.add_argument("--work", required=True, type=Path, help="checkpoints and result go here")
    rewriter.add_argument(
        "--start", type=Path, help="--work of a run to go on from, or the artifact"
    )
    rewriter.add_argument(
        "--targets", type=Path, help="--work of rewriter-targets, instead of what people wrote"
    )
    rewriter.add_argument(
        "--decoder-only",
        action="store_true",
        help="leave what reads, and the pieces that are written, as they are in --start",
    )
    rewriter.add_argument("--rate", type=float, default=1e-3, help="learning rate of the decoder")
    rewriter.add_argument(
        "--draws",
        type=int,
        nargs=5,
        metavar=("DETOX", "WRITTEN", "REPAIRED", "KEPT", "MENDED"),
        default=(5, 10, 1, 14_000, 50_000),
        help="times that pairs, and what written ones became, are read, and numbers of texts that stay or are mended",
    )
    rewriter.add_argument("--threads", type=int, default=1)
    rewriter.set_defaults(run=run_prompt_rewriter)
    _add_rewriter_targets(models)
    image_heads.add_training(models)
    _add_image_transform(models)
    shapes_world.add_training(models)
    _add_smib(models)


def _add_rewriter_targets(models: Verbs) -> None:
    """What choosing targets takes; its defaults are those of `TargetSettings`."""
    targets = add_verb(
        models,
        "rewriter-targets",
        text="choose what rude sentences are to become, of what people and the rewriter wrote; start again to resume",
        example="guardkit train rewriter-targets --data shared/data --language-model smollm2-135m --work runs/t1",
    )
    targets.add_argument("--data", required=True, type=Path, help="folder with rewrite/")
    targets.add_argument(
        "--language-model", required=True, type=Path, help="folder of a causal language model"
    )
    targets.add_argument("--work", required=True, type=Path, help="the result goes here")
    targets.add_argument("--samples", type=int, default=3, help="of each source")
    targets.add_argument(
        "--part",
        type=int,
        nargs=2,
        metavar=("K", "N"),
        default=(1, 1),
        help="the K-th of N shares of the sources: a process a core",
    )
    targets.set_defaults(run=run_rewriter_targets)


def _add_smib(models: Verbs) -> None:
    """What the training of a bottleneck takes; its defaults are those of `SmibSettings`."""
    smib = add_verb(
        models,
        "smib",
        text="train a bottleneck: features lose whether they are toxic; start again to resume",
        example="guardkit train smib --features features.npz --work runs/smib",
    )
    smib.add_argument(
        "--features",
        required=True,
        type=Path,
        help=".npz: states [N, T, d] or [N, d], toxic [N]; mask [N, T], targets [N] where there are any",
    )
    smib.add_argument("--work", required=True, type=Path, help="checkpoints and result go here")
    smib.add_argument("--form", choices=("residual", "published"), default="residual")
    smib.add_argument("--width", type=positive, default=128, help="inner width, residual form")
    smib.add_argument(
        "--loss", choices=("plugin", "dual", "tovilag_release"), default="plugin", help="of theta"
    )
    smib.add_argument("--weight", type=float, default=20.0, help="of that loss")
    smib.add_argument("--task-weight", type=float, default=1.0)
    smib.add_argument(
        "--steps", type=at_least_zero, default=1500, help="0: the linear erasure alone"
    )
    smib.add_argument(
        "--spread",
        type=at_least_zero,
        default=0,
        help="directions of different spread that the first erasure takes along; two inner units each",
    )
    smib.add_argument(
        "--spread-weight", type=float, default=0.0, help="of what theta brings back along these"
    )
    smib.add_argument("--rate", type=float, default=1e-3, help="learning rate of theta")
    smib.add_argument("--seed", type=int, default=20261127)
    smib.add_argument("--threads", type=positive, default=1)
    smib.set_defaults(run=run_smib)


def _add_classifier(text: argparse.ArgumentParser) -> None:
    """What every training of a classifier takes."""
    text.add_argument("--base", required=True, help="local folder or hub name of a BERT encoder")
    add_sources(text)
    text.add_argument("--start", type=Path, help="go on from this artifact's weights")
    text.add_argument("--work", required=True, type=Path, help="checkpoints and result go here")
    text.add_argument("--rows", type=int, default=130_000, help="texts drawn from all sources")
    text.add_argument(
        "--rate", type=float, default=6e-5, help="learning rate; 2.5e-5 for mpnet-base"
    )
    text.add_argument(
        "--seed", type=int, default=20261124, help="of the draw; another goes on with other texts"
    )
    text.add_argument("--threads", type=int, default=2)


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

    log_progress()
    settings = Settings(
        rows=args.rows, threads=args.threads, encoder_rate=args.rate, seed=args.seed
    )
    train(args.base, Folders(args.data, args.own), args.work, settings, start=args.start)
    return 0


def run_text_safety_multi(args: argparse.Namespace) -> int:
    """Trim the vocabulary, where that is not done yet, and train the multilingual text classifier."""
    require_torch("training", "train")
    from guardkit.train.classifier import Settings, train  # torch: an optional package
    from guardkit.train.mixture import Folders
    from guardkit.train.multilingual import load_multilingual
    from guardkit.train.vocabulary import trim_vocabulary

    log_progress()
    folders, base = Folders(args.data, args.own), args.work / "base"
    if not (base / "config.json").is_file():
        pool = load_multilingual(folders, split="train")
        trim_vocabulary(Path(args.base), pool, base, pieces=args.pieces)
    settings = Settings(
        rows=args.rows,
        threads=args.threads,
        encoder_rate=args.rate,
        seed=args.seed,
        is_multilingual=True,
    )
    train(str(base), folders, args.work, settings, start=args.start)
    return 0


def run_soft_labels(args: argparse.Namespace) -> int:
    """Score training texts with a larger model and keep what it says."""
    require_torch("training", "train")
    from guardkit.artifacts import find_artifact
    from guardkit.export.soft_labels import LabelPlan, label_softly  # torch: an optional package
    from guardkit.train.mixture import Folders

    log_progress()
    plan = LabelPlan(rows=args.rows, threads=args.threads)
    folders = Folders(args.data, args.own)
    path = label_softly(args.teacher, find_artifact("text-safety"), folders, args.work, plan)
    print(f"wrote {path}")
    return 0


def run_text_safety_fast(args: argparse.Namespace) -> int:
    """Score texts with the full model, distil it and export the fast tier."""
    require_torch("training", "train")
    from guardkit.artifacts import find_artifact
    from guardkit.export.distil import Plan, distil_fast  # torch: an optional package
    from guardkit.train.mixture import Folders

    log_progress()
    plan = Plan(args.rows, args.processes, args.version, args.flagged)
    full = find_artifact("text-safety")
    artifact = distil_fast(full, Folders(args.data, args.own), args.work, args.out, plan)
    print(f"wrote {artifact.path}")
    return 0


def run_pii_tagger(args: argparse.Namespace) -> int:
    """Train the tagger of personal data."""
    require_torch("training", "train")
    from guardkit.train.tagger import TaggerSettings, train_tagger  # torch: an optional package

    log_progress()
    settings = TaggerSettings(
        share=args.share, encoder_rate=args.rate, seed=args.seed, threads=args.threads
    )
    written = args.own / "written" / "people"
    train_tagger(args.base, args.data, written, args.work, settings, start=args.start)
    return 0


def run_prompt_rewriter(args: argparse.Namespace) -> int:
    """Train the rewriter."""
    require_torch("training", "train")
    from guardkit.train.repairs import Draws  # pyarrow: an optional package
    from guardkit.train.rewriter import RewriterSettings, train_rewriter  # torch: likewise

    log_progress()
    settings = RewriterSettings(
        draws=Draws(*args.draws),
        decoder_rate=args.rate,
        encoder_rate=args.rate / 7.5,
        decoder_only=args.decoder_only,
        threads=args.threads,
    )
    written = args.own / "written" / "repairs"
    train_rewriter(
        args.base,
        args.data,
        written,
        args.work,
        settings,
        start=args.start,
        targets=args.targets,
    )
    return 0


def run_rewriter_targets(args: argparse.Namespace) -> int:
    """Choose what rude sentences are to become."""
    require_torch("training", "train")
    from guardkit.train.rewriter_targets import (  # torch: an optional package
        TargetSettings,
        choose_targets,
    )

    log_progress()
    part, parts = args.part
    settings = TargetSettings(samples=args.samples, part=part - 1, parts=parts)
    path = choose_targets(args.data, args.language_model, args.work, settings)
    print(f"wrote {path}")
    return 0


def run_smib(args: argparse.Namespace) -> int:
    """Train a bottleneck on features."""
    require_torch("training", "train")
    from guardkit.train.smib import SmibSettings, train_smib  # torch: an optional package
    from guardkit.train.smib_features import read_features
    from guardkit.train.smib_losses import Loss
    from guardkit.train.smib_model import Form

    log_progress()
    settings = SmibSettings(
        form=Form(args.form),
        width=args.width,
        loss=Loss(args.loss),
        weight=args.weight,
        task_weight=args.task_weight,
        steps=args.steps,
        spread=args.spread,
        spread_weight=args.spread_weight,
        rate=args.rate,
        seed=args.seed,
        threads=args.threads,
    )
    train_smib(read_features(args.features), args.work, settings)
    return 0


def _add_image_transform(models: Verbs) -> None:
    parser = add_verb(
        models,
        "image-transform",
        text="train the check of edits on edits made by code of safe pictures; start again to resume",
        example="guardkit train image-transform --pictures faces wallpapers --base minilm-l3 --work runs/transform",
    )
    parser.add_argument(
        "--pictures",
        required=True,
        nargs="+",
        type=Path,
        metavar="DIR",
        help="safe pictures, those with one face and those without one in any order",
    )
    parser.add_argument("--base", required=True, type=Path, help="folder of a sentence encoder")
    parser.add_argument("--own", type=Path, default=Path("data"), help="written requests")
    parser.add_argument("--work", required=True, type=Path, help="edits and weights are kept here")
    parser.set_defaults(run=run_image_transform)


def run_image_transform(args: argparse.Namespace) -> int:
    """Train the check of edits."""
    require_torch("training", "train")
    from guardkit.train.transform import train_transform  # torch: an optional package
    from guardkit.train.transform_head import Settings

    log_progress()
    train_transform(args.pictures, args.base, args.work, args.own, Settings())
    return 0
