"""A trained fast tier to a small ONNX graph, its token table int8 with one scale a row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Floats = NDArray[np.float32]

_OPSET, _IR = 18, 9  # read by every onnxruntime we support (>= 1.20)
_LEVELS = 127


def export_fast_graph(weights: Mapping[str, Floats], path: Path) -> None:
    """Write `train.fast.FastModel` as a graph: tokens int64 [windows, tokens] to f32 logits.

    Args:
        weights: The model's weights under their names in torch.
        path: The file.
    """
    model = build_graph(weights)
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def build_graph(weights: Mapping[str, Floats]) -> ModelProto:
    """The graph; its nodes are the formulas of `train.fast`, in their order."""
    tokens = ["windows", "tokens"]
    graph = helper.make_graph(
        _nodes(),
        "text-safety-fast",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, tokens)
            for name in ("input_ids", "attention_mask")
        ],
        [
            helper.make_tensor_value_info(
                "logits", TensorProto.FLOAT, ["windows", len(weights["outer.bias"])]
            )
        ],
        [numpy_helper.from_array(array, name) for name, array in _constants(weights).items()],
    )
    opset = [helper.make_opsetid("", _OPSET)]
    return helper.make_model(graph, opset_imports=opset, ir_version=_IR)


def quantize_rows(table: Floats) -> tuple[NDArray[np.int8], Floats]:
    """A table [rows, width] as int8 and a scale a row, f32 [rows, 1]: table ~ scale * int8."""
    scales = np.abs(table).max(axis=1, keepdims=True) / _LEVELS
    safe = np.where(scales > 0, scales, 1.0)
    return np.rint(table / safe).astype(np.int8), scales.astype(np.float32)


def _constants(weights: Mapping[str, Floats]) -> dict[str, NDArray[Any]]:
    table, scales = quantize_rows(weights["embedding.weight"])
    named = {name: array for name, array in weights.items() if name != "embedding.weight"}
    return {
        **named,
        "table": table,
        "scales": scales,
        "channel": np.array([1], np.int64),
        "last": np.array([2], np.int64),
        "one": np.array(1.0, np.float32),
    }


def _nodes() -> list[NodeProto]:
    node = helper.make_node
    return [
        node("Gather", ["table", "input_ids"], ["q"]),  # int8 [W, T, D]
        node("Cast", ["q"], ["rows"], to=TensorProto.FLOAT),
        node("Cast", ["attention_mask"], ["is_token"], to=TensorProto.FLOAT),
        node("Gather", ["scales", "input_ids"], ["scale"]),  # [W, T, 1]
        node("Unsqueeze", ["is_token", "last"], ["tall"]),  # [W, T, 1]
        node("Mul", ["scale", "tall"], ["factor"]),
        node("Mul", ["rows", "factor"], ["x"]),
        node("Transpose", ["x"], ["columns"], perm=[0, 2, 1]),  # [W, D, T]
        node(
            "Conv",
            ["columns", "convolution.weight", "convolution.bias"],
            ["convolved"],
            kernel_shape=[3],
            pads=[1, 1],
        ),
        node("Relu", ["convolved"], ["positive"]),
        node("Unsqueeze", ["is_token", "channel"], ["wide"]),  # [W, 1, T]
        node("Mul", ["positive", "wide"], ["y"]),  # [W, H, T]
        node("ReduceMax", ["y", "last"], ["highest"], keepdims=0),
        node("ReduceSum", ["y", "last"], ["sum"], keepdims=0),
        node("ReduceSum", ["is_token", "channel"], ["found"], keepdims=1),  # [W, 1]
        node("Max", ["found", "one"], ["count"]),
        node("Div", ["sum", "count"], ["mean"]),
        node("Concat", ["highest", "mean"], ["pooled"], axis=1),
        node("Gemm", ["pooled", "inner.weight", "inner.bias"], ["hidden"], transB=1),
        node("Relu", ["hidden"], ["active"]),
        node("Gemm", ["active", "outer.weight", "outer.bias"], ["logits"], transB=1),
    ]
