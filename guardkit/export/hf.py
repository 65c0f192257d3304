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
from collections.abc import Mapping, Sequence
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
    config_pbtxt,
    logits_of_texts,
    write_labels,
    write_parity,
    write_text_manifest,
    write_tokenizer,
)
from guardkit.export.hf_category import CategoryModel
from guardkit.export.hf_model import Classifier, check_window, read_classifier
from guardkit.export.hf_request import (
    PRECISIONS,
    Examples,
    Request,
    check_columns,
    check_examples,
    check_request,
    exporting,
    fitted,
    scratch_in,
)
from guardkit.export.label_map import columns_of, read_label_map
from guardkit.export.quantize import quantize_any
from guardkit.export.to_onnx import export_onnx
from guardkit.export.verify import TEXTS, encoder_of, outputs_of
from guardkit.runtime.base import Arrays, open_runner
from guardkit.runtime.fake import FakeRunner
from guardkit.text.normalize import normalize

_log = logging.getLogger(__name__)

_LEAST_TOKENS, _SPECIAL_TOKENS = 8, 2
_FAITHFUL = (
    0.01  # logits; chosen: fp32 kernels differ by 1e-4, a graph that is not the model by 0.1
)


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
    check_request(request, out)
    _check_windows(request)
    plain = read_classifier(request.model, request.task)
    check_window(request.model, plain.positions, request.max_tokens)
    label_map = read_label_map(request.labels, plain.labels)
    columns = columns_of(label_map, plain.labels)
    check_columns(request, plain, columns)
    check_examples(examples, label_map)
    _log.info("%s: a %s head over %d labels", request.model, plain.head.value, len(plain.labels))
    with scratch_in(out) as scratch:
        made = _make(request, plain, columns, scratch)
        if examples is not None:
            made = _calibrate(made, _about(request, columns), examples)
        made.path.rename(out / request.name)
    return Artifact(out / request.name, made.manifest)


def _check_windows(request: Request) -> None:
    if request.max_tokens < _LEAST_TOKENS:
        raise InputError(f"--max-tokens {request.max_tokens}: expected at least {_LEAST_TOKENS}.")
    if not 0 <= request.overlap < request.max_tokens - _SPECIAL_TOKENS:
        raise InputError(
            f"--overlap {request.overlap}: windows of {request.max_tokens} tokens overlap by 0 to "
            f"{request.max_tokens - _SPECIAL_TOKENS - 1}."
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
    with exporting(request, model.model):
        export_onnx(model, path, outputs=request.task.outputs)


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
    logits = logits_of_texts(made, examples.items)
    calibration = fitted(examples, logits, about.categories)
    precision = made.manifest.precision
    return write_text_manifest(made.path, about, precision=precision, calibration=calibration)
