"""A TensorRT engine of an artifact, built on the machine that will run it.

Built by onnxruntime's TensorRT provider, from the options a policy would give it: the engine it
caches is a TensorRT plan, which Triton's `tensorrt` backend reads; the EPContext model beside it is
what onnxruntime opens without building anything. Neither is ever committed: an engine belongs to one
GPU and one version of TensorRT.

Not run here: no GPU was at hand. What is tested is what it asks for, and what it says where TensorRT is missing.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from guardkit.artifacts import Artifact, RunnerOptions, TensorRT
from guardkit.errors import InputError, RunError
from guardkit.runtime.providers import providers_for

PLAN, CONTEXT = "1/model.plan", "1/model_ctx.onnx"
_CONTEXT_NAME = "model_ctx.onnx"
Build = Callable[[bytes, Sequence[tuple[str, dict[str, str]]]], None]
"""(graph, provider options): opens the graph, which builds the engine and leaves it in the cache."""


def export_tensorrt(
    artifact: Artifact,
    out: Path,
    settings: TensorRT,
    *,
    available: Sequence[str],
    build: Build,
) -> Path:
    """Build the engine and put it, with its EPContext model, into `<out>/<name>-trt`.

    Args:
        artifact: An fp32 or fp16 text artifact.
        out: The folder that holds artifacts.
        settings: Precision and largest batch; `cache` keeps TensorRT's timings for the next build.
        available: The providers of this onnxruntime.
        build: What builds; `build_engine`.

    Returns:
        The folder.

    Raises:
        ProviderError: TensorRT is missing (the message says what to install), or the artifact is int8.
        InputError: The folder is taken.
        RunError: TensorRT built nothing.
    """
    folder = out / f"{artifact.manifest.name}-trt"
    with tempfile.TemporaryDirectory() as scratch:
        options = RunnerOptions(
            provider="tensorrt", tensorrt=TensorRT(settings.fp16, scratch, settings.most_windows)
        )
        ((name, wanted),) = providers_for(options, artifact.manifest, available)
        if folder.exists():
            raise InputError(f"{folder}: exists already. Remove it, or choose another --out.")
        build(artifact.read(artifact.manifest.model), [(name, {**wanted, **_context(scratch)})])
        _keep(_built(Path(scratch), artifact), folder)
    return folder


def build_engine(graph: bytes, providers: Sequence[tuple[str, dict[str, str]]]) -> None:
    """Open a graph on a GPU, which builds its engine."""
    import onnxruntime  # the extra `gpu`

    session = onnxruntime.InferenceSession(graph, providers=list(providers))
    if session.get_providers()[0] != providers[0][0]:
        raise RunError(f"onnxruntime used {session.get_providers()[0]}, not {providers[0][0]}.")


def _context(folder: str) -> dict[str, str]:
    return {
        "trt_dump_ep_context_model": "1",
        "trt_ep_context_file_path": str(Path(folder) / _CONTEXT_NAME),
        "trt_ep_context_embed_mode": "1",  # the engine inside: one file, wherever it is copied
    }


def _built(scratch: Path, artifact: Artifact) -> Mapping[str, Path]:
    """Where the build left the engine and the EPContext model."""
    engines = sorted(scratch.rglob("*.engine"))
    if len(engines) != 1 or not (scratch / _CONTEXT_NAME).is_file():
        raise RunError(
            f"{artifact.manifest.id}: TensorRT left {len(engines)} engines, expected one and its "
            "EPContext model: it left a part of the graph to another provider, or built nothing."
        )
    return {PLAN: engines[0], CONTEXT: scratch / _CONTEXT_NAME}


def _keep(built: Mapping[str, Path], folder: Path) -> None:
    (folder / "1").mkdir(parents=True)
    for relative, file in built.items():
        shutil.copyfile(file, folder / relative)
