"""Read a picture of shapes world from its pixels, by rules: what it shows, whether that is what a caption asked for.

    1  ground and figure: a pixel further from the ground's colour than `_FAINT` belongs to a figure
    2  figures: connected pixels (four neighbours)
    3  colour: the one of the palette on whose line to the ground the figure's pixels lie
    4  shape: each shape is drawn with the figure's area and centroid; the one that covers it best, by far enough

Where a step has no clear answer the picture is unreadable, and nothing is guessed. No model takes part, so that the judge
cannot be fooled the way a model of the same making would be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guardkit.errors import InputError
from guardkit.shapes.captions import Caption, Place, Relation, Size
from guardkit.shapes.scene import GROUND, PALETTE, SIDE, Colour, Shape, Thing, coverage

Floats = NDArray[np.float32]
_FAINT = 0.28  # distance in RGB; the palest colour lies .9 from the ground
_SPECK = 2  # pixels: a figure of no more is dirt
_SMALLEST = 9  # pixels: a figure of less is nothing that captions ask for
_OFF_COLOUR = 0.14  # root mean square distance of a figure's pixels from its colour's line
_COVERS, _MARGIN = (
    0.80,
    0.03,
)  # overlap (intersection over union), and how far ahead of the next shape
_LARGE, _SMALL = 3.85, 3.65  # sizes drawn: large 4.5 to 4.7, small 2.8 to 3
_SIDES = 1.1  # pixels from the middle: where "at the top" begins; drawn 1.5 or more away
_CENTRED = 1.1  # drawn within .25


@dataclass(frozen=True, slots=True)
class Reading:
    """What a picture shows."""

    things: tuple[Thing, ...]
    problem: str | None = None
    """Why the picture is unreadable; None: it is not."""

    @property
    def is_readable(self) -> bool:
        """Everything in the picture has a colour and a shape."""
        return self.problem is None


def read_picture(picture: Floats) -> Reading:
    """Read one picture.

    Args:
        picture: f32 [16, 16, 3], RGB, about [0, 1].

    Raises:
        InputError: Another shape, or values that are not finite.

    >>> from guardkit.shapes.scene import render
    >>> read_picture(render([Thing(Colour.BLUE, Shape.STAR, 8, 8, 4)])).things[0].shape
    <Shape.STAR: 'star'>
    """
    pixels = np.asarray(picture, np.float32)
    if pixels.shape != (SIDE, SIDE, 3) or not np.all(np.isfinite(pixels)):
        raise InputError(
            f"picture: found {list(pixels.shape)}. Expected finite numbers, [{SIDE}, {SIDE}, 3]."
        )
    labels, count = _figures(np.linalg.norm(pixels - GROUND, axis=-1) > _FAINT)
    things = []
    for label in range(1, count + 1):
        is_figure = labels == label
        if is_figure.sum() <= _SPECK:
            continue
        found = _read_figure(pixels, is_figure)
        if isinstance(found, str):
            return Reading((), found)
        things.append(found)
    return Reading(tuple(things)) if things else Reading((), "nothing is in it")


def shows(reading: Reading, caption: Caption) -> bool:
    """Whether a picture shows what a caption asks for, and nothing else."""
    things = reading.things
    if not reading.is_readable or Counter(map(_kind, things)) != Counter(caption.kinds):
        return False
    if caption.second and caption.relation not in (None, Relation.AND):
        orders = (things, things[::-1]) if caption.first == caption.second else (_ordered(things, caption),)  # fmt: skip
        return any(relation_of(*order) is caption.relation for order in orders)
    return all(_fits(thing, caption) for thing in things)


def relation_of(first: Thing, second: Thing) -> Relation:
    """How one shape lies to another: along the axis on which they are further apart."""
    across, down = second.x - first.x, second.y - first.y
    if abs(down) >= abs(across):
        return Relation.ABOVE if down > 0 else Relation.BELOW
    return Relation.LEFT_OF if across > 0 else Relation.RIGHT_OF


def _kind(thing: Thing) -> tuple[Colour, Shape]:
    return thing.colour, thing.shape


def _ordered(things: Sequence[Thing], caption: Caption) -> Sequence[Thing]:
    return things if _kind(things[0]) == caption.first else things[::-1]


def _fits(thing: Thing, caption: Caption) -> bool:
    is_sized = {
        None: True,
        Size.LARGE: thing.size >= _LARGE,
        Size.SMALL: thing.size <= _SMALL,
    }
    across, down = thing.x - SIDE / 2, thing.y - SIDE / 2
    is_placed = {
        None: True,
        Place.TOP: down <= -_SIDES,
        Place.BOTTOM: down >= _SIDES,
        Place.LEFT: across <= -_SIDES,
        Place.RIGHT: across >= _SIDES,
        Place.CENTRE: max(abs(across), abs(down)) <= _CENTRED,
    }
    return is_sized[caption.size] and is_placed[caption.place]


def _figures(is_figure: NDArray[np.bool_]) -> tuple[NDArray[np.int64], int]:
    """Connected pixels, numbered from 1, and how many there are."""
    labels = np.where(is_figure, np.arange(1, is_figure.size + 1).reshape(is_figure.shape), 0)
    while True:
        around = np.pad(labels, 1)
        spread = np.maximum.reduce(
            [labels, around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]]
        )
        spread = np.where(is_figure, spread, 0)
        if np.array_equal(spread, labels):
            break
        labels = spread
    names, numbered = np.unique(labels, return_inverse=True)
    has_ground = int(names[0] == 0)
    return numbered.reshape(labels.shape) + 1 - has_ground, len(names) - has_ground


def _read_figure(pixels: Floats, is_figure: NDArray[np.bool_]) -> Thing | str:
    """A figure's thing, or why it is none."""
    if is_figure.sum() < _SMALLEST:
        return "a figure is too small"
    found = _colour_of(pixels[is_figure] - GROUND)
    if found is None:
        return "a figure has no one colour"
    share = np.zeros(is_figure.shape, np.float32)
    around = _grown(is_figure)  # its soft edge belongs to it
    line = PALETTE[found] - GROUND
    share[around] = np.clip((pixels[around] - GROUND) @ line / (line @ line), 0, 1)
    return _shape_of(share, found)


def _colour_of(offsets: Floats) -> Colour | None:
    """The colour on whose line from the ground pixels [N, 3] lie, and whose end most of them reach."""
    errors = {}
    for colour, rgb in PALETTE.items():
        line = rgb - GROUND
        share = np.clip(offsets @ line / (line @ line), 0, 1)
        errors[colour] = float(np.sqrt(np.mean((offsets - share[:, None] * line) ** 2) * 3))
    best = min(errors, key=errors.__getitem__)
    return best if errors[best] <= _OFF_COLOUR else None


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    around = np.pad(mask, 1)
    return mask | around[:-2, 1:-1] | around[2:, 1:-1] | around[1:-1, :-2] | around[1:-1, 2:]


_UNIT = {
    shape: (float(drawn.sum()) / 25, float((drawn.sum(axis=1) @ (np.arange(SIDE) + 0.5)) / drawn.sum() - SIDE / 2) / 5)
    for shape in Shape
    for drawn in [coverage(shape, SIDE / 2, SIDE / 2, 5)]
}  # fmt: skip
"""Area, and how much lower than its centre the centroid lies, for a size of 1."""


def _shape_of(share: Floats, colour: Colour) -> Thing | str:
    area = float(share.sum())
    at = np.arange(SIDE) + 0.5
    x, y = float(share.sum(axis=0) @ at / area), float(share.sum(axis=1) @ at / area)
    overlaps = {}
    for shape in Shape:
        unit_area, unit_drop = _UNIT[shape]
        size = float(np.sqrt(area / unit_area))
        thing = Thing(colour, shape, x, y - unit_drop * size, size)
        drawn = coverage(shape, thing.x, thing.y, size)
        overlaps[thing] = float(np.minimum(share, drawn).sum() / np.maximum(share, drawn).sum())
    best, second = sorted(overlaps, key=overlaps.__getitem__, reverse=True)[:2]
    if overlaps[best] < _COVERS or overlaps[best] - overlaps[second] < _MARGIN:
        return "a figure has no clear shape"
    return best
