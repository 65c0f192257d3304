"""Cut-paste pairs: what a small region must teach, and what it must not (DALL-E 3 system card, section 2.4.2).

    positive: a picture of the category, put into a random box of a fifth of a clean picture's area
    negative: another clean picture, put into the same box of the same clean picture

So a head learns to find a small region, and pasting itself is no cue: both have the same seam.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]

SHARE = 0.2
"""Of the host's area: the card's "20 % area crop"."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Rows of one pair: two composites that differ in what was pasted alone."""

    host: int
    """A clean picture."""
    guest: int
    """A picture of the category."""
    decoy: int
    """Another clean picture."""
    at: tuple[float, float]
    """Where the box begins, in shares of the room there is: left, top, each in [0, 1)."""


def draw_pairs(
    clean: Sequence[int], positive: Sequence[int], count: int, *, seed: int
) -> list[Pair]:
    """Draw pairs with replacement; a host is never its own decoy.

    Args:
        clean: Rows of clean pictures, two at least.
        positive: Rows of pictures of the category.
        count: How many pairs.
        seed: Of the draw.

    >>> [pair] = draw_pairs([0, 1], [2], 1, seed=1)
    >>> {pair.host, pair.decoy} == {0, 1}, pair.guest
    (True, 2)
    """
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(count):
        host, decoy = (int(row) for row in rng.choice(clean, 2, replace=False))
        left, top = (float(one) for one in rng.random(2))
        pairs.append(Pair(host, int(rng.choice(positive)), decoy, (left, top)))
    return pairs


def composites(pair: Pair, pictures: Sequence[Pixels]) -> Iterator[Pixels]:
    """The positive picture of a pair, then the negative: uint8 [H, W, 3], as large as the host."""
    host = pictures[pair.host]
    height, width = host.shape[:2]
    box = box_of(width, height, pair.at)
    for guest in (pair.guest, pair.decoy):
        yield paste(host, pictures[guest], box)


def box_of(width: int, height: int, at: tuple[float, float]) -> Box:
    """A box of `SHARE` of a picture's area and of its shape, as (left, top, right, bottom).

    >>> box_of(100, 100, (0.0, 0.5))
    (0, 27, 45, 72)
    """
    side = math.sqrt(SHARE)
    inner_width, inner_height = round(width * side), round(height * side)
    left, top = int((width - inner_width) * at[0]), int((height - inner_height) * at[1])
    return left, top, left + inner_width, top + inner_height


def paste(host: Pixels, guest: Pixels, box: Box) -> Pixels:
    """A copy of a picture with the whole of another one in a box."""
    left, top, right, bottom = box
    pasted = host.copy()
    how = Image.Resampling.BILINEAR
    small = Image.fromarray(guest).resize((right - left, bottom - top), how, reducing_gap=3.0)
    pasted[top:bottom, left:right] = np.asarray(small)
    return pasted
