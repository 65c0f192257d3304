r"""The graph of `image-transform`, of three parts: what the encoder of `image-safety` sees, what was said, and the head that weighs both.

crops --> image-safety without its calibration --> log-odds before, after, and their difference ---+
                              \-> last feature maps --> how far each cell, and the whole, moved ---+--> seen --+
input_ids --> sentence encoder --> mean over tokens -----------------------------------------------> said  --+--> head --> logits
signals ------------------------------------------------------------------------------------------------------+
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, compose, helper, numpy_helper

from guardkit.errors import InputError
from guardkit.export.image_graph import IR, OPSET, SIDE, used_weights

SEEN, MEANS = "seen", "means"
SEEN_NAMES = (
    "sexual before", "gore before", "sexual after", "gore after", "sexual change", "gore change",
    "distance", "largest distance", "mean distance", "distance on faces", "distance off faces",
)  # fmt: skip
"""What the first part gives, f32 [edits, 11]."""
_CELLS = 49
_LOGIT_SCALE = 0.2  # of log-odds, so that most lie within plus or minus 2


def seeing_graph(image_safety: Path) -> ModelProto:
    """The first part: `crops` uint8 [edits, 2, 224, 224, 3] and `cells` f32 [edits, 49] to `seen` f32 [edits, 11].

    It gives `means`, too, f32 [edits, 2, channels, 1]: the features of both, for what is measured beside the whole.

    Args:
        image_safety: The graph of the artifact `image-safety`.

    Raises:
        InputError: Its last feature maps are not where they were.
    """
    model = onnx.load(str(image_safety))
    graph = compose.add_prefix(model, "eye/").graph
    maps = _last_maps(graph)
    pairs = _constant("pairs", [-1, SIDE, SIDE, 3], np.int64)
    first = helper.make_node("Reshape", ["crops", "pairs"], ["eye/crops"])
    channels = _channels(graph, maps)
    nodes, constants = _distances(maps, "eye/logits", channels=channels)
    ours = helper.make_graph(
        [first, *graph.node, *nodes],
        "seeing",
        [
            helper.make_tensor_value_info("crops", TensorProto.UINT8, ["edits", 2, SIDE, SIDE, 3]),
            helper.make_tensor_value_info("cells", TensorProto.FLOAT, ["edits", _CELLS]),
        ],
        [
            helper.make_tensor_value_info(SEEN, TensorProto.FLOAT, ["edits", len(SEEN_NAMES)]),
            helper.make_tensor_value_info(MEANS, TensorProto.FLOAT, ["edits", 2, channels, 1]),
        ],
        [*used_weights(graph), pairs, *constants],
    )
    opset = [helper.make_opsetid("", OPSET)]
    made = helper.make_model(ours, opset_imports=opset, ir_version=IR)
    onnx.checker.check_model(made)
    return made


def _last_maps(graph: GraphProto) -> str:
    """The input of the mean over places: f32 [crops, channels, 7, 7]."""
    means = [node for node in graph.node if node.op_type == "ReduceMean"]
    if not means:
        raise InputError(
            "image-safety: no mean over places in its graph. Expected the shipped one."
        )
    return str(means[-1].input[0])


def _channels(graph: GraphProto, maps: str) -> int:
    """How many channels the batch norm that gives the maps has."""
    norm = next(node for node in graph.node if maps in node.output)
    scale = next((one for one in graph.initializer if one.name == norm.input[1]), None)
    if norm.op_type != "BatchNormalization" or scale is None:
        raise InputError("image-safety: no batch norm before its mean. Expected the shipped one.")
    return int(scale.dims[0])


def _distances(
    maps: str, logits: str, *, channels: int
) -> tuple[list[NodeProto], list[TensorProto]]:
    """Cosine distances between both crops' maps, of each cell and of their mean; the log-odds and their change."""

    def node(kind: str, inputs: Sequence[str], output: str, **attributes: int) -> NodeProto:
        return helper.make_node(kind, list(inputs), [output], **attributes)

    nodes = [
        node("Reshape", [maps, "by pair"], "pair maps"),  # [e, 2, channels, 49]
        node("ReduceMean", ["pair maps", "axis 3"], MEANS),  # [e, 2, channels, 1]
        node("Concat", ["pair maps", MEANS], "places", axis=3),  # [e, 2, channels, 50]
        node("ReduceL2", ["places", "axis 2"], "lengths"),
        node("Add", ["lengths", "tiny"], "safe lengths"),
        node("Div", ["places", "safe lengths"], "unit"),
        node("Gather", ["unit", "one"], "unit before", axis=1),  # [e, channels, 50]
        node("Gather", ["unit", "two"], "unit after", axis=1),
        node("Mul", ["unit before", "unit after"], "products"),
        node("ReduceSum", ["products", "axis 1"], "cosines", keepdims=0),  # [e, 50]
        node("Sub", ["unity", "cosines"], "apart"),
        node("Slice", ["apart", "from 0", "to 49", "axis 1"], "cell apart"),
        node("Slice", ["apart", "to 49", "to 50", "axis 1"], "mean apart"),
        node("ReduceMax", ["cell apart", "axis 1"], "largest apart"),
        node("ReduceMean", ["cell apart", "axis 1"], "cells apart"),
        node("Sub", ["unity", "cells"], "off cells"),
    ]
    for name, weights in (("on", "cells"), ("off", "off cells")):
        nodes += [
            node("Mul", ["cell apart", weights], f"{name} weighted"),
            node("ReduceSum", [f"{name} weighted", "axis 1"], f"{name} sum"),
            node("ReduceSum", [weights, "axis 1"], f"{name} weight"),
            node("Add", [f"{name} weight", "tiny"], f"{name} safe"),
            node("Div", [f"{name} sum", f"{name} safe"], f"{name} faces apart"),
        ]
    apart = ["mean apart", "largest apart", "cells apart", "on faces apart", "off faces apart"]
    nodes += [
        node("Reshape", [logits, "two rows"], "both logits"),  # [e, 2, 2]
        node("Mul", ["both logits", "logit scale"], "both"),
        node("Gather", ["both", "one"], "said before", axis=1),
        node("Gather", ["both", "two"], "said after", axis=1),
        node("Sub", ["said after", "said before"], "said change"),
        node("Concat", ["said before", "said after", "said change", *apart], SEEN, axis=1),
    ]
    constants = [
        _constant("by pair", [-1, 2, channels, _CELLS], np.int64),
        _constant("two rows", [-1, 2, 2], np.int64),
        *(_constant(f"axis {axis}", [axis], np.int64) for axis in (1, 2, 3)),
        *(_constant(f"{name} {at}", [at], np.int64) for name, at in (("from", 0), ("to", 49), ("to", 50))),
        _constant("one", 0, np.int64),
        _constant("two", 1, np.int64),
        _constant("tiny", 1e-6, np.float32),
        _constant("unity", 1.0, np.float32),
        _constant("logit scale", _LOGIT_SCALE, np.float32),
    ]  # fmt: skip
    return nodes, constants


def _constant(name: str, value: object, dtype: type) -> TensorProto:
    return numpy_helper.from_array(np.array(value, dtype), name)
