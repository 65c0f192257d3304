"""The scorer `public-figures` under output-image: a face is seen, and the prompt names somebody known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from guardkit.image.decode import Picture
from guardkit.image.faces import FaceDetector, regions_of
from guardkit.runtime.clock import Stop
from guardkit.steps import PUBLIC_FIGURES
from guardkit.taxonomy import Category
from guardkit.types import Region, Scored, Scores


class NamedFaces:
    """Scores `public-figure`: how surely the prompt names somebody known, times how surely a face is seen.

    It does not know whose face that is: all of them are regions. Without a prompt nothing is known, and the score is None.
    """

    name = PUBLIC_FIGURES
    categories = (Category.PUBLIC_FIGURE.value,)

    def __init__(self, detector: FaceDetector, named: Callable[[str], float]) -> None:
        """Take a detector, and what says how surely a prompt names a person known the world over, in [0, 1]."""
        self._detector = detector
        self._named = named
        self.runners = detector.runners
        self.side = detector.side

    def score(self, pictures: Sequence[Picture], *, stop: Stop | None = None) -> list[Scored]:
        """Score pictures with the prompts they carry; errors as in `FaceDetector.find`."""
        return [self._score(picture, stop) for picture in pictures]

    def _score(self, picture: Picture, stop: Stop | None) -> Scored:
        (category,) = self.categories
        if picture.prompt is None:
            return Scored(Scores({category: None}))
        named = self._named(picture.prompt)
        if named == 0:
            return Scored(Scores({category: 0.0}))
        regions: list[Region] = []
        for frame in picture.frames:
            faces = self._detector.find(frame, stop=stop)
            regions += regions_of(faces, picture, category, self.name)
        seen = max((region.score for region in regions), default=0.0)
        return Scored(Scores({category: named * seen}), regions=tuple(regions))
