"""What every exported text model writes: tokenizer, manifest, calibration, parity card, config.pbtxt."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
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
    PARITY_FILE,
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
from guardkit.export.to_onnx import OUTPUTS
from guardkit.export.verify import TEXTS, ParityCard, outputs_of
from guardkit.runtime.base import open_runner
from guardkit.runtime.pbtxt import model_config, render
from guardkit.steps import SCORERS
from guardkit.text.normalize import normalize
from guardkit.text.opening import scorer_of
from guardkit.text.tagger import WORDS

_log = logging.getLogger(__name__)

_NAME = re.compile(r"^[a-z0-9]+(-[a-z0-9]+)*$")
MODEL, TOKENIZER, LABELS = "1/model.onnx", "1/tokenizer.json", "labels.txt"
_FILES = (MODEL, TOKENIZER, LABELS, PARITY_FILE, WORDS)
# Parity is held to what was found when the card was made, with room for another processor's kernels.
_ROOM = 1.5
_LEAST_ROOM = 0.01  # chosen: a hundredth of a logit moves a score by 0.0025 at most


@dataclass(frozen=True, slots=True)
class About:
    """What a text classifier's manifest says apart from its files and numbers."""

    name: str
    version: str
    licence: str
    categories: tuple[str, ...]
    """In the order of the graph's `logits`."""
    languages: tuple[str, ...]
    text: TextOptions
    outputs: tuple[str, ...] = OUTPUTS
    """`logits`, and `token_logits` of a model that says which words it means."""
    kinds: tuple[str, ...] = ()
    """Of a tagger, which has `token_logits` alone."""

    @property
    def identity(self) -> dict[str, Calibration]:
        """The calibration that leaves every logit as it is."""
        return {category: Calibration(1.0, 0.0) for category in self.categories}


def check_name(name: str) -> None:
    """Whether a policy can call a model of somebody's so.

    Raises:
        InputError: It cannot.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"--name '{name}': not kebab-case. Expected lower-case letters, digits and single hyphens, for "
            "example my-toxicity."
        )
    if name in SCORERS:
        raise InputError(f"--name '{name}': guardkit has a step of that name. Choose another.")


def write_labels(folder: Path, categories: Iterable[str]) -> None:
    """Write labels.txt: a category a line, in the order of the logits."""
    (folder / LABELS).write_text("\n".join(categories) + "\n")


def write_tokenizer(tokenizer: Tokenizer, target: Path) -> None:
    """Write a copy of a tokenizer without the padding and truncation that those in the wild carry."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_padding()
    copy.no_truncation()
    target.write_text(json.dumps(json.loads(copy.to_str()), ensure_ascii=False), "utf-8")


def write_text_manifest(
    folder: Path, about: About, *, precision: str, calibration: Mapping[str, Calibration]
) -> Artifact:
    """Write the manifest of a text model over the files that its folder holds by now."""
    tokens, columns = ("windows", "tokens"), len(about.kinds or about.categories)
    shapes = {"logits": ("windows", columns), "token_logits": (*tokens, columns)}
    manifest = Manifest(
        format=FORMAT,
        name=about.name,
        version=about.version,
        task="text-tags" if about.kinds else "text-scores",
        precision=precision,
        licence=about.licence,
        categories=about.categories,
        calibration=dict(calibration),
        inputs=(
            TensorSpec("input_ids", "int64", tokens),
            TensorSpec("attention_mask", "int64", tokens),
        ),
        outputs=tuple(TensorSpec(name, "float32", shapes[name]) for name in about.outputs),
        files=file_entries(folder, [name for name in _FILES if (folder / name).is_file()]),
        languages=about.languages,
        text=about.text,
        kinds=about.kinds,
    )
    return write_manifest(folder, manifest)


def write_manifest(folder: Path, manifest: Manifest) -> Artifact:
    """Write manifest.json and read the artifact back, which checks it.

    Raises:
        ManifestError: The manifest contradicts itself.
    """
    encoded = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    (folder / "manifest.json").write_bytes(encoded + b"\n")
    return load_artifact(folder)


def file_entries(folder: Path, names: Sequence[str]) -> dict[str, FileEntry]:
    """Digest and size of files of a folder."""
    contents = {name: (folder / name).read_bytes() for name in names}
    return {
        name: FileEntry(hashlib.sha256(content).hexdigest(), len(content))
        for name, content in contents.items()
    }


def write_parity(
    artifact: Artifact, expected: tuple[NDArray[np.float32], NDArray[np.float32]]
) -> ParityCard:
    """Store the reference outputs and hold the graph to what it reaches today.

    Args:
        artifact: Its graph, tokenizer and manifest stand; the manifest does not list the card yet.
        expected: What `outputs_of` gave of the fp32 model on `TEXTS`.

    Returns:
        The card, which says how far the graph is from the reference.
    """
    logits, tokens = expected
    found, found_tokens = outputs_of(artifact, open_runner(artifact, RunnerOptions()), TEXTS)
    worst = float(np.abs(found - logits).max())
    token_worst = float(np.abs(found_tokens - tokens).max(initial=0.0))
    card = ParityCard(
        precision=artifact.manifest.precision,
        texts=TEXTS,
        logits=_rows(logits),
        tolerance=max(round(worst * _ROOM, 2), _LEAST_ROOM),
        token_tolerance=max(round(token_worst * _ROOM, 2), _LEAST_ROOM),
        worst=round(worst, 4),
        token_worst=round(token_worst, 4),
        token_logits=_rows(tokens),
    )
    (artifact.path / PARITY_FILE).write_bytes(
        msgspec.json.format(msgspec.json.encode(card), indent=1)
    )
    _log.info("parity: logits within %.3f, token logits within %.3f of fp32", worst, token_worst)
    return card


def _rows(values: NDArray[np.float32]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(float(value), 4) for value in row) for row in values)


def logits_of_texts(
    artifact: Artifact, texts: Sequence[str], contexts: Sequence[str] | None = None
) -> NDArray[np.float64]:
    """Score texts through the SDK: f64 [texts, categories], before calibration."""
    options = RunnerOptions(threads=1)
    scorer = scorer_of(artifact, open_runner(artifact, options), options)
    words = scorer.words()
    values = np.empty((len(texts), len(scorer.categories)))
    for row, (text, context) in enumerate(zip(texts, contexts or [""] * len(texts), strict=True)):
        prompt = replace(normalize(text, words=words), context=context)
        (scored,) = scorer.score([prompt])
        values[row] = list(scored.scores.values())
    scales = np.array([artifact.manifest.calibration[c].scale for c in scorer.categories])
    shifts = np.array([artifact.manifest.calibration[c].shift for c in scorer.categories])
    clipped = np.clip(values, 1e-15, 1 - 1e-15)
    return (np.log(clipped / (1 - clipped)) - shifts) / scales


def fit_platt(
    logits: NDArray[np.float64],
    truth: NDArray[np.bool_],
    *,
    weights: NDArray[np.float32] | None = None,
) -> Calibration:
    """Platt scaling of one category.

    Args:
        logits: f64 [texts].
        truth: bool [texts], both values among them.
        weights: f32 [texts], what each counts; None: all the same.
    """
    fitted = LogisticRegression(C=100.0).fit(logits[:, None], truth, sample_weight=weights)
    scale, shift = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    return Calibration(round(scale, 5), round(shift, 5))


def config_pbtxt(manifest: Manifest) -> str:
    """The Triton configuration of an artifact's onnx model."""
    return render(model_config(manifest))
