"""Somebody's Hugging Face classifier, of texts or of tokens, to an artifact that a policy names as a scorer.

    guardkit export hf FOLDER --labels map.yaml --name my-toxicity --out exported_models

The graph is exported with `export_onnx`, as our own models are, and not with optimum: optimum writes
the labels' logits, with token_type_ids as an input, and the sums over labels would have to be put
into its graph by hand; around the torch model they are a few lines. Whether the graph is the model
is measured: the parity card's reference is the torch model, and texts that share a batch are tried too.
Tried with random weights: BERT, RoBERTa, DistilBERT, DeBERTa-v2, ModernBERT, MPNet, ELECTRA, ALBERT.
Decoders (GPT-2, Llama, Qwen2) do not go through torch's exporter and are refused.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from guardkit.artifacts import Artifact, RunnerOptions, TextOptions
from guardkit.errors import InputError, ParityError
from guardkit.export.artifact import (
    MODEL,
    TOKENIZER,
    About,
    check_name,
    config_pbtxt,
    fit_platt,
    logits_of_texts,
    write_labels,
    write_parity,
    write_text_manifest,
    write_tokenizer,
)
from guardkit.export.hf_model import (
    CategoryModel,
    Classifier,
    Head,
    Task,
    check_window,
    read_classifier,
)
from guardkit.export.label_map import columns_of, read_label_map
from guardkit.export.quantize import quantize_any
from guardkit.export.to_onnx import export_onnx
from guardkit.export.verify import TEXTS, encoder_of, outputs_of
from guardkit.runtime.base import Arrays, open_runner
from guardkit.runtime.fake import FakeRunner
from guardkit.text.normalize import normalize

_log = logging.getLogger(__name__)

PRECISIONS = ("fp32", "int8")
TASKS = tuple(task.value for task in Task)
_LEAST_TOKENS, _SPECIAL_TOKENS = 8, 2
_FAITHFUL = (
    0.01  # logits; chosen: fp32 kernels differ by 1e-4, a graph that is not the model by 0.1
)
_LEAST_EXAMPLES = 10  # chosen: of each kind, to fit two numbers


@dataclass(frozen=True, slots=True)
class Request:
    """What to make of which classifier."""

    model: str
    """A local folder, or a name of the hub."""
    labels: Path
    """The label map; see `label_map`."""
    name: str
    """Of the artifact, kebab-case."""
    task: Task = Task.TEXT
    precision: str = "fp32"
    languages: tuple[str, ...] = ()
    """ISO 639-1 codes it knows; (): nobody said, and it takes any."""
    licence: str = "not stated"
    version: str = "0.1.0"
    max_tokens: int = 128
    overlap: int = 32


@dataclass(frozen=True, slots=True)
class Examples:
    """Labelled texts that calibrate. Their repr would hold texts: do not log them."""

    file: str
    texts: Sequence[str]
    truth: Mapping[str, NDArray[np.bool_]]
    """Category -> bool [texts]."""
    known: Mapping[str, NDArray[np.bool_]]
    """Category -> bool [texts]: where `truth` means something."""


def export_hf(request: Request, out: Path, examples: Examples | None = None) -> Artifact:
    """Write the artifact.

    Args:
        request: The classifier, the label map, and what the manifest should say.
        out: The folder that holds artifacts; nothing is left there when something fails.
        examples: What to calibrate on; None: the model's own probabilities are the scores.

    Raises:
        InputError: The request, the model, the label map or the examples cannot be used.
        ParityError: The graph that torch exports does not give what the model gives.
    """
    _check_request(request, out)
    plain = read_classifier(request.model, request.task)
    check_window(request.model, plain.positions, request.max_tokens)
    label_map = read_label_map(request.labels, plain.labels)
    columns = columns_of(label_map, plain.labels)
    _check_columns(request, plain, columns)
    _check_examples(examples, label_map)
    _log.info("%s: a %s head over %d labels", request.model, plain.head.value, len(plain.labels))
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as scratch:
        made = _make(request, plain, columns, Path(scratch))
        if examples is not None:
            made = _calibrate(made, _about(request, columns), examples)
        made.path.rename(out / request.name)
    return Artifact(out / request.name, made.manifest)


def _check_request(request: Request, out: Path) -> None:
    check_name(request.name)
    if (out / request.name).exists():
        raise InputError(
            f"{out / request.name}: exists already. Remove it, or choose another --name or --out."
        )
    if request.max_tokens < _LEAST_TOKENS:
        raise InputError(f"--max-tokens {request.max_tokens}: expected at least {_LEAST_TOKENS}.")
    if not 0 <= request.overlap < request.max_tokens - _SPECIAL_TOKENS:
        raise InputError(
            f"--overlap {request.overlap}: windows of {request.max_tokens} tokens overlap by 0 to "
            f"{request.max_tokens - _SPECIAL_TOKENS - 1}."
        )


def _check_columns(
    request: Request, plain: Classifier, columns: Mapping[str, Sequence[int]]
) -> None:
    """No category of a softmax head may have every label: its score would be 1 for any text."""
    full = [name for name, own in columns.items() if len(own) == len(plain.labels)]
    if plain.head is Head.SOFTMAX and full:
        raise InputError(
            f"{request.labels}: {full[0]}: mapped to all labels of a softmax head, whose "
            "probabilities add up to 1 for any text. Leave out the harmless label. Labels: "
            f"{', '.join(plain.labels)}."
        )


def _check_examples(examples: Examples | None, label_map: Mapping[str, object]) -> None:
    """Every category that has labels at all has enough of each kind, and some category has."""
    if examples is None:
        return
    if not examples.truth.keys() & label_map.keys():
        raise InputError(
            f"{examples.file}: no column of labels for {', '.join(label_map)}. Found columns for "
            f"{', '.join(examples.truth) or 'none'}. Name a column like a category of the label map."
        )
    for category in examples.truth.keys() & label_map.keys():
        known = examples.truth[category][examples.known[category]]
        yes, no = int(known.sum()), int((~known).sum())
        if min(yes, no) < _LEAST_EXAMPLES:
            raise InputError(
                f"{examples.file}: column '{category}': {yes} positive and {no} negative texts. "
                f"Expected at least {_LEAST_EXAMPLES} of each. Add texts, or remove the column."
            )


def _about(request: Request, categories: Mapping[str, object]) -> About:
    return About(
        name=request.name,
        version=request.version,
        licence=request.licence,
        categories=tuple(categories),
        languages=request.languages,
        text=TextOptions(max_tokens=request.max_tokens, overlap=request.overlap),
        outputs=request.task.outputs,
    )


def _make(
    request: Request, plain: Classifier, columns: Mapping[str, Sequence[int]], scratch: Path
) -> Artifact:
    """The artifact in a folder of `scratch`, uncalibrated."""
    model, about = CategoryModel(plain, columns), _about(request, columns)
    folders = {precision: scratch / precision / request.name for precision in PRECISIONS}
    for folder in folders.values():
        (folder / "1").mkdir(parents=True)
        write_tokenizer(plain.tokenizer, folder / TOKENIZER)
        write_labels(folder, about.categories)
    _export(request, model, folders["fp32"] / MODEL)
    fp32 = write_text_manifest(folders["fp32"], about, precision="fp32", calibration=about.identity)
    expected = outputs_of(fp32, FakeRunner(lambda inputs: _run_torch(model, inputs)), TEXTS)
    check_faithful(fp32, expected[0])
    folder = folders[request.precision]
    if request.precision == "int8":
        quantize_any(folders["fp32"] / MODEL, folder / MODEL)
    made = write_text_manifest(
        folder, about, precision=request.precision, calibration=about.identity
    )
    write_parity(made, expected)
    (folder / "config.pbtxt").write_text(config_pbtxt(made.manifest))
    return write_text_manifest(
        folder, about, precision=request.precision, calibration=about.identity
    )


def _export(request: Request, model: CategoryModel, path: Path) -> None:
    try:
        export_onnx(model, path, outputs=request.task.outputs)
    except (RuntimeError, ValueError, TypeError) as e:  # what tracing raises, by architecture
        raise InputError(
            f"{request.model}: torch cannot export {type(model.model).__name__} to onnx "
            f"({type(e).__name__}). Use a classifier of another architecture, for example BERT's."
        ) from e


def _run_torch(model: CategoryModel, inputs: Arrays) -> Arrays:
    ids, mask = (torch.tensor(inputs[name]) for name in ("input_ids", "attention_mask"))
    with torch.no_grad():
        parts = model(ids, mask)
    return dict(zip(model.task.outputs, (part.numpy() for part in parts), strict=True))


def check_faithful(fp32: Artifact, expected: NDArray[np.float32]) -> None:
    """Hold a graph to the model it was exported from, text by text and with all texts in a batch.

    Args:
        fp32: The graph's artifact.
        expected: The model's logits of `TEXTS`, f32 [windows, categories], text by text.

    Raises:
        ParityError: The graph gives something else, or a text's logits depend on its neighbours.
    """
    runner, encoder = open_runner(fp32, RunnerOptions()), encoder_of(fp32)
    alone, _ = outputs_of(fp32, runner, TEXTS)
    words = encoder.words()
    texts = [normalize(text, words=words).text for text in TEXTS]
    together = runner.run(encoder.encode(texts).inputs)["logits"]
    for how, found in (("one by one", alone), ("in one batch", together)):
        worst = float(np.abs(found - expected).max())
        if not worst <= _FAITHFUL:  # NaN is none either
            raise ParityError(
                f"{fp32.manifest.name}: as an onnx graph, texts {how}, its logits differ from "
                f"torch's by {worst:.4f}. Allowed: {_FAITHFUL}. Use a classifier of another "
                "architecture, for example BERT's."
            )


def _calibrate(made: Artifact, about: About, examples: Examples) -> Artifact:
    """Platt scaling of the categories that have labels; the others keep the model's probabilities."""
    logits = logits_of_texts(made, examples.texts)
    calibration = about.identity
    for column, category in enumerate(about.categories):
        if category not in examples.truth:
            continue
        known = examples.known[category]
        fitted = fit_platt(logits[known, column], examples.truth[category][known])
        if fitted.scale <= 0:
            raise InputError(
                f"{examples.file}: column '{category}': texts labelled 1 score lower than those "
                "labelled 0. Check the label map, or which way the column is labelled."
            )
        calibration[category] = fitted
    precision = made.manifest.precision
    return write_text_manifest(made.path, about, precision=precision, calibration=calibration)
