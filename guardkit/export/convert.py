"""An artifact in another precision: what a GPU runs, made of what ships; and smaller twins of one's own.

    int8 -> fp32, fp16    our classifiers: the torch model is built again of the int8 weights
    fp32 -> fp16, int8    any text artifact: the graph is rewritten
    fp32 -> fp16          any artifact that scores images; int8 takes pictures: guardkit export hf

Weights keep what int8 left of them: the twin of an int8 artifact is as good as that, not as the model
it was made of. The parity card's reference is the artifact itself, so `verify` says how far the twin is from it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from msgspec.structs import replace
from onnxruntime.transformers.float16 import convert_float_to_float16
from transformers import BertConfig, BertModel

from guardkit.artifacts import PARITY_FILE, Artifact, Manifest, RunnerOptions
from guardkit.errors import InputError
from guardkit.export.artifact import MODEL, config_pbtxt, file_entries, write_manifest, write_parity
from guardkit.export.image_artifact import write_image_parity
from guardkit.export.image_parity import DRAWN, ImageParityCard, drawn_crops, scores_of
from guardkit.export.quantize import quantize_any
from guardkit.export.to_onnx import INPUTS, OUTPUTS, export_onnx
from guardkit.export.verify import TEXTS, ParityCard, outputs_of
from guardkit.runtime.base import Arrays, open_runner
from guardkit.runtime.fake import FakeRunner
from guardkit.train.classifier import SafetyModel, with_heads
from guardkit.train.start import Floats, start_from, weights_of

PRECISIONS = ("fp32", "fp16", "int8")
_HEAD_SIZES = (16, 32, 64)  # of BERT's kin
_WORDS, _POSITIONS = "encoder.embeddings.word_embeddings.weight", "encoder.embeddings.position_embeddings.weight"  # fmt: skip
_Write = Callable[[Artifact, Path], None]
_IMAGE_TOLERANCE = 0.01  # of a probability; half precision keeps three digits


def convert(
    artifact: Artifact, precision: str, out: Path
) -> tuple[Artifact, ParityCard | ImageParityCard]:
    """Write the twin of an artifact in another precision.

    Args:
        artifact: What to convert.
        precision: One of `PRECISIONS`.
        out: The folder that holds the twin, under the same name; nothing is left there on failure.

    Returns:
        The twin, and the card that says how far its outputs are from the artifact's.

    Raises:
        InputError: It has that precision, cannot be converted to it, or the folder is taken.
    """
    manifest = artifact.manifest
    write = _writer(manifest, precision)
    if (out / manifest.name).exists():
        raise InputError(
            f"{out / manifest.name}: exists already. Remove it, or choose another --out."
        )
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as scratch:
        folder = Path(scratch) / manifest.name
        made, card = _twin(artifact, precision, folder, write)
        folder.rename(out / manifest.name)
    return Artifact(out / manifest.name, made.manifest), card


def _writer(manifest: Manifest, precision: str) -> _Write:
    """What writes the graph.

    Raises:
        InputError: There is no way from one precision to the other.
    """
    if manifest.image is not None:
        writers = _IMAGE_WRITERS
    elif manifest.text is not None and manifest.fitted is None:
        writers = _WRITERS
    else:
        raise InputError(
            f"{manifest.id}: not a full model of texts or of crops. Expected one that scores them."
        )
    write = writers.get((manifest.precision, precision))
    if write is None:
        ways = ", ".join(f"{one} to {other}" for one, other in writers)
        ways += "; int8 with --pictures" if manifest.image is not None else ""
        raise InputError(
            f"{manifest.id}: {manifest.precision} to {precision}: no way. Known: {ways}."
        )
    return write


def _twin(
    artifact: Artifact, precision: str, folder: Path, write: _Write
) -> tuple[Artifact, ParityCard | ImageParityCard]:
    manifest = artifact.manifest
    for relative in manifest.files:
        (folder / relative).parent.mkdir(parents=True, exist_ok=True)
        (folder / relative).write_bytes(artifact.read(relative))
    write(artifact, folder / MODEL)
    kept = [name for name in manifest.files if name != PARITY_FILE]
    made = write_manifest(
        folder, replace(manifest, precision=precision, files=file_entries(folder, kept))
    )
    card = _parity(made, artifact)
    files = file_entries(folder, [*kept, PARITY_FILE])
    made = write_manifest(folder, replace(made.manifest, files=files))
    (folder / "config.pbtxt").write_text(config_pbtxt(made.manifest), "utf-8")
    return made, card


def _parity(made: Artifact, artifact: Artifact) -> ParityCard | ImageParityCard:
    """Hold a twin to what it was made of."""
    runner = open_runner(artifact, RunnerOptions())
    if artifact.manifest.image is None:
        return write_parity(made, outputs_of(artifact, runner, TEXTS))
    scores = scores_of(artifact, runner, drawn_crops(DRAWN, artifact.manifest.image.side))
    return write_image_parity(made, scores, _IMAGE_TOLERANCE)


def _to_fp32(artifact: Artifact, graph: Path) -> None:
    """Build the torch model again of an int8 graph's weights, and export it."""
    weights = weights_of(onnx.load_from_string(artifact.read(artifact.manifest.model)))
    if _WORDS not in weights:
        raise InputError(
            f"{artifact.manifest.id}: its int8 graph is none of guardkit train's. Export the model "
            "again with --precision fp32."
        )
    models = [_model(weights, artifact.path, size) for size in _HEAD_SIZES]
    # The weights do not say how many heads share them: the number that gives what the artifact gives.
    expected, _ = outputs_of(artifact, open_runner(artifact, RunnerOptions()), TEXTS)
    export_onnx(min(models, key=lambda model: _distance(model, artifact, expected)), graph)


def _model(weights: dict[str, Floats], start: Path, head_size: int) -> SafetyModel:
    words, hidden = weights[_WORDS].shape
    layers = [name for name in weights if name.endswith("intermediate.dense.weight")]
    config = BertConfig(
        vocab_size=words,
        hidden_size=hidden,
        num_hidden_layers=len(layers),
        num_attention_heads=max(1, hidden // head_size),
        intermediate_size=len(weights[layers[0]]),
        max_position_embeddings=len(weights[_POSITIONS]),
    )
    model = with_heads(BertModel(config, add_pooling_layer=False))
    start_from(model, start)
    return model.eval()


def _distance(model: SafetyModel, artifact: Artifact, expected: Floats) -> float:
    def run(inputs: Arrays) -> Arrays:
        ids, mask = (torch.tensor(inputs[name]) for name in INPUTS)
        with torch.no_grad():
            return dict(zip(OUTPUTS, (part.numpy() for part in model(ids, mask)), strict=True))

    logits, _ = outputs_of(artifact, FakeRunner(run), TEXTS)
    return float(np.abs(logits - expected).mean())


def _to_fp16(graph: Path, target: Path) -> None:
    """Halve every weight and product; inputs and outputs stay as they are."""
    model = convert_float_to_float16(onnx.load(str(graph)), keep_io_types=True)
    onnx.save(model, str(target))


def _int8_to_fp16(artifact: Artifact, graph: Path) -> None:
    _to_fp32(artifact, graph)
    _to_fp16(graph, graph)


def _fp32_to_fp16(artifact: Artifact, graph: Path) -> None:
    _to_fp16(artifact.path / artifact.manifest.model, graph)


def _fp32_to_int8(artifact: Artifact, graph: Path) -> None:
    quantize_any(artifact.path / artifact.manifest.model, graph)


_WRITERS: dict[tuple[str, str], _Write] = {
    ("int8", "fp32"): _to_fp32,
    ("int8", "fp16"): _int8_to_fp16,
    ("fp32", "fp16"): _fp32_to_fp16,
    ("fp32", "int8"): _fp32_to_int8,
}
_IMAGE_WRITERS: dict[tuple[str, str], _Write] = {("fp32", "fp16"): _fp32_to_fp16}
