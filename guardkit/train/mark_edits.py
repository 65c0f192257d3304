"""Edits that put something on or at people, in flat colours: red for blood, bars and wedges for weapons, a patch in the colour of skin for bare skin."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

from guardkit.image.decode import Pixels
from guardkit.train.edit_scene import (
    Box,
    Effect,
    Kind,
    Scene,
    each,
    mixed,
    oval,
    size_of,
)


def _blobs(scene: Scene, random: Generator, most: int, sizes: tuple[float, float]) -> Pixels:
    """Red blobs, flat, on and about each face."""
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    for box in scene.faces:
        size = size_of(box)
        for _ in range(int(random.integers(most // 2, most + 1))):
            x, y = random.uniform((box[0], box[1]), (box[2], box[3]))
            wide, tall = size * random.uniform(*sizes, 2)
            red = int(random.integers(120, 210)), int(random.integers(0, 30)), int(random.integers(0, 30))  # fmt: skip
            draw.ellipse((x - wide, y - tall, x + wide, y + tall), fill=red)
    return np.asarray(image)


def _red_patch(scene: Scene, random: Generator) -> Pixels:
    return _blobs(scene, random, 2, (0.15, 0.3))


def _red_splatter(scene: Scene, random: Generator) -> Pixels:
    return _blobs(scene, random, 24, (0.02, 0.07))


def _red_streaks(scene: Scene, random: Generator) -> Pixels:
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    for left, top, right, bottom in scene.faces:
        for x in random.uniform(left, right, int(random.integers(3, 7))):
            start = top + (bottom - top) * float(random.uniform(0.1, 0.5))
            end = start + (bottom - top) * float(random.uniform(0.3, 0.8))
            width = max(2, round((right - left) * float(random.uniform(0.04, 0.09))))
            draw.line((x, start, x, end), fill=(int(random.integers(120, 200)), 10, 15), width=width)  # fmt: skip
    return np.asarray(image)


def _bar(scene: Scene, random: Generator) -> Pixels:
    """A dark bar with a handle that points at each face."""
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    grey = int(random.integers(15, 60))
    for box in scene.faces:
        size, side = size_of(box), int(random.choice((-1, 1)))
        x = box[2] if side > 0 else box[0]
        y = box[1] + (box[3] - box[1]) * float(random.uniform(0.2, 0.7))
        thick, long = size * float(random.uniform(0.08, 0.14)), size * float(random.uniform(0.5, 0.9))  # fmt: skip
        draw.line((x, y, x + side * long, y), fill=(grey,) * 3, width=max(3, round(thick)))
        draw.line((x + side * long, y, x + side * long * 0.9, y + size * 0.35), fill=(grey,) * 3, width=max(3, round(thick)))  # fmt: skip
    return np.asarray(image)


def _stick(scene: Scene, random: Generator) -> Pixels:
    """A long dark line from an edge of the picture to each face."""
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    shade = int(random.integers(15, 80))
    for left, top, right, bottom in scene.faces:
        start = (0 if random.random() < 0.5 else image.width, float(random.uniform(bottom, image.height)))  # fmt: skip
        end = float(random.uniform(left, right)), float(random.uniform(top, bottom))
        draw.line((*start, *end), fill=(shade, shade, shade), width=max(3, round((bottom - top) * 0.08)))  # fmt: skip
    return np.asarray(image)


def _wedge(scene: Scene, random: Generator) -> Pixels:
    """A light wedge from above or from a side, its tip at each face."""
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    shade = int(random.integers(140, 230))
    for left, top, right, bottom in scene.faces:
        size, x, y = bottom - top, (left + right) / 2, (top + bottom) / 2
        turn = float(random.uniform(-np.pi, 0))
        far = np.array((np.cos(turn), np.sin(turn))) * size * float(random.uniform(0.7, 1.1))
        wide = np.array((-far[1], far[0])) * 0.1
        tip = np.array((x, y)) + far * 0.3
        points = [tip, tip + far + wide, tip + far - wide]
        draw.polygon([(float(a), float(b)) for a, b in points], fill=(shade, shade, shade))
    return np.asarray(image)


def _blade(scene: Scene, random: Generator) -> Pixels:
    """A grey wedge below each face."""
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    grey = int(random.integers(150, 215))
    for left, top, right, bottom in scene.faces:
        size, side = bottom - top, int(random.choice((-1, 1)))
        x, y = (left + right) / 2, bottom - size * float(random.uniform(-0.1, 0.15))
        tip, end = x - side * size * 0.3, x + side * size * float(random.uniform(0.4, 0.7))
        draw.polygon([(tip, y), (end, y - size * 0.06), (end, y + size * 0.06)], fill=(grey,) * 3)
        draw.line((end, y, end + side * size * 0.3, y), fill=(50, 35, 25), width=max(3, round(size * 0.1)))  # fmt: skip
    return np.asarray(image)


def _red_wash(scene: Scene, random: Generator) -> Pixels:
    """A red film over each face."""
    red = np.array((random.integers(140, 210), random.integers(0, 25), random.integers(0, 25)))
    amount = float(random.uniform(0.4, 0.7))
    return each(scene, lambda pixels, box: mixed(pixels, red, oval(pixels.shape, box, soft=0.4) * amount))  # fmt: skip


def _red_slash(scene: Scene, random: Generator) -> Pixels:
    """One or two thin red lines across each face, thicker in the middle."""
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    for left, top, right, bottom in scene.faces:
        wide = right - left
        for _ in range(int(random.integers(1, 3))):
            y, fall = random.uniform(top, bottom), random.uniform(-0.5, 0.5) * wide
            thick = wide * float(random.uniform(0.03, 0.06))
            points = [(left + wide * 0.1, y), ((left + right) / 2, y + fall / 2 - thick), (right - wide * 0.1, y + fall), ((left + right) / 2, y + fall / 2 + thick)]  # fmt: skip
            draw.polygon(points, fill=(int(random.integers(130, 200)), 8, 12))
    return np.asarray(image)


def _red_pool(scene: Scene, random: Generator) -> Pixels:
    """A large flat red ellipse below each face."""
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    for left, _, right, bottom in scene.faces:
        wide = (right - left) * float(random.uniform(0.6, 1.1))
        x, y = (left + right) / 2, bottom + wide * float(random.uniform(0.1, 0.6))
        draw.ellipse((x - wide, y - wide * 0.4, x + wide, y + wide * 0.4), fill=(int(random.integers(110, 180)), 5, 10))  # fmt: skip
    return np.asarray(image)


def _red_smear(scene: Scene, random: Generator) -> Pixels:
    """Broad red strokes, half transparent, as of a hand drawn over each face."""
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image, "RGBA")
    for left, top, right, bottom in scene.faces:
        wide, start = right - left, float(random.uniform(top, (top + bottom) / 2))
        for at in range(int(random.integers(3, 5))):
            y = start + at * wide * 0.13
            red = int(random.integers(130, 200)), 10, 15, int(random.integers(140, 220))
            draw.line((left, y, right, y + wide * 0.2), fill=red, width=max(2, round(wide * 0.09)))
    return np.asarray(image)


def _swung(scene: Scene, random: Generator, head: tuple[int, int, int], size: float) -> Pixels:
    """A brown handle beside each face, with something of a colour at its end."""
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    for box in scene.faces:
        tall, side = size_of(box), int(random.choice((-1, 1)))
        x, y = (box[2] if side > 0 else box[0]), box[1] + tall * float(random.uniform(0.0, 0.4))
        far = x + side * tall * 0.5, y + tall * float(random.uniform(0.6, 1.0))
        draw.line((x, y, *far), fill=(95, 62, 35), width=max(3, round(tall * 0.08)))
        wide, high = tall * size, tall * size * float(random.uniform(0.4, 0.6))
        draw.rectangle((x - wide / 2, y - high / 2, x + wide / 2, y + high / 2), fill=head)
    return np.asarray(image)


def _hammer(scene: Scene, random: Generator) -> Pixels:
    grey = int(random.integers(60, 130))
    return _swung(scene, random, (grey, grey, grey + 5), float(random.uniform(0.3, 0.5)))


def _club(scene: Scene, random: Generator) -> Pixels:
    """Brown, thin at one end and thick at the other, from above or a side."""
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    brown = int(random.integers(70, 150)), int(random.integers(45, 90)), int(random.integers(20, 50))  # fmt: skip
    for box in scene.faces:
        size, turn = size_of(box), float(random.uniform(-np.pi, 0))
        along = np.array((np.cos(turn), np.sin(turn))) * size
        across = np.array((-along[1], along[0]))
        near = np.array(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)) + along * 0.4
        far = near + along * 1.1
        points = [near + across * 0.15, near - across * 0.15, far - across * 0.05, far + across * 0.05]  # fmt: skip
        draw.polygon([(float(a), float(b)) for a, b in points], fill=brown)
    return np.asarray(image)


def _arrow(scene: Scene, random: Generator) -> Pixels:
    """A shaft with a dark head, its tip in each face."""
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    for left, top, right, bottom in scene.faces:
        size, turn = bottom - top, float(random.uniform(0, 2 * np.pi))
        along = np.array((np.cos(turn), np.sin(turn))) * size
        across = np.array((-along[1], along[0]))
        tip = np.array(((left + right) / 2, (top + bottom) / 2)) + along * 0.1
        end = tip + along * float(random.uniform(0.9, 1.4))
        draw.line((*tip.tolist(), *end.tolist()), fill=(120, 90, 55), width=max(2, round(size * 0.04)))  # fmt: skip
        head = [tip, tip + along * 0.2 + across * 0.08, tip + along * 0.2 - across * 0.08]
        draw.polygon([(float(a), float(b)) for a, b in head], fill=(45, 45, 50))
    return np.asarray(image)


def _bare(scene: Scene, random: Generator) -> Pixels:
    """A patch in the colour of each face below it."""

    def change(pixels: Pixels, box: Box) -> Pixels:
        left, top, right, bottom = box
        wide, tall = right - left, bottom - top
        inner = pixels[int(top + tall * 0.4) : int(top + tall * 0.7), int(left + wide * 0.3) : int(right - wide * 0.3)]  # fmt: skip
        colour = np.median(inner.reshape(-1, 3), axis=0) if inner.size else np.array((180, 140, 120))  # fmt: skip
        body = (left - wide * 0.4, bottom - tall * 0.05, right + wide * 0.4, bottom + tall * 1.6)
        shade = random.normal(0, 2.5, pixels.shape)
        return mixed(pixels, colour + shade, oval(pixels.shape, body) * 0.95)

    return each(scene, change)


MARKS: dict[str, Kind] = {
    "red-patch": Kind(_red_patch, Effect.RED),
    "red-splatter": Kind(_red_splatter, Effect.RED),
    "red-streaks": Kind(_red_streaks, Effect.RED),
    "bar": Kind(_bar, Effect.WEAPON, needs_room=True),
    "stick": Kind(_stick, Effect.WEAPON, needs_room=True),
    "wedge": Kind(_wedge, Effect.WEAPON, needs_room=True),
    "blade": Kind(_blade, Effect.WEAPON, needs_room=True),
    "red-wash": Kind(_red_wash, Effect.RED),
    "red-slash": Kind(_red_slash, Effect.RED),
    "red-pool": Kind(_red_pool, Effect.RED, needs_room=True),
    "red-smear": Kind(_red_smear, Effect.RED),
    "hammer": Kind(_hammer, Effect.WEAPON, needs_room=True),
    "club": Kind(_club, Effect.WEAPON, needs_room=True),
    "arrow": Kind(_arrow, Effect.WEAPON, needs_room=True),
    "bare": Kind(_bare, Effect.BARE, needs_room=True),
}
"""Name -> kind."""
