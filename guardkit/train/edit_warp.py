"""Pixels taken from elsewhere: what warps of faces and of whole pictures are made of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from guardkit.image.decode import Pixels
from guardkit.train.edit_scene import Box, Floats, Numbers

Move = Callable[[Floats, Floats], tuple[Numbers, Numbers]]
"""Maps places, x and y f32 [H, W], to where to look for what is shown there."""


def warped(pixels: Pixels, box: Box, move: Move) -> Pixels:
    """Pixels around a box taken from elsewhere: `move` maps places, in half sides from its middle, to where to look."""
    height, width = pixels.shape[:2]
    centre = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    half = (box[2] - box[0]) / 2 * 1.5, (box[3] - box[1]) / 2 * 1.5
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    x, y = (columns - centre[0]) / half[0], (rows - centre[1]) / half[1]
    from_x, from_y = move(x, y)
    fade = np.clip((1 - np.hypot(x, y)) / 0.3, 0, 1)
    x, y = x + (from_x - x) * fade, y + (from_y - y) * fade
    return sampled(pixels, y * half[1] + centre[1], x * half[0] + centre[0])


def sampled(pixels: Pixels, rows: Numbers, columns: Numbers) -> Pixels:
    """Bilinear: the colours at places between pixels."""
    height, width = pixels.shape[:2]
    rows, columns = rows.clip(0, height - 1.001), columns.clip(0, width - 1.001)
    top, left = rows.astype(int), columns.astype(int)
    down, across = (rows - top)[..., None], (columns - left)[..., None]
    upper = pixels[top, left] * (1 - across) + pixels[top, left + 1] * across
    lower = pixels[top + 1, left] * (1 - across) + pixels[top + 1, left + 1] * across
    return (upper * (1 - down) + lower * down).round().astype(np.uint8)


def moved(pixels: Pixels, move: Move) -> Pixels:
    """The whole picture warped: `move` maps places, in half sides from its middle."""
    height, width = pixels.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    x, y = move(columns * 2 / width - 1, rows * 2 / height - 1)
    return sampled(pixels, (y + 1) * height / 2, (x + 1) * width / 2)
