"""A trained `image-transform` to its artifact.

    guardkit export image-transform --work runs/transform --base minilm-l3 --out exported_models

Weights lie in the file as int8 (sentence encoder) and int16 (the encoder of `image-safety`); runs are in fp32.
"""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import torch
from msgspec.structs import replace
from numpy.typing import NDArray
from onnx import ModelProto, compose
from onnx.version_converter import convert_version
from tokenizers import Tokenizer
from torch import Tensor, nn

from guardkit.artifacts import (
    FORMAT,
    PARITY_FILE,
    Artifact,
    Calibration,
    EditOptions,
    Manifest,
    RunnerOptions,
    TensorSpec,
    TextOptions,
    find_artifact,
)
from guardkit.errors import ParityError
from guardkit.export.artifact import (
    LABELS,
    MODEL,
    TOKENIZER,
    config_pbtxt,
    file_entries,
    write_labels,
    write_manifest,
    write_tokenizer,
)
from guardkit.export.image_graph import IR, OPSET, SIDE, store_narrow
from guardkit.export.to_onnx import export_graph
from guardkit.export.transform_graph import SEEN, SEEN_NAMES, seeing_graph
from guardkit.export.transform_parity import EditParityCard, drawn_edits, worst_of_edits
from guardkit.image.edit_inputs import (
    HAS_REQUEST,
    IDS,
    LOG_ODDS,
    MASK,
    OUTPUT,
    SIGNAL,
    edit_specs,
)
from guardkit.image.signals import SIGNALS
from guardkit.runtime.base import open_runner
from guardkit.steps import IMAGE_TRANSFORM, TEXT_SAFETY
from guardkit.train.edit_prompts import CATEGORIES
from guardkit.train.sentences import MAX_TOKENS, OVERLAP, SentenceEncoder
from guardkit.train.transform import CALIBRATION, load_heads
from guardkit.train.transform_head import SAID, TEXT, Heads

_log = logging.getLogger(__name__)
_INT8, _INT16 = 127, 32767
_NARROW_TEXT, _NARROW_EYE = 2**12, 2**12  # weights of a tensor from which it is stored narrow
_ROOM, _LEAST_ROOM = 1.5, 0.02
_MOST = 0.5  # of a logit: beyond it a score may move by .1
_VECTORS = "vectors"


class _Deciding(nn.Module):
    """The heads with what was seen and what was measured as two inputs."""

    def __init__(self, heads: Heads) -> None:
        super().__init__()
        self.heads = heads

    def forward(
        self, seen: Tensor, signals: Tensor, vectors: Tensor, log_odds: Tensor, has_request: Tensor
    ) -> Tensor:
        """f32 [edits, ...] each to logits, f32 [edits, 4]."""
        numbers = torch.cat([seen, signals], dim=1)
        logits: Tensor = self.heads(numbers, vectors, log_odds, has_request)
        return logits


def export_image_transform(work: Path, base: Path, out: Path, *, version: str) -> Artifact:
    """Write the artifact.

    Args:
        work: What `guardkit train image-transform` left.
        base: The sentence encoder it was trained with.
        out: The folder that holds artifacts.
        version: Of the artifact.

    Raises:
        InputError: Nothing was trained in `work`.
        ParityError: The graph does not give what its parts do.
    """
    folder = out / IMAGE_TRANSFORM
    (folder / MODEL).parent.mkdir(parents=True, exist_ok=True)
    (folder / PARITY_FILE).unlink(missing_ok=True)
    parts = _parts(load_heads(work), base)
    expected = _expected(parts)
    store_narrow(parts[0].graph, _NARROW_EYE, levels=_INT16)
    store_narrow(parts[1].graph, _NARROW_TEXT, levels=_INT8)
    onnx.save(_joined(parts), str(folder / MODEL))
    write_tokenizer(Tokenizer.from_file(str(base / "tokenizer.json")), folder / TOKENIZER)
    write_labels(folder, CATEGORIES)
    calibration = json.loads((work / CALIBRATION).read_text())
    by = {name: Calibration(one["scale"], one["shift"]) for name, one in calibration.items()}
    _write_parity(_write(folder, by, version), expected)
    artifact = _write(folder, by, version)
    (folder / "config.pbtxt").write_text(config_pbtxt(artifact.manifest))
    return artifact


def _parts(heads: Heads, base: Path) -> tuple[ModelProto, ModelProto, ModelProto]:
    """What sees, what reads, what decides."""
    safety = find_artifact("image-safety")
    with tempfile.TemporaryDirectory() as folder:
        reading, deciding = Path(folder) / "reading.onnx", Path(folder) / "deciding.onnx"
        ids = torch.ones((2, 8), dtype=torch.int64)
        tokens, rows = ("edits", "tokens"), ("edits",)
        export_graph(
            SentenceEncoder(base), (ids, torch.ones_like(ids)), reading, inputs=(IDS, MASK), outputs=(_VECTORS,),
            axes={IDS: tokens, MASK: tokens, _VECTORS: rows},
        )  # fmt: skip
        names = (SEEN, SIGNAL, _VECTORS, LOG_ODDS, HAS_REQUEST)
        sizes = (len(SEEN_NAMES), len(SIGNALS), TEXT, SAID, 1)
        export_graph(
            _Deciding(heads), tuple(torch.zeros(2, size) for size in sizes), deciding, inputs=names, outputs=(OUTPUT,),
            axes=dict.fromkeys((*names, OUTPUT), rows),
        )  # fmt: skip
        texts = [_as_ours(path) for path in (reading, deciding)]
    return seeing_graph(safety.path / safety.manifest.model), texts[0], texts[1]


def _as_ours(path: Path) -> ModelProto:
    model = convert_version(onnx.load(str(path)), OPSET)
    model.ir_version = IR
    return model


def _joined(parts: tuple[ModelProto, ModelProto, ModelProto]) -> ModelProto:
    """The three as one graph; each keeps its inputs' names, nothing else meets."""
    seeing, reading, deciding = (
        compose.add_prefix(part, f"{name}/", rename_inputs=False, rename_outputs=False)
        for name, part in zip(("see", "read", "decide"), parts, strict=True)
    )
    both = compose.merge_models(reading, deciding, io_map=[(_VECTORS, _VECTORS)])
    joined = compose.merge_models(seeing, both, io_map=[(SEEN, SEEN)], outputs=[OUTPUT])
    _name_nodes(joined)
    onnx.checker.check_model(joined)
    return joined


def _name_nodes(model: ModelProto) -> None:
    """Give each node a name: onnxruntime 1.20 names what it fuses after it, and refuses two of one name."""
    for at, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{at}"


def _expected(parts: tuple[ModelProto, ModelProto, ModelProto]) -> NDArray[np.float32]:
    """What the parts give one after the other, in fp32, of the drawn edits."""
    inputs = dict(drawn_edits(_options()))
    for part in parts:
        session = onnxruntime.InferenceSession(part.SerializeToString(), providers=["CPUExecutionProvider"])  # fmt: skip
        taken = {one.name: inputs[one.name] for one in session.get_inputs()}
        names = [one.name for one in session.get_outputs()]
        inputs |= dict(zip(names, session.run(names, taken), strict=True))
    logits: NDArray[np.float32] = inputs[OUTPUT]
    return logits


def _options() -> EditOptions:
    said = find_artifact(TEXT_SAFETY).manifest.categories
    return EditOptions(SIDE, SIGNALS, said)


def _write(folder: Path, calibration: dict[str, Calibration], version: str) -> Artifact:
    names = [one for one in (MODEL, TOKENIZER, LABELS, PARITY_FILE) if (folder / one).is_file()]
    manifest = Manifest(
        format=FORMAT,
        name=IMAGE_TRANSFORM,
        version=version,
        task="edit-scores",
        precision="fp32",
        licence="Apache-2.0 AND MIT",
        categories=CATEGORIES,
        calibration=calibration,
        inputs=edit_specs(_options()),
        outputs=(TensorSpec(OUTPUT, "float32", ("edits", len(CATEGORIES))),),
        files=file_entries(folder, names),
        text=TextOptions(MAX_TOKENS, OVERLAP),
        edits=_options(),
        languages=("en",),
    )
    return write_manifest(folder, manifest)


def _write_parity(artifact: Artifact, expected: NDArray[np.float32]) -> None:
    rows = tuple(tuple(round(float(one), 4) for one in row) for row in expected)
    card = EditParityCard(artifact.manifest.precision, rows, tolerance=_MOST, worst=0.0)
    worst, where = worst_of_edits(artifact, open_runner(artifact, RunnerOptions()), card)
    if worst > _MOST:
        raise ParityError(f"{artifact.path}: logits differ by {worst:.3f} ({where}) from the parts'. Allowed: {_MOST}.")  # fmt: skip
    tolerance = max(round(worst * _ROOM, 2), _LEAST_ROOM)
    encoded = msgspec.json.encode(replace(card, tolerance=tolerance, worst=round(worst, 4)))
    (artifact.path / PARITY_FILE).write_bytes(msgspec.json.format(encoded, indent=1) + b"\n")
    _log.info("%s: logits within %.4f of the parts'", artifact.manifest.name, worst)
