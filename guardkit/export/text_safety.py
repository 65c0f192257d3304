"""A trained text classifier to an artifact: graph, tokenizer, calibration, parity, manifest.

    guardkit export text-safety --work FOLDER --data FOLDER --out exported_models
    guardkit export text-safety-multi --work FOLDER --data FOLDER --out exported_models

Everything the card states is measured on the int8 graph through the SDK's own scorer.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer

from guardkit.artifacts import (
    FORMAT,
    Artifact,
    Calibration,
    FileEntry,
    Manifest,
    RunnerOptions,
    TensorSpec,
    TextOptions,
    load_artifact,
)
from guardkit.errors import InputError
from guardkit.export.quantize import quantize_int8, with_token_scales
from guardkit.export.to_onnx import export_onnx
from guardkit.export.verify import FILE as PARITY_FILE
from guardkit.export.verify import TEXTS, ParityCard, outputs_of
from guardkit.runtime.base import open_runner
from guardkit.text.encode import Encoder
from guardkit.text.normalize import normalize
from guardkit.text.score import TextScorer
from guardkit.train.classifier import SafetyModel, Settings, batches, encode_pool, load_trained
from guardkit.train.data import CATEGORIES, ENGLISH, Pool
from guardkit.train.mixture import Folders, load_mixture
from guardkit.train.multilingual import LANGUAGES, load_multilingual

_log = logging.getLogger(__name__)

_MODEL, _TOKENIZER = "1/model.onnx", "1/tokenizer.json"
_IDENTITY = {category: Calibration(1.0, 0.0) for category in CATEGORIES}
_SEED = 20261126
_SCALE_TEXTS = 512  # training texts that set how int8 evens out the channels
# Parity is held to what was found when the card was made, with room for another processor's kernels.
_ROOM = 1.5
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
    work: Path, folders: Folders, out: Path, *, version: str, kind: Kind = TEXT_SAFETY
) -> Artifact:
    """Write an artifact from a training's folder.

    Args:
        work: What `guardkit train text-safety`, or `text-safety-multi`, left.
        folders: Where the sources lie; their validation rows calibrate the scores.
        out: The folder that holds artifacts.
        version: Version of the artifact.
        kind: Which of the classifiers it is.

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
    export_onnx(model, fp32 / _MODEL)
    _export_int8(model, work, kind.load(folders, split="train"), folder / _MODEL, kind.alpha)
    for target in (fp32, folder):
        _write_tokenizer(work / "tokenizer.json", target / _TOKENIZER)
        (target / "labels.txt").write_text("\n".join(CATEGORIES) + "\n")
    reference = _write_manifest(fp32, kind, version, "fp32", _IDENTITY)
    artifact = _write_manifest(folder, kind, version, "int8", _IDENTITY)
    _write_parity(artifact, reference)
    artifact = _write_manifest(folder, kind, version, "int8", _IDENTITY)
    pool = calibration_rows(kind.load(folders, split="valid"))
    calibration = fit_calibration(logits_of(artifact, pool), pool)
    (folder / "config.pbtxt").write_text(config_pbtxt(artifact.manifest))
    _write_manifest(fp32, kind, version, "fp32", calibration)
    return _write_manifest(folder, kind, version, "int8", calibration)


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
    scorer = TextScorer(artifact, open_runner(artifact, RunnerOptions(threads=1)))
    words = scorer.words()
    values = np.empty((len(pool.texts), len(scorer.categories)))
    for row, (text, context) in enumerate(zip(pool.texts, pool.contexts, strict=True)):
        prompt = replace(normalize(text, words=words), context=context)
        (scored,) = scorer.score([prompt])
        values[row] = list(scored.scores.values())
    scales = np.array([artifact.manifest.calibration[c].scale for c in scorer.categories])
    shifts = np.array([artifact.manifest.calibration[c].shift for c in scorer.categories])
    clipped = np.clip(values, 1e-15, 1 - 1e-15)
    return (np.log(clipped / (1 - clipped)) - shifts) / scales


def fit_calibration(logits: NDArray[np.float64], pool: Pool) -> dict[str, Calibration]:
    """Platt scaling a category on its known labels, filled-in negatives at their lower weight."""
    fitted: dict[str, Calibration] = {}
    for column, category in enumerate(CATEGORIES):
        known = pool.weights[:, column] > 0
        regression = LogisticRegression(C=100.0).fit(
            logits[known, column : column + 1],
            pool.labels[known, column] >= 0.5,
            sample_weight=pool.weights[known, column],
        )
        scale, shift = float(regression.coef_[0, 0]), float(regression.intercept_[0])
        fitted[category] = Calibration(round(scale, 5), round(shift, 5))
    return fitted


def config_pbtxt(manifest: Manifest) -> str:
    """The Triton configuration of an artifact's onnx model."""
    kinds = {"int64": "TYPE_INT64", "float32": "TYPE_FP32"}
    lines = [f'name: "{manifest.name}"', 'backend: "onnxruntime"', "max_batch_size: 32"]
    for kind, specs in (("input", manifest.inputs), ("output", manifest.outputs)):
        tensors = ",\n".join(
            f'  {{ name: "{spec.name}", data_type: {kinds[spec.dtype]}, '
            f"dims: [{', '.join('-1' if isinstance(d, str) else str(d) for d in spec.shape[1:])}] }}"
            for spec in specs
        )
        lines.append(f"{kind} [\n{tensors}\n]")
    return "\n".join(lines) + "\n"


def _write_tokenizer(source: Path, target: Path) -> None:
    """Copy a tokenizer without the padding and truncation that files in the wild carry."""
    tokenizer = Tokenizer.from_file(str(source))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    target.write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False))


def _write_manifest(
    folder: Path,
    kind: Kind,
    version: str,
    precision: str,
    calibration: Mapping[str, Calibration],
) -> Artifact:
    settings = Settings()
    names = [_MODEL, _TOKENIZER, "labels.txt", PARITY_FILE]
    tokens = ("windows", "tokens")
    manifest = Manifest(
        format=FORMAT,
        name=kind.name,
        version=version,
        task="text-scores",
        precision=precision,
        licence=kind.licence,
        categories=CATEGORIES,
        calibration=dict(calibration),
        inputs=(
            TensorSpec("input_ids", "int64", tokens),
            TensorSpec("attention_mask", "int64", tokens),
        ),
        outputs=(
            TensorSpec("logits", "float32", ("windows", len(CATEGORIES))),
            TensorSpec("token_logits", "float32", (*tokens, len(CATEGORIES))),
        ),
        files={name: _entry(folder / name) for name in names if (folder / name).is_file()},
        languages=kind.languages,
        text=TextOptions(max_tokens=settings.max_tokens, overlap=settings.overlap),
    )
    encoded = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    (folder / "manifest.json").write_bytes(encoded + b"\n")
    return load_artifact(folder)


def _entry(path: Path) -> FileEntry:
    content = path.read_bytes()
    return FileEntry(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


def _write_parity(artifact: Artifact, reference: Artifact) -> None:
    """Store the fp32 reference and hold the int8 graph to what it reaches today."""
    expected, expected_tokens = outputs_of(
        reference, open_runner(reference, RunnerOptions()), TEXTS
    )
    found, found_tokens = outputs_of(artifact, open_runner(artifact, RunnerOptions()), TEXTS)
    worst = float(np.abs(found - expected).max())
    token_worst = float(np.abs(found_tokens - expected_tokens).max())
    card = ParityCard(
        precision="int8",
        texts=TEXTS,
        logits=_rows(expected),
        tolerance=round(worst * _ROOM, 2),
        token_tolerance=round(token_worst * _ROOM, 2),
        worst=round(worst, 4),
        token_worst=round(token_worst, 4),
        token_logits=_rows(expected_tokens),
    )
    (artifact.path / PARITY_FILE).write_bytes(
        msgspec.json.format(msgspec.json.encode(card), indent=1)
    )
    _log.info("parity: logits within %.3f, token logits within %.3f of fp32", worst, token_worst)


def _rows(values: NDArray[np.float32]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(float(value), 4) for value in row) for row in values)
