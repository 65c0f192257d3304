"""Pictures to calibrated scores: crops, one or two models, the maximum over crops."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from guardkit.artifacts import Artifact, ImageOptions, Resample, TensorSpec, probability
from guardkit.errors import ManifestError
from guardkit.image.decode import Picture
from guardkit.image.prepare import crops_of
from guardkit.runtime.base import Runner, checked_output
from guardkit.runtime.clock import Stop
from guardkit.types import Scored, Scores

_INPUT, _OUTPUT = "crops", "logits"
_MOST_TOGETHER = 4  # crops in one run: no quicker a crop than one, and 10 MB of activations each


class ImageScorer(Protocol):
    """Pictures to scores. What a policy names under `output-image.scorers`; `Guard` takes ones of your own."""

    @property
    def name(self) -> str:
        """The name a policy uses, kebab-case."""
        ...

    @property
    def categories(self) -> Sequence[str]:
        """What it scores; a category it then leaves out counts as not measured."""
        ...

    def score(self, pictures: Sequence[Picture]) -> list[Scored]:
        """Score decoded pictures, one answer a picture, in their order."""
        ...


class CropModel:
    """An opened image artifact. Safe to share between threads."""

    def __init__(self, artifact: Artifact, runner: Runner) -> None:
        """Put crops before a runner and a calibration behind it.

        Raises:
            ManifestError: The artifact does not score crops.
        """
        self.manifest = artifact.manifest
        self.runner = runner
        options = _options_of(artifact)
        self.side, self.resample = options.side, options.resample
        self._calibration = [self.manifest.calibration[name] for name in self.manifest.categories]

    def scores(
        self, crops: NDArray[np.uint8], *, stop: Stop | None = None
    ) -> dict[str, list[float]]:
        """Run crops, a few at a time.

        Args:
            crops: uint8 RGB [crops, side, side, 3].
            stop: Ends a run that takes too long.

        Returns:
            Category -> a calibrated probability in [0, 1] a crop.

        Raises:
            RunError: The graph failed or gave unusable output.
            DeadlineError: `stop` fired.
        """
        rows = [
            row
            for at in range(0, len(crops), _MOST_TOGETHER)
            for row in self._run(crops[at : at + _MOST_TOGETHER], stop)
        ]
        return {
            category: [probability(by.log_odds(row[column])) for row in rows]
            for column, (category, by) in enumerate(
                zip(self.manifest.categories, self._calibration, strict=True)
            )
        }

    def _run(self, crops: NDArray[np.uint8], stop: Stop | None) -> list[list[float]]:
        outputs = self.runner.run({_INPUT: crops}, stop=stop)
        shape = (len(crops), len(self.manifest.categories))
        logits, _ = checked_output(outputs, _OUTPUT, shape=shape, manifest=self.manifest)
        rows: list[list[float]] = logits.tolist()
        return rows


class CropScorer:
    """One model, or two that vote; one score a category the first one knows."""

    def __init__(self, first: CropModel, second: CropModel | None = None) -> None:
        """Take opened models.

        Args:
            first: Its name and categories are the scorer's.
            second: Votes on the categories it shares; None: `fast`.

        Raises:
            ManifestError: The two do not read the same crops.
        """
        if second is not None and _reads(second) != _reads(first):
            raise ManifestError(
                f"{second.manifest.id}: reads crops of {second.side} pixels ({second.resample}), "
                f"{first.manifest.id} of {first.side} ({first.resample}). They cannot vote together."
            )
        self.name = first.manifest.name
        self.categories = first.manifest.categories
        self.models = (first,) if second is None else (first, second)
        self.side, self.resample = _reads(first)

    @property
    def runners(self) -> tuple[Runner, ...]:
        """What runs its models."""
        return tuple(model.runner for model in self.models)

    def score(self, pictures: Sequence[Picture], *, stop: Stop | None = None) -> list[Scored]:
        """Score pictures one by one: on a CPU a run of several is no quicker; errors as in `CropModel.scores`."""
        return [self._score(picture, stop) for picture in pictures]

    def _score(self, picture: Picture, stop: Stop | None) -> Scored:
        crops = crops_of(picture, side=self.side, resample=self.resample)
        said = [model.scores(crops, stop=stop) for model in self.models]
        votes = {
            category: [one[category] for one in said if category in one]
            for category in self.categories
        }
        return Scored(Scores({name: worst_vote(of) for name, of in votes.items()}))


def worst_vote(said: Sequence[Sequence[float]]) -> float:
    """The highest mean over models of any crop: they vote on each crop, not on the picture.

    So a threshold above 0.5 takes both of two models, and one below it a single one that is sure. A mean of
    log-odds would let the more extreme model decide alone.

    Args:
        said: A row a model, each with one probability a crop.

    >>> worst_vote([[0.75, 0.25], [0.25, 0.5]])
    0.5
    """
    return max(statistics.fmean(crop) for crop in zip(*said, strict=True))


def _reads(model: CropModel) -> tuple[int, Resample]:
    return model.side, model.resample


def _options_of(artifact: Artifact) -> ImageOptions:
    manifest, options = artifact.manifest, artifact.manifest.image
    if options is None:
        raise ManifestError(f"{artifact.path}: task '{manifest.task}' does not score images.")
    side, count = options.side, len(manifest.categories)
    inputs = (TensorSpec(_INPUT, "uint8", ("crops", side, side, 3)),)
    outputs = (TensorSpec(_OUTPUT, "float32", ("crops", count)),)
    if manifest.inputs != inputs or manifest.outputs != outputs:
        raise ManifestError(
            f"{artifact.path}: found inputs {manifest.inputs}, outputs {manifest.outputs}. Expected "
            f"{inputs} and {outputs}. Export the artifact again."
        )
    return options
