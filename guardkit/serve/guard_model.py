"""The Triton model `guard`: a Guard whose models are the server's own (BLS).

Runs inside the server alone: `triton_python_backend_utils` exists nowhere else. The repository's
`guard/1/model.py` imports its class from here.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from guardkit.artifacts import Artifact, RunnerOptions
from guardkit.errors import DeadlineError, InputError, RunError
from guardkit.guard import Guard
from guardkit.places import MODELS
from guardkit.policy.load import load_policy
from guardkit.runtime.base import Arrays, Runner, RunnerInfo, open_runner
from guardkit.runtime.clock import Stop, check_time
from guardkit.runtime.padding import padded, without_padding
from guardkit.serve.protocol import Answered, Asked, answer, read_asked, rows_of
from guardkit.serve.repository import served
from guardkit.taxonomy import Stage

_PAD_TO = 8  # the guard's processes batch together only inputs of one length


class TritonPythonModel:
    """What Triton's python backend calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the policy and open its models at this server."""
        config = json.loads(args["model_config"])
        models = Path(args["model_repository"]).parent
        file = models.parent / config["parameters"]["policy"]["string_value"]
        # What is served need not be installed here: reading the policy asks which categories its models score.
        places = (str(models), os.environ.get(MODELS.environment_variable))
        os.environ[MODELS.environment_variable] = os.pathsep.join(filter(None, places))

        def opened(artifact: Artifact, options: RunnerOptions) -> Runner:
            """At this server; models of editors, which it does not serve, in this process."""
            is_served = (models / artifact.manifest.name).is_dir()
            return (BlsRunner if is_served else open_runner)(artifact, options)

        self._guard = Guard(served(load_policy(file), models), open_runner=opened)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Check what all requests hold together; a request that cannot be read fails alone."""
        asked: list[Asked] = []
        sizes: list[int | str] = []
        for request in requests:
            try:
                texts = _asked(request, self._guard.policy.stages)
                sizes.append(len(texts))
                asked.extend(texts)
            except InputError as e:
                sizes.append(str(e))
        answers = iter(answer(self._guard, asked))
        return [
            _failed(size)
            if isinstance(size, str)
            else _decided([next(answers) for _ in range(size)])
            for size in sizes
        ]


class BlsRunner:
    """A model of this server, called from another one (business logic scripting)."""

    def __init__(self, artifact: Artifact, options: RunnerOptions) -> None:  # noqa: ARG002  the server has its own
        manifest = artifact.manifest
        self._manifest = manifest
        self._outputs = [spec.name for spec in manifest.outputs]
        self._info = RunnerInfo.of(manifest, backend="triton", provider="server")

    @property
    def info(self) -> RunnerInfo:
        """What is really running."""
        return self._info

    def run(self, inputs: Arrays, *, stop: Stop | None = None) -> Arrays:
        """Run the graph once; see `Runner.run`. Past its time a request is dropped from the queue."""
        check_time(stop, self._info.name)
        request = pb_utils.InferenceRequest(
            model_name=self._info.name,
            requested_output_names=self._outputs,
            inputs=[
                pb_utils.Tensor(name, array)
                for name, array in padded(inputs, self._manifest, to=_PAD_TO).items()
            ],
            timeout=0 if stop is None else max(1, int((stop.at_s - time.monotonic()) * 1e6)),
            preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
        )
        response = request.exec()
        if stop is not None and stop.is_over:
            raise DeadlineError(f"{self._info.name}: no answer in time.")
        if response.has_error():
            raise RunError(f"{self._info.name}: the server failed.")
        outputs = {
            name: pb_utils.get_output_tensor_by_name(response, name).as_numpy()
            for name in self._outputs
        }
        return without_padding(outputs, inputs, self._manifest)


def _asked(request: Any, stages: Collection[Stage]) -> list[Asked]:
    tensors = [
        pb_utils.get_input_tensor_by_name(request, name)
        for name in ("text", "context", "stage", "image")
    ]
    columns = [None if one is None else one.as_numpy().ravel().tolist() for one in tensors]
    return [read_asked(*row, stages=stages) for row in rows_of(len(columns[0] or ()), *columns)]


def _failed(why: str) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(why))


def _decided(answers: list[Answered]) -> Any:
    columns = {
        "decision": [one.decision for one in answers],
        "edited_image": [one.image for one in answers],
    }
    tensors = [
        pb_utils.Tensor(name, np.array(column, dtype=object).reshape(-1, 1))
        for name, column in columns.items()
    ]
    return pb_utils.InferenceResponse(output_tensors=tensors)
