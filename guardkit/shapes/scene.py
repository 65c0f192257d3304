"""What a picture of shapes world shows, and how it is drawn: flat shapes on a light ground, 16 by 16 pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
SIDE = 16
"""Pixels of a picture's side; positions are in pixels from the upper left corner."""
GROUND = np.array([0.95, 0.95, 0.95], np.float32)
"""Colour of what is not a shape; RGB in [0, 1]."""


class Colour(StrEnum):
    """The colours a shape may have."""

    RED = "red"
    GREEN = "green"
    BLUE = "blue"
    YELLOW = "yellow"
    BLACK = "black"


class Shape(StrEnum):
    """The shapes there are."""

    CIRCLE = "circle"
    SQUARE = "square"
    TRIANGLE = "triangle"
    STAR = "star"


PALETTE = {
    Colour.RED: np.array([0.87, 0.12, 0.12], np.float32),
    Colour.GREEN: np.array([0.10, 0.62, 0.20], np.float32),
    Colour.BLUE: np.array([0.12, 0.25, 0.87], np.float32),
    Colour.YELLOW: np.array([0.97, 0.80, 0.05], np.float32),
    Colour.BLACK: np.array([0.05, 0.05, 0.05], np.float32),
}
"""RGB in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One shape of a scene."""

    colour: Colour
    shape: Shape
    x: float
    """Of its centre."""
    y: float
    """Likewise; larger is lower."""
    size: float
    """Pixels from the centre to the furthest point of the outline, about."""


def render(things: Sequence[Thing]) -> Floats:
    """A scene as f32 [16, 16, 3] in [0, 1]; later things lie over earlier ones.

    >>> picture = render([Thing(Colour.RED, Shape.CIRCLE, 8, 8, 4)])
    >>> picture.shape, bool(np.allclose(picture[8, 8], PALETTE[Colour.RED]))
    ((16, 16, 3), True)
    """
    picture = np.broadcast_to(GROUND, (SIDE, SIDE, 3)).copy()
    for thing in things:
        covered = coverage(thing.shape, thing.x, thing.y, thing.size)[..., None]
        picture += covered * (PALETTE[thing.colour] - picture)
    return picture


_AT = np.arange(SIDE, dtype=np.float32) + 0.5


def coverage(shape: Shape, x: float, y: float, size: float) -> Floats:
    """The share of each pixel that a shape covers, f32 [16, 16] in [0, 1], by its distance from the outline."""
    across, down = np.meshgrid(_AT - x, _AT - y)
    if shape is Shape.CIRCLE:
        distance = np.hypot(across, down) - size
    else:
        distance = _distance(across, down, _CORNERS[shape] * size)
    return np.asarray(np.clip(0.5 - distance, 0, 1), np.float32)


def _distance(across: Floats, down: Floats, corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """From each pixel to a polygon [corners, 2]; negative inside."""
    starts, ends = corners, np.roll(corners, -1, axis=0)
    nearest = np.full(across.shape, np.inf)
    is_inside = np.zeros(across.shape, bool)
    for (x0, y0), (x1, y1) in zip(starts, ends, strict=True):
        edge_x, edge_y = x1 - x0, y1 - y0
        along = (across - x0) * edge_x + (down - y0) * edge_y
        share = np.clip(along / (edge_x**2 + edge_y**2), 0, 1)
        nearest = np.minimum(
            nearest, np.hypot(across - x0 - share * edge_x, down - y0 - share * edge_y)
        )
        if edge_y:
            crosses = (down < y0) != (down < y1)
            is_inside ^= crosses & (across < x0 + (down - y0) * edge_x / edge_y)
    return np.where(is_inside, -nearest, nearest)


def _ring(corners: int, radii: Sequence[float]) -> NDArray[np.float64]:
    """A polygon around the origin, its first corner at the top."""
    angles = 2 * np.pi * np.arange(corners) / corners
    radius = np.resize(np.array(radii), corners)
    return np.stack([radius * np.sin(angles), -radius * np.cos(angles)], axis=1)


_CORNERS = {
    Shape.SQUARE: 0.88 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float),
    Shape.TRIANGLE: _ring(3, [1.2]) + np.array([0, 0.25]),
    Shape.STAR: _ring(10, [1.2, 0.5]),
}
"""Outlines for a size of 1: chosen so that shapes of one size look equally large."""
