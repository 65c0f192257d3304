"""Blur, pixelate or fill what a mask covers; every pixel outside it keeps its bytes.

Masks have soft edges, which lie outside what is to be hidden: that itself is covered wholly.

How much these hide: a blur or a mosaic this strong leaves no features to people, yet networks that were trained on mosaics can tell
some of a closed group of faces apart (McPherson et al., arXiv 1609.00408). `fill` leaves one colour, and nothing to tell from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from guardkit.image.decode import Pixels
from guardkit.image.prepare import Box

Change = Callable[[Pixels], Pixels]
"""What is done to the part of a picture under a mask; the part itself stays as it is, and the result is only read."""
_BLUR = 0.2  # standard deviation, of the longer side of what is blurred; chosen: no face of 100 is found again (bench/RESULTS.md)
_BLOCKS = 6  # along the longer side of what is pixelated; chosen: likewise
_WHOLE = 1.3  # times the half-axes of a box: an oval that large is covered wholly ...
_SOFT = 1.7  # ... and one that large is where the mask ends
_FULL = 255
_BAND = 64  # rows or columns worked on at once; chosen: quicker than the whole, and a few megabytes of doubles or of Pillow's copies


class Mask(Struct, frozen=True):
    """What part of a picture changes."""

    left: int
    """Where `alpha` lies in the picture; all of it is within."""
    top: int
    alpha: NDArray[np.uint8]
    """uint8 [h, w], not empty: 0 stays as it is, 255 is changed wholly."""

    @property
    def box(self) -> Box:
        """Left, top, right and bottom, half-open."""
        height, width = self.alpha.shape
        return self.left, self.top, self.left + width, self.top + height


def changed(pixels: Pixels, mask: Mask, change: Change) -> Pixels:
    """A picture with what the mask covers changed.

    Args:
        pixels: uint8 RGB [H, W, 3]; stays as it is.
        mask: Within the picture.
        change: One of `CHANGES`.

    >>> white = np.full((8, 8, 3), 255, np.uint8)
    >>> int(changed(white, Mask(2, 2, np.full((3, 3), 255, np.uint8)), filled).min())
    255
    """
    return all_changed(pixels, [mask], change)


def all_changed(pixels: Pixels, masks: Sequence[Mask], change: Change) -> Pixels:
    """A picture with what each mask covers changed, one after the other; one copy is made, whatever their number.

    Args:
        pixels: uint8 RGB [H, W, 3]; stays as it is.
        masks: Within the picture.
        change: One of `CHANGES`.

    >>> black = np.zeros((8, 8, 3), np.uint8)
    >>> all_changed(black, [], filled) is black
    False
    """
    result = pixels.copy()
    change_in_place(result, masks, change)
    return result


def change_in_place(pixels: Pixels, masks: Sequence[Mask], change: Change) -> None:
    """Likewise, without a copy: one of 20 megapixels takes 60 MB.

    Args:
        pixels: uint8 RGB [H, W, 3], writeable, and nobody else's.
        masks: Within the picture.
        change: One of `CHANGES`.
    """
    for mask in masks:
        left, top, right, bottom = mask.box
        part = pixels[top:bottom, left:right]
        new = change(part)
        for rows in _bands(bottom - top):
            with_new, old = Image.fromarray(new[rows]), Image.fromarray(part[rows])
            part[rows] = np.asarray(
                Image.composite(with_new, old, Image.fromarray(mask.alpha[rows]))
            )


def _bands(length: int) -> list[slice]:
    """What to work on at once, along one side."""
    return [slice(at, min(at + _BAND, length)) for at in range(0, length, _BAND)]


# --- what is done ---------------------------------------------------------------------------------


def blurred(part: Pixels) -> Pixels:
    """All but a wash of colours is gone.

    Pillow blurs every row and then every column, each for itself: bands of them come to the same pixels.
    """
    deviation = _BLUR * max(part.shape[:2])
    result = np.empty(part.shape, np.uint8)
    for rows in _bands(part.shape[0]):
        result[rows] = _filtered(part[rows], ImageFilter.GaussianBlur((deviation, 0)))
    for columns in _bands(part.shape[1]):
        band = result[:, columns]
        band[:] = _filtered(band, ImageFilter.GaussianBlur((0, deviation)))
    return result


def _filtered(band: Pixels, by: ImageFilter.GaussianBlur) -> Pixels:
    return np.asarray(Image.fromarray(band).filter(by))


def pixelated(part: Pixels) -> Pixels:
    """A few blocks of their mean colours; doing it twice changes nothing more."""
    height, width = part.shape[:2]
    block = -(-max(height, width) // _BLOCKS)
    rows = range(0, height, block)
    small = np.concatenate([Image.fromarray(part[at : at + block]).reduce(block) for at in rows])
    return small.repeat(block, axis=0)[:height].repeat(block, axis=1)[:, :width]


def filled(part: Pixels) -> Pixels:
    """One colour, the mean of all."""
    mean = part.mean(axis=(0, 1)).round().astype(np.uint8)
    return np.broadcast_to(mean, part.shape)


CHANGES: dict[str, Change] = {"blur": blurred, "pixelate": pixelated, "fill": filled}


# --- masks ----------------------------------------------------------------------------------------


def oval(box: Box, size: tuple[int, int]) -> Mask:
    """A mask around a face.

    Args:
        box: Left, top, right, bottom in pixels, at least one of each, within the picture.
        size: Width and height of the picture.

    """
    left, top, right, bottom = box
    middle = np.array([left + right, top + bottom]) / 2
    axes = np.array([right - left, bottom - top]) / 2
    low = np.floor(middle - _SOFT * axes).clip(0, size).astype(int)
    high = np.ceil(middle + _SOFT * axes).clip(0, size).astype(int)
    across, down = (np.arange(a, b) + 0.5 for a, b in zip(low, high, strict=True))
    wide, tall = (across - middle[0]) / axes[0], (down - middle[1]) / axes[1]
    alpha = np.empty((len(tall), len(wide)), np.uint8)
    for rows in _bands(len(tall)):
        reach = np.hypot(wide, tall[rows, None])
        share = ((_SOFT - reach) / (_SOFT - _WHOLE)).clip(0, 1)
        alpha[rows] = (share * _FULL).round()
    return _trimmed(int(low[0]), int(low[1]), alpha)


def patch(cells: NDArray[np.bool_], box: Box, size: tuple[int, int]) -> Mask:
    """A mask of some cells of a grid over a box.

    Args:
        cells: bool [rows, columns], what is covered wholly; one at least.
        box: Left, top, right, bottom of the grid, in pixels, within the picture; a pixel a cell at least.
        size: Width and height of the picture.
    """
    left, top, right, bottom = box
    rows, columns = cells.shape
    soft = min((right - left) // columns, (bottom - top) // rows) // 2
    low = max(0, left - soft), max(0, top - soft)
    high = min(size[0], right + soft), min(size[1], bottom + soft)
    grid = Image.fromarray(cells.astype(np.uint8) * _FULL)
    covered = Image.new("L", (high[0] - low[0], high[1] - low[1]), 0)
    grid = grid.resize((right - left, bottom - top), Image.Resampling.NEAREST)
    covered.paste(grid, (left - low[0], top - low[1]))
    faded = np.asarray(covered.filter(ImageFilter.BoxBlur(soft))).astype(np.uint16)
    # A faded straight edge has a half where it was: twice that is whole up to there, and fades beyond.
    alpha = np.maximum(np.asarray(covered), np.minimum(2 * faded, _FULL).astype(np.uint8))
    return _trimmed(*low, alpha)


def _trimmed(left: int, top: int, alpha: NDArray[np.uint8]) -> Mask:
    """The mask without rows and columns at its edges that change nothing."""
    rows, columns = (np.flatnonzero(alpha.max(axis=axis)) for axis in (1, 0))
    part = alpha[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Mask(left + int(columns[0]), top + int(rows[0]), np.ascontiguousarray(part))
