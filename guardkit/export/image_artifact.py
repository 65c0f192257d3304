"""What every exported model of crops writes: manifest, parity card, config.pbtxt."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from guardkit.artifacts import (
    FORMAT,
    PARITY_FILE,
    Artifact,
    Calibration,
    FileEntry,
    ImageOptions,
    Manifest,
    RunnerOptions,
    TensorSpec,
)
from guardkit.errors import ParityError
from guardkit.export.artifact import (
    LABELS,
    MODEL,
    config_pbtxt,
    file_entries,
    write_labels,
    write_manifest,
)
from guardkit.export.image_graph import INPUT, OUTPUT
from guardkit.export.image_parity import ImageParityCard, worst_of
from guardkit.runtime.base import open_runner

_log = logging.getLogger(__name__)

_DIGITS = 6  # of a reference probability
_ROOM = 1.5  # for another processor's kernels


@dataclass(frozen=True, slots=True)
class AboutImages:
    """What the manifest of a model of crops says apart from its files and numbers."""

    name: str
    version: str
    licence: str
    categories: tuple[str, ...]
    """In the order of the graph's `logits`."""
    image: ImageOptions
    precision: str = "fp32"

    @property
    def identity(self) -> dict[str, Calibration]:
        """The calibration that leaves every logit as it is."""
        return {category: Calibration(1.0, 0.0) for category in self.categories}


def write_image_artifact(
    folder: Path, about: AboutImages, expected: NDArray[np.float32], *, tolerance: float
) -> Artifact:
    """Write all that stands beside a graph, and hold the graph to its reference.

    Args:
        folder: Holds the graph.
        about: What the manifest says.
        expected: Probabilities that the source model gives of `drawn_crops`, f32 [crops, categories].
        tolerance: Largest difference of a probability. An int8 graph is held to what it reaches today
            where that is more: how much int8 costs is for the card to say.

    Raises:
        ParityError: The graph does not give them.
    """
    write_labels(folder, about.categories)
    artifact = write_image_manifest(folder, about, about.identity)
    write_image_parity(artifact, expected, tolerance=tolerance)
    artifact = write_image_manifest(folder, about, about.identity)
    (folder / "config.pbtxt").write_text(config_pbtxt(artifact.manifest))
    return artifact


def write_image_manifest(
    folder: Path, about: AboutImages, calibration: dict[str, Calibration]
) -> Artifact:
    """Write the manifest over the files that the folder holds by now."""
    side, count = about.image.side, len(about.categories)
    manifest = Manifest(
        format=FORMAT,
        name=about.name,
        version=about.version,
        task="image-scores",
        precision=about.precision,
        licence=about.licence,
        categories=about.categories,
        calibration=calibration,
        inputs=(TensorSpec(INPUT, "uint8", ("crops", side, side, 3)),),
        outputs=(TensorSpec(OUTPUT, "float32", ("crops", count)),),
        files=existing_files(folder),
        image=about.image,
    )
    return write_manifest(folder, manifest)


def existing_files(folder: Path) -> dict[str, FileEntry]:
    """Entries of the files of an image model that are there by now."""
    names = (MODEL, LABELS, PARITY_FILE)
    return file_entries(folder, [name for name in names if (folder / name).is_file()])


def write_image_parity(
    artifact: Artifact, expected: NDArray[np.floating], *, tolerance: float
) -> ImageParityCard:
    """Write the parity card; arguments and errors as of `write_image_artifact`."""
    card = ImageParityCard(
        precision=artifact.manifest.precision,
        crops=len(expected),
        scores=tuple(rounded(row) for row in expected),
        tolerance=tolerance,
        worst=0.0,
    )
    worst, where = worst_of(artifact, open_runner(artifact, RunnerOptions()), card)
    if card.precision == "int8":
        card = replace(card, tolerance=max(tolerance, round(worst * _ROOM, 4)))
    if not worst <= card.tolerance:  # NaN is none either
        raise ParityError(
            f"{artifact.path}: scores differ by {worst:.6f} ({where}) from the classifier's. "
            f"Allowed: {card.tolerance}."
        )
    card = replace(card, worst=round(worst, _DIGITS))
    write_card(artifact, card)
    _log.info("%s: scores within %.6f of the classifier's", artifact.manifest.name, worst)
    return card


def rounded(values: NDArray[np.floating]) -> tuple[float, ...]:
    """Numbers as a card holds them."""
    return tuple(round(float(value), _DIGITS) for value in values)


def write_card(artifact: Artifact, card: Struct) -> None:
    """Write a parity card."""
    encoded = msgspec.json.format(msgspec.json.encode(card), indent=1)
    (artifact.path / PARITY_FILE).write_bytes(encoded + b"\n")
