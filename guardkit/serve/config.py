"""The configs of a model repository: scoring models, their tokenizers, ensembles and the guard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from guardkit.artifacts import Manifest
from guardkit.errors import InputError
from guardkit.runtime.pbtxt import Message, Word, model_config, parameters

Backend = Literal["onnxruntime", "tensorrt", "python"]

GUARD = "guard"
POLICY = "policy/policy.yaml"
"""Where the served policy lies, beside the folder of models."""
_TEXT_TYPE = Word("TYPE_STRING")
_MOST_TEXTS = 64
_FEW = 8  # of a size that varies, in a first run
_QUEUE_S = (
    30.0  # longest wait in a queue; a caller may ask for less, and ours say how long they wait
)


@dataclass(frozen=True, slots=True)
class Serving:
    """How models are served."""

    backend: Backend = "onnxruntime"
    """What runs the graphs: `python` runs them in guardkit's own onnxruntime."""
    device: Literal["cpu", "gpu"] = "cpu"
    instances: int = 1
    """Of each scoring model: runs at the same time."""
    guards: int = 1
    """Processes of the model `guard`."""
    queue_delay_us: int = 0
    """How long a request waits for others to be run with; those that are queued are batched anyhow."""
    most_queued: int = 1024
    """Requests that may wait; one more is refused at once."""
    response_cache: bool = False
    """Whether `guard` may answer a text it has seen from memory. Only there: Triton cannot keep what one
    model answers another."""


def scoring_config(manifest: Manifest, serving: Serving) -> dict[str, Any]:
    """The config of a scoring model.

    Raises:
        InputError: The graph is for the CPU.
    """
    if manifest.precision == "int8" and (serving.device == "gpu" or serving.backend == "tensorrt"):
        raise InputError(
            f"{manifest.id}: its int8 graph is for the CPU. Make one for a GPU first: "
            f"guardkit export onnx {manifest.name} --precision fp16"
        )
    config = model_config(manifest)
    config |= _BACKENDS[serving.backend]
    config |= _shared(serving, serving.instances, "gpu" if serving.backend == "tensorrt" else None)
    return {
        **config,
        "model_warmup": [_warm_up(config, few=manifest.faces.multiple if manifest.faces else _FEW)],
    }


_BACKENDS: dict[str, Message] = {
    "onnxruntime": {"backend": "onnxruntime", "default_model_filename": "model.onnx"},
    "tensorrt": {
        "backend": "tensorrt",
        "platform": "tensorrt_plan",
        "default_model_filename": "model.plan",
    },
    "python": {"backend": "python", "default_model_filename": "model.py"},
}


def encode_config(manifest: Manifest, serving: Serving) -> dict[str, Any]:
    """The config of a scoring model's tokenizer: one text in, its windows out."""
    tokens = [
        {"name": spec.name, "data_type": Word("TYPE_INT64"), "dims": [-1, -1]}
        for spec in manifest.inputs
    ]
    return {
        "name": f"{manifest.name}-encode",
        "backend": "python",
        "max_batch_size": 0,
        "input": [_text("text")],
        "output": tokens,
        "instance_group": [{"kind": Word("KIND_CPU"), "count": serving.instances}],
        "parameters": parameters({"model": manifest.name}),
    }


def ensemble_config(manifest: Manifest) -> dict[str, Any]:
    """The config that puts the tokenizer before the model: a text in, logits of its windows out."""
    outputs = [
        {
            "name": spec.name,
            "data_type": Word("TYPE_FP32"),
            "dims": [-1 if isinstance(size, str) else size for size in spec.shape],
        }
        for spec in manifest.outputs
    ]
    names = [spec.name for spec in manifest.inputs]
    steps = [
        {
            "model_name": f"{manifest.name}-encode",
            "model_version": -1,
            "input_map": [{"key": "text", "value": "text"}],
            "output_map": [{"key": name, "value": name} for name in names],
        },
        {
            "model_name": manifest.name,
            "model_version": -1,
            "input_map": [{"key": name, "value": name} for name in names],
            "output_map": [{"key": one["name"], "value": one["name"]} for one in outputs],
        },
    ]
    return {
        "name": f"{manifest.name}-ensemble",
        "platform": "ensemble",
        "max_batch_size": 0,
        "input": [_text("text")],
        "output": outputs,
        "ensemble_scheduling": {"step": steps},
    }


def guard_config(serving: Serving) -> dict[str, Any]:
    """The config of `guard`: a text or an image, and what is known of it, in; a Decision as JSON out.

    Beside it comes the image to use instead, as a PNG, where an editor made one.
    """
    return {
        "name": GUARD,
        "backend": "python",
        "max_batch_size": _MOST_TEXTS,
        "input": [
            _text("text"),
            _text("context", is_optional=True),
            _text("stage", is_optional=True),
            _text("image", is_optional=True),
        ],
        "output": [_text("decision"), _text("edited_image")],
        "parameters": parameters({"policy": POLICY}),
        **_shared(serving, serving.guards, "cpu"),
        **({"response_cache": {"enable": True}} if serving.response_cache else {}),
    }


def _text(name: str, *, is_optional: bool = False) -> Message:
    tensor = {"name": name, "data_type": _TEXT_TYPE, "dims": [1]}
    return {**tensor, "optional": True} if is_optional else tensor


def _shared(serving: Serving, count: int, device: str | None) -> dict[str, Any]:
    """What every batched model has: instances, a bounded queue with a time limit."""
    kind = Word(f"KIND_{(device or serving.device).upper()}")
    queue = {
        "timeout_action": Word("REJECT"),
        "default_timeout_microseconds": int(_QUEUE_S * 1e6),
        "allow_timeout_override": True,
        "max_queue_size": serving.most_queued,
    }
    batching = {
        "max_queue_delay_microseconds": serving.queue_delay_us,
        "default_queue_policy": queue,
    }
    return {
        "instance_group": [{"kind": kind, "count": count}],
        "dynamic_batching": batching,
    }


def _warm_up(config: Message, *, few: int) -> Message:
    """One run before the model counts as ready; sizes that vary are `few`."""
    inputs = [
        {
            "key": tensor["name"],
            "value": {
                "data_type": tensor["data_type"],
                "dims": [few if size < 0 else size for size in tensor["dims"]],
                "zero_data": True,
            },
        }
        for tensor in config["input"]
    ]
    return {"name": "first run", "batch_size": 1, "inputs": inputs}
