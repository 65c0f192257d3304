"""Faces: where they are in a picture, how sure that is, and five landmarks of each.

The detector `face-detector` is CenterFace (Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point",
arXiv 1911.03599): each cell of a map says whether a face has its centre there, how large it is, and where
its eyes, nose and corners of the mouth lie.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from PIL import Image

from guardkit.artifacts import Artifact, FaceOptions, TensorSpec
from guardkit.errors import ManifestError, RunError
from guardkit.image.decode import Picture, Pixels, shrunk
from guardkit.runtime.base import Arrays, Runner
from guardkit.runtime.clock import Stop
from guardkit.types import Region, Scored, Scores

FACE = "FACE"
"""The `Region.kind` of a face."""
INPUT, OUTPUT = "pixels", "maps"
CHANNELS = 15
"""Of the maps: a logit, log of height and width, offset down and across, down and across of each landmark."""
LANDMARKS = ("one eye", "other eye", "nose", "one corner of the mouth", "other corner")
_LEAST = 0.3  # chosen: 100 of 100 small grey faces score above it, none of 300 patches without one (bench/RESULTS.md)
_OVERLAP = 0.3  # intersection over union; as CenterFace's own
_GAP = 3.0  # Pillow's reducing_gap
_LARGEST = 60.0  # log-odds: beyond it exp may overflow
_LONGEST = 10.0  # log of a side in cells: longer than any picture


class Faces(Struct, frozen=True):
    """The faces found in one picture, the surest first."""

    boxes: NDArray[np.float32]
    """f32 [n, 4]: left, top, right, bottom in pixels, within the picture."""
    scores: NDArray[np.float32]
    """f32 [n], each in [0, 1]: how sure it is that this is a face."""
    landmarks: NDArray[np.float32]
    """f32 [n, 5, 2]: across and down, in pixels, in the order of `LANDMARKS`."""


class FaceDetector:
    """An opened `face-detector`; as a scorer of images it says `privacy`. Safe to share between threads."""

    def __init__(self, artifact: Artifact, runner: Runner) -> None:
        """Take an opened artifact.

        Raises:
            ManifestError: It does not detect faces.
        """
        self.manifest = artifact.manifest
        self.runners = (runner,)
        self.name = self.manifest.name
        self.categories = self.manifest.categories
        self._options = _options_of(artifact)
        self._calibration = self.manifest.calibration[self.categories[0]]
        self.side = self._options.longest
        """Pixels of the shorter side that it can make use of."""

    def find(self, pixels: Pixels, *, at_least: float = _LEAST, stop: Stop | None = None) -> Faces:
        """Find faces.

        Args:
            pixels: uint8 RGB [H, W, 3].
            at_least: Faces that score less are left out.
            stop: Ends a run that takes too long.

        Raises:
            RunError: The graph failed or gave unusable output.
            DeadlineError: `stop` fired.
        """
        fitted, scale = self._fitted(pixels)
        maps = self._checked(
            self.runners[0].run({INPUT: fitted[None]}, stop=stop), fitted.shape[:2]
        )
        log_odds = self._calibration.scale * maps[0] + self._calibration.shift
        maps[0] = 1 / (1 + np.exp(-log_odds.clip(-_LARGEST, _LARGEST)))
        found = apart(decoded(maps, stride=self._options.stride, at_least=at_least))
        return _in_picture(found, scale, pixels.shape[:2])

    def score(self, pictures: Sequence[Picture], *, stop: Stop | None = None) -> list[Scored]:
        """Score pictures: the surest face of any frame, and all faces as regions; errors as in `find`."""
        return [self._score(picture, stop) for picture in pictures]

    def _score(self, picture: Picture, stop: Stop | None) -> Scored:
        category = self.categories[0]
        found = [self.find(frame, stop=stop) for frame in picture.frames]
        worst = max((float(score) for faces in found for score in faces.scores), default=0.0)
        regions = tuple(
            one for faces in found for one in regions_of(faces, picture, category, self.name)
        )
        return Scored(Scores({category: worst}), regions=regions)

    def _fitted(self, pixels: Pixels) -> tuple[Pixels, NDArray[np.float32]]:
        """The picture at the size the graph wants, black beyond its edges, and its scale across and down."""
        height, width = pixels.shape[:2]
        longest = np.clip(max(height, width), self._options.shortest, self._options.longest)
        factor = longest / max(height, width)
        size = max(1, round(width * factor)), max(1, round(height * factor))
        # As Pillow's reducing_gap does it, in bands.
        reducing = max(1, int(min(width / size[0], height / size[1]) / _GAP))
        image = shrunk(pixels, reducing)
        if size != image.size:
            whole = (0, 0, width / reducing, height / reducing)
            image = image.resize(size, Image.Resampling.BILINEAR, whole)
        padded = [-(-side // self._options.multiple) * self._options.multiple for side in size]
        fitted = np.zeros((padded[1], padded[0], 3), np.uint8)
        fitted[: size[1], : size[0]] = image
        return fitted, np.array([size[0] / width, size[1] / height], np.float32)

    def _checked(self, outputs: Arrays, size: tuple[int, ...]) -> NDArray[np.float32]:
        """The maps of one picture, f32 [15, rows, columns], finite."""
        maps = outputs.get(OUTPUT)
        if maps is None:
            raise RunError(
                f"{self.manifest.id}: no output '{OUTPUT}'. Found: {', '.join(outputs)}."
            )
        expected = (1, CHANNELS, *(side // self._options.stride for side in size))
        if maps.shape != expected:
            raise RunError(
                f"{self.manifest.id}: output '{OUTPUT}' has shape {maps.shape}, expected {expected}."
            )
        if not np.isfinite(maps).all():
            raise RunError(f"{self.manifest.id}: output '{OUTPUT}' holds NaN or infinity.")
        return np.array(maps[0], np.float32)


def decoded(maps: NDArray[np.float32], *, stride: int, at_least: float) -> Faces:
    """Read the maps: a face a cell that is sure enough, in pixels of what the graph was given.

    With cell (r, c), size exp(h), exp(w) and offset (dr, dc): the centre is at stride * (r + dr + 1/2, c + dc + 1/2), the
    sides are stride * exp(h), stride * exp(w); landmarks are in sides from the corner at left and top (as in CenterFace's own code).

    Args:
        maps: f32 [15, rows, columns], the first one as probabilities.
        stride: Pixels a cell.
        at_least: Cells below are left out.
    """
    row, column = np.nonzero(maps[0] >= at_least)
    scores, high, wide, down, across = maps[:5, row, column]
    size = np.exp(np.stack([wide, high], axis=1).clip(max=_LONGEST)) * stride  # [n, 2]
    centre = np.stack([column + across + 0.5, row + down + 0.5], axis=1) * stride
    corner = np.maximum(centre - size / 2, 0)
    boxes = np.concatenate([corner, corner + size], axis=1)
    relative = maps[5:, row, column].T.reshape(-1, len(LANDMARKS), 2)[:, :, ::-1]
    landmarks = corner[:, None] + relative * size[:, None]
    return Faces(boxes.astype(np.float32), scores, landmarks.astype(np.float32))


def apart(faces: Faces) -> Faces:
    """Of faces that overlap, keep the surest (greedy non-maximum suppression); the surest first."""
    left = np.argsort(-faces.scores, kind="stable")
    kept: list[int] = []
    while left.size:
        best, others = left[0], left[1:]
        kept.append(int(best))
        left = others[_overlap(faces.boxes[best], faces.boxes[others]) < _OVERLAP]
    return Faces(faces.boxes[kept], faces.scores[kept], faces.landmarks[kept])


def _overlap(box: NDArray[np.float32], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of one box with others: f32 [n]."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) + np.prod(box[2:] - box[:2])
    overlap: NDArray[np.float32] = shared / (areas - shared)
    return overlap


def _in_picture(faces: Faces, scale: NDArray[np.float32], size: tuple[int, ...]) -> Faces:
    """Faces in pixels of the picture; those that lie in the margin beyond it are gone."""
    height, width = size
    boxes = (faces.boxes.reshape(-1, 2, 2) / scale).clip(0, [width, height]).reshape(-1, 4)
    is_there = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    landmarks = (faces.landmarks / scale)[is_there]
    return Faces(boxes[is_there].astype(np.float32), faces.scores[is_there], landmarks)


def regions_of(faces: Faces, picture: Picture, category: str, source: str) -> list[Region]:
    """Faces of a frame as regions of the whole picture, whatever size it was decoded at."""
    width, height = picture.upright
    boxes = faces.boxes * picture.scale
    corners = np.concatenate([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])], axis=1)
    corners = corners.clip(0, [width, height] * 2).astype(int)
    return [
        Region(left, top, right, bottom, category, float(score), source, FACE)
        for (left, top, right, bottom), score in zip(corners.tolist(), faces.scores, strict=True)
    ]


def _options_of(artifact: Artifact) -> FaceOptions:
    manifest, options = artifact.manifest, artifact.manifest.faces
    if options is None or len(manifest.categories) != 1:
        raise ManifestError(f"{artifact.path}: task '{manifest.task}' does not detect faces.")
    inputs = (TensorSpec(INPUT, "uint8", ("pictures", "height", "width", 3)),)
    outputs = (TensorSpec(OUTPUT, "float32", ("pictures", CHANNELS, "rows", "columns")),)
    if manifest.inputs != inputs or manifest.outputs != outputs:
        raise ManifestError(
            f"{artifact.path}: found inputs {manifest.inputs}, outputs {manifest.outputs}. Expected "
            f"{inputs} and {outputs}. Export the artifact again."
        )
    return options
