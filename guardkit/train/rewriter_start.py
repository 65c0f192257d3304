"""Where a training of the rewriter goes on from: an earlier run's weights, or the shipped artifacts'.

What ships is int8; rounding costs a weight at most half a step of its channel's scale, as in `train.start`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from guardkit.artifacts import load_artifact
from guardkit.steps import REWRITER_DECODER
from guardkit.text.rewrite import PIECES
from guardkit.train.start import weights_of

Floats = NDArray[np.float32]
_ATTENTION = {
    "self_attn": ("own", ("query", "key", "value")),
    "multihead_attn": ("source", ("asked", "keys", "values")),
}
"""A layer's attention in training -> its name in the graph, and its three projections there."""
_OF_INT8 = (".inverse", "scale")
_PLAIN = {"linear1": "inner", "linear2": "outer", "norm1": "norms.0", "norm2": "norms.1", "norm3": "norms.2"}  # fmt: skip
_HEADS = {"query": "copy_query", "key": "copy_key", "decoder.norm": "norm", "place": "place", "write": "write"}  # fmt: skip


def rewriter_weights(start: Path) -> dict[str, Tensor]:
    """The weights of a `RewriterModel`.

    Args:
        start: The --work of an earlier training, or the artifact `prompt-rewriter` with its decoder beside it.

    Raises:
        ArtifactError: It is neither.
    """
    trained = start / "model.safetensors"
    if trained.is_file():
        return load_file(trained)
    reader = load_artifact(start)
    writer = load_artifact(start.parent / REWRITER_DECODER)
    weights = weights_of(onnx.load_from_string(reader.read(reader.manifest.model)))
    graph = onnx.load_from_string(writer.read(writer.manifest.model))
    weights |= _as_trained(weights_of(graph, name_of=_module_of))
    tokens = [int(line.split(" ")[0]) for line in reader.read(PIECES).decode().splitlines()]
    kept = {name: array for name, array in weights.items() if not name.endswith(_OF_INT8)}
    state = {name: torch.from_numpy(array.copy()) for name, array in kept.items()}
    return state | {"pieces": torch.tensor(tokens)}


def _module_of(traced: str) -> str:
    """The module behind a node's name: keys and values are traced without the attention's own name."""
    parent, _, child = traced.rpartition(".")
    for name, projections in _ATTENTION.values():
        if child in projections[1:] and not parent.endswith(f".{name}") and parent:
            return f"{parent}.{name}.{child}"
    return traced


def _as_trained(graph: dict[str, Floats]) -> dict[str, Floats]:
    """The writer's weights under the names of `RewriterModel`."""
    state = {name: graph[name] for name in ("positions", "ban", "embedding.weight")}
    pairs = dict(_HEADS)
    layers = {name.split(".")[1] for name in graph if name.startswith("layers.")}
    for at in sorted(layers):
        here, there = f"decoder.layers.{at}", f"layers.{at}"
        pairs |= {f"{here}.{mine}": f"{there}.{its}" for mine, its in _PLAIN.items()}
        for mine, (its, projections) in _ATTENTION.items():
            pairs[f"{here}.{mine}.out_proj"] = f"{there}.{its}.out"
            for kind in ("weight", "bias"):
                parts = [graph[f"{there}.{its}.{name}.{kind}"] for name in projections]
                state[f"{here}.{mine}.in_proj_{kind}"] = np.concatenate(parts)
    for mine, its in pairs.items():
        state |= {f"{mine}.{kind}": graph[f"{its}.{kind}"] for kind in ("weight", "bias")}
    return state
