"""What every exported model of crops writes beside its graph: labels, manifest, parity card, config.pbtxt."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from guardkit.artifacts import (
    FORMAT,
    PARITY_FILE,
    Artifact,
    Calibration,
    ImageOptions,
    Manifest,
    RunnerOptions,
    TensorSpec,
)
from guardkit.errors import InputError, ParityError
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

TOLERANCE = 1e-4
"""Of a probability, between a graph and the model it was made of."""
_DIGITS = 6  # of a reference probability


@dataclass(frozen=True, slots=True)
class AboutImages:
    """What the manifest of a model of crops says apart from its files."""

    name: str
    version: str
    licence: str
    calibration: Mapping[str, Calibration]
    """Category -> Platt scaling, in the order of the graph's logits."""
    side: int
    """Pixels of a crop's side."""
    second: str | None = None
    """The model that votes too under `mode: precise`."""
    precision: str = "fp32"
    tolerance: float = TOLERANCE


def write_image_artifact(
    folder: Path, about: AboutImages, expected: NDArray[np.floating]
) -> Artifact:
    """Write an artifact around the graph that its folder holds already.

    Args:
        folder: Has `MODEL`.
        about: Its manifest.
        expected: What the model it was made of says of `drawn_crops`: probabilities before calibration, [crops, categories].

    Raises:
        ManifestError: The name or another part of the manifest cannot be.
        ParityError: The graph does not give those probabilities.
    """
    write_labels(folder, about.calibration)
    (folder / PARITY_FILE).unlink(missing_ok=True)
    artifact = _write_manifest(folder, about)
    _write_parity(artifact, expected, about.tolerance)
    artifact = _write_manifest(folder, about)
    (folder / "config.pbtxt").write_text(config_pbtxt(artifact.manifest))
    return artifact


def new_artifact(out: Path, name: str, write: Callable[[Path], Artifact]) -> Artifact:
    """Have an artifact written into a folder of its own; nothing is left there on failure.

    Raises:
        InputError: There is one of that name.
    """
    if (out / name).exists():
        raise InputError(
            f"{out / name}: exists already. Remove it, or choose another --name or --out."
        )
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out, prefix=".export-") as scratch:
        folder = Path(scratch) / name
        (folder / MODEL).parent.mkdir(parents=True)
        made = write(folder)
        folder.rename(out / name)
    return Artifact(out / name, made.manifest)


def _write_manifest(folder: Path, about: AboutImages) -> Artifact:
    categories, side = tuple(about.calibration), about.side
    files = [name for name in (MODEL, LABELS, PARITY_FILE) if (folder / name).is_file()]
    manifest = Manifest(
        format=FORMAT,
        name=about.name,
        version=about.version,
        task="image-scores",
        precision=about.precision,
        licence=about.licence,
        categories=categories,
        calibration=dict(about.calibration),
        inputs=(TensorSpec(INPUT, "uint8", ("crops", side, side, 3)),),
        outputs=(TensorSpec(OUTPUT, "float32", ("crops", len(categories))),),
        files=file_entries(folder, files),
        image=ImageOptions(side, about.second),
    )
    return write_manifest(folder, manifest)


def _write_parity(artifact: Artifact, expected: NDArray[np.floating], tolerance: float) -> None:
    card = ImageParityCard(
        precision=artifact.manifest.precision,
        crops=len(expected),
        scores=tuple(tuple(round(float(p), _DIGITS) for p in row) for row in expected),
        tolerance=tolerance,
        worst=0.0,
    )
    worst, where = worst_of(artifact, open_runner(artifact, RunnerOptions()), card)
    if worst > tolerance:
        raise ParityError(
            f"{artifact.path}: scores differ by {worst:.6f} ({where}) from those of the model it was made of. "
            f"Allowed: {tolerance}."
        )
    encoded = msgspec.json.encode(replace(card, worst=round(worst, _DIGITS)))
    (artifact.path / PARITY_FILE).write_bytes(msgspec.json.format(encoded, indent=1) + b"\n")
    _log.info("%s: scores within %.6f of its model's", artifact.manifest.name, worst)
