"""The scorer `image-transform`: what an edit did to a picture, weighed beside what was asked for.

    before, after --signals.difference_of--> numbers, cells, two pictures --+
    request ------text-safety, tokens--------> log-odds, tokens ------------+--> one run of the graph --> a score a category

It looks at the transformation and not at the result: a picture that was already so when it came in was not made so by the edit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from PIL import Image

from guardkit.artifacts import Artifact, EditOptions, probability
from guardkit.errors import InputError, ManifestError
from guardkit.image.decode import Picture, Pixels
from guardkit.image.edit_inputs import (
    CELLS,
    CROPS,
    HAS_REQUEST,
    IDS,
    LOG_ODDS,
    MASK,
    OUTPUT,
    SIGNAL,
    taken_by,
)
from guardkit.image.faces import FACE, FaceDetector
from guardkit.image.prepare import crop_of
from guardkit.image.signals import LONGEST, SIGNALS, Difference, difference_of
from guardkit.runtime.base import Arrays, Runner, checked_output
from guardkit.runtime.clock import Stop
from guardkit.types import Region, Scored, Scores

_MOST_WINDOWS = 8  # of a request; each takes a run of the graph
_LEAST = 1e-4  # a probability of text-safety, so that its log-odds stay finite
LOG_ODDS_SCALE = 0.2  # as of the encoder's log-odds
_EMPTY = np.ones((1, 2), np.int64)


class Request(Struct, frozen=True):
    """What was asked for, as the graph reads it."""

    input_ids: NDArray[np.int64]
    """int64 [windows, tokens]."""
    attention_mask: NDArray[np.int64]
    log_odds: NDArray[np.float32]
    """f32 [said]: of text-safety, times 0.2."""


ReadRequest = Callable[[str], Request]


class TransformScorer:
    """An opened `image-transform`. Reads `Picture.before` and `Picture.prompt`; safe to share between threads."""

    side = LONGEST
    """Pixels of the shorter side that it can make use of."""

    def __init__(
        self, artifact: Artifact, runner: Runner, detector: FaceDetector, read: ReadRequest | None
    ) -> None:
        """Take an opened artifact, a detector of faces, and what reads a request.

        Args:
            artifact: Of the task `edit-scores`.
            runner: Its graph.
            detector: Finds the faces of both pictures.
            read: None: scores do not depend on any request.

        Raises:
            ManifestError: The artifact compares no pictures, or measures something else than this guardkit.
        """
        self.manifest = artifact.manifest
        self._options = options_of(artifact)
        self.name, self.categories = self.manifest.name, self.manifest.categories
        self.runners = (runner, *detector.runners)
        self._runner, self._detector, self._read = runner, detector, read
        self._calibration = [self.manifest.calibration[name] for name in self.categories]

    def score(self, pictures: Sequence[Picture], *, stop: Stop | None = None) -> list[Scored]:
        """Score edits, each the `after` that carries its `before`.

        A score is the maximum over frames of an animation, each beside the frame of the same number, or the last one.

        Raises:
            InputError: A picture has no `before`, or its request is too long.
            RunError: The graph failed or gave unusable output.
            DeadlineError: `stop` fired.
        """
        return [self._score(picture, stop) for picture in pictures]

    def _score(self, picture: Picture, stop: Stop | None) -> Scored:
        before = picture.before
        if before is None:
            raise InputError(f"{self.name}: needs the picture before the edit. Use check_edit.")
        asked = None if self._read is None or picture.prompt is None else picture.prompt
        request = None if asked is None or self._read is None else self._read(asked)
        worst = dict.fromkeys(self.categories, 0.0)
        regions: list[Region] = []
        for number, frame in enumerate(picture.frames):
            pair = before.frames[min(number, len(before.frames) - 1)], frame
            difference = difference_of(*pair, lambda one: self._detector.find(one, stop=stop))
            scores = self._run(difference, request, stop)
            worst = {name: max(worst[name], scores[name]) for name in worst}
            regions += _regions(difference, picture, scores, self.name)
        return Scored(Scores(worst), regions=tuple(regions))

    def _run(
        self, difference: Difference, request: Request | None, stop: Stop | None
    ) -> dict[str, float]:
        inputs = edit_inputs(difference, request, self._options)
        rows = len(inputs[CROPS])
        outputs = self._runner.run(inputs, stop=stop)
        shape = (rows, len(self.categories))
        logits, _ = checked_output(outputs, OUTPUT, shape=shape, manifest=self.manifest)
        highest = logits.max(axis=0).tolist()
        return {
            name: probability(by.log_odds(value))
            for name, by, value in zip(self.categories, self._calibration, highest, strict=True)
        }


def edit_inputs(difference: Difference, request: Request | None, options: EditOptions) -> Arrays:
    """What the graph reads of one edit: a row a window of its request, one without a request.

    Raises:
        InputError: The request is too long.
    """
    ids = _EMPTY if request is None else request.input_ids
    rows = len(ids)
    if rows > _MOST_WINDOWS:
        raise InputError(f"the request takes {rows} windows. Expected at most {_MOST_WINDOWS}.")
    said = np.zeros(len(options.said), np.float32) if request is None else request.log_odds
    crops = crops_of_difference(difference, side=options.side)
    alike: dict[str, NDArray[Any]] = {
        CROPS: crops,
        CELLS: difference.cells,
        SIGNAL: difference.signals,
        LOG_ODDS: said,
    }
    return {
        **{name: np.repeat(array[None], rows, axis=0) for name, array in alike.items()},
        HAS_REQUEST: np.full((rows, 1), float(request is not None), np.float32),
        IDS: ids,
        MASK: _EMPTY if request is None else request.attention_mask,
    }


def crops_of_difference(difference: Difference, *, side: int) -> Pixels:
    """What the encoder looks at: uint8 [2, side, side, 3], both pictures squeezed to a square."""
    images = [Image.fromarray(one) for one in (difference.before, difference.after)]
    return np.stack([crop_of(one, (0, 0, *one.size), side=side) for one in images])


def log_odds_of(scores: Scores, said: Sequence[str]) -> NDArray[np.float32]:
    """Scores of text-safety as the graph reads them: f32 [said]."""
    known = np.array([scores.get(name) or 0.0 for name in said]).clip(_LEAST, 1 - _LEAST)
    odds: NDArray[np.float32] = (np.log(known / (1 - known)) * LOG_ODDS_SCALE).astype(np.float32)
    return odds


def _regions(
    difference: Difference, picture: Picture, scores: dict[str, float], source: str
) -> Iterator[Region]:
    """Where the faces of `before` are in `after`, once a category."""
    width, height = picture.upright
    rows, columns = difference.after.shape[:2]
    scale = np.array([width / columns, height / rows] * 2)
    for face in difference.faces:
        box = (np.array(face.box) * scale).clip(0, [width, height] * 2)
        left, top, right, bottom = (round(float(side)) for side in box)
        if right > left and bottom > top:
            for category, score in scores.items():
                yield Region(left, top, right, bottom, category, score, source, FACE)


def options_of(artifact: Artifact) -> EditOptions:
    """As `edit_inputs.options_of`, and it is made for the numbers that are measured here.

    Raises:
        ManifestError: It takes no edits, or other numbers than this guardkit measures.
    """
    options = artifact.manifest.edits
    if options is not None and options.signals != SIGNALS:
        raise ManifestError(
            f"{artifact.path}: made for {len(options.signals)} signals, this guardkit measures {len(SIGNALS)} "
            "or others. Train and export it again."
        )
    return taken_by(artifact)
