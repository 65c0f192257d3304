"""More edits that are no harm in themselves: styles, geometry, weather."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from guardkit.image.decode import Pixels
from guardkit.train.edit_scene import (
    Effect,
    Floats,
    Kind,
    Numbers,
    Scene,
    mixed,
    oval,
)
from guardkit.train.edit_warp import moved

# --- styles ---------------------------------------------------------------------------------------


def _pixel_art(scene: Scene, random: Generator) -> Pixels:
    image = Image.fromarray(scene.pixels)
    small = image.resize([max(8, side // int(random.integers(3, 7))) for side in image.size])
    few = small.quantize(int(random.integers(16, 64))).convert("RGB")
    return np.asarray(few.resize(image.size, Image.Resampling.NEAREST))


def _halftone(scene: Scene, random: Generator) -> Pixels:
    """Black dots on white, larger where it is darker."""
    grey = np.asarray(Image.fromarray(scene.pixels).convert("L"), np.float32) / 255
    rows, columns = np.mgrid[: grey.shape[0], : grey.shape[1]] * (np.pi / random.uniform(3, 6))
    screen = (np.sin(rows) * np.sin(columns) + 1) / 2
    return ((grey > screen)[..., None] * np.full(3, 255)).astype(np.uint8)


def _drawing(scene: Scene, random: Generator) -> Pixels:
    """Dark edges on white paper."""
    grey = Image.fromarray(scene.pixels).convert("L")
    soft = np.asarray(
        grey.filter(ImageFilter.GaussianBlur(float(random.uniform(2, 5)))), np.float32
    )
    dodged = (np.asarray(grey, np.float32) * 255 / (soft + 1)).clip(0, 255)
    return dodged.astype(np.uint8)[..., None].repeat(3, axis=-1)


def _watercolour(scene: Scene, random: Generator) -> Pixels:
    """Flat washes, paler, with darker edges."""
    image = Image.fromarray(scene.pixels).filter(ImageFilter.MedianFilter(5))
    flat = np.asarray(ImageOps.posterize(image.filter(ImageFilter.MedianFilter(5)), 5), np.float32)
    edges = np.asarray(image.convert("L").filter(ImageFilter.FIND_EDGES), np.float32)[..., None]
    return (
        (flat * 0.85 + 35 - edges * float(random.uniform(0.2, 0.5))).clip(0, 255).astype(np.uint8)
    )


def _canvas(scene: Scene, random: Generator) -> Pixels:
    """A weave over the picture."""
    rows, columns = np.mgrid[: scene.pixels.shape[0], : scene.pixels.shape[1]]
    weave = np.sin(rows * random.uniform(1, 2)) + np.sin(columns * random.uniform(1, 2))
    return (scene.pixels + weave[..., None] * float(random.uniform(5, 12))).clip(0, 255).astype(np.uint8)  # fmt: skip


def _fringes(scene: Scene, random: Generator) -> Pixels:
    """Red and blue moved apart, as a cheap lens does."""
    by = int(random.integers(2, 6))
    red, green, blue = (scene.pixels[..., at] for at in range(3))
    return np.stack([np.roll(red, by, axis=1), green, np.roll(blue, -by, axis=1)], axis=-1)


def _tilt_shift(scene: Scene, random: Generator) -> Pixels:
    """Sharp in a band across, blurred above and below."""
    height = scene.pixels.shape[0]
    blurred = Image.fromarray(scene.pixels).filter(ImageFilter.GaussianBlur(float(random.uniform(3, 7))))  # fmt: skip
    middle = float(random.uniform(0.3, 0.7))
    away = np.abs(np.linspace(0, 1, height) - middle)[:, None, None]
    mask = np.broadcast_to(((away - 0.12) / 0.2).clip(0, 1), (*scene.pixels.shape[:2], 1))
    return mixed(scene.pixels, np.asarray(blurred), mask.astype(np.float32))


def _motion(scene: Scene, random: Generator) -> Pixels:
    """The camera moved."""
    length = int(random.integers(4, 11))
    across = bool(random.random() < 0.5)
    shifted = [np.roll(scene.pixels, by, axis=int(across)).astype(np.float32) for by in range(length)]  # fmt: skip
    return np.mean(shifted, axis=0).astype(np.uint8)


# --- geometry -------------------------------------------------------------------------------------


def _lens(scene: Scene, random: Generator) -> Pixels:
    bend = float(random.uniform(0.08, 0.25) * random.choice((-1, 1)))
    scale = 1 + min(bend, 0) * -1.2

    def move(x: Floats, y: Floats) -> tuple[Numbers, Numbers]:
        factor = (1 + bend * (x**2 + y**2)) / max(scale, 1 + 2 * bend)
        return x * factor, y * factor

    return moved(scene.pixels, move)


def _sheared(scene: Scene, random: Generator) -> Pixels:
    slant = float(random.uniform(0.06, 0.2) * random.choice((-1, 1)))
    inside = 1 / (1 + abs(slant))
    return moved(scene.pixels, lambda x, y: ((x + slant * y) * inside, y * inside))


def _perspective(scene: Scene, random: Generator) -> Pixels:
    depth = float(random.uniform(0.1, 0.28) * random.choice((-1, 1)))
    across = bool(random.random() < 0.5)

    def move(x: Floats, y: Floats) -> tuple[Numbers, Numbers]:
        near = 1 + depth * (x if across else y)
        return x * near / (1 + abs(depth)), y * near / (1 + abs(depth))

    return moved(scene.pixels, move)


def _outpainted(scene: Scene, random: Generator) -> Pixels:
    """A wider view: what lies beyond an edge is its mirror image, blurred."""
    edges = [int(side * random.uniform(0.05, 0.25)) for side in scene.pixels.shape[:2]]
    wide = np.pad(scene.pixels, ((edges[0],) * 2, (edges[1],) * 2, (0, 0)), mode="reflect")
    blurred = np.asarray(Image.fromarray(wide).filter(ImageFilter.GaussianBlur(float(random.uniform(1, 6))))).copy()  # fmt: skip
    blurred[edges[0] : -edges[0], edges[1] : -edges[1]] = scene.pixels
    return blurred


def _collage(scene: Scene, random: Generator) -> Pixels:
    """The picture beside another one."""
    height, width = scene.pixels.shape[:2]
    size = int(width * random.uniform(0.4, 1.0)), height
    other = np.asarray(ImageOps.fit(Image.fromarray(scene.backdrop), size))
    pair = [scene.pixels, other] if random.random() < 0.5 else [other, scene.pixels]
    return np.concatenate(pair, axis=1)


# --- weather and light ----------------------------------------------------------------------------


def _rain(scene: Scene, random: Generator) -> Pixels:
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image, "RGBA")
    slant, long = float(random.uniform(-6, 6)), image.height * float(random.uniform(0.04, 0.1))
    for x, y in random.uniform((0, 0), image.size, (int(random.integers(60, 200)), 2)).tolist():
        draw.line((x, y, x + slant, y + long), fill=(220, 225, 235, 130), width=1)
    return np.asarray(image)


def _snow(scene: Scene, random: Generator) -> Pixels:
    return _dots(scene, random, lambda: (250, 250, 255), 130, 0.008)


def _confetti(scene: Scene, random: Generator) -> Pixels:
    return _dots(scene, random, lambda: tuple(random.integers(0, 256, 3).tolist()), 90, 0.014)


def _dots(
    scene: Scene, random: Generator, colour: Callable[[], tuple[int, ...]], most: int, size: float
) -> Pixels:
    """Discs all over the picture; `size` is the largest radius, a share of the width."""
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    for x, y in random.uniform((0, 0), image.size, (int(random.integers(most // 3, most)), 2)).tolist():  # fmt: skip
        far = max(1.0, image.width * size * float(random.uniform(0.4, 1)))
        draw.ellipse((x - far, y - far, x + far, y + far), fill=colour())
    return np.asarray(image)


def _flare(scene: Scene, random: Generator) -> Pixels:
    """A bright spot at an edge, and discs on a line from it."""
    height, width = scene.pixels.shape[:2]
    x, y = float(random.choice((0.05, 0.95))) * width, float(random.uniform(0, 0.3)) * height
    lit = scene.pixels
    for at, size, amount in ((0, 0.35, 0.8), (0.4, 0.05, 0.25), (0.7, 0.09, 0.2), (1.1, 0.04, 0.3)):
        here = x + (width / 2 - x) * at * 2, y + (height / 2 - y) * at * 2
        far = width * size
        box = (here[0] - far, here[1] - far, here[0] + far, here[1] + far)
        soft = 1.0 if at == 0 else 0.1
        lit = mixed(lit, np.array((255, 246, 225)), oval(lit.shape, box, soft=soft) * amount)
    return lit


def _leaf_shadow(scene: Scene, random: Generator) -> Pixels:
    """Soft patches of shade over the whole."""
    height, width = scene.pixels.shape[:2]
    patches = Image.fromarray(random.integers(0, 256, (9, 9), np.uint8)).resize((width, height), Image.Resampling.BICUBIC)  # fmt: skip
    shade = (np.asarray(patches, np.float32)[..., None] > 140) * float(random.uniform(0.25, 0.45))
    soft = Image.fromarray((shade[..., 0] * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(3))  # fmt: skip
    return (scene.pixels * (1 - np.asarray(soft, np.float32)[..., None] / 255)).astype(np.uint8)


def _whole(edit: Callable[[Scene, Generator], Pixels]) -> Kind:
    return Kind(edit, Effect.NONE, needs_face=False)


STYLES: dict[str, Kind] = {
    "pixel-art": _whole(_pixel_art),
    "halftone": _whole(_halftone),
    "drawing": _whole(_drawing),
    "watercolour": _whole(_watercolour),
    "canvas": _whole(_canvas),
    "fringes": _whole(_fringes),
    "tilt-shift": _whole(_tilt_shift),
    "motion": _whole(_motion),
    "lens": _whole(_lens),
    "sheared": _whole(_sheared),
    "perspective": _whole(_perspective),
    "outpainted": _whole(_outpainted),
    "collage": _whole(_collage),
    "rain": _whole(_rain),
    "snow": _whole(_snow),
    "confetti": _whole(_confetti),
    "flare": _whole(_flare),
    "leaf-shadow": _whole(_leaf_shadow),
}
"""Name -> kind."""
