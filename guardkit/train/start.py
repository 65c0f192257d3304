"""Go on from an artifact: its int8 weights, back as floats, in a model that is to be trained.

Rounding to int8 costs a weight at most half a step of its channel's scale, which the first hundred
training steps undo; what the artifact learned stays.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper
from safetensors.numpy import load_file
from torch import nn

from guardkit.artifacts import load_artifact
from guardkit.errors import InputError

_log = logging.getLogger(__name__)

Floats = NDArray[np.float32]
_SUFFIXES = ("/Gemm_MatMul_quant", "/MatMul_quant", "/Gemm_quant", "/MatMul", "/Gemm")


def start_from(model: nn.Module, artifact: Path) -> None:
    """Copy the weights of an artifact, or of an earlier training's folder, into a model.

    A head whose number of categories differs keeps its new weights, but for the categories both know.

    Raises:
        InputError: The artifact has another encoder.
    """
    found = _read(artifact)
    own = model.state_dict()
    missing = [name for name in own if name.startswith("encoder.") and name not in found]
    if missing:
        raise InputError(
            f"{artifact}: holds no '{missing[0]}'. It has another encoder than --base."
        )
    for name, tensor in own.items():
        if name in found:
            _copy(torch.from_numpy(found[name].copy()), tensor)
    _log.info("starts from %s", artifact)


def blend_with(model: nn.Module, artifact: Path, *, share: float) -> None:
    """Put a trained model's weights between its own and those it began from.

    What fine-tuning on a few sources took from the others comes back, at little cost to what it brought
    (Wortsman et al. 2022, arXiv 2109.01903).

    Args:
        model: Trained with `start_from` that artifact.
        artifact: An artifact, or an earlier training's folder.
        share: Of the model's own weights, in [0, 1].

    Raises:
        InputError: The artifact is no model of the same shape.
    """
    found = _read(artifact)
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            continue
        if name not in found or found[name].shape != tuple(tensor.shape):
            raise InputError(f"{artifact}: holds no '{name}' of shape {list(tensor.shape)}. Name what --work began from.")  # fmt: skip
        tensor.mul_(share).add_(torch.from_numpy(found[name].copy()), alpha=1 - share)


def _read(folder: Path) -> dict[str, Floats]:
    trained = folder / "model.safetensors"
    if trained.is_file():
        return dict(load_file(trained))
    artifact = load_artifact(folder)
    return weights_of(onnx.load_from_string(artifact.read(artifact.manifest.model)))


def weights_of(
    graph: ModelProto, *, name_of: Callable[[str], str] = lambda traced: traced
) -> dict[str, Floats]:
    """The weights of an exported graph under the names they had in torch, int8 ones as floats.

    Args:
        graph: Made by `export.quantize`, or before it.
        name_of: A linear layer's name in torch, from the dotted name of its node, where the two differ.
    """
    initializers = {i.name: numpy_helper.to_array(i) for i in graph.graph.initializer}
    weights: dict[str, Floats] = {
        name: array
        for name, array in initializers.items()
        if array.dtype == np.float32 and not name.startswith(("/", "onnx::"))
    }
    for name in initializers:
        if name.endswith(".weight_quantized"):
            weights[name.removesuffix("_quantized")] = _floats(initializers, name)
    for node in graph.graph.node:
        if node.op_type in ("MatMul", "Gemm", "MatMulInteger") and node.input[1] in initializers:
            module = next(
                node.name.removesuffix(end) for end in _SUFFIXES if node.name.endswith(end)
            )
            name = name_of(module.lstrip("/").replace("/", "."))
            weight = np.ascontiguousarray(_floats(initializers, node.input[1]).T)
            # int8 evened out the channels of its input (`export.quantize`); query's hold for all three.
            evened = initializers.get(re.sub(r"\.(key|value)$", ".query", name) + ".inverse")
            weights[f"{name}.weight"] = weight if evened is None else weight * evened
    return weights


def _floats(initializers: dict[str, NDArray[np.generic]], name: str) -> Floats:
    stored = initializers[name].astype(np.float32)
    if not name.endswith("_quantized"):
        return stored
    base = name.removesuffix("_quantized")
    zero = initializers[f"{base}_zero_point"].astype(np.float32)
    return (stored - zero) * initializers[f"{base}_scale"].astype(np.float32)


def _copy(source: torch.Tensor, target: torch.Tensor) -> None:
    """Copy what both have: categories are only ever added at the end, in blocks of equal size."""
    rows = min(source.shape[0], target.shape[0])
    with torch.no_grad():
        target[:rows].copy_(source[:rows])
