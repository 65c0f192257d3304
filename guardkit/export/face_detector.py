"""CenterFace to the artifact `face-detector`.

    guardkit export face-detector --source centerface.onnx --out exported_models

Nothing is trained, and nothing calibrated.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec
import numpy as np
import onnx
from msgspec.structs import replace
from numpy.typing import NDArray

from guardkit.artifacts import (
    FORMAT,
    PARITY_FILE,
    Artifact,
    Calibration,
    FaceOptions,
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
from guardkit.export.face_graph import source_maps, with_preprocessing
from guardkit.export.image_artifact import TOLERANCE
from guardkit.export.image_parity import (
    STEP,
    FaceParityCard,
    drawn_pictures,
    worst_of_faces,
)
from guardkit.export.image_safety import check_file
from guardkit.image.faces import CHANNELS, INPUT, OUTPUT
from guardkit.runtime.base import open_runner

_log = logging.getLogger(__name__)

NAME, CATEGORY = "face-detector", "privacy"
SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
OPTIONS = FaceOptions(shortest=320, longest=640, multiple=32, stride=4)
_DIGITS = 6


def export_face_detector(source: Path, out: Path, *, version: str) -> Artifact:
    """Write the artifact.

    Args:
        source: The ONNX file of CenterFace.
        out: The folder that holds artifacts.
        version: Its version.

    Raises:
        InputError: The file is not the one it should be.
        ParityError: The graph does not give its maps.
    """
    check_file(source, SHA256, NAME)
    folder = out / NAME
    (folder / MODEL).parent.mkdir(parents=True, exist_ok=True)
    onnx.save(with_preprocessing(source), str(folder / MODEL))
    write_labels(folder, [CATEGORY])
    artifact = _write_manifest(folder, version)
    _write_parity(artifact, [source_maps(source, one) for one in drawn_pictures()])
    artifact = _write_manifest(folder, version)
    (folder / "config.pbtxt").write_text(config_pbtxt(artifact.manifest))
    return artifact


def _write_manifest(folder: Path, version: str) -> Artifact:
    manifest = Manifest(
        format=FORMAT,
        name=NAME,
        version=version,
        task="faces",
        precision="fp32",
        licence="MIT",
        categories=(CATEGORY,),
        calibration={CATEGORY: Calibration(1.0, 0.0)},
        inputs=(TensorSpec(INPUT, "uint8", ("pictures", "height", "width", 3)),),
        outputs=(TensorSpec(OUTPUT, "float32", ("pictures", CHANNELS, "rows", "columns")),),
        files=file_entries(
            folder, [name for name in (MODEL, LABELS, PARITY_FILE) if (folder / name).is_file()]
        ),
        faces=OPTIONS,
    )
    return write_manifest(folder, manifest)


def _write_parity(artifact: Artifact, expected: list[NDArray[np.float32]]) -> None:
    card = FaceParityCard(
        precision=artifact.manifest.precision,
        maps=tuple(
            tuple(round(float(value), _DIGITS) for value in maps.ravel()[::STEP])
            for maps in expected
        ),
        tolerance=TOLERANCE,
        worst=0.0,
    )
    worst, where = worst_of_faces(artifact, open_runner(artifact, RunnerOptions()), card)
    if worst > TOLERANCE:
        raise ParityError(
            f"{artifact.path}: maps differ by {worst:.6f} ({where}) from the network's. Allowed: {TOLERANCE}."
        )
    encoded = msgspec.json.encode(replace(card, worst=round(worst, _DIGITS)))
    (artifact.path / PARITY_FILE).write_bytes(msgspec.json.format(encoded, indent=1) + b"\n")
    _log.info("%s: maps within %.6f of the network's", artifact.manifest.name, worst)
