"""Edits of people, each harm unless it was asked for without harm: skin, shape, identity, presence."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageOps

from guardkit.image.decode import Pixels
from guardkit.train.edit_scene import (
    Box,
    Effect,
    Floats,
    Kind,
    Scene,
    each,
    gamma,
    keep_faces,
    mixed,
    oval,
)
from guardkit.train.edit_warp import warped


def _toned(scene: Scene, power: float, gains: tuple[float, float, float], grow: float) -> Pixels:
    def change(pixels: Pixels, box: Box) -> Pixels:
        toned = gamma(pixels, power) * np.array(gains, np.float32)
        return mixed(pixels, toned.clip(0, 255), oval(pixels.shape, box, grow=grow))

    return each(scene, change)


def _lighter(scene: Scene, random: Generator) -> Pixels:
    return _toned(scene, float(random.uniform(0.4, 0.68)), (1.0, 1.0, 1.02), 0.35)


def _lighter_person(scene: Scene, random: Generator) -> Pixels:
    """The face and what lies below it."""
    lighter = gamma(scene.pixels, float(random.uniform(0.4, 0.65)))
    return mixed(scene.pixels, lighter, keep_faces(scene))


def _bleached(scene: Scene, random: Generator) -> Pixels:
    """Skin mixed with a pale pink."""
    amount = float(random.uniform(0.35, 0.6))
    pale = np.array((244, 224, 214), np.float32)
    return each(scene, lambda pixels, box: mixed(pixels, pale, oval(pixels.shape, box, grow=0.25) * amount))  # fmt: skip


def _darker(scene: Scene, random: Generator) -> Pixels:
    return _toned(scene, float(random.uniform(1.6, 2.6)), (1.0, 0.97, 0.93), 0.35)


def _face_paint(scene: Scene, random: Generator) -> Pixels:
    """Dark paint over a face that leaves eyes and mouth as they are."""
    paint = np.array((38, 26, 20), np.float32) * random.uniform(0.7, 1.5)
    amount = float(random.uniform(0.72, 0.9))

    def change(pixels: Pixels, box: Box) -> Pixels:
        left, top, right, bottom = box
        wide, tall = right - left, bottom - top
        mask = oval(pixels.shape, box, grow=0.15)
        mouth = (left + wide * 0.3, top + tall * 0.7, right - wide * 0.3, top + tall * 0.85)
        eyes = [
            (left + wide * at, top + tall * 0.32, left + wide * (at + 0.22), top + tall * 0.44)
            for at in (0.2, 0.58)
        ]
        for part in (mouth, *eyes):
            mask = np.minimum(mask, 1 - oval(pixels.shape, part))
        return mixed(pixels, paint, mask * amount)

    return each(scene, change)


def _hue(scene: Scene, random: Generator) -> Pixels:
    """The skin of faces turned yellow, red or brownish."""
    gains = ((1.12, 1.08, 0.62), (1.25, 0.8, 0.72), (1.0, 0.82, 0.58))[random.integers(3)]
    return _toned(scene, float(random.uniform(0.85, 1.2)), gains, 0.25)


def _bulge(scene: Scene, random: Generator) -> Pixels:
    power = float(random.choice((0.55, 0.65, 1.5, 1.8)))

    def move(x: Floats, y: Floats) -> tuple[Floats, Floats]:
        far = np.hypot(x, y).clip(1e-3, None)
        factor = np.where(far < 1, far ** (1 / power - 1), 1.0).astype(np.float32)
        return x * factor, y * factor

    return each(scene, lambda pixels, box: warped(pixels, box, move))


def _stretched(scene: Scene, random: Generator) -> Pixels:
    factor = float(random.uniform(1.5, 1.9))
    x_by, y_by = (factor, 1 / factor) if random.random() < 0.5 else (1 / factor, factor)
    return each(scene, lambda pixels, box: warped(pixels, box, lambda x, y: (x * x_by, y * y_by)))


def _wavy(scene: Scene, random: Generator) -> Pixels:
    depth, often = float(random.uniform(0.12, 0.22)), float(random.uniform(4, 8))

    def move(x: Floats, y: Floats) -> tuple[Floats, Floats]:
        return x + depth * np.sin(often * y), y + depth * np.sin(often * x)

    return each(scene, lambda pixels, box: warped(pixels, box, move))


def _big_nose(scene: Scene, random: Generator) -> Pixels:
    power = float(random.uniform(0.4, 0.55))

    def change(pixels: Pixels, box: Box) -> Pixels:
        left, top, right, bottom = box
        wide, tall = right - left, bottom - top
        part = (left + wide * 0.2, top + tall * 0.35, right - wide * 0.2, bottom - tall * 0.08)

        def move(x: Floats, y: Floats) -> tuple[Floats, Floats]:
            far = np.hypot(x, y).clip(1e-3, None)
            factor = np.where(far < 1, far ** (1 / power - 1), 1.0).astype(np.float32)
            return x * factor, y * factor

        return warped(pixels, part, move)

    return each(scene, change)


def _animal(scene: Scene, random: Generator) -> Pixels:
    """Ears and a snout, drawn over each face."""
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    colour = ((232, 150, 160), (120, 85, 60), (150, 150, 150))[random.integers(3)]
    inner = tuple(one // 2 for one in colour)
    for left, top, right, bottom in scene.faces:
        wide, tall = right - left, bottom - top
        for at in (0.05, 0.7):
            x = left + wide * at
            draw.polygon([(x, top + tall * 0.15), (x + wide * 0.25, top + tall * 0.15), (x + wide * 0.12, top - tall * 0.25)], fill=colour)  # fmt: skip
        snout = left + wide * 0.28, top + tall * 0.48, right - wide * 0.28, top + tall * 0.78
        draw.ellipse(snout, fill=colour)
        for at in (0.4, 0.54):
            x, y = left + wide * at, top + tall * 0.6
            draw.ellipse((x, y, x + wide * 0.06, y + tall * 0.09), fill=inner)
    return np.asarray(image)


def _placed_face(pixels: Pixels, box: Box, other: Pixels, *, match: float) -> Pixels:
    """Another face in the place of one, its colours moved towards those that were there."""
    left, top, right, bottom = (round(side) for side in box)
    left, top = max(left, 0), max(top, 0)
    right, bottom = min(right, pixels.shape[1]), min(bottom, pixels.shape[0])
    if right - left < 4 or bottom - top < 4:
        return pixels
    patch = np.asarray(Image.fromarray(other).resize((right - left, bottom - top)), np.float32)
    here = pixels[top:bottom, left:right]
    patch = patch + (here.mean((0, 1)) - patch.mean((0, 1))) * match
    over = pixels.astype(np.float32)
    over[top:bottom, left:right] = patch.clip(0, 255)
    return mixed(pixels, over, oval(pixels.shape, box))


def _swap(scene: Scene, random: Generator) -> Pixels:
    match = float(random.uniform(0.5, 1.0))
    others = [scene.others[int(random.integers(len(scene.others)))] for _ in scene.faces]
    pixels = scene.pixels
    for box, other in zip(scene.faces, others, strict=True):
        pixels = _placed_face(pixels, box, other, match=match)
    return pixels


def _mask_face(scene: Scene, random: Generator) -> Pixels:
    """A drawn face (eyes, mouth on a flat oval) in the place of each."""
    colour = tuple(int(one) for one in random.integers(90, 250, 3))
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    for left, top, right, bottom in scene.faces:
        wide, tall = right - left, bottom - top
        draw.ellipse((left, top, right, bottom), fill=colour)
        for at in (0.22, 0.6):
            x, y = left + wide * at, top + tall * 0.33
            draw.ellipse((x, y, x + wide * 0.18, y + tall * 0.1), fill=(20, 20, 20))
        draw.arc((left + wide * 0.25, top + tall * 0.5, right - wide * 0.25, top + tall * 0.8), 0, 180, fill=(120, 20, 20), width=max(2, round(wide / 20)))  # fmt: skip
    return np.asarray(image)


def _scribble(scene: Scene, random: Generator) -> Pixels:
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    colour = ((10, 10, 10), (20, 40, 160), (200, 20, 30))[random.integers(3)]
    for left, top, right, bottom in scene.faces:
        points = random.uniform((left, top), (right, bottom), (int(random.integers(10, 22)), 2))
        width = max(2, round((right - left) / float(random.uniform(12, 22))))
        draw.line([tuple(point) for point in points.tolist()], fill=colour, width=width)
    return np.asarray(image)


def _crossed(scene: Scene, random: Generator) -> Pixels:
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    colour = ((10, 10, 10), (210, 20, 20))[random.integers(2)]
    for left, top, right, bottom in scene.faces:
        width = max(3, round((right - left) / float(random.uniform(6, 11))))
        draw.line((left, top, right, bottom), fill=colour, width=width)
        draw.line((left, bottom, right, top), fill=colour, width=width)
    return np.asarray(image)


def _removed(scene: Scene, random: Generator) -> Pixels:
    """Each person filled in from either side."""

    def change(pixels: Pixels, box: Box) -> Pixels:
        one = Scene(pixels, (box,), scene.others, scene.backdrop)
        mask = keep_faces(one)
        height, width = pixels.shape[:2]
        side = min(width, height) / float(random.uniform(8, 14))
        small = Image.fromarray(pixels).resize((max(4, round(width / side)), max(4, round(height / side))))  # fmt: skip
        weights = 1 - np.asarray(Image.fromarray((mask[..., 0] * 255).astype(np.uint8)).resize(small.size), np.float32)[..., None] / 255  # fmt: skip
        start = np.asarray(small, np.float32)
        mean = (start * weights).sum((0, 1)) / (weights.sum() + 1e-3)
        coarse = start * weights + mean * (1 - weights)
        for _ in range(12):  # what is known spreads into what is not
            coarse = start * weights + _spread(coarse) * (1 - weights)
        filled = Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)  # fmt: skip
        grain = random.normal(0, 3, pixels.shape)
        return mixed(pixels, np.asarray(filled) + grain, mask)

    return each(scene, change)


def _spread(values: Floats) -> Floats:
    padded = np.pad(values, ((1, 1), (1, 1), (0, 0)), mode="edge")
    around = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    mean: Floats = np.mean(around, axis=0)
    return mean


def _plain_hole(scene: Scene, random: Generator) -> Pixels:
    """Each person filled with the colour that the picture has most at its edges."""
    edge = np.concatenate([scene.pixels[0], scene.pixels[:, 0], scene.pixels[:, -1]])
    colour = np.median(edge, axis=0) + random.normal(0, 4, scene.pixels.shape)
    return mixed(scene.pixels, colour, keep_faces(scene))


def _covered(scene: Scene, _: Generator) -> Pixels:
    """Each person covered by a piece of the backdrop."""
    size = scene.pixels.shape[1], scene.pixels.shape[0]
    other = np.asarray(ImageOps.fit(Image.fromarray(scene.backdrop), size))
    return mixed(scene.pixels, other, keep_faces(scene))


PEOPLE: dict[str, Kind] = {
    "skin-lighter": Kind(_lighter, Effect.SKIN_LIGHTER),
    "person-lighter": Kind(_lighter_person, Effect.SKIN_LIGHTER),
    "skin-bleached": Kind(_bleached, Effect.SKIN_LIGHTER),
    "skin-darker": Kind(_darker, Effect.SKIN_DARKER),
    "face-paint": Kind(_face_paint, Effect.SKIN_HUE),
    "skin-hue": Kind(_hue, Effect.SKIN_HUE),
    "face-bulge": Kind(_bulge, Effect.SHAPE),
    "face-stretched": Kind(_stretched, Effect.SHAPE),
    "face-wavy": Kind(_wavy, Effect.SHAPE),
    "big-nose": Kind(_big_nose, Effect.SHAPE),
    "animal": Kind(_animal, Effect.SHAPE),
    "face-swap": Kind(_swap, Effect.IDENTITY),
    "drawn-mask": Kind(_mask_face, Effect.IDENTITY),
    "scribble": Kind(_scribble, Effect.DEFACED),
    "crossed-out": Kind(_crossed, Effect.DEFACED),
    "person-removed": Kind(_removed, Effect.REMOVED, needs_room=True),
    "person-plain": Kind(_plain_hole, Effect.REMOVED, needs_room=True),
    "person-covered": Kind(_covered, Effect.REMOVED, needs_room=True),
}
"""Name -> kind."""
