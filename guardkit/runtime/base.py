"""The one door to inference: `open_runner(artifact, options)`, and the contract behind it.

    runner = open_runner(artifact, RunnerOptions(backend="onnx", provider="cpu", threads=1))
    outputs = runner.run({"input_ids": ids, "attention_mask": mask})     # name -> array, both ways
    outputs["logits"]                                                     # f32 [windows, categories]

A runner may be shared between threads. Nothing outside this package knows which backend it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from guardkit.artifacts import Artifact, Manifest, RunnerOptions
from guardkit.errors import ManifestError, RunError
from guardkit.runtime.clock import Stop

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class RunnerInfo:
    """What is really running."""

    name: str
    version: str
    digest: str
    """SHA-256 of the model file."""
    backend: str
    provider: str
    precision: str

    @classmethod
    def of(cls, manifest: Manifest, *, backend: str, provider: str) -> RunnerInfo:
        """What runs when an artifact's model does."""
        return cls(
            name=manifest.name,
            version=manifest.version,
            digest=manifest.files[manifest.model].sha256,
            backend=backend,
            provider=provider,
            precision=manifest.precision,
        )

    @property
    def id(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"


class Runner(Protocol):
    """An opened model."""

    @property
    def info(self) -> RunnerInfo:
        """What is really running."""
        ...

    def run(self, inputs: Arrays, *, stop: Stop | None = None) -> Arrays:
        """Run the graph once; when `stop` fires, give up.

        Raises:
            RunError: The graph failed.
            DeadlineError: It was stopped.
        """
        ...


OpenRunner = Callable[[Artifact, RunnerOptions], Runner]
"""What opens an artifact; `open_runner`, or something that wraps it."""


def open_runner(artifact: Artifact, options: RunnerOptions) -> Runner:
    """Open an artifact on the backend the options name.

    Raises:
        MissingExtraError: The backend's package is not installed.
        DigestError: The model file is not the one the manifest describes.
        ManifestError: The graph is not the one the manifest describes.
        ProviderError: The provider asked for is not the one that would run.
        ServerError: The server asked for is absent, or does not serve this artifact.
    """
    if options.backend == "triton":
        from guardkit.runtime.triton import TritonRunner  # the backends are optional packages

        return TritonRunner(artifact, options)
    from guardkit.runtime.onnx import OnnxRunner

    return OnnxRunner(artifact, options)


_FEW = 4  # of a dimension that varies
_FEW_IMAGES = 1  # four would take a tenth of a second


def warm_inputs(manifest: Manifest) -> dict[str, NDArray[Any]]:
    """Inputs of the smallest fuss for a first run: ones, dimensions that vary at 4; one image, as small as it may be."""
    few = _FEW_IMAGES if manifest.sees_images else _FEW
    side = manifest.faces.multiple if manifest.faces else few
    return {
        spec.name: np.ones(
            [
                size if isinstance(size, int) else side if at else few
                for at, size in enumerate(spec.shape)
            ],
            spec.dtype,
        )
        for spec in manifest.inputs
    }


def checked_output(
    outputs: Arrays, name: str, *, shape: tuple[int, ...], manifest: Manifest
) -> tuple[NDArray[np.float32], list[float]]:
    """Take one output and hold it to its expected shape and to finite values.

    Returns:
        The array, and its values one after the other: a few hundred of them are quicker to look
        through in Python, for each numpy reduction costs 60 us when a model run emptied the caches.

    Raises:
        RunError: It is missing, has another shape, or holds NaN or infinity.
    """
    output = outputs.get(name)
    if output is None:
        raise RunError(f"{manifest.id}: no output '{name}'. Found: {', '.join(outputs)}.")
    if output.shape != shape:
        raise RunError(
            f"{manifest.id}: output '{name}' has shape {output.shape}, expected {shape}."
        )
    values: list[float] = output.ravel().tolist()
    if not math.isfinite(sum(values)):  # finite exactly when every value is
        raise RunError(f"{manifest.id}: output '{name}' holds NaN or infinity.")
    return output, values


def check_graph(
    found: Mapping[str, tuple[str, tuple[int | str | None, ...]]],
    manifest: Manifest,
    *,
    where: str,
    kind: Literal["input", "output"],
) -> None:
    """Compare a graph's inputs or outputs (name -> dtype, shape) with the manifest.

    Raises:
        ManifestError: A tensor is missing, unexpected, or differs in dtype, rank or a fixed size.
    """
    promised = {
        spec.name: spec for spec in (manifest.inputs if kind == "input" else manifest.outputs)
    }
    if set(promised) != set(found):
        raise ManifestError(
            f"{where}: the graph has {kind}s {sorted(found)}, the manifest says {sorted(promised)}. {_MEND}"
        )
    for name, (dtype, shape) in found.items():
        spec = promised[name]
        if dtype != spec.dtype:
            raise ManifestError(
                f"{where}: {kind} '{name}' has dtype {dtype}, the manifest says {spec.dtype}. {_MEND}"
            )
        fits = len(shape) == len(spec.shape) and all(
            actual == promise or not (isinstance(actual, int) and isinstance(promise, int))
            for actual, promise in zip(shape, spec.shape, strict=True)
        )
        if not fits:
            raise ManifestError(
                f"{where}: {kind} '{name}' has shape {list(shape)}, the manifest says {list(spec.shape)}. {_MEND}"
            )


_MEND = "Export the artifact again or mend its manifest."
