"""int8 for transformers: every token has a scale of its own, and outlier channels are evened out first.

onnxruntime's dynamic quantization has one activation scale a tensor, so a single large activation
costs all the others their resolution, and a text's score depends on its neighbours in a batch.
Here each linear layer is rewritten, exactly, before it is quantized:

    y = W x + b    ->    y = m . (W' (x' / m)) + b,    x' = x / s,  W' = W s,  m = max_c |x'_c|  (one a token)

x' / m lies in [-1, 1] with both constants known in advance: nothing is measured at run time, and a token's
result depends on that token alone. s spreads the outlier channels of x over x and W (SmoothQuant,
arXiv 2211.10438: s_c = max|x_c|^a / max|W_c|^(1-a)).
"""

from __future__ import annotations

import copy
import logging
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import ModelProto, NodeProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn
from torch.nn.functional import linear

_TINY = 1e-6
# GELU is never below -0.17: more than a quarter of a token's largest only where all is near 0.
_LOWEST = {"signed": -1.0, "behind_gelu": -0.25}
_BEHIND_GELU = re.compile(r"layer\.\d+/output/dense/")
_KEPT_FP32 = ("/token/MatMul",)  # 12 outputs: nothing to save


class PerTokenLinear(nn.Module):
    """A linear layer whose input is scaled to [-1, 1] token by token; equal to the plain one in fp32."""

    inverse: Tensor

    def __init__(self, plain: nn.Linear, inverse: Tensor) -> None:
        """Rewrite a layer; `inverse` is 1 / s of the module docstring, f32 [in_features]."""
        super().__init__()
        self.weight = nn.Parameter(plain.weight.detach() / inverse)
        self.bias = nn.Parameter(plain.bias.detach().clone())
        self.register_buffer("inverse", inverse)

    def forward(self, x: Tensor) -> Tensor:
        """f32 [..., in_features] to [..., out_features]."""
        x = x * self.inverse
        largest = x.abs().amax(-1, keepdim=True) + _TINY
        return linear(x / largest, self.weight) * largest + self.bias


def with_token_scales(
    model: nn.Module, batches: Iterable[tuple[Tensor, ...]], *, alpha: float
) -> nn.Module:
    """A copy of a text model with every linear layer of encoder and heads rewritten.

    Args:
        model: Takes what a batch holds.
        batches: A few hundred training texts, which set how the channels are evened out.
        alpha: How much of an outlier the weights take over, in [0, 1]; `a` of the module docstring.
    """
    model = copy.deepcopy(model).eval()
    largest = _largest_inputs(model, batches)
    for names in _sharing_an_input(largest):
        plain = [model.get_submodule(name) for name in names]
        weights = torch.stack([layer.weight.detach().abs().amax(0) for layer in plain]).amax(0)
        inputs = largest[names[0]].clamp(min=1e-5)
        scale = inputs**alpha / weights.clamp(min=1e-5) ** (1 - alpha)
        inverse = 1 / scale  # one tensor for all: onnxruntime then scales their input once
        for name, layer in zip(names, plain, strict=True):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, PerTokenLinear(layer, inverse))
    return model


def _sharing_an_input(names: Iterable[str]) -> list[list[str]]:
    """Query, key and value of a layer read the same input; every other layer stands alone."""
    groups: dict[str, list[str]] = {}
    for name in names:
        parent, _, child = name.rpartition(".")
        groups.setdefault(parent if child in ("query", "key", "value") else name, []).append(name)
    return list(groups.values())


def _largest_inputs(model: nn.Module, batches: Iterable[tuple[Tensor, ...]]) -> dict[str, Tensor]:
    """Layer -> the largest magnitude each of its input channels takes."""
    largest: dict[str, Tensor] = {}

    def watch(name: str, module: nn.Linear) -> torch.utils.hooks.RemovableHandle:
        def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            now = inputs[0].detach().abs().flatten(0, -2).amax(0)
            largest[name] = torch.maximum(largest[name], now) if name in largest else now

        return module.register_forward_pre_hook(note)

    hooks = [
        watch(name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name != "token"
    ]
    with torch.no_grad():
        for inputs in batches:
            model(*inputs)
    for hook in hooks:
        hook.remove()
    return largest


def quantize_int8(fp32: Path, int8: Path) -> None:
    """Write the int8 twin of a graph made of `PerTokenLinear`: signed weights, one scale a channel.

    Unsigned weights run at the speed of fp32 on AVX512-VNNI, and fusion brings nothing.
    """
    quantize_any(fp32, int8, kept=_KEPT_FP32)
    graph = onnx.load(str(int8))
    _fix_ranges(graph)
    onnx.checker.check_model(graph)
    onnx.save(graph, str(int8))


def quantize_any(fp32: Path, int8: Path, *, kept: Sequence[str] = ()) -> None:
    """Write the int8 twin of any graph, with ranges that onnxruntime measures a tensor at run time.

    Args:
        fp32: The graph.
        int8: The file to write.
        kept: Nodes that stay in fp32.
    """
    logging.getLogger().setLevel(logging.WARNING)  # the quantizer logs every node it leaves alone
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(fp32), str(prepared), skip_symbolic_shape=True)
        quantize_dynamic(
            str(prepared),
            str(int8),
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=["MatMul", "Gemm", "Gather"],
            nodes_to_exclude=list(kept),
        )


def _fix_ranges(model: ModelProto) -> None:
    """Quantize activations with constants instead of ranges measured at run time."""
    graph = model.graph
    for name, low in _LOWEST.items():
        step = (1 - low) / 255
        graph.initializer.append(numpy_helper.from_array(np.float32(step), f"{name}.scale"))
        graph.initializer.append(
            numpy_helper.from_array(np.uint8(round(-low / step)), f"{name}.zero")
        )
    constants: dict[str, str] = {}
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.op_type == "DynamicQuantizeLinear":
            quantized, its_scale, its_zero = node.output
            kind = "behind_gelu" if _BEHIND_GELU.search(node.input[0]) else "signed"
            scale, zero = f"{kind}.scale", f"{kind}.zero"
            constants |= {its_scale: scale, its_zero: zero}
            node = helper.make_node(
                "QuantizeLinear", [node.input[0], scale, zero], [quantized], name=node.name
            )
        nodes.append(node)
    for node in nodes:
        for index, name in enumerate(node.input):
            node.input[index] = constants.get(name, name)
    del graph.node[:]
    graph.node.extend(nodes)
