"""Somebody's model keeps its outputs inside our graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from guardkit.errors import InputError
from guardkit.export import face_graph
from guardkit.export.image_graph import SIDE, Source, with_preprocessing
from guardkit.export.image_parity import drawn_crops, drawn_pictures

MEANS = (104.0, 117.0, 123.0)
PLAIN = Source({"sexual": 1, "gore": 0}, classes=3)
CAFFE = Source({"sexual": 1}, classes=3, takes_channels_first=False, bgr_means=MEANS)
CROPS = drawn_crops(6, SIDE)
WEIGHTS = np.random.default_rng(5).normal(0, 0.02, (3, 3)).astype(np.float32)


def classifier(path: Path, *, channels_first: bool) -> Path:
    """The mean of each channel, the GELU that exporters spell out, a linear layer, a softmax."""
    shape = ["n", 3, SIDE, SIDE] if channels_first else ["n", SIDE, SIDE, 3]
    axes = [2, 3] if channels_first else [1, 2]
    constants = {
        "axes": np.array(axes, np.int64),
        "root": np.float32(2**0.5),
        "one": np.float32(1),
        "half": np.float32(0.5),
        "weights": WEIGHTS,
    }
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["means"], keepdims=0),
        helper.make_node("Div", ["means", "root"], ["a"]),
        helper.make_node("Erf", ["a"], ["b"]),
        helper.make_node("Add", ["b", "one"], ["c"]),
        helper.make_node("Mul", ["half", "c"], ["d"]),
        helper.make_node("Mul", ["means", "d"], ["e"]),
        helper.make_node("MatMul", ["e", "weights"], ["z"]),
        helper.make_node("Softmax", ["z"], ["probabilities"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "c",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), str(path))
    return path


def run(model: bytes, name: str, values: NDArray[np.generic]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {name: values})
    return np.asarray(found, np.float32)


@pytest.mark.parametrize(
    ("source", "pixels"),
    [
        pytest.param(PLAIN, CROPS.transpose(0, 3, 1, 2).astype(np.float32), id="rgb"),
        pytest.param(CAFFE, CROPS[..., ::-1].astype(np.float32) - np.array(MEANS, np.float32), id="bgr-less-means"),
        pytest.param(replace(CAFFE, narrow_from=9), CROPS[..., ::-1].astype(np.float32) - np.array(MEANS, np.float32), id="narrow"),
    ],
)  # fmt: skip
def test_the_sigmoid_of_a_logit_is_the_classifiers_probability(
    source: Source, pixels: NDArray[np.float32], tmp_path: Path
) -> None:
    path = classifier(tmp_path / "c.onnx", channels_first=source.takes_channels_first)
    expected = run(path.read_bytes(), "image", pixels)[:, list(source.columns.values())]
    logits = run(with_preprocessing(path, source).SerializeToString(), "crops", CROPS)
    assert 1 / (1 + np.exp(-logits)) == pytest.approx(expected, abs=1e-4)
    assert 0.01 < expected.min() < expected.max() < 0.99  # neither end hides a difference


def test_gelu_is_one_operator_again(tmp_path: Path) -> None:
    path = classifier(tmp_path / "c.onnx", channels_first=True)
    operators = [node.op_type for node in with_preprocessing(path, PLAIN).graph.node]
    assert "Gelu" in operators
    assert "Erf" not in operators


def test_weights_are_stored_narrow_where_asked(tmp_path: Path) -> None:
    path = classifier(tmp_path / "c.onnx", channels_first=False)
    graph = with_preprocessing(path, replace(CAFFE, narrow_from=9)).graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert kinds["source/weights/levels"] == TensorProto.INT16
    assert "source/weights" not in kinds


def test_what_is_no_classifier_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(InputError, match="cannot be read as ONNX"):
        with_preprocessing(tmp_path / "text.onnx", PLAIN)
    path = classifier(tmp_path / "c.onnx", channels_first=True)
    model = onnx.load(str(path))
    del model.graph.node[-1]
    model.graph.output[0].name = "z"
    onnx.save(model, str(path))
    with pytest.raises(InputError, match=r"ends with MatMul\. Expected a classifier"):
        with_preprocessing(path, PLAIN)


def test_drawn_crops_are_the_same_everywhere() -> None:
    # By hand: crop 0 is one square, whose colour is the hash of (channel + 0) over the gradient's start, 0.
    expected = [(channel * 2654435761 >> 16 & 0xFF) * 3 // 4 for channel in range(3)]
    assert drawn_crops(1, 8)[0, 0, 0].tolist() == expected


def detector(path: Path) -> Path:
    """What CenterFace's file looks like: fixed sides, weights listed as inputs, a sigmoid over the first map, opset 9."""
    random = np.random.default_rng(9)
    channels = {"536": 1, "538": 2, "539": 2, "540": 10}
    weights = {
        f"w{name}": random.normal(0, 0.002, (count, 3, 4, 4)).astype(np.float32)
        for name, count in channels.items()
    }
    nodes = [
        helper.make_node("Conv", ["input.1", f"w{name}"], [name], strides=[4, 4])
        for name in channels
    ]
    nodes.append(helper.make_node("Sigmoid", ["536"], ["537"]))
    outputs = {"537": 1, "538": 2, "539": 2, "540": 10}
    graph = helper.make_graph(
        nodes,
        "d",
        [
            helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [10, 3, 32, 32]),
            *(
                helper.make_tensor_value_info(name, TensorProto.FLOAT, one.shape)
                for name, one in weights.items()
            ),
        ],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [10, count, 8, 8])
            for name, count in outputs.items()
        ],
        [numpy_helper.from_array(one, name) for name, one in weights.items()],
    )
    opset = [helper.make_opsetid("", 9)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=4), str(path))
    return path


def test_a_face_detector_keeps_its_maps_at_any_size(tmp_path: Path) -> None:
    path = detector(tmp_path / "d.onnx")
    ours = face_graph.with_preprocessing(path).SerializeToString()
    for picture in drawn_pictures():
        expected = face_graph.source_maps(path, picture)
        (maps,) = run(ours, "pixels", picture[None])
        maps[0] = 1 / (1 + np.exp(-maps[0]))
        assert maps == pytest.approx(expected, abs=1e-4)
        assert 0.01 < expected[0].min() < expected[0].max() < 0.99  # neither end hides a difference


def test_the_maps_of_a_face_detector_are_one_output(tmp_path: Path) -> None:
    model = face_graph.with_preprocessing(detector(tmp_path / "d.onnx"))
    assert [one.name for one in model.graph.input] == ["pixels"]
    assert [one.name for one in model.graph.output] == ["maps"]
    assert "Sigmoid" not in {node.op_type for node in model.graph.node}
