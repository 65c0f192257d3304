"""Two Triton models around an artifact: its tokenizer, and its graph where the server has no onnxruntime.

Run inside the server alone; the repository's `1/model.py` files import their class from here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from guardkit.artifacts import RunnerOptions, load_artifact
from guardkit.errors import GuardkitError
from guardkit.runtime.base import Arrays, open_runner
from guardkit.text.encode import Encoder
from guardkit.text.normalize import normalize


class EncodeModel:
    """One text to the tokens of its windows: the SDK's own normalization and encoder."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the tokenizer of the artifact beside this model."""
        name = json.loads(args["model_config"])["parameters"]["model"]["string_value"]
        self._encoder = Encoder.of(load_artifact(Path(args["model_repository"]).parent / name))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Encode the text of each request."""
        return [self._encode(request) for request in requests]

    def _encode(self, request: Any) -> Any:
        (content,) = pb_utils.get_input_tensor_by_name(request, "text").as_numpy().ravel().tolist()
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            error = pb_utils.TritonError("text: not UTF-8. Expected a UTF-8 string.")
            return pb_utils.InferenceResponse(error=error)
        prompt = normalize(text, words=self._encoder.words())
        inputs = self._encoder.encode([prompt.text]).inputs
        return pb_utils.InferenceResponse([pb_utils.Tensor(*one) for one in inputs.items()])


class OnnxModel:
    """An artifact's graph in guardkit's own onnxruntime, several requests a run."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the artifact that this model's folder is."""
        artifact = load_artifact(Path(args["model_repository"]))
        self._runner = open_runner(artifact, RunnerOptions())
        self._inputs = [spec.name for spec in artifact.manifest.inputs]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run the requests that Triton batched: their inputs are of one length."""
        arrays = [self._read(request) for request in requests]
        try:
            if len(arrays) == 1:
                return [_response(self._runner.run(arrays[0]))]
            batch = {name: np.concatenate([one[name] for one in arrays]) for name in self._inputs}
            outputs = self._runner.run(batch)
        except GuardkitError as e:
            return [
                pb_utils.InferenceResponse(error=pb_utils.TritonError(str(e))) for _ in requests
            ]
        ends = np.cumsum([len(one[self._inputs[0]]) for one in arrays])[:-1]
        parts = {name: np.split(array, ends) for name, array in outputs.items()}
        return [
            _response({name: part[row] for name, part in parts.items()})
            for row in range(len(requests))
        ]

    def _read(self, request: Any) -> dict[str, Any]:
        return {
            name: pb_utils.get_input_tensor_by_name(request, name).as_numpy()
            for name in self._inputs
        }


def _response(outputs: Arrays) -> Any:
    return pb_utils.InferenceResponse([pb_utils.Tensor(*one) for one in outputs.items()])
