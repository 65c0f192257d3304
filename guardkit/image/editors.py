"""The editors of a policy's image stage: they find what is to be hidden, and hide it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from guardkit.errors import RunError
from guardkit.image.decode import Picture, Pixels, factor_for, shrunk
from guardkit.image.edit import CHANGES, Change, Mask, change_in_place, changed, oval, patch
from guardkit.image.faces import FACE, FaceDetector
from guardkit.image.occlude import Cells, region_of
from guardkit.image.prepare import Box, boxes, crop_of
from guardkit.image.score import CropScorer, ImageScorer
from guardkit.steps import IMAGE_EDITORS
from guardkit.types import Region, Scored

Ask = Callable[[ImageScorer, Sequence[Picture]], list[Scored]]
"""Asks a scorer, in time."""
_WHOLE = np.ones((1, 1), np.bool_)
_ROUNDS = 3  # of looking for faces; chosen: a second was needed for 5 of 6 sizes of a portrait, a third never


class EditedImage(Struct, frozen=True):
    """What editors made of an image."""

    picture: Picture
    """One frame, every pixel."""
    regions: tuple[Region, ...] = ()
    """What was hidden; (): nothing was found to hide."""
    is_ours: bool = False
    """Whether nobody else holds the pixels, so that they may be changed where they are."""


class ImageEditors:
    """The shipped editors of images; immutable, safe to share between threads."""

    def __init__(
        self,
        scorers: Sequence[ImageScorer],
        detector: FaceDetector | None,
        *,
        shortest: int | None,
    ) -> None:
        """Take what they ask.

        Args:
            scorers: Those of the stage: what they blame is hidden.
            detector: For editors of faces; None: the policy names none.
            shortest: What `decode` is asked for when the stage scores a picture.
        """
        self._scorers = scorers
        self._detector = detector
        self._shortest = shortest

    def run(
        self, name: str, edited: EditedImage, targets: Mapping[str, float], *, ask: Ask
    ) -> EditedImage:
        """Run one editor.

        Args:
            name: One of `steps.IMAGE_EDITORS`.
            edited: What the editors before it left.
            targets: Category -> the score that must not be reached any more.
            ask: Asks a scorer.

        Raises:
            RunError: A model failed or gave unusable output.
            DeadlineError: It took too long.
        """
        editor = IMAGE_EDITORS[name]
        work = _Work(name, CHANGES[editor.change], ask, self._shortest)
        if editor.is_of_faces:
            assert self._detector is not None  # noqa: S101  opened: the policy has such an editor
            return work.hide_faces(edited, self._detector, min(targets.values(), default=None))
        for category, below in targets.items():
            for scorer in self._scorers:
                if category in scorer.categories:
                    edited = work.hide_blamed(edited, scorer, category, below)
        return edited


class _Work(Struct, frozen=True):
    """One editor at work on one picture."""

    editor: str
    change: Change
    ask: Ask
    shortest: int | None

    def hide_faces(
        self, edited: EditedImage, detector: FaceDetector, below: float | None
    ) -> EditedImage:
        """Hide every face, and then what would still be taken for one: an oval of one colour above a collar may be."""
        at_least = 0.0
        for _ in range(1 if below is None else _ROUNDS):
            (scored,) = self.ask(detector, [edited.picture])
            found = [one for one in scored.regions if one.score >= at_least]
            if not found:
                break
            edited, at_least = self.hide_regions(edited, found), below or 0.0
        return edited

    def hide_blamed(
        self, edited: EditedImage, scorer: ImageScorer, category: str, below: float
    ) -> EditedImage:
        """Hide what a scorer points at; where it does not say, what its score depends on."""
        if not isinstance(scorer, CropScorer):
            (scored,) = self.ask(scorer, [edited.picture])
            if found := [one for one in scored.regions if one.category == category]:
                return self.hide_regions(edited, found)
        prompt = edited.picture.prompt
        scoring = _Scoring(scorer, category, self.ask, self.shortest, prompt)
        for box in scoring.views(edited.picture):
            edited = self._hide_in_view(edited, scoring, box, below)
        return edited

    def hide_regions(self, edited: EditedImage, regions: Sequence[Region]) -> EditedImage:
        """Hide faces under ovals, and any other region as the box it is."""
        size, masks, hidden = edited.picture.upright, [], []
        for one in regions:
            box = one.left, one.top, one.right, one.bottom
            masks.append(oval(box, size) if one.kind == FACE else patch(_WHOLE, box, size))
            hidden.append(Region(*box, one.category, one.score, one.source, one.kind, self.editor))
        return self._hidden(edited, masks, hidden)

    def _hide_in_view(
        self, edited: EditedImage, scoring: _Scoring, box: Box, below: float
    ) -> EditedImage:
        """Hide the cells of a view that its score depends on, if it scores too much."""
        view = scoring.view(edited.picture.frames[0], box)
        (score,) = scoring.votes([view])
        if score < below:
            return edited
        hide = functools.partial(_with_cells_hidden, change=self.change)
        cells = region_of(view, scoring.votes, hide, below=below)
        mask = patch(cells, box, edited.picture.upright)
        region = Region(*mask.box, scoring.category, score, scoring.scorer.name, "", self.editor)
        return self._hidden(edited, [mask], [region])

    def _hidden(
        self, edited: EditedImage, masks: Sequence[Mask], regions: Sequence[Region]
    ) -> EditedImage:
        pixels = edited.picture.frames[0]
        if not edited.is_ours:
            pixels = pixels.copy()
        change_in_place(pixels, masks, self.change)
        picture = replace(edited.picture, frames=(pixels,))
        return EditedImage(picture, (*edited.regions, *regions), is_ours=True)


class _Scoring(Struct, frozen=True):
    """One category of one scorer."""

    scorer: ImageScorer
    category: str
    ask: Ask
    shortest: int | None
    prompt: str | None

    def views(self, picture: Picture) -> list[Box]:
        """What the scorer looks at, one after the other."""
        width, height = picture.upright
        is_ours = isinstance(self.scorer, CropScorer)
        return boxes(width, height) if is_ours else [(0, 0, width, height)]

    def view(self, pixels: Pixels, box: Box) -> Pixels:
        """A part of a picture as the scorer looks at it: a check decodes it at a fraction of its size, too."""
        left, top, right, bottom = box
        part = pixels[top:bottom, left:right]
        if not isinstance(self.scorer, CropScorer):
            return part
        height, width = pixels.shape[:2]
        image = shrunk(part, factor_for((width, height), self.shortest))
        whole = (0, 0, *image.size)
        return crop_of(image, whole, side=self.scorer.side, resample=self.scorer.resample)

    def votes(self, views: Sequence[Pixels]) -> list[float]:
        """The scores of some views."""
        pictures = [Picture((view,), view.shape[1], view.shape[0], self.prompt) for view in views]
        scores = [one.scores.get(self.category) for one in self.ask(self.scorer, pictures)]
        known = [score for score in scores if score is not None]
        if len(known) != len(views):
            raise RunError(f"{self.scorer.name}: did not score {self.category}.")
        return known


def _with_cells_hidden(view: Pixels, cells: Cells, *, change: Change) -> Pixels:
    height, width = view.shape[:2]
    return changed(view, patch(cells, (0, 0, width, height), (width, height)), change)
