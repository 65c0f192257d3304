"""Which part of one picture another one shows: crops and mirror images are found, so that what was left alone compares equal."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from PIL import Image

from guardkit.image.decode import Pixels

Floats = NDArray[np.float32]
Spectrum = NDArray[np.complexfloating[Any, Any]]
_SEARCHED = 64  # pixels of the longer side at which a crop is looked for
_REFINED = 128
_FINE = (-0.03, -0.02, -0.01, 0.0, 0.01, 0.02, 0.03)
_ALIKE = 0.95  # correlation of the whole from which nothing is looked for
_SCALES = tuple(round(1 - 0.05 * step, 2) for step in range(13))  # of the kept part: 1 down to 0.4
_BETTER = 0.05  # of a correlation: by less, nothing counts as cropped or mirrored
_LEAST = 0.6  # correlation below which nothing is believed
_SAME_SHAPE = 0.02  # log of a ratio of sides


class Shown(Struct, frozen=True):
    """The part of `before` that `after` shows."""

    left: float
    """Each a share of the width or height of `before`, in [0, 1]."""
    top: float
    right: float
    bottom: float
    is_mirrored: bool
    correlation: float
    """Of the two at 64 pixels, in [-1, 1]."""

    @property
    def share(self) -> float:
        """Of the area of `before`."""
        return (self.right - self.left) * (self.bottom - self.top)


def shown_of(before: Pixels, after: Pixels) -> Shown:
    """Look for `after` in `before`, at scales from 1 to 0.4, upright or mirrored.

    Args:
        before: uint8 RGB [H, W, 3].
        after: Likewise, of any size.

    Returns:
        All of `before`, unless a part fits clearly better.

    >>> grid = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    >>> shown_of(grid, grid[:, ::-1]).is_mirrored
    True
    """
    small = _grey(before, _SEARCHED)
    best = Shown(0.0, 0.0, 1.0, 1.0, False, _whole(small, after))
    start = best.correlation
    if start >= _ALIKE:
        return best
    spectrum = np.fft.rfft2(small)
    for is_mirrored in (False, True):
        turned = after[:, ::-1] if is_mirrored else after
        for scale in _SCALES:
            found = _placed(small, spectrum, turned, scale=scale, is_mirrored=is_mirrored)
            if found is not None and found.correlation > max(best.correlation, start + _BETTER):
                best = found
    if best.correlation < _LEAST:
        return Shown(0.0, 0.0, 1.0, 1.0, False, start)
    return best if best.share == 1.0 else _refined(before, after, best)


def _refined(before: Pixels, after: Pixels, found: Shown) -> Shown:
    """The same at twice the pixels and at scales between."""
    small = _grey(before, _REFINED)
    turned = after[:, ::-1] if found.is_mirrored else after
    spectrum = np.fft.rfft2(small)
    width, height = before.shape[1] / after.shape[1], before.shape[0] / after.shape[0]
    scale = max((found.right - found.left) * width, (found.bottom - found.top) * height) / min(width, height)  # fmt: skip
    best = found
    for step in _FINE:
        if scale + step > 1:
            continue
        finer = _placed(small, spectrum, turned, scale=scale + step, is_mirrored=found.is_mirrored)
        if finer is not None and (best is found or finer.correlation > best.correlation):
            best = finer
    return best


def cut(pixels: Pixels, shown: Shown, size: tuple[int, int]) -> Pixels:
    """The part of `before` that is shown, resized to (width, height) and mirrored where that is so."""
    height, width = pixels.shape[:2]
    box = (shown.left * width, shown.top * height, shown.right * width, shown.bottom * height)
    part = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, box=box))
    return np.ascontiguousarray(part[:, ::-1]) if shown.is_mirrored else part


def _grey(pixels: Pixels, longest: int) -> Floats:
    image = Image.fromarray(pixels).convert("L")
    factor = longest / max(image.size)
    size = max(2, round(image.width * factor)), max(2, round(image.height * factor))
    return np.asarray(image.resize(size, Image.Resampling.BOX), np.float32)


def _whole(small: Floats, after: Pixels) -> float:
    """The correlation of the whole of both, whatever their shapes."""
    size = small.shape[1], small.shape[0]
    grey = Image.fromarray(after).convert("L").resize(size, Image.Resampling.BOX)
    return _correlation(small, np.asarray(grey, np.float32))


def _correlation(one: Floats, other: Floats) -> float:
    a, b = one - one.mean(), other - other.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 1 else float(np.abs(one - other).mean() < 1)


def _placed(
    small: Floats, spectrum: Spectrum, after: Pixels, *, scale: float, is_mirrored: bool
) -> Shown | None:
    """Where `after` fits best when its longer relative side takes `scale` of `before`'s; None: it does not fit in."""
    height, width = small.shape
    tall, wide = after.shape[:2]
    factor = scale * min(width / wide, height / tall)
    size = max(2, round(wide * factor)), max(2, round(tall * factor))
    grey = Image.fromarray(after).convert("L").resize(size, Image.Resampling.BOX)
    piece = np.asarray(grey, np.float32)
    if scale == 1 and abs(np.log(wide * height / (tall * width))) < _SAME_SHAPE:
        piece = np.asarray(grey.resize((width, height)), np.float32)
        if not is_mirrored:
            return None  # that is the whole, which counts already
    scores = _correlations(small, spectrum, piece)
    top, left = np.unravel_index(int(scores.argmax()), scores.shape)
    right, bottom = (left + piece.shape[1]) / width, (top + piece.shape[0]) / height
    best = float(scores[top, left])
    return Shown(
        float(left / width), float(top / height), float(right), float(bottom), is_mirrored, best
    )


def _correlations(picture: Floats, spectrum: Spectrum, piece: Floats) -> Floats:
    """The correlation of a piece with every part of a picture of its size: f32 [rows, columns] of places."""
    (height, width), (tall, wide) = picture.shape, piece.shape
    centred = piece - piece.mean()
    shape = (height, width)
    product = np.fft.irfft2(spectrum * np.conj(np.fft.rfft2(centred, shape)), shape)[
        : height - tall + 1, : width - wide + 1
    ]
    variance = _window_sums(picture**2, tall, wide) - _window_sums(picture, tall, wide) ** 2 / (
        tall * wide
    )
    norm = np.sqrt(np.maximum(variance, 1.0) * max(float((centred**2).sum()), 1.0))
    correlations: Floats = (product / norm).astype(np.float32)
    return correlations


def _window_sums(values: Floats, tall: int, wide: int) -> NDArray[np.float64]:
    sums = np.pad(values.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    return np.asarray(
        sums[tall:, wide:] - sums[:-tall, wide:] - sums[tall:, :-wide] + sums[:-tall, :-wide]
    )
