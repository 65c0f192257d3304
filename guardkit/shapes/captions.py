"""The captions of shapes world: a small grammar, read and written, and the scenes a caption may mean.

a [small|large] COLOUR SHAPE [at the top|bottom|left|right, in the centre]
two|three COLOUR SHAPEs
a COLOUR SHAPE above|over|below|under|left of|right of|and a COLOUR SHAPE
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

import numpy as np
from numpy.typing import NDArray

from guardkit.errors import InputError
from guardkit.shapes.scene import Colour, Shape, Thing

TOKENS = 10
"""Words a caption is padded to."""


class Size(StrEnum):
    """How large a single shape is asked to be."""

    SMALL = "small"
    LARGE = "large"


class Place(StrEnum):
    """Where a single shape is asked to be."""

    TOP = "at the top"
    BOTTOM = "at the bottom"
    LEFT = "at the left"
    RIGHT = "at the right"
    CENTRE = "in the centre"


class Relation(StrEnum):
    """How the first of two shapes lies to the second."""

    ABOVE = "above"
    BELOW = "below"
    LEFT_OF = "left of"
    RIGHT_OF = "right of"
    AND = "and"


_SYNONYMS = {"over": Relation.ABOVE, "under": Relation.BELOW}
_COUNTS = {"two": 2, "three": 3}

Kind = tuple[Colour, Shape]


@dataclass(frozen=True, slots=True)
class Caption:
    """What a caption asks for."""

    first: Kind
    count: int = 1
    """Of the first kind, 1 to 3."""
    size: Size | None = None
    place: Place | None = None
    relation: Relation | None = None
    second: Kind | None = None
    """Where there is a relation."""

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Every shape asked for, as often as it is."""
        return (self.first,) * self.count + ((self.second,) if self.second else ())

    def wordings(self) -> tuple[str, ...]:
        """Every text that means it, the usual one first."""
        text = str(self)
        others = [word for word, relation in _SYNONYMS.items() if relation is self.relation]
        return (text, *(text.replace(f" {self.relation} ", f" {word} ") for word in others))

    def __str__(self) -> str:
        colour, shape = self.first
        if self.count > 1:
            return f"{'two' if self.count == 2 else 'three'} {colour} {shape}s"
        words = ["a", *([self.size] if self.size else []), colour, shape]
        if self.relation and self.second:
            words += [self.relation, "a", *self.second]
        return " ".join([*words, *([self.place] if self.place else [])])


_KIND = rf"({'|'.join(Colour)}) ({'|'.join(Shape)})"
_SINGLE = re.compile(rf"a (?:({'|'.join(Size)}) )?{_KIND}(?: ({'|'.join(Place)}))?")
_COUNTED = re.compile(rf"({'|'.join(_COUNTS)}) {_KIND}s")
_PAIR = re.compile(rf"a {_KIND} ({'|'.join([*Relation, *_SYNONYMS])}) a {_KIND}")


def read_caption(text: str) -> Caption:
    """The caption that a text is.

    Raises:
        InputError: It is none of the grammar.

    >>> read_caption("a black triangle over a red circle").relation
    <Relation.ABOVE: 'above'>
    """
    plain = " ".join(text.lower().split())
    if found := _SINGLE.fullmatch(plain):
        size, colour, shape, place = found.groups()
        return Caption(
            (Colour(colour), Shape(shape)),
            size=Size(size) if size else None,
            place=Place(place) if place else None,
        )
    if found := _COUNTED.fullmatch(plain):
        count, colour, shape = found.groups()
        return Caption((Colour(colour), Shape(shape)), count=_COUNTS[count])
    if found := _PAIR.fullmatch(plain):
        colour, shape, word, colour_2, shape_2 = found.groups()
        relation = _SYNONYMS.get(word) or Relation(word)
        return Caption(
            (Colour(colour), Shape(shape)),
            relation=relation,
            second=(Colour(colour_2), Shape(shape_2)),
        )
    raise InputError(
        f"caption of {len(text)} characters: not of the grammar in guardkit.shapes.captions. "
        "Expected, for example, 'a small red circle at the top', 'two blue squares', 'a red star above a blue circle'."
    )


VOCABULARY = (
    "",  # padding
    *("a", "two", "three", *Size, *Colour),
    *(word for shape in Shape for word in (str(shape), f"{shape}s")),
    *("at", "the", "top", "bottom", "left", "right", "in", "centre"),
    *("above", "over", "below", "under", "of", "and"),
)
_IDS = {word: at for at, word in enumerate(VOCABULARY)}


def token_ids(texts: Sequence[str]) -> NDArray[np.int64]:
    """Texts as words of the vocabulary: int64 [texts, 10], padded with 0; the empty text is the null condition.

    Raises:
        InputError: A word is not in the vocabulary, or there are more than 10.

    >>> token_ids(["a red star", ""])[:, :4].tolist()
    [[1, 6, 17, 0], [0, 0, 0, 0]]
    """
    ids = np.zeros((len(texts), TOKENS), np.int64)
    for row, text in enumerate(texts):
        words = text.lower().split()
        unknown = [at for at, word in enumerate(words, 1) if word not in _IDS]
        if unknown or len(words) > TOKENS:
            raise InputError(
                f"text {row}: {len(words)} words, not known: {unknown} (counted from 1). "
                f"Expected at most {TOKENS} words of guardkit.shapes.captions.VOCABULARY."
            )
        ids[row, : len(words)] = [_IDS[word] for word in words]
    return ids


def all_captions() -> Iterator[Caption]:
    """Every caption there is: 360 singles, 40 counts, 2000 pairs."""
    kinds = list(product(Colour, Shape))
    for kind in kinds:
        for size, place in product((None, *Size), (None, *Place)):
            yield Caption(kind, size=size, place=place)
        for count in _COUNTS.values():
            yield Caption(kind, count=count)
        for relation, second in product(Relation, kinds):
            yield Caption(kind, relation=relation, second=second)


def draw_scene(caption: Caption, rng: np.random.Generator) -> tuple[Thing, ...]:
    """A scene that the caption may mean: things lie in the four quarters of the picture, or a single one in its centre.

    Sizes and places vary by fractions of a pixel only: a tiny generator has learned that in minutes.
    """
    kinds = caption.kinds
    if len(kinds) > 1:
        cells = _draw_cells(caption, rng)
        return tuple(
            _thing(kind, cell, Size.SMALL, rng) for kind, cell in zip(kinds, cells, strict=True)
        )
    size = caption.size or list(Size)[rng.integers(len(Size))]
    place = caption.place or list(Place)[rng.integers(len(Place))]
    along = int(rng.choice((0, 2)))
    column, row = _PLACES[place]
    cell = (along if column is None else column, along if row is None else row)
    return (_thing(caption.first, cell, size, rng),)


_Cell = tuple[int, int]  # column, row; 0 and 2 at the sides, 1 in the middle
_SIZES = {Size.SMALL: (2.8, 3.0), Size.LARGE: (4.5, 4.7)}  # pixels
_CELLS = {Size.SMALL: (4.0, 8.0, 12.0), Size.LARGE: (6.2, 8.0, 9.8)}  # pixels
_JITTER = 0.25  # pixels
_PLACES: dict[Place, tuple[int | None, int | None]] = {
    Place.TOP: (None, 0),
    Place.BOTTOM: (None, 2),
    Place.LEFT: (0, None),
    Place.RIGHT: (2, None),
    Place.CENTRE: (1, 1),
}


def _thing(kind: Kind, cell: _Cell, size: Size, rng: np.random.Generator) -> Thing:
    x, y = (float(_CELLS[size][at] + rng.uniform(-_JITTER, _JITTER)) for at in cell)
    return Thing(*kind, x, y, float(rng.uniform(*_SIZES[size])))


def _draw_cells(caption: Caption, rng: np.random.Generator) -> Sequence[_Cell]:
    """A quarter for each thing: opposite ones for a relation, any otherwise."""
    across = int(rng.choice((0, 2)))
    opposite = {
        Relation.ABOVE: [(across, 0), (across, 2)],
        Relation.BELOW: [(across, 2), (across, 0)],
        Relation.LEFT_OF: [(0, across), (2, across)],
        Relation.RIGHT_OF: [(2, across), (0, across)],
    }
    if caption.relation in opposite:
        return opposite[caption.relation]
    return [_QUARTERS[at] for at in rng.permutation(len(_QUARTERS))[: len(caption.kinds)]]


_QUARTERS = list(product((0, 2), (0, 2)))
