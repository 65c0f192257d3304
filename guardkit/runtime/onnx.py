"""The `onnx` backend: onnxruntime, one session a runner, verified bytes in.

Imported inside `open_runner` only: onnxruntime is the extra `cpu` (or `gpu`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from guardkit.artifacts import Artifact, RunnerOptions
from guardkit.errors import DeadlineError, ManifestError, MissingExtraError, ProviderError, RunError
from guardkit.runtime.base import Arrays, RunnerInfo, check_graph
from guardkit.runtime.clock import Stop, check_time
from guardkit.runtime.providers import NAMES, providers_for

try:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as _native
except ImportError as e:
    raise MissingExtraError("running a model", "cpu") from e

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(uint8)": "uint8",
}
# onnxruntime gives each kind of failure its own class; all of them come from its native module,
# but for the ValueError of its Python part when an input is missing.
_ERRORS: tuple[type[Exception], ...] = (
    ValueError,
    *(
        value
        for value in vars(_native).values()
        if isinstance(value, type) and issubclass(value, Exception)
    ),
)


class OnnxRunner:
    """An artifact's graph in onnxruntime; safe to share between threads."""

    def __init__(self, artifact: Artifact, options: RunnerOptions) -> None:
        manifest = artifact.manifest
        where = f"{artifact.path / manifest.model}"
        model = artifact.read(manifest.model)
        providers = providers_for(options, manifest, onnxruntime.get_available_providers())
        try:
            self._session = onnxruntime.InferenceSession(
                model, _session_options(options.threads), providers=providers
            )
        except _ERRORS as e:
            raise ManifestError(
                f"{where}: onnxruntime {onnxruntime.__version__} cannot open it ({type(e).__name__})."
            ) from e
        in_use = self._session.get_providers()[0]
        if in_use != NAMES[options.provider]:
            raise ProviderError(
                f"{where}: asked for {NAMES[options.provider]}, onnxruntime would use {in_use}."
            )
        self._session.disable_fallback()  # a GPU that fails later is an error, too
        check_graph(_specs(self._session.get_inputs()), manifest, where=where, kind="input")
        check_graph(_specs(self._session.get_outputs()), manifest, where=where, kind="output")
        self._outputs = [spec.name for spec in manifest.outputs]
        self._info = RunnerInfo(
            name=manifest.name,
            version=manifest.version,
            digest=manifest.files[manifest.model].sha256,
            backend="onnx",
            provider=options.provider,
            precision=manifest.precision,
        )

    @property
    def info(self) -> RunnerInfo:
        """What is really running."""
        return self._info

    def run(self, inputs: Arrays, *, stop: Stop | None = None) -> Arrays:
        """Run the graph once; see `Runner.run`."""
        check_time(stop, self._info.name)
        options = None if stop is None else onnxruntime.RunOptions()
        if stop is not None:
            stop.on_stop(lambda: setattr(options, "terminate", True))
        try:
            values = self._session.run(self._outputs, dict(inputs), options)
        except _ERRORS as e:
            if stop is not None and stop.is_over:
                raise DeadlineError(f"{self._info.name}: stopped, for the time was over.") from None
            # onnxruntime's message may quote input values: keep its kind, not its words.
            raise RunError(f"{self._info.name}: onnxruntime failed ({type(e).__name__}).") from None
        finally:
            if stop is not None:
                stop.on_stop(None)
        return dict(zip(self._outputs, values, strict=True))


def _session_options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A spinning thread holds a core that a web server needs for the next request.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # fatal: its error lines quote input values
    return options


def _specs(tensors: Iterable[Any]) -> dict[str, tuple[str, tuple[int | str | None, ...]]]:
    return {t.name: (_DTYPES.get(t.type, t.type), tuple(t.shape)) for t in tensors}
