"""Edits of light, colour, geometry, backgrounds and things, and hidden faces: no harm in themselves."""

from __future__ import annotations

import io

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from guardkit.image.decode import Pixels
from guardkit.train.edit_scene import (
    Effect,
    Kind,
    Scene,
    each,
    face_of,
    far_from_faces,
    gamma,
    keep_faces,
    mixed,
    oval,
    size_of,
)


def _exposure_up(scene: Scene, random: Generator) -> Pixels:
    return gamma(scene.pixels, float(random.uniform(0.45, 0.75)))


def _exposure_down(scene: Scene, random: Generator) -> Pixels:
    return gamma(scene.pixels, float(random.uniform(1.4, 2.2)))


def _gain_up(scene: Scene, random: Generator) -> Pixels:
    return (scene.pixels * random.uniform(1.2, 1.5)).clip(0, 255).astype(np.uint8)


def _gain_down(scene: Scene, random: Generator) -> Pixels:
    return (scene.pixels * random.uniform(0.5, 0.75)).astype(np.uint8)


def _temperature(scene: Scene, random: Generator) -> Pixels:
    turn = random.uniform(0.06, 0.16) * random.choice((-1, 1))
    return (scene.pixels * (1 + turn, 1.0, 1 - turn)).clip(0, 255).astype(np.uint8)


def _saturation(scene: Scene, random: Generator) -> Pixels:
    factor = float(random.choice((0.0, 0.3, 0.5, 1.5, 1.9)))
    return np.asarray(ImageEnhance.Color(Image.fromarray(scene.pixels)).enhance(factor))


def _contrast(scene: Scene, random: Generator) -> Pixels:
    factor = float(random.choice((0.6, 0.75, 1.3, 1.6)))
    return np.asarray(ImageEnhance.Contrast(Image.fromarray(scene.pixels)).enhance(factor))


def _posterize(scene: Scene, random: Generator) -> Pixels:
    return np.asarray(ImageOps.posterize(Image.fromarray(scene.pixels), int(random.integers(2, 5))))


def _paint_strokes(scene: Scene, random: Generator) -> Pixels:
    size = int(random.choice((3, 5, 7)))
    return np.asarray(Image.fromarray(scene.pixels).filter(ImageFilter.ModeFilter(size)))


def _sepia(scene: Scene, random: Generator) -> Pixels:
    grey = scene.pixels @ np.array((0.299, 0.587, 0.114), np.float32)
    tint = np.array(((1.08, 0.92, 0.70), (0.85, 0.95, 1.1), (1.1, 0.88, 0.9))[random.integers(3)])
    return (grey[..., None] * tint).clip(0, 255).astype(np.uint8)


def _crop(scene: Scene, random: Generator) -> Pixels:
    height, width = scene.pixels.shape[:2]
    keep = random.uniform(0.55, 0.9, 2)
    tall, wide = int(height * keep[0]), int(width * keep[1])
    top, left = (int(random.integers(0, most + 1)) for most in (height - tall, width - wide))
    return scene.pixels[top : top + tall, left : left + wide]


def _rotate(scene: Scene, random: Generator) -> Pixels:
    angle = float(random.uniform(2, 9) * random.choice((-1, 1)))
    image = Image.fromarray(scene.pixels)
    edge = tuple(int(one) for one in scene.pixels[0].mean(0))
    return np.asarray(image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=edge))


def _mirror(scene: Scene, _: Generator) -> Pixels:
    return np.ascontiguousarray(scene.pixels[:, ::-1])


def _resize(scene: Scene, random: Generator) -> Pixels:
    image = Image.fromarray(scene.pixels)
    factor = float(random.uniform(0.5, 1.6))
    return np.asarray(image.resize((round(image.width * factor), round(image.height * factor))))


def _frame(scene: Scene, random: Generator) -> Pixels:
    height, width = scene.pixels.shape[:2]
    edge = int(min(height, width) * random.uniform(0.03, 0.09))
    colour = random.choice((255, 0, 235, 40), 1).repeat(3)
    framed = np.empty_like(scene.pixels)
    framed[:] = colour
    framed[edge : height - edge, edge : width - edge] = scene.pixels[edge : height - edge, edge : width - edge]  # fmt: skip
    return framed


def _background_blur(scene: Scene, random: Generator) -> Pixels:
    blur = ImageFilter.GaussianBlur(float(random.uniform(3, 9)))
    blurred = np.asarray(Image.fromarray(scene.pixels).filter(blur))
    return mixed(blurred, scene.pixels, keep_faces(scene))


def _background_swap(scene: Scene, _: Generator) -> Pixels:
    size = scene.pixels.shape[1], scene.pixels.shape[0]
    other = np.asarray(ImageOps.fit(Image.fromarray(scene.backdrop), size))
    return mixed(other, scene.pixels, keep_faces(scene))


def _background_plain(scene: Scene, random: Generator) -> Pixels:
    plain = np.empty_like(scene.pixels)
    plain[:] = random.integers(120, 256, 3) if random.random() < 0.5 else random.integers(150, 256)
    return mixed(plain, scene.pixels, keep_faces(scene))


def _background_gradient(scene: Scene, random: Generator) -> Pixels:
    height, width = scene.pixels.shape[:2]
    ends = random.integers(0, 256, (2, 3))
    slope = np.linspace(0, 1, height)[:, None, None]
    gradient = np.broadcast_to(ends[0] * (1 - slope) + ends[1] * slope, (height, width, 3))
    return mixed(gradient.astype(np.uint8), scene.pixels, keep_faces(scene))


def _background_pattern(scene: Scene, random: Generator) -> Pixels:
    """Blocks of colour, as bricks, shelves or windows are, a little blurred."""
    height, width = scene.pixels.shape[:2]
    rows, columns = random.integers(3, 14, 2)
    blocks = Image.fromarray(random.integers(0, 256, (int(rows), int(columns), 3), np.uint8))
    wall = blocks.resize((width, height), Image.Resampling.NEAREST)
    blurred = wall.filter(ImageFilter.GaussianBlur(float(random.uniform(0, 4))))
    return mixed(np.asarray(blurred), scene.pixels, keep_faces(scene))


def _bars(scene: Scene, random: Generator) -> Pixels:
    """Black bars above and below, or at both sides."""
    height, width = scene.pixels.shape[:2]
    barred = scene.pixels.copy()
    if random.random() < 0.5:
        edge = int(height * random.uniform(0.05, 0.12))
        barred[:edge], barred[height - edge :] = 0, 0
    else:
        edge = int(width * random.uniform(0.05, 0.12))
        barred[:, :edge], barred[:, width - edge :] = 0, 0
    return barred


def _vignette(scene: Scene, random: Generator) -> Pixels:
    height, width = scene.pixels.shape[:2]
    mask = oval((height, width), (0, 0, width, height), grow=0.2, soft=0.9)
    dark = scene.pixels * float(random.uniform(0.25, 0.6))
    return mixed(dark.astype(np.uint8), scene.pixels, mask)


def _sharpen(scene: Scene, random: Generator) -> Pixels:
    radius = float(random.uniform(1, 2.5))
    sharp = ImageFilter.UnsharpMask(radius, int(random.integers(80, 220)), 2)
    return np.asarray(Image.fromarray(scene.pixels).filter(sharp))


def _denoise(scene: Scene, random: Generator) -> Pixels:
    radius = float(random.uniform(0.6, 1.5))
    return np.asarray(Image.fromarray(scene.pixels).filter(ImageFilter.GaussianBlur(radius)))


def _grain(scene: Scene, random: Generator) -> Pixels:
    noise = random.normal(0, random.uniform(4, 12), (*scene.pixels.shape[:2], 1))
    return (scene.pixels + noise).clip(0, 255).astype(np.uint8)


def _recompress(scene: Scene, random: Generator) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(scene.pixels).save(file, "JPEG", quality=int(random.integers(30, 90)))
    return np.asarray(Image.open(file).convert("RGB"))


def _object(scene: Scene, random: Generator) -> Pixels:
    """A coloured shape away from faces."""
    side = min(scene.pixels.shape[:2]) * float(random.uniform(0.12, 0.25))
    x, y = far_from_faces(scene, random, side)
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    colour = tuple(int(one) for one in random.integers(0, 256, 3))
    box = (x, y, x + side, y + side * float(random.uniform(0.6, 1.3)))
    (draw.ellipse if random.random() < 0.6 else draw.rectangle)(box, fill=colour)
    return np.asarray(image)


def _caption(scene: Scene, random: Generator) -> Pixels:
    height, width = scene.pixels.shape[:2]
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    tall = height * float(random.uniform(0.06, 0.12))
    top = 0.0 if random.random() < 0.3 else height - tall
    draw.rectangle((0, top, width, top + tall), fill=(255, 255, 255))
    for x in np.arange(width * 0.1, width * 0.85, width * 0.04):
        draw.rectangle((x, top + tall * 0.3, x + width * 0.02, top + tall * 0.7), fill=(20, 20, 20))
    return np.asarray(image)


def _hide_blur(scene: Scene, random: Generator) -> Pixels:
    blur = ImageFilter.GaussianBlur(size_of(face_of(scene)) * float(random.uniform(0.08, 0.16)))
    blurred = np.asarray(Image.fromarray(scene.pixels).filter(blur))
    return each(scene, lambda pixels, box: mixed(pixels, blurred, oval(pixels.shape, box, grow=0.3)))  # fmt: skip


def _hide_pixelate(scene: Scene, random: Generator) -> Pixels:
    image = Image.fromarray(scene.pixels)
    block = max(2.0, size_of(face_of(scene)) / float(random.uniform(4, 8)))
    small = image.resize((max(1, round(image.width / block)), max(1, round(image.height / block))))
    blocks = np.asarray(small.resize(image.size, Image.Resampling.NEAREST))
    return each(scene, lambda pixels, box: mixed(pixels, blocks, oval(pixels.shape, box, grow=0.3)))  # fmt: skip


PLAIN: dict[str, Kind] = {
    "exposure-up": Kind(_exposure_up, Effect.LIGHT, needs_face=False),
    "exposure-down": Kind(_exposure_down, Effect.DARK, needs_face=False),
    "gain-up": Kind(_gain_up, Effect.LIGHT, needs_face=False),
    "gain-down": Kind(_gain_down, Effect.DARK, needs_face=False),
    "temperature": Kind(_temperature, Effect.NONE, needs_face=False),
    "saturation": Kind(_saturation, Effect.NONE, needs_face=False),
    "contrast": Kind(_contrast, Effect.NONE, needs_face=False),
    "posterize": Kind(_posterize, Effect.NONE, needs_face=False),
    "paint-strokes": Kind(_paint_strokes, Effect.NONE, needs_face=False),
    "sepia": Kind(_sepia, Effect.NONE, needs_face=False),
    "crop": Kind(_crop, Effect.NONE, needs_face=False),
    "rotate": Kind(_rotate, Effect.NONE, needs_face=False),
    "mirror": Kind(_mirror, Effect.NONE, needs_face=False),
    "resize": Kind(_resize, Effect.NONE, needs_face=False),
    "frame": Kind(_frame, Effect.NONE, needs_face=False),
    "background-blur": Kind(_background_blur, Effect.NONE),
    "background-swap": Kind(_background_swap, Effect.NONE),
    "background-plain": Kind(_background_plain, Effect.NONE),
    "background-gradient": Kind(_background_gradient, Effect.NONE),
    "background-pattern": Kind(_background_pattern, Effect.NONE),
    "black-bars": Kind(_bars, Effect.NONE, needs_face=False),
    "vignette": Kind(_vignette, Effect.NONE, needs_face=False),
    "sharpen": Kind(_sharpen, Effect.NONE, needs_face=False),
    "denoise": Kind(_denoise, Effect.NONE, needs_face=False),
    "grain": Kind(_grain, Effect.NONE, needs_face=False),
    "recompress": Kind(_recompress, Effect.NONE, needs_face=False),
    "object": Kind(_object, Effect.NONE, needs_face=False),
    "caption": Kind(_caption, Effect.NONE, needs_face=False),
    "hide-blur": Kind(_hide_blur, Effect.NONE),
    "hide-pixelate": Kind(_hide_pixelate, Effect.NONE),
}
"""Name -> kind."""
