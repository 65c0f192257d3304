"""A trained text model to an ONNX graph, fp32 or dynamic int8."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

INPUTS = ("input_ids", "attention_mask")
OUTPUTS = ("logits", "token_logits")
# Behind GELU the first layers have outliers that one scale a tensor cannot hold: kept in fp32 they
# cost 3.5 MB and no time, and halve the share of decisions that int8 changes.
_KEPT_FP32 = ("layer.0/output/dense/MatMul", "layer.1/output/dense/MatMul")
_OPSET = 17  # the newest that onnxruntime 1.20, the oldest we test, quantizes


def export_onnx(model: nn.Module, path: Path) -> None:
    """Write a text model as an fp32 graph: tokens int64 [windows, tokens] to f32 logits."""
    ids = torch.ones((2, 8), dtype=torch.int64)
    axes = {name: {0: "windows", 1: "tokens"} for name in (*INPUTS, "token_logits")}
    with warnings.catch_warnings():
        # torch announces its next exporter, and warns of constants in transformers' mask code that
        # hold for every input; the parity card checks that they do.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        torch.onnx.export(
            model.eval(),
            (ids, torch.ones_like(ids)),
            str(path),
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_axes={**axes, "logits": {0: "windows"}},
            opset_version=_OPSET,
            dynamo=False,
        )
    onnx.checker.check_model(str(path))


def quantize_int8(fp32: Path, int8: Path) -> None:
    """Write the dynamic int8 twin of a graph: signed weights, one scale an output channel.

    Unsigned weights run at the speed of fp32 on AVX512-VNNI, and fusion brings nothing. The layers in
    `_KEPT_FP32` stay as they are (measured: guardkit/train/LOG.md).
    """
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(fp32), str(prepared), skip_symbolic_shape=True)
        quantize_dynamic(
            str(prepared),
            str(int8),
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=["MatMul", "Gemm", "Gather"],
            nodes_to_exclude=_kept_fp32(prepared),
        )


def _kept_fp32(graph: Path) -> list[str]:
    names = [node.name for node in onnx.load(str(graph)).graph.node]
    return [name for name in names if any(layer in name for layer in _KEPT_FP32)]
