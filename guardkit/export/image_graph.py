"""Somebody's image classifier to a graph of ours: preprocessing in front, log-odds of categories behind.

    crops --> float --> channels first ----------------> image-safety-s --> log-odds of NSFW, NSFL
    crops --> float --> BGR, less means, first ---------> open-nsfw ------> log-odds of nsfw

The softmax is left out: the log-odds of a class are its logit less the log-sum-exp of the others', and
their sigmoid is its probability. Two graphs, not one with two outputs: onnxruntime runs every node of a
graph whatever is asked of it (measured: 1.20 and 1.31), and `fast` should not pay for the second model.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from msgspec import Struct
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, compose, helper, numpy_helper
from onnx.version_converter import convert_version

from guardkit.errors import InputError

SIDE = 224
INPUT, OUTPUT = "crops", "logits"
# Gelu's opset; onnxruntime 1.20, the oldest we test, reads up to 21 and this IR.
OPSET, IR = 20, 10
_LEVELS, _BYTE = 32767, 127  # int16, int8
_GELU = ("Div", "Erf", "Add", "Mul", "Mul")


class Source(Struct, frozen=True):
    """What a classifier of somebody's takes and gives, apart from the layout of its input.

    It ends with a softmax over its classes.
    """

    columns: dict[str, int]
    """Category of ours -> its class, in the order our graph gives them."""
    classes: int
    takes_channels_first: bool = True
    bgr_means: tuple[float, float, float] | None = None
    """It wants BGR less these; None: RGB, 0 to 255."""
    narrow_from: int | None = None
    """Tensors of this many weights and more lie in the file as int16; runs are in fp32 all the same."""


IMAGE_SAFETY_S = Source({"sexual": 1, "gore": 0}, classes=3)
"""Probabilities [NSFL, NSFW, SFW]; narrow they would move by 9e-5 on drawn crops alone, so all of it stays fp32."""
OPEN_NSFW = Source(
    {"sexual": 1},
    classes=2,
    takes_channels_first=False,
    bgr_means=(104, 117, 123),  # those of Caffe's ImageNet models
    narrow_from=2**18,  # those of its last stage: all of them would move a probability by 1.05e-4
)
"""Probabilities [sfw, nsfw]."""


def with_preprocessing(path: Path, source: Source) -> ModelProto:
    """Read a classifier and put our preprocessing and log-odds around it.

    Args:
        path: Its ONNX file.
        source: What it takes and gives.

    Returns:
        uint8 RGB [crops, 224, 224, 3] to `logits`, f32 [crops, categories].

    Raises:
        InputError: The file is not such a classifier.
    """
    graph = _classifier(path)
    _fuse_gelu(graph)
    image, softmax = graph.input[0].name, graph.node.pop()
    if source.narrow_from is not None:
        store_narrow(graph, source.narrow_from)
    ours = helper.make_graph(
        [*_preprocessing(image, source), *graph.node, *_log_odds(softmax.input[0], source)],
        path.stem,
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["crops", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["crops", len(source.columns)])],
        [*used_weights(graph), *_constants(source)],
    )
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(ours, opset_imports=opset, ir_version=IR)
    onnx.checker.check_model(model)
    return model


def _classifier(path: Path) -> GraphProto:
    """The graph of a classifier, under names that ours do not meet."""
    try:
        model = convert_version(onnx.load(str(path)), OPSET)
    except Exception as e:  # protobuf and onnx have a class for each way of not being a model
        raise InputError(f"{path}: cannot be read as ONNX ({type(e).__name__}).") from e
    last = model.graph.node[-1]
    if last.op_type != "Softmax" or len(model.graph.input) != 1:
        raise InputError(
            f"{path}: {len(model.graph.input)} inputs, ends with {last.op_type}. Expected a classifier of "
            "one image that ends with Softmax."
        )
    return compose.add_prefix(model, "source/").graph


def _preprocessing(image: str, source: Source) -> Iterator[NodeProto]:
    pixels = "rgb"
    yield helper.make_node("Cast", [INPUT], [pixels], to=TensorProto.FLOAT)
    if source.bgr_means is not None:
        yield helper.make_node("Gather", [pixels, "reversed"], ["bgr"], axis=3)
        pixels = "centred"
        yield helper.make_node("Sub", ["bgr", "means"], [pixels])
    if source.takes_channels_first:
        yield helper.make_node("Transpose", [pixels], [image], perm=[0, 3, 1, 2])
    else:
        yield helper.make_node("Identity", [pixels], [image])


def _log_odds(logits: str, source: Source) -> Iterator[NodeProto]:
    for category in source.columns:
        its, others, rest = f"{category}/its", f"{category}/others", f"{category}/rest"
        yield helper.make_node("Gather", [logits, f"{category}/column"], [its], axis=1)
        yield helper.make_node("Gather", [logits, f"{category}/columns"], [others], axis=1)
        yield helper.make_node("ReduceLogSumExp", [others, "axis"], [rest])
        yield helper.make_node("Sub", [its, rest], [category])
    yield helper.make_node("Concat", list(source.columns), [OUTPUT], axis=1)


def _constants(source: Source) -> Iterator[TensorProto]:
    yield numpy_helper.from_array(np.array([1], np.int64), "axis")
    if source.bgr_means is not None:
        yield numpy_helper.from_array(np.array([2, 1, 0], np.int64), "reversed")
        yield numpy_helper.from_array(np.array(source.bgr_means, np.float32), "means")
    for category, column in source.columns.items():
        others = [one for one in range(source.classes) if one != column]
        yield numpy_helper.from_array(np.array([column], np.int64), f"{category}/column")
        yield numpy_helper.from_array(np.array(others, np.int64), f"{category}/columns")


def used_weights(graph: GraphProto) -> list[TensorProto]:
    """The weights that some node still reads; onnxruntime warns of others."""
    read = {name for node in graph.node for name in node.input}
    return [tensor for tensor in graph.initializer if tensor.name in read]


def _fuse_gelu(graph: GraphProto) -> None:
    """Write x * (0.5 * (1 + erf(x / sqrt 2))) as the operator it is.

    The exporter of image-safety-s left Div, Erf, Add, Mul, Mul, which onnxruntime does not recognise.
    """
    nodes: list[NodeProto] = []
    for node in graph.node:
        nodes.append(node)
        tail = nodes[-len(_GELU) :]
        if tuple(one.op_type for one in tail) == _GELU and tail[0].input[0] in node.input:
            nodes[-len(_GELU) :] = [helper.make_node("Gelu", [tail[0].input[0]], node.output)]
    del graph.node[:]
    graph.node.extend(nodes)


def store_narrow(graph: GraphProto, at_least: int, *, levels: int = _LEVELS) -> None:
    """Store large tensors as int16 (int8 where `levels` is 127) with a scale an output channel; onnxruntime widens them once, at the start.

    Half floats have 11 bits where int16 has 15 for the weights that count.
    """
    dtype = np.int16 if levels > _BYTE else np.int8
    widening: list[NodeProto] = []
    for tensor in list(graph.initializer):
        weights: NDArray[np.float32] = numpy_helper.to_array(tensor)
        if weights.dtype != np.float32 or weights.size < at_least:
            continue
        name = tensor.name
        scales = np.abs(weights).max(axis=tuple(range(1, weights.ndim)), keepdims=True) / levels
        scales = np.maximum(scales, np.finfo(np.float32).tiny).astype(np.float32)
        narrow = np.round(weights / scales).astype(dtype)
        tensor.CopyFrom(numpy_helper.from_array(narrow, f"{name}/levels"))
        graph.initializer.append(numpy_helper.from_array(scales, f"{name}/scales"))
        cast, product = f"{name}/cast", [f"{name}/cast", f"{name}/scales"]
        widening.append(helper.make_node("Cast", [f"{name}/levels"], [cast], to=TensorProto.FLOAT))
        widening.append(helper.make_node("Mul", product, [name]))
    nodes = [*widening, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
