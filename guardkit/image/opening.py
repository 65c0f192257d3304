"""The image scorers that a policy names, opened: artifacts, and the caller's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from guardkit.artifacts import RunnerOptions, find_artifact
from guardkit.errors import ManifestError
from guardkit.image.faces import FaceDetector
from guardkit.image.score import CropModel, CropScorer, ImageScorer
from guardkit.image.transform import ReadRequest, TransformScorer
from guardkit.policy.rules import Policy
from guardkit.runtime.base import OpenRunner

_PRECISE = "precise"


def open_image_scorers(
    policy: Policy,
    names: Sequence[str],
    given: Mapping[str, ImageScorer],
    open_runner: OpenRunner,
) -> dict[str, ImageScorer]:
    """One scorer a name of a stage of images.

    Raises:
        ArtifactError: A model is missing, changed, malformed, or scores no images.
        BackendError: It cannot be run here.
    """
    return {
        name: given[name]
        if name in given
        else _open_scorer(name, policy.models.get(name, RunnerOptions()), open_runner)
        for name in names
    }


def _open_scorer(name: str, options: RunnerOptions, open_runner: OpenRunner) -> ImageScorer:
    """The scorer of an image artifact, as its manifest says what it does."""
    path = Path(options.path) if options.path else None
    if find_artifact(name, path=path).manifest.faces is not None:
        return open_face_detector(name, options, open_runner)
    return open_crop_scorer(name, options, open_runner)


def open_face_detector(name: str, options: RunnerOptions, open_runner: OpenRunner) -> FaceDetector:
    """A detector of faces.

    Raises:
        ArtifactError: It is missing, changed, malformed, or detects no faces.
        BackendError: It cannot be run here.
    """
    artifact = find_artifact(name, path=Path(options.path) if options.path else None)
    if options.mode == _PRECISE:
        raise ManifestError(
            f"models.{name}.mode: precise is for models that vote. Expected mode: fast."
        )
    return FaceDetector(artifact, open_runner(artifact, options))


def open_transform_scorer(
    name: str,
    options: RunnerOptions,
    detector: FaceDetector,
    read: ReadRequest,
    open_runner: OpenRunner,
) -> TransformScorer:
    """The scorer of edits; errors as in `open_face_detector`."""
    artifact = find_artifact(name, path=Path(options.path) if options.path else None)
    runner = open_runner(artifact, options)
    return TransformScorer(artifact, runner, detector, read if options.reads_request else None)


def open_crop_scorer(name: str, options: RunnerOptions, open_runner: OpenRunner) -> CropScorer:
    """The scorer of an image artifact, with its second model where the options want a vote.

    Raises:
        ArtifactError: A model is missing, changed, malformed, or scores no images.
        BackendError: It cannot be run here.
    """
    path = Path(options.path) if options.path else None
    first = _open(name, path, options, open_runner)
    if options.mode != _PRECISE:
        return CropScorer(first)
    second = first.manifest.image and first.manifest.image.second
    if not second:
        raise ManifestError(
            f"models.{name}.mode: precise needs a second model, and {first.manifest.id} names none. "
            "Expected mode: fast."
        )
    beside = None if path is None else path.parent / second
    return CropScorer(first, _open(second, beside, _served_as_itself(options), open_runner))


def _served_as_itself(options: RunnerOptions) -> RunnerOptions:
    """How the second model runs: as the first, but a server has it under its own name."""
    if options.triton is None:
        return options
    return replace(options, triton=replace(options.triton, model=None))


def _open(
    name: str, path: Path | None, options: RunnerOptions, open_runner: OpenRunner
) -> CropModel:
    artifact = find_artifact(name, path=path)
    return CropModel(artifact, open_runner(artifact, options))
