"""What an edit made by code works on: a scene, masks around faces, and what an edit does to people."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from guardkit.image.decode import Pixels

Floats = NDArray[np.float32]
Numbers = NDArray[np.floating[Any]]
"""Of either precision: what arithmetic on `Floats` gives."""
Box = tuple[float, float, float, float]


class Effect(StrEnum):
    """What an edit does to the people in a picture; a table says which prompts ask for it without harm."""

    NONE = "none"
    LIGHT = "light"
    DARK = "dark"
    SKIN_LIGHTER = "skin-lighter"
    SKIN_DARKER = "skin-darker"
    SKIN_HUE = "skin-hue"
    SHAPE = "shape"
    IDENTITY = "identity"
    DEFACED = "defaced"
    REMOVED = "removed"
    RED = "red"
    WEAPON = "weapon"
    BARE = "bare"


class Scene(Struct, frozen=True):
    """A picture to edit."""

    pixels: Pixels
    """uint8 RGB [H, W, 3]."""
    faces: tuple[Box, ...]
    """Left, top, right, bottom in pixels, the surest first."""
    others: tuple[Pixels, ...]
    """Cut-out faces of other pictures, for exchanges."""
    backdrop: Pixels
    """Another picture, of any size."""


Edit = Callable[[Scene, Generator], Pixels]


class Kind(Struct, frozen=True):
    """One kind of edit."""

    edit: Edit
    effect: Effect
    needs_face: bool = True
    needs_room: bool = False
    """Whether faces must leave room below and beside them."""


def oval(shape: tuple[int, ...], box: Box, *, grow: float = 0.0, soft: float = 0.12) -> Floats:
    """1 within the ellipse of a box, falling to 0 around it: f32 [H, W, 1]."""
    left, top, right, bottom = box
    wide, tall = (right - left) / 2 * (1 + grow), (bottom - top) / 2 * (1 + grow)
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    x, y = (columns - (left + right) / 2) / wide, (rows - (top + bottom) / 2) / tall
    mask: Floats = np.clip((1 - np.hypot(x, y)) / soft + 0.5, 0, 1)[..., None]
    return mask


def mixed(under: Pixels, over: NDArray[np.generic], mask: Floats) -> Pixels:
    """One picture over another where a mask, f32 [H, W, 1] in [0, 1], says so."""
    mixed = under * (1 - mask) + np.asarray(over, np.float32) * mask
    return mixed.round().clip(0, 255).astype(np.uint8)


def gamma(pixels: Pixels, power: float) -> Pixels:
    """Every level raised to a power: below 1 is lighter."""
    table = (255 * (np.arange(256) / 255) ** power).round().astype(np.uint8)
    return table[pixels]


def luma(pixels: Pixels, curve: Callable[[Numbers], Numbers]) -> Pixels:
    """Lightness alone through a curve of [0, 1], colours as they are; `curve` is given all 256 levels at once."""
    levels = np.arange(256, dtype=np.float32) / 255
    table = (curve(levels).clip(0, 1) * 255).round().astype(np.uint8)
    light, blue, red = Image.fromarray(pixels).convert("YCbCr").split()
    return np.asarray(Image.merge("YCbCr", (light.point(table.tolist()), blue, red)).convert("RGB"))


def face_of(scene: Scene) -> Box:
    """The surest face."""
    return scene.faces[0]


def size_of(box: Box) -> float:
    """The longer side of a box."""
    return max(box[2] - box[0], box[3] - box[1])


def part_of(box: Box, part: Box) -> Box:
    """A part of a box: left, top, right, bottom as shares of its sides."""
    left, top, right, bottom = box
    wide, tall = right - left, bottom - top
    return left + wide * part[0], top + tall * part[1], left + wide * part[2], top + tall * part[3]


def each(scene: Scene, change: Callable[[Pixels, Box], Pixels]) -> Pixels:
    """A change made to each face in turn."""
    pixels = scene.pixels
    for box in scene.faces:
        pixels = change(pixels, box)
    return pixels


def keep_faces(scene: Scene) -> Floats:
    """1 on people, heads and what lies below them, and 0 elsewhere: f32 [H, W, 1]."""
    mask = np.zeros((*scene.pixels.shape[:2], 1), np.float32)
    for left, top, right, bottom in scene.faces:
        tall = bottom - top
        head = oval(mask.shape, (left, top, right, bottom), grow=0.5, soft=0.3)
        body = oval(mask.shape, (left - tall, bottom, right + tall, bottom + 3 * tall), soft=0.2)
        mask = np.maximum(np.maximum(mask, head), body)
    return mask


def far_from_faces(scene: Scene, random: Generator, side: float) -> tuple[float, float]:
    """A place for something of a size that is no face's, or the best of 30 tries."""
    height, width = scene.pixels.shape[:2]
    places = random.uniform((0, 0), (max(width - side, 1), max(height - side, 1)), (30, 2))
    far = [
        min((np.hypot(x - box[0], y - box[1]) / size_of(box) for box in scene.faces), default=9.0)
        for x, y in places + side / 2
    ]
    x, y = places[int(np.argmax(np.minimum(far, 1.6)))]
    return float(x), float(y)


def suits(kind: Kind, scene: Scene) -> bool:
    """Whether a scene has what a kind of edit needs."""
    height, width = scene.pixels.shape[:2]
    has_room = all(box[3] < 0.75 * height and box[2] - box[0] < 0.5 * width for box in scene.faces)
    return (bool(scene.faces) or not kind.needs_face) and (has_room or not kind.needs_room)
