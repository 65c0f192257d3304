"""More edits that are no harm in themselves: other backgrounds, and things put in or worn."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from guardkit.image.decode import Pixels
from guardkit.train.edit_scene import (
    Box,
    Effect,
    Kind,
    Numbers,
    Scene,
    each,
    far_from_faces,
    gamma,
    keep_faces,
    mixed,
    oval,
)

# --- backgrounds ----------------------------------------------------------------------------------


def _behind(scene: Scene, other: Pixels | Numbers) -> Pixels:
    return mixed(np.asarray(other).clip(0, 255).astype(np.uint8), scene.pixels, keep_faces(scene))


def _background_tones(scene: Scene, random: Generator) -> Pixels:
    power = float(random.choice((0.45, 0.6, 1.7, 2.5)))
    return _behind(scene, gamma(scene.pixels, power))


def _background_grey(scene: Scene, _: Generator) -> Pixels:
    return _behind(scene, scene.pixels.mean(-1, keepdims=True).repeat(3, axis=-1))


def _background_tint(scene: Scene, random: Generator) -> Pixels:
    return _behind(scene, scene.pixels * random.uniform(0.6, 1.4, 3))


def _background_mirror(scene: Scene, _: Generator) -> Pixels:
    """Behind people, the picture's own other side."""
    return _behind(scene, scene.pixels[:, ::-1])


def _background_painted(scene: Scene, _: Generator) -> Pixels:
    painted = Image.fromarray(scene.pixels).filter(ImageFilter.ModeFilter(9))
    return _behind(scene, np.asarray(painted))


def _background_lights(scene: Scene, random: Generator) -> Pixels:
    """Dark, with large soft discs of light."""
    height, width = scene.pixels.shape[:2]
    image = Image.new("RGB", (width, height), tuple(random.integers(5, 60, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for x, y in random.uniform((0, 0), image.size, (int(random.integers(12, 40)), 2)).tolist():
        far = width * float(random.uniform(0.015, 0.06))
        draw.ellipse((x - far, y - far, x + far, y + far), fill=tuple(random.integers(90, 256, 3).tolist()))  # fmt: skip
    return _behind(scene, np.asarray(image.filter(ImageFilter.GaussianBlur(2))))


def _background_clouds(scene: Scene, random: Generator) -> Pixels:
    """Soft noise of two colours, as a studio's cloth is painted."""
    height, width = scene.pixels.shape[:2]
    coarse = Image.fromarray(random.integers(0, 256, (6, 8), np.uint8)).resize((width, height), Image.Resampling.BICUBIC)  # fmt: skip
    amount = np.asarray(coarse, np.float32)[..., None] / 255
    ends = random.integers(0, 256, (2, 3))
    return _behind(scene, ends[0] * (1 - amount) + ends[1] * amount)


# --- things put in or worn ------------------------------------------------------------------------


def _text(scene: Scene, random: Generator) -> Pixels:
    """A word written on the picture, away from faces."""
    side = min(scene.pixels.shape[:2]) * float(random.uniform(0.15, 0.3))
    x, y = far_from_faces(scene, random, side)
    image = Image.fromarray(scene.pixels)
    word = str(random.choice(("SALE", "Hello", "2026", "Summer", "Menu", "Paris")))
    ImageDraw.Draw(image).text((x, y), word, fill=tuple(random.integers(0, 256, 3).tolist()), font_size=side * 0.5)  # fmt: skip
    return np.asarray(image)


def _sticker(scene: Scene, random: Generator) -> Pixels:
    """A star with a white edge, away from faces."""
    side = min(scene.pixels.shape[:2]) * float(random.uniform(0.12, 0.25))
    x, y = far_from_faces(scene, random, side)
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    turns = np.arange(10) * np.pi / 5 + float(random.uniform(0, 1))
    for size, colour in (
        (0.58, (255, 255, 255)),
        (0.5, tuple(random.integers(0, 256, 3).tolist())),
    ):
        far = np.where(np.arange(10) % 2, 0.45, 1) * side * size
        points = zip(x + side / 2 + np.cos(turns) * far, y + side / 2 + np.sin(turns) * far, strict=True)  # fmt: skip
        draw.polygon([(float(a), float(b)) for a, b in points], fill=colour)
    return np.asarray(image)


def _inset(scene: Scene, random: Generator) -> Pixels:
    """Another picture, small, away from faces."""
    side = int(min(scene.pixels.shape[:2]) * float(random.uniform(0.15, 0.3)))
    x, y = far_from_faces(scene, random, side)
    image = Image.fromarray(scene.pixels)
    image.paste(ImageOps.fit(Image.fromarray(scene.backdrop), (side, side)), (int(x), int(y)))
    return np.asarray(image)


def _glasses(scene: Scene, random: Generator) -> Pixels:
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    colour = tuple(random.integers(0, 70, 3).tolist())
    for left, top, right, bottom in scene.faces:
        wide, tall = right - left, bottom - top
        thick = max(2, round(wide * 0.03))
        for at in (0.14, 0.54):
            x, y = left + wide * at, top + tall * 0.27
            draw.ellipse((x, y, x + wide * 0.32, y + tall * 0.22), outline=colour, width=thick)
        draw.line((left + wide * 0.46, top + tall * 0.37, left + wide * 0.54, top + tall * 0.37), fill=colour, width=thick)  # fmt: skip
    return np.asarray(image)


def _hat(scene: Scene, random: Generator) -> Pixels:
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    colour = tuple(random.integers(0, 256, 3).tolist())
    for left, top, right, bottom in scene.faces:
        wide, tall = right - left, bottom - top
        draw.ellipse((left - wide * 0.2, top - tall * 0.1, right + wide * 0.2, top + tall * 0.08), fill=colour)  # fmt: skip
        draw.rectangle((left + wide * 0.1, top - tall * 0.5, right - wide * 0.1, top), fill=colour)
    return np.asarray(image)


def _clothes(scene: Scene, random: Generator) -> Pixels:
    """What lies below faces in another colour, its folds kept."""
    colour = random.uniform(0.2, 1.6, 3)
    grey = scene.pixels.mean(-1, keepdims=True)

    def change(pixels: Pixels, box: Box) -> Pixels:
        left, top, right, bottom = box
        wide, tall = right - left, bottom - top
        body = (left - wide * 0.6, bottom + tall * 0.15, right + wide * 0.6, bottom + tall * 2.2)
        dyed = (grey * 0.7 + 30) * colour
        return mixed(pixels, dyed.clip(0, 255), oval(pixels.shape, body))

    return each(scene, change)


def _smooth_skin(scene: Scene, random: Generator) -> Pixels:
    """Faces without their fine detail, of the same colour."""
    blur = ImageFilter.GaussianBlur((scene.faces[0][2] - scene.faces[0][0]) * float(random.uniform(0.012, 0.03)))  # fmt: skip
    smooth = np.asarray(Image.fromarray(scene.pixels).filter(blur))
    return each(scene, lambda pixels, box: mixed(pixels, smooth, oval(pixels.shape, box)))


PLACES: dict[str, Kind] = {
    "background-tones": Kind(_background_tones, Effect.NONE),
    "background-grey": Kind(_background_grey, Effect.NONE),
    "background-tint": Kind(_background_tint, Effect.NONE),
    "background-mirror": Kind(_background_mirror, Effect.NONE),
    "background-painted": Kind(_background_painted, Effect.NONE),
    "background-lights": Kind(_background_lights, Effect.NONE),
    "background-clouds": Kind(_background_clouds, Effect.NONE),
    "text": Kind(_text, Effect.NONE, needs_face=False),
    "sticker": Kind(_sticker, Effect.NONE, needs_face=False),
    "inset": Kind(_inset, Effect.NONE, needs_face=False),
    "glasses": Kind(_glasses, Effect.NONE),
    "hat": Kind(_hat, Effect.NONE),
    "clothes": Kind(_clothes, Effect.NONE, needs_room=True),
    "smooth-skin": Kind(_smooth_skin, Effect.NONE),
}
"""Name -> kind."""
