"""A real `image-transform` whose scores are known by hand, with the tiny models that it asks.

`bias` has the share of pixels that changed * 8 - 4 for log-odds, and 8 less where there is a request that text-safety holds to be calm; `violence` has 4 where the second crop
is red, else -4.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from guardkit.image.signals import SIGNALS
from tests.tiny import build_tiny_artifact, file_entry
from tests.tiny_image import build_tiny_faces, build_tiny_images

SIDE = 32
SAID = ("insult", "threat")
_OPSET, _IR = 18, 9
_INPUTS = {
    "crops": ("uint8", TensorProto.UINT8, ["edits", 2, SIDE, SIDE, 3]),
    "cells": ("float32", TensorProto.FLOAT, ["edits", 49]),
    "signals": ("float32", TensorProto.FLOAT, ["edits", len(SIGNALS)]),
    "input_ids": ("int64", TensorProto.INT64, ["edits", "tokens"]),
    "attention_mask": ("int64", TensorProto.INT64, ["edits", "tokens"]),
    "log_odds": ("float32", TensorProto.FLOAT, ["edits", len(SAID)]),
    "has_request": ("float32", TensorProto.FLOAT, ["edits", 1]),
}


def build_tiny_edits(models: Path) -> Path:
    """Write `image-transform`, `image-safety`, `face-detector` and `text-safety` into a folder of models.

    Returns:
        The folder.
    """
    build_tiny_faces(build_tiny_images(models))
    build_tiny_artifact(models / "text-safety")
    folder = build_tiny_artifact(models / "image-transform")  # for its tokenizer
    onnx.save(_graph(), folder / "1" / "model.onnx")
    names = ("1/model.onnx", "1/tokenizer.json")
    manifest = {
        "format": 1,
        "name": folder.name,
        "version": "0.0.1",
        "task": "edit-scores",
        "precision": "fp32",
        "licence": "Apache-2.0",
        "categories": ["bias", "violence"],
        "calibration": {name: {"scale": 1.0, "shift": 0.0} for name in ("bias", "violence")},
        "inputs": [
            {"name": name, "dtype": dtype, "shape": shape}
            for name, (dtype, _, shape) in _INPUTS.items()
        ],
        "outputs": [{"name": "logits", "dtype": "float32", "shape": ["edits", 2]}],
        "files": {name: file_entry(folder / name) for name in names},
        "text": {"max_tokens": 16, "overlap": 4},
        "edits": {"side": SIDE, "signals": list(SIGNALS), "said": list(SAID)},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    return models


def _graph() -> onnx.ModelProto:
    """The columns of the module's docstring; a calm request has log-odds below 0 in every category."""
    constants = {
        "changed": np.array([SIGNALS.index("changed")], np.int64),
        "second": np.array([1], np.int64),
        "red": np.array([0], np.int64),
        "places": np.array([1, 2, 3, 4], np.int64),
        "last": np.array([1], np.int64),
        "eight": np.float32(8),
        "four": np.float32(4),
        "none": np.float32(0),
        "level": np.float32(255),
    }
    nodes = [
        helper.make_node("Gather", ["signals", "changed"], ["share"], axis=1),
        helper.make_node("Mul", ["share", "eight"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "four"], ["changes"]),
        helper.make_node("ReduceMax", ["log_odds", "last"], ["worst"], keepdims=1),
        helper.make_node("Less", ["worst", "none"], ["is calm"]),
        helper.make_node("Cast", ["is calm"], ["calm"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["calm", "has_request"], ["asked"]),
        helper.make_node("Mul", ["asked", "eight"], ["less"]),
        helper.make_node("Sub", ["changes", "less"], ["bias"]),
        helper.make_node("Gather", ["crops", "second"], ["after"], axis=1),
        helper.make_node("Cast", ["after"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["pixels", "red"], ["reds"], axis=4),
        helper.make_node("ReduceMean", ["reds", "places"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "last"], ["column"]),
        helper.make_node("Div", ["column", "level"], ["redness"]),
        helper.make_node("Mul", ["redness", "eight"], ["red scaled"]),
        helper.make_node("Sub", ["red scaled", "four"], ["violence"]),
        helper.make_node("Concat", ["bias", "violence"], ["logits"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, kind, shape) for name, (_, kind, shape) in _INPUTS.items()],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["edits", 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    opset = [helper.make_opsetid("", _OPSET)]
    return helper.make_model(graph, opset_imports=opset, ir_version=_IR)
