"""Triton's `config.pbtxt`: what a served model says of itself, made from the manifest.

Reference: the protobuf `ModelConfig` of triton-inference-server/common. A message is a mapping, a
repeated field a list, an enum constant a `Word`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from guardkit.artifacts import Manifest, TensorSpec

DIGEST = "guardkit_sha256"
"""The parameter that holds the digest of the model file a served model was made of."""
MOST_WINDOWS = 32
"""Windows in one run of a served text model."""
TYPES = {
    "float32": "TYPE_FP32",
    "float16": "TYPE_FP16",
    "int64": "TYPE_INT64",
    "int32": "TYPE_INT32",
    "uint8": "TYPE_UINT8",
}
"""numpy's dtype -> the config's."""


class Word(str):
    """A constant of an enum: written without quotes."""

    __slots__ = ()


Message = Mapping[str, Any]


def model_config(manifest: Manifest) -> dict[str, Any]:
    """The config of an artifact's onnx model, as far as the manifest decides it."""
    return {
        "name": manifest.name,
        "backend": "onnxruntime",
        "max_batch_size": MOST_WINDOWS,
        "input": [_tensor(spec) for spec in manifest.inputs],
        "output": [_tensor(spec) for spec in manifest.outputs],
        "parameters": parameters(
            {
                DIGEST: manifest.files[manifest.model].sha256,
                "guardkit_version": manifest.version,
                "intra_op_thread_count": "1",
                "inter_op_thread_count": "1",
            }
        ),
    }


def parameters(values: Mapping[str, str]) -> list[Message]:
    """Parameters of a config, all of them text."""
    return [{"key": key, "value": {"string_value": value}} for key, value in values.items()]


def render(message: Message) -> str:
    """A message in protobuf's text format.

    >>> print(render({"name": "m", "dims": [-1, 12], "kind": Word("KIND_CPU"), "on": True, "q": {"n": 1}}), end="")
    name: "m"
    dims: [-1, 12]
    kind: KIND_CPU
    on: true
    q {
      n: 1
    }
    """
    return "".join(f"{line}\n" for line in _lines(message))


def _tensor(spec: TensorSpec) -> Message:
    """The first dimension is the batch, which Triton adds itself."""
    dims = [-1 if isinstance(size, str) else size for size in spec.shape[1:]]
    return {"name": spec.name, "data_type": Word(TYPES[spec.dtype]), "dims": dims}


def _lines(message: Message) -> Iterator[str]:
    for name, value in message.items():
        if isinstance(value, Mapping):
            yield from _block(name, value)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            if any(isinstance(one, Mapping) for one in value):
                for one in value:
                    yield from _block(name, one)
            else:
                yield f"{name}: [{', '.join(map(_scalar, value))}]"
        else:
            yield f"{name}: {_scalar(value)}"


def _block(name: str, message: Message) -> Iterator[str]:
    yield f"{name} {{"
    yield from (f"  {line}" for line in _lines(message))
    yield "}"


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and not isinstance(value, Word):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    return str(value)
