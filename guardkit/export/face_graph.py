"""CenterFace's network to a graph of ours, for pictures of any size.

    pixels --> float --> channels first --> CenterFace --> maps: logit, size, offset, landmarks

Its file has fixed sides; ours has none, for the network is convolutions throughout.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, TensorProto, compose, helper
from onnx.version_converter import convert_version

from guardkit.errors import InputError
from guardkit.export.image_graph import IR, OPSET, used_weights
from guardkit.image.faces import CHANNELS, INPUT, OUTPUT

_PREFIX = "source/"
_SOURCE_INPUT = "input.1"
_LOGITS, _SOURCE_OUTPUTS = "536", ("537", "538", "539", "540")
"""The map of logits; what the sigmoid makes of it, log sizes, offsets, landmarks."""


def with_preprocessing(source: Path) -> ModelProto:
    """The network with our preprocessing in front, its maps in one tensor, and no fixed sides.

    Args:
        source: The ONNX file of CenterFace.

    Returns:
        uint8 RGB [pictures, height, width, 3], sides multiples of 32, to `maps`, f32 [pictures, 15, rows, columns].
    """
    graph = _network(source)
    logits = f"{_PREFIX}{_LOGITS}"
    maps = [logits, *(f"{_PREFIX}{name}" for name in _SOURCE_OUTPUTS[1:])]
    nodes = [
        helper.make_node("Cast", [INPUT], ["rgb"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["rgb"], [f"{_PREFIX}{_SOURCE_INPUT}"], perm=[0, 3, 1, 2]),
        *(node for node in graph.node if node.input[0] != logits),  # not the sigmoid
        helper.make_node("Concat", maps, [OUTPUT], axis=1),
    ]
    pixels, found = ["pictures", "height", "width", 3], ["pictures", CHANNELS, "rows", "columns"]
    ours = helper.make_graph(
        nodes,
        "faces",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, pixels)],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, found)],
        used_weights(graph),
    )
    model = helper.make_model(ours, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    onnx.checker.check_model(model)
    return model


def source_maps(source: Path, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the network itself says of a picture, through its own preprocessing written out here a second time.

    Args:
        source: The ONNX file of CenterFace.
        picture: uint8 RGB [height, width, 3], sides multiples of 32.

    Returns:
        f32 [15, rows, columns], the first one as probabilities.
    """
    content = _without_fixed_sides(onnx.load(str(source))).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of unused weights, one by one
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    pixels = picture.astype(np.float32).transpose(2, 0, 1)[None]
    maps = session.run(list(_SOURCE_OUTPUTS), {_SOURCE_INPUT: pixels})
    return np.concatenate([one[0] for one in maps])


def _network(source: Path) -> GraphProto:
    """The graph at our opset, under names that ours do not meet."""
    try:
        model = convert_version(_without_fixed_sides(onnx.load(str(source))), OPSET)
    except Exception as e:  # protobuf and onnx have a class for each way of not being a model
        raise InputError(f"{source}: cannot be read as ONNX ({type(e).__name__}).") from e
    return compose.add_prefix(model, _PREFIX).graph


def _without_fixed_sides(model: ModelProto) -> ModelProto:
    """The file fixes ten pictures of 32x32, and lists its weights as inputs."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    for value, (down, across) in (
        *((one, ("height", "width")) for one in model.graph.input),
        *((one, ("rows", "columns")) for one in model.graph.output),
    ):
        sizes = value.type.tensor_type.shape.dim
        for at, name in ((0, "pictures"), (2, down), (3, across)):
            sizes[at].dim_param = name
    return model
