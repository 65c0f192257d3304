"""The `onnx` backend: onnxruntime on verified bytes.

Imported inside `open_runner` only: onnxruntime is the extra `cpu` (or `gpu`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from guardkit.artifacts import Artifact, RunnerOptions
from guardkit.errors import DeadlineError, ProviderError, RunError
from guardkit.runtime.base import Arrays, RunnerInfo, check_graph, warm_inputs
from guardkit.runtime.clock import Stop, check_time
from guardkit.runtime.providers import NAMES
from guardkit.runtime.sessions import ERRORS, open_session, run_options

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(uint8)": "uint8",
}


class OnnxRunner:
    """An artifact's graph in onnxruntime; safe to share between threads, and usable after a fork."""

    def __init__(self, artifact: Artifact, options: RunnerOptions) -> None:
        """Open the graph, hold it to its manifest, and run it once: the first run plans memory.

        Raises:
            DigestError: The model file is not the one the manifest describes.
            ManifestError: The graph is not the one the manifest describes.
            ProviderError: The provider asked for is not the one that would run.
            RunError: The graph opens, but does not run.
        """
        manifest = artifact.manifest
        where = f"{artifact.path / manifest.model}"
        self._artifact, self._options = artifact, options
        self._session, self._process = open_session(artifact, options), os.getpid()
        in_use = self._session.get_providers()[0]
        if in_use != NAMES[options.provider]:
            raise ProviderError(
                f"{where}: asked for {NAMES[options.provider]}, onnxruntime would use {in_use}."
            )
        check_graph(_specs(self._session.get_inputs()), manifest, where=where, kind="input")
        check_graph(_specs(self._session.get_outputs()), manifest, where=where, kind="output")
        self._outputs = [spec.name for spec in manifest.outputs]
        self._info = RunnerInfo.of(manifest, backend="onnx", provider=options.provider)
        self.run(warm_inputs(manifest))

    @property
    def info(self) -> RunnerInfo:
        """What is really running."""
        return self._info

    def run(self, inputs: Arrays, *, stop: Stop | None = None) -> Arrays:
        """Run the graph once; see `Runner.run`."""
        check_time(stop, self._info.name)
        session = self._session if self._process == os.getpid() else self._session_after_fork()
        options = None if stop is None else run_options()
        if stop is not None:
            stop.on_stop(lambda: setattr(options, "terminate", True))
        try:
            # No IOBinding: measured slower by 3 % on a CPU, where nothing has to be copied.
            values = session.run(self._outputs, dict(inputs), options)
        except ERRORS as e:
            if stop is not None and stop.is_over:
                raise DeadlineError(f"{self._info.name}: stopped, for the time was over.") from None
            # onnxruntime's message may quote input values: keep its kind, not its words.
            raise RunError(f"{self._info.name}: onnxruntime failed ({type(e).__name__}).") from None
        finally:
            if stop is not None:
                stop.on_stop(None)
        return dict(zip(self._outputs, values, strict=True))

    def _session_after_fork(self) -> Any:
        """A session that works in a forked process.

        One thread needs nothing that a fork loses. A pool of threads does not survive one, and a run
        would wait for it for ever: the graph is opened again. A GPU cannot be used by a fork at all.
        """
        if self._options.provider != "cpu":
            raise RunError(
                f"{self._info.name}: opened on {self._options.provider} before this process was "
                "forked. Build the Guard in each worker process."
            )
        if self._options.threads > 1:
            self._session = open_session(self._artifact, self._options)
        self._process = os.getpid()
        return self._session


def _specs(tensors: Iterable[Any]) -> dict[str, tuple[str, tuple[int | str | None, ...]]]:
    return {t.name: (_DTYPES.get(t.type, t.type), tuple(t.shape)) for t in tensors}
