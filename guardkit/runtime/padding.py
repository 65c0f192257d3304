"""Tokens padded to a common length, for a server that runs only inputs of one shape together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guardkit.artifacts import Manifest, TensorSpec
from guardkit.errors import RunError
from guardkit.runtime.base import Arrays

TOKENS = "tokens"
"""The dimension, in a manifest's shapes, that may be padded: the attention mask leaves padding out."""


def padded(inputs: Arrays, manifest: Manifest, *, to: int) -> dict[str, NDArray[Any]]:
    """The inputs with zeros behind their tokens, up to a multiple of `to`."""
    length = _tokens(inputs, manifest.inputs)
    missing = -length % to
    return {
        spec.name: _with_zeros(inputs[spec.name], spec, missing) if missing else inputs[spec.name]
        for spec in manifest.inputs
    }


def without_padding(outputs: Arrays, inputs: Arrays, manifest: Manifest) -> dict[str, NDArray[Any]]:
    """What a server gave, cut to the tokens of the inputs before they were padded.

    Raises:
        RunError: An output is missing, or of another dtype or rank than the manifest says.
    """
    length = _tokens(inputs, manifest.inputs)
    return {spec.name: _cut(outputs.get(spec.name), spec, length) for spec in manifest.outputs}


def _with_zeros(array: NDArray[Any], spec: TensorSpec, missing: int) -> NDArray[Any]:
    return np.pad(array, [(0, missing if size == TOKENS else 0) for size in spec.shape])


def _cut(output: NDArray[Any] | None, spec: TensorSpec, length: int) -> NDArray[Any]:
    if output is None or output.dtype != spec.dtype or output.ndim != len(spec.shape):
        found = "no array" if output is None else f"{output.dtype}, rank {output.ndim}"
        raise RunError(
            f"the server's output '{spec.name}' is {found}; expected {spec.dtype}, rank {len(spec.shape)}."
        )
    return output[tuple(slice(length) if size == TOKENS else slice(None) for size in spec.shape)]


def _tokens(arrays: Arrays, specs: Iterable[TensorSpec]) -> int:
    """How many tokens the arrays hold; 0 when no dimension is one of tokens."""
    for spec in specs:
        if TOKENS in spec.shape:
            return int(arrays[spec.name].shape[spec.shape.index(TOKENS)])
    return 0
