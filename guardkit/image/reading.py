"""The scorer `image-text`: what is written in an image, read by RapidOCR and scored as text.

RapidOCR (Apache-2.0) runs PP-OCR's models, which its package holds; it is the extra `ocr`. A reader of somebody's own takes its place in
`Guard(policy, image_scorers=[TextInImages(read, score)])`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from guardkit.errors import MissingExtraError
from guardkit.image.decode import Picture, Pixels
from guardkit.image.prepare import Box
from guardkit.runtime.base import Runner
from guardkit.steps import IMAGE_TEXT
from guardkit.taxonomy import Category
from guardkit.types import Region, Scored, Scores


class Line(Struct, frozen=True):
    """A line of text in an image."""

    text: str
    box: Box
    """Left, top, right, bottom in pixels, half-open, within the image."""


Read = Callable[[Pixels], Sequence[Line]]
"""An image, uint8 RGB [H, W, 3], to its lines of text, from top to bottom."""
ScoreTexts = Callable[[Sequence[str]], Sequence[float]]
"""Texts to a probability of harm each, in [0, 1]."""


class TextInImages:
    """Scores `text`: the worst line, or all lines together, for an insult may be spread over several."""

    name = IMAGE_TEXT
    categories = (Category.TEXT.value,)

    def __init__(self, read: Read, score: ScoreTexts, runners: tuple[Runner, ...] = ()) -> None:
        """Take a reader, what scores what it reads, and the opened models behind that."""
        self._read = read
        self._score_texts = score
        self.runners = runners

    def score(self, pictures: Sequence[Picture]) -> list[Scored]:
        """Score pictures; the regions are the lines to blame, or all where none is alone."""
        return [self._score(picture) for picture in pictures]

    def _score(self, picture: Picture) -> Scored:
        (category,) = self.categories
        worst, regions = 0.0, list[Region]()
        for frame in picture.frames:
            if lines := self._read(frame):
                score, blamed = self._blamed(lines)
                worst = max(worst, score)
                regions += (self._region(line, score, picture.scale) for line in blamed)
        return Scored(Scores({category: worst}), regions=tuple(regions))

    def _region(self, line: Line, score: float, scale: int) -> Region:
        left, top, right, bottom = line.box
        corners = scale * left, scale * top, scale * right, scale * bottom
        return Region(*corners, self.categories[0], score, self.name)

    def _blamed(self, lines: Sequence[Line]) -> tuple[float, list[Line]]:
        """The score of a frame's text, and the lines it comes from."""
        texts = [line.text for line in lines]
        *alone, together = self._score_texts([*texts, " ".join(texts)])
        worst = max(*alone, together)
        # Where no line is half as bad, it is in how they go on.
        blamed = [line for line, score in zip(lines, alone, strict=True) if score >= worst / 2]
        return worst, blamed or list(lines)


class RapidReader:
    """RapidOCR with the models of its package. Safe to share between threads, which wait for each other."""

    def __init__(self) -> None:
        """Open its models.

        Raises:
            MissingExtraError: It is not installed.
        """
        try:
            from rapidocr import RapidOCR  # an optional package, of a second of CPU
        except ImportError as e:
            raise MissingExtraError("reading text in an image", "ocr") from e
        one = "EngineConfig.onnxruntime.intra_op_num_threads"
        self._engine = RapidOCR(params={"Global.log_level": "critical", one: 1})
        self._lock = threading.Lock()  # it keeps settings of a call in itself

    def __call__(self, pixels: Pixels) -> list[Line]:
        """Read an image."""
        with self._lock:
            found = self._engine(np.ascontiguousarray(pixels[..., ::-1]))  # it takes BGR
        if found.boxes is None or found.txts is None:
            return []
        size = pixels.shape[1], pixels.shape[0]
        return [
            Line(text, upright_box(np.asarray(corners), size))
            for corners, text in zip(found.boxes, found.txts, strict=True)
        ]


def upright_box(corners: NDArray[np.floating], size: tuple[int, int]) -> Box:
    """The upright box around four corners, f32 [4, 2]; a pixel at least."""
    low = np.floor(corners.min(axis=0)).clip(0, np.array(size) - 1).astype(int)
    high = np.maximum(np.ceil(corners.max(axis=0)).clip(0, size).astype(int), low + 1)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])
