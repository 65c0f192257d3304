"""Real image artifacts whose scores are known by hand: log-odds from the mean of a colour channel.

A crop that is full red has 4 for `sexual` (0.982), one without red -4 (0.018); green likewise for `gore`.
The second model looks at blue for `sexual`: a crop full of red and blue convinces both.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.tiny import file_entry

SIDE = 32
LOW, EVEN, HIGH = 0.018, 0.5, 0.982
"""1 / (1 + exp(4)), 1 / 2, 1 / (1 + exp(-4))."""
_RED, _GREEN, _BLUE = 0, 1, 2
_OPSET, _IR = 18, 9


def build_tiny_images(models: Path) -> Path:
    """Write `image-safety` and `image-safety-second` into a folder of models.

    Returns:
        The folder.
    """
    first = {"side": SIDE, "second": "image-safety-second"}
    _build(models / "image-safety", {"sexual": _RED, "gore": _GREEN}, first)
    _build(models / "image-safety-second", {"sexual": _BLUE}, {"side": SIDE})
    return models


def build_tiny_stripes(models: Path) -> Path:
    """Write an `image-safety` that takes stripes for `sexual`: log-odds from the mean step of red from column to column.

    Without a step it is -4; stripes of one pixel, black and red, on a quarter of a crop give 2.6 (0.93).

    Returns:
        The folder.
    """
    _build(models / "image-safety", {"sexual": _RED}, {"side": SIDE}, _stripes_graph())
    return models


def _build(
    folder: Path,
    channels: dict[str, int],
    options: dict[str, object],
    graph: onnx.ModelProto | None = None,
) -> None:
    (folder / "1").mkdir(parents=True, exist_ok=True)
    onnx.save(graph or _graph(list(channels.values())), folder / "1" / "model.onnx")
    manifest = {
        "format": 1,
        "name": folder.name,
        "version": "0.0.1",
        "task": "image-scores",
        "precision": "fp32",
        "licence": "Apache-2.0",
        "categories": list(channels),
        "calibration": {name: {"scale": 1.0, "shift": 0.0} for name in channels},
        "inputs": [{"name": "crops", "dtype": "uint8", "shape": ["crops", SIDE, SIDE, 3]}],
        "outputs": [{"name": "logits", "dtype": "float32", "shape": ["crops", len(channels)]}],
        "files": {"1/model.onnx": file_entry(folder / "1" / "model.onnx")},
        "image": options,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")


def _graph(channels: list[int]) -> onnx.ModelProto:
    """logits = mean(channel) * 8 / 255 - 4."""
    constants = {
        "axes": np.array([1, 2], np.int64),
        "channels": np.array(channels, np.int64),
        "slope": np.float32(8 / 255),
        "low": np.float32(4),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["crops"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["pixels", "axes"], ["means"], keepdims=0),
            helper.make_node("Gather", ["means", "channels"], ["chosen"], axis=1),
            helper.make_node("Mul", ["chosen", "slope"], ["scaled"]),
            helper.make_node("Sub", ["scaled", "low"], ["logits"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["crops", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["crops", len(channels)])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", _OPSET)]
    return helper.make_model(graph, opset_imports=opset, ir_version=_IR)


def _stripes_graph() -> onnx.ModelProto:
    """logits = mean |step of red| / 10 - 4."""
    constants = {
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "last": np.array([SIDE - 1], np.int64),
        "end": np.array([SIDE], np.int64),
        "across": np.array([2], np.int64),
        "axes": np.array([1, 2], np.int64),
        "slope": np.float32(1 / 10),
        "low": np.float32(4),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["crops"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("Slice", ["pixels", "zero", "last", "across"], ["left"]),
            helper.make_node("Slice", ["pixels", "one", "end", "across"], ["right"]),
            helper.make_node("Sub", ["left", "right"], ["steps"]),
            helper.make_node("Abs", ["steps"], ["sizes"]),
            helper.make_node("ReduceMean", ["sizes", "axes"], ["means"], keepdims=0),
            helper.make_node("Gather", ["means", "zero"], ["red"], axis=1),
            helper.make_node("Mul", ["red", "slope"], ["scaled"]),
            helper.make_node("Sub", ["scaled", "low"], ["logits"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["crops", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["crops", 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", _OPSET)]
    return helper.make_model(graph, opset_imports=opset, ir_version=_IR)


FACE_SIDE, FACE_STRIDE = 32, 4
"""A cell of 4x4 pixels that is all red has a face of 32x32 pixels around it."""


def build_tiny_faces(models: Path) -> Path:
    """Write a `face-detector` into a folder of models that takes red dots for faces.

    A cell's logit is its mean red * 16 / 255 - 8: 8 (0.9997) where all of it is red, -8 (0.0003) where none is. Its landmarks
    lie in the middle of the face.

    Returns:
        The folder.
    """
    folder = models / "face-detector"
    (folder / "1").mkdir(parents=True, exist_ok=True)
    onnx.save(_face_graph(), folder / "1" / "model.onnx")
    manifest = {
        "format": 1,
        "name": folder.name,
        "version": "0.0.1",
        "task": "faces",
        "precision": "fp32",
        "licence": "Apache-2.0",
        "categories": ["privacy"],
        "calibration": {"privacy": {"scale": 1.0, "shift": 0.0}},
        "inputs": [
            {"name": "pixels", "dtype": "uint8", "shape": ["pictures", "height", "width", 3]}
        ],
        "outputs": [
            {"name": "maps", "dtype": "float32", "shape": ["pictures", 15, "rows", "columns"]}
        ],
        "files": {"1/model.onnx": file_entry(folder / "1" / "model.onnx")},
        "faces": {"shortest": 64, "longest": 128, "multiple": 32, "stride": FACE_STRIDE},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    return models


def _face_graph() -> onnx.ModelProto:
    log_side = np.log(FACE_SIDE / FACE_STRIDE)
    others = np.array([log_side, log_side, 0, 0, *[0.5] * 10], np.float32)
    constants = {
        "red": np.array([0], np.int64),
        "slope": np.float32(16 / 255),
        "low": np.float32(8),
        "nothing": np.float32(0),
        "others": others.reshape(1, 14, 1, 1),
    }
    sides = [FACE_STRIDE, FACE_STRIDE]
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Transpose", ["float"], ["first"], perm=[0, 3, 1, 2]),
            helper.make_node("Gather", ["first", "red"], ["reds"], axis=1),
            helper.make_node("AveragePool", ["reds"], ["cells"], kernel_shape=sides, strides=sides),
            helper.make_node("Mul", ["cells", "slope"], ["scaled"]),
            helper.make_node("Sub", ["scaled", "low"], ["logits"]),
            helper.make_node("Mul", ["cells", "nothing"], ["zeros"]),
            helper.make_node("Add", ["zeros", "others"], ["rest"]),
            helper.make_node("Concat", ["logits", "rest"], ["maps"], axis=1),
        ],
        "tiny",
        [
            helper.make_tensor_value_info(
                "pixels", TensorProto.UINT8, ["pictures", "height", "width", 3]
            )
        ],
        [
            helper.make_tensor_value_info(
                "maps", TensorProto.FLOAT, ["pictures", 15, "rows", "columns"]
            )
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", _OPSET)]
    return helper.make_model(graph, opset_imports=opset, ir_version=_IR)
