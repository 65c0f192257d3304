"""Two open classifiers to the artifacts `image-safety` and `image-safety-second`.

    guardkit export image-safety --first image-safety-classifier-s.onnx --second open-nsfw.onnx --out exported_models

Nothing is trained, and nothing calibrated: that would take pictures of what they look for.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from msgspec import Struct
from numpy.typing import NDArray

from guardkit.artifacts import Artifact, Calibration
from guardkit.errors import InputError
from guardkit.export.artifact import MODEL
from guardkit.export.image_artifact import AboutImages, write_image_artifact
from guardkit.export.image_graph import (
    IMAGE_SAFETY_S,
    OPEN_NSFW,
    SIDE,
    Source,
    with_preprocessing,
)
from guardkit.export.image_parity import DRAWN, drawn_crops

_SECOND = "image-safety-second"


class Kind(Struct, frozen=True):
    """One of the two artifacts."""

    name: str
    licence: str
    source: Source
    sha256: str
    """Of the file it is made of."""
    second: str | None = None


FIRST = Kind(
    "image-safety",
    "MIT",
    IMAGE_SAFETY_S,
    "fef443ed68ae25ed693b6fef9e456071692ed3963cff4168acb39c3de6f017e7",
    second=_SECOND,
)
SECOND = Kind(
    _SECOND,
    "BSD-2-Clause",
    OPEN_NSFW,
    "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa",
)


def export_image_safety(
    first: Path, second: Path, out: Path, *, version: str
) -> tuple[Artifact, Artifact]:
    """Write both artifacts.

    Args:
        first: The ONNX file of image-safety-s.
        second: That of open-nsfw.
        out: The folder that holds artifacts.
        version: Of both.

    Raises:
        InputError: A file is not the one it should be.
        ParityError: A graph does not give its classifier's probabilities.
    """
    return _export(first, FIRST, out, version), _export(second, SECOND, out, version)


def _export(path: Path, kind: Kind, out: Path, version: str) -> Artifact:
    check_file(path, kind.sha256, kind.name)
    folder = out / kind.name
    (folder / MODEL).parent.mkdir(parents=True, exist_ok=True)
    onnx.save(with_preprocessing(path, kind.source), str(folder / MODEL))
    about = AboutImages(
        kind.name,
        version,
        kind.licence,
        dict.fromkeys(kind.source.columns, Calibration(1.0, 0.0)),
        SIDE,
        kind.second,
    )
    expected = source_scores(path, kind.source, drawn_crops(DRAWN, SIDE))
    return write_image_artifact(folder, about, expected)


def check_file(path: Path, sha256: str, name: str) -> None:
    """Take no other weights than those whose licence and behaviour the card of an artifact tells.

    Raises:
        InputError: It cannot be read, or is another file.
    """
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror}).") from e
    if found != sha256:
        raise InputError(
            f"{path}: SHA-256 {found[:12]}..., {name} is made of {sha256[:12]}... Name that file."
        )


def source_scores(path: Path, source: Source, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the classifier itself says, through its own preprocessing written out here a second time.

    Args:
        path: Its ONNX file.
        source: What it takes and gives.
        crops: uint8 RGB [crops, side, side, 3].

    Returns:
        Probabilities of our categories, f32 [crops, categories].
    """
    pixels = crops.astype(np.float32)
    if source.bgr_means is not None:
        pixels = pixels[..., ::-1] - np.array(source.bgr_means, np.float32)
    if source.takes_channels_first:
        pixels = pixels.transpose(0, 3, 1, 2)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(None, {session.get_inputs()[0].name: pixels})
    scores: NDArray[np.float32] = probabilities[:, list(source.columns.values())]
    return scores
