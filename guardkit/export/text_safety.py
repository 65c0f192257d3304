"""A trained text classifier to an artifact: graph, tokenizer, calibration, parity, manifest.

    guardkit export text-safety --work FOLDER --data FOLDER --out exported_models
    guardkit export text-safety-multi --work FOLDER --data FOLDER --out exported_models

Everything the card states is measured on the int8 graph through the SDK's own scorer.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from guardkit.artifacts import Artifact, Calibration, RunnerOptions, TextOptions
from guardkit.errors import InputError
from guardkit.export.artifact import (
    MODEL,
    TOKENIZER,
    About,
    config_pbtxt,
    fit_platt,
    logits_of_texts,
    write_labels,
    write_parity,
    write_text_manifest,
    write_tokenizer,
)
from guardkit.export.quantize import quantize_int8, with_token_scales
from guardkit.export.to_onnx import export_onnx
from guardkit.export.verify import TEXTS, outputs_of
from guardkit.runtime.base import open_runner
from guardkit.text.encode import Encoder
from guardkit.train.classifier import SafetyModel, Settings, batches, encode_pool, load_trained
from guardkit.train.data import CATEGORIES, ENGLISH, Pool
from guardkit.train.mixture import Folders, load_mixture
from guardkit.train.multilingual import LANGUAGES, load_multilingual
from guardkit.train.start import blend_with

_SEED = 20261126
_SCALE_TEXTS = 512  # training texts that set how int8 evens out the channels
_CALIBRATING = 8000  # rows at most: two numbers a category are fitted on them


@dataclass(frozen=True, slots=True)
class Kind:
    """What tells one text classifier's artifact from another's."""

    name: str
    languages: tuple[str, ...]
    licence: str
    load: Callable[..., Pool]
    """Reads its sources: `load(folders, split=...)`."""
    alpha: float
    """For `quantize.with_token_scales`: the least difference of several (train/LOG.md)."""


TEXT_SAFETY = Kind("text-safety", (ENGLISH,), "Apache-2.0", load_mixture, alpha=0.65)
TEXT_SAFETY_MULTI = Kind("text-safety-multi", LANGUAGES, "OpenRAIL++", load_multilingual, alpha=0.4)


def export_text_safety(
    work: Path,
    folders: Folders,
    out: Path,
    *,
    version: str,
    kind: Kind = TEXT_SAFETY,
    blend: tuple[Path, float] | None = None,
) -> Artifact:
    """Write an artifact from a training's folder.

    Args:
        work: What `guardkit train text-safety`, or `text-safety-multi`, left.
        folders: Where the sources lie; their validation rows calibrate the scores.
        out: The folder that holds artifacts.
        version: Version of the artifact.
        kind: Which of the classifiers it is.
        blend: An artifact that `work` began from, and the share of the new weights (`blend_with`).

    Raises:
        InputError: `work` holds no trained model.
    """
    if not (work / "model.safetensors").is_file():
        raise InputError(f"{work}: no model.safetensors. Run guardkit train {kind.name} first.")
    folder = out / kind.name
    (folder / "1").mkdir(parents=True, exist_ok=True)
    fp32 = work / "fp32" / kind.name
    (fp32 / "1").mkdir(parents=True, exist_ok=True)
    model = load_trained(work)
    if blend is not None:
        blend_with(model, blend[0], share=blend[1])
    export_onnx(model, fp32 / MODEL)
    _export_int8(model, work, kind.load(folders, split="train"), folder / MODEL, kind.alpha)
    for target in (fp32, folder):
        write_tokenizer(Tokenizer.from_file(str(work / "tokenizer.json")), target / TOKENIZER)
        write_labels(target, CATEGORIES)
    about = _about(kind, version)
    reference = write_text_manifest(fp32, about, precision="fp32", calibration=about.identity)
    artifact = write_text_manifest(folder, about, precision="int8", calibration=about.identity)
    write_parity(artifact, outputs_of(reference, open_runner(reference, RunnerOptions()), TEXTS))
    pool = calibration_rows(kind.load(folders, split="valid"))
    calibration = fit_calibration(logits_of(artifact, pool), pool)
    (folder / "config.pbtxt").write_text(config_pbtxt(artifact.manifest))
    write_text_manifest(fp32, about, precision="fp32", calibration=calibration)
    return write_text_manifest(folder, about, precision="int8", calibration=calibration)


def _about(kind: Kind, version: str) -> About:
    settings = Settings()
    return About(
        name=kind.name,
        version=version,
        licence=kind.licence,
        categories=CATEGORIES,
        languages=kind.languages,
        text=TextOptions(max_tokens=settings.max_tokens, overlap=settings.overlap),
    )


def calibration_rows(valid: Pool) -> Pool:
    """Validation rows that calibrate: all, or of very many a part, drawn once each by their rates."""
    keys = np.random.default_rng(_SEED).exponential(size=len(valid.texts)) / valid.rates
    return valid.take(np.sort(np.argsort(keys)[:_CALIBRATING]))


def _export_int8(model: SafetyModel, work: Path, pool: Pool, out: Path, alpha: float) -> None:
    """Rewrite the linear layers for int8, by what they see on training texts, and quantize them."""
    settings = Settings(batch=16)
    encoder = Encoder(
        (work / "tokenizer.json").read_bytes(),
        max_tokens=settings.max_tokens,
        overlap=settings.overlap,
    )
    rows = np.random.default_rng(settings.seed).permutation(len(pool.texts))[:_SCALE_TEXTS]
    seen = batches(encode_pool(pool.take(rows), encoder), settings, epoch=0)
    inputs = ((batch.input_ids, batch.attention_mask) for batch in seen)
    rewritten = with_token_scales(model, inputs, alpha=alpha)
    with tempfile.TemporaryDirectory() as scratch:
        graph = Path(scratch) / "rewritten.onnx"
        export_onnx(rewritten, graph)
        quantize_int8(graph, out)


def logits_of(artifact: Artifact, pool: Pool) -> NDArray[np.float64]:
    """Score a pool through the SDK: f64 [rows, categories], before calibration."""
    return logits_of_texts(artifact, pool.texts, pool.contexts)


def fit_calibration(logits: NDArray[np.float64], pool: Pool) -> dict[str, Calibration]:
    """Platt scaling a category on its known labels, filled-in negatives at their lower weight."""
    fitted: dict[str, Calibration] = {}
    for column, category in enumerate(CATEGORIES):
        known = pool.weights[:, column] > 0
        truth = pool.labels[known, column] >= 0.5
        weights = pool.weights[known, column]
        fitted[category] = fit_platt(logits[known, column], truth, weights=weights)
    return fitted
