"""onnxruntime sessions: shared by the guards of a process, opened sooner from a kept graph.

A session belongs to what it runs (the graph's digest) and how (provider, device, threads), so two
guards that ask for the same get one: a model is in memory once. Optimizing a graph takes a third of
the time to open it; with the option `cache` the optimized graph is kept, under a name that holds
digest, onnxruntime's version and this machine's processor, beside the digest of its bytes.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from guardkit.artifacts import Artifact, Manifest, RunnerOptions
from guardkit.errors import ManifestError, MissingExtraError
from guardkit.runtime.processor import has_vnni
from guardkit.runtime.providers import providers_for

try:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as _native
except ImportError as e:
    raise MissingExtraError("running a model", "cpu") from e

_log = logging.getLogger(__name__)

# onnxruntime gives each kind of failure its own class; all of them come from its native module,
# but for the ValueError of its Python part when an input is missing.
ERRORS: tuple[type[Exception], ...] = (
    ValueError,
    *(
        value
        for value in vars(_native).values()
        if isinstance(value, type) and issubclass(value, Exception)
    ),
)
_NOT_KEPT: tuple[type[Exception], ...] = (OSError, *ERRORS)
_Key = tuple[str, RunnerOptions, int]
_open: weakref.WeakValueDictionary[_Key, Any] = weakref.WeakValueDictionary()
_forks_are_watched = False


def open_session(artifact: Artifact, options: RunnerOptions) -> Any:
    """The session of an artifact's graph: one that is open in this process, or a new one.

    Raises:
        DigestError: The model file is not the one the manifest describes.
        ManifestError: onnxruntime cannot open it.
        ProviderError: This onnxruntime does not have the provider asked for.
    """
    how = replace(options, path=None, cache=None, languages=None, cascade=True, mode="fast")
    digest = artifact.manifest.files[artifact.manifest.model].sha256
    key = (digest, how, os.getpid())  # a parent's session may have threads, which no fork keeps
    model = artifact.read(artifact.manifest.model)  # a changed file is refused, shared or not
    session = _open.get(key)
    if session is None:
        _watch_forks()
        # Two threads may both come here, and open it twice; a lock could be held across a fork.
        session = _open.setdefault(key, _new_session(artifact, model, options))
    return session


def run_options() -> Any:
    """Options of one run; `terminate` stops it."""
    return onnxruntime.RunOptions()


def _new_session(artifact: Artifact, model: bytes, options: RunnerOptions) -> Any:
    manifest = artifact.manifest
    providers = providers_for(options, manifest, onnxruntime.get_available_providers())
    if options.cache is not None and options.provider == "cpu":
        kept = _Kept(Path(options.cache), manifest)
        return kept.open(model, options) or _session(artifact, model, options, providers)
    return _session(artifact, model, options, providers)


def _session(
    artifact: Artifact, model: bytes, options: RunnerOptions, providers: Iterable[Any]
) -> Any:
    try:
        session = onnxruntime.InferenceSession(
            model, _session_options(options.threads, artifact.manifest), providers=list(providers)
        )
    except ERRORS as e:
        raise ManifestError(
            f"{artifact.path / artifact.manifest.model}: onnxruntime {onnxruntime.__version__} "
            f"cannot open it ({type(e).__name__})."
        ) from e
    session.disable_fallback()  # a GPU that fails later is an error, too
    return session


def _watch_forks() -> None:
    """Keep a forked process from destroying sessions with threads: it would wait for them for ever.

    What a fork inherits of them is 30 MB that nothing frees before the process ends.
    """
    global _forks_are_watched
    if not _forks_are_watched and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_never_destroy)
        _forks_are_watched = True


def _never_destroy() -> None:
    for (_, how, _), session in list(_open.items()):
        if how.threads > 1:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


def _session_options(threads: int, manifest: Manifest) -> Any:
    options = onnxruntime.SessionOptions()
    # Planned as one piece, the activations of a picture take more: 9 MB of 73 for `face-detector`, and are no quicker.
    options.enable_mem_pattern = manifest.image is None and manifest.faces is None
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A spinning thread holds a core that a web server needs for the next request.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Processors that lack VNNI add int8 products in 16 bits, which overflow: logits were off by up to 1.1.
    # This costs them 15 %; one with VNNI adds exactly as it is, and would lose 40 %.
    if not has_vnni():
        options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 4  # fatal: its error lines quote input values
    return options


class _Kept:
    """An optimized graph in a folder, and the digest that tells whether its bytes are whole.

    The folder is trusted as the package is: whoever may write there may replace graph and digest.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        digest, self._manifest = manifest.files[manifest.model].sha256, manifest
        self._graph = folder / f"{digest[:16]}-{_machine()}.onnx"
        self._digest = self._graph.with_suffix(".sha256")

    def open(self, model: bytes, options: RunnerOptions) -> Any:
        """Open the kept graph, after making it where there is none or a damaged one; None: cannot."""
        graph = self._read() or self._make(model)
        wanted = _session_options(options.threads, self._manifest)
        wanted.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            return graph and onnxruntime.InferenceSession(
                graph, wanted, providers=["CPUExecutionProvider"]
            )
        except ERRORS as e:
            _log.warning("%s: cannot be opened (%s); not used", self._graph, type(e).__name__)
            return None

    def _read(self) -> bytes | None:
        try:
            graph, digest = self._graph.read_bytes(), self._digest.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None
        if hashlib.sha256(graph).hexdigest() != digest:
            _log.warning("%s: damaged; made anew", self._graph)
            return None
        return graph

    def _make(self, model: bytes) -> bytes | None:
        """Optimize the graph and keep it; readers see the old pair, the new one, or a mismatch."""
        try:
            self._graph.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._graph.parent) as folder:
                made = Path(folder) / "graph.onnx"
                options = _session_options(1, self._manifest)
                options.optimized_model_filepath = str(made)
                onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
                graph = made.read_bytes()
                note = Path(folder) / "digest"
                note.write_text(hashlib.sha256(graph).hexdigest(), "ascii")
                made.replace(self._graph)
                note.replace(self._digest)
        except _NOT_KEPT as e:
            _log.warning("%s: cannot be kept (%s)", self._graph, type(e).__name__)
            return None
        return graph


def _machine() -> str:
    """What an optimized graph depends on beside its model, 12 hexadecimal digits."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = [platform.processor()]
    told = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    parts = (onnxruntime.__version__, platform.machine(), *(told or lines))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
