"""Put a bottleneck behind a layer of somebody's torch module, found by its name (transformers, diffusers, any `nn.Module`).

    with attach(model, "model.layers.22", Bottleneck(find_artifact("smib-smollm2"))):
        model.generate(**inputs)                 # every state that layer 22 gives is filtered
    model.generate(**inputs)                     # as it was

An artifact runs in onnxruntime on the processor, whatever device the states are on. A module (`guardkit.train.smib_model.load_bottleneck`)
stays on the device, and gradients pass it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch

from guardkit.errors import InputError
from guardkit.steer.bottleneck import Bottleneck, check_features

_SHOWN = 5  # names in an error


@dataclass(frozen=True, slots=True)
class Attached:
    """A bottleneck in its place; `remove`, or the end of a `with`, takes it away."""

    layer: str
    _hook: Any

    def remove(self) -> None:
        """Leave the module as it was; twice is as good as once."""
        self._hook.remove()

    def __enter__(self) -> Attached:
        """Nothing more: it is attached already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove it."""
        self.remove()


def attach(module: Any, layer: str, bottleneck: Bottleneck | Any) -> Attached:
    """Filter what a layer of a module gives.

    Args:
        module: A `torch.nn.Module`.
        layer: The name of one of its modules, as `named_modules` says it, for example `model.layers.22` of a language
            model or `text_model.final_layer_norm` (`final_layer_norm` from transformers 5 on) of a CLIP text encoder. It gives states [B, T, d], or a tuple that
            begins with them.
        bottleneck: An opened artifact, or a module with the number `d`.

    Returns:
        What removes it again.

    Raises:
        InputError: There is no such layer; the nearest names are in the message. From then on a run of the module raises
            it when the layer gives something else than states, states of another width, or NaN.
    """
    modules = {name: one for name, one in module.named_modules() if name}  # '' is the whole
    if layer not in modules:
        near = difflib.get_close_matches(layer, modules, n=_SHOWN, cutoff=0.3) or list(modules)[:_SHOWN]  # fmt: skip
        raise InputError(
            f"layer '{layer}': the module has none of that name. Nearest: {', '.join(near)}."
        )
    filtered = _of_artifact(bottleneck) if isinstance(bottleneck, Bottleneck) else bottleneck
    width = bottleneck.options.width if isinstance(bottleneck, Bottleneck) else int(bottleneck.d)

    def hook(_module: Any, _inputs: Any, output: Any) -> Any:
        states = output[0] if isinstance(output, tuple) else output
        if not isinstance(states, torch.Tensor) or not states.is_floating_point():
            raise InputError(
                f"layer '{layer}': gives {type(states).__name__}. Expected states of floats: name a layer inside it."
            )
        is_finite = bool(torch.isfinite(states).all())
        check_features(tuple(states.shape), is_finite=is_finite, name=layer, width=width)
        changed = filtered(states.float()).to(states.dtype)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    return Attached(layer, modules[layer].register_forward_hook(hook))


def _of_artifact(bottleneck: Bottleneck) -> Callable[[Any], Any]:
    def run(states: Any) -> Any:
        found = bottleneck(states.detach().cpu().numpy())
        return torch.from_numpy(found).to(states.device)

    return run
