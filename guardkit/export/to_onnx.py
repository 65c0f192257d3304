"""A trained text model to an fp32 ONNX graph."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

INPUTS = ("input_ids", "attention_mask")
OUTPUTS = ("logits", "token_logits")
_OPSET = 17  # the newest that onnxruntime 1.20, the oldest we test, quantizes


def export_onnx(model: nn.Module, path: Path, *, outputs: Sequence[str] = OUTPUTS) -> None:
    """Write a text model as an fp32 graph: tokens int64 [windows, tokens] to f32 logits.

    Args:
        model: Takes (input_ids, attention_mask).
        path: The file to write.
        outputs: What it gives: `logits`, `token_logits` or both.
    """
    ids = torch.ones((2, 8), dtype=torch.int64)
    by_token, by_window = ("windows", "tokens"), ("windows",)
    axes = {name: by_window if name == "logits" else by_token for name in (*INPUTS, *outputs)}
    export_graph(
        model, (ids, torch.ones_like(ids)), path, inputs=INPUTS, outputs=outputs, axes=axes
    )


def export_graph(
    model: nn.Module,
    example: tuple[Tensor, ...],
    path: Path,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    axes: Mapping[str, Sequence[str] | dict[int, str]],
) -> None:
    """Write any model as an fp32 graph.

    Args:
        model: Takes what `example` holds.
        example: One run's inputs.
        path: The file to write.
        inputs: Their names.
        outputs: Names of what it gives.
        axes: Input or output -> names of its first dimensions, which vary; or place of a dimension -> name.
    """
    with warnings.catch_warnings():
        # torch announces its next exporter, and warns of constants in transformers' mask code that
        # hold for every input; the parity card checks that they do.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        # A padding stays a few nodes; onnxruntime folds them when it opens the graph.
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)
        torch.onnx.export(
            model.eval(),
            example,
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: _by_place(axes[name]) for name in (*inputs, *outputs)},
            opset_version=_OPSET,
            dynamo=False,
        )
    onnx.checker.check_model(str(path))


def _by_place(names: Sequence[str] | dict[int, str]) -> dict[int, str]:
    return names if isinstance(names, dict) else dict(enumerate(names))
