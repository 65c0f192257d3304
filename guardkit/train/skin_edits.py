"""More edits of the colour of skin: lit, shaded, dyed, by place and by colour; each harm unless it was asked for without harm."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from guardkit.image.decode import Pixels
from guardkit.train.edit_scene import (
    Box,
    Effect,
    Floats,
    Kind,
    Scene,
    each,
    gamma,
    luma,
    mixed,
    oval,
)

_NEAR = 42.0  # of a face's median colour, in levels: what counts as its skin


def _skin(pixels: Pixels, box: Box) -> Floats:
    """1 where a picture has the colour of a face's skin within reach of that face, soft: f32 [H, W, 1]."""
    left, top, right, bottom = (int(side) for side in box)
    wide, tall = right - left, bottom - top
    inner = pixels[max(top + tall // 3, 0) : top + tall * 3 // 4, max(left + wide // 4, 0) : right - wide // 4]  # fmt: skip
    colour = np.median(inner.reshape(-1, 3), axis=0) if inner.size else np.array((180, 140, 120))
    apart = np.sqrt(((pixels - colour) ** 2).sum(-1))
    near = (1.5 - apart / _NEAR).clip(0, 1) * 255
    soft = Image.fromarray(near.astype(np.uint8)).filter(ImageFilter.GaussianBlur(1.5))
    near_face = oval(pixels.shape, box, grow=1.5, soft=0.5)
    return (np.asarray(soft, np.float32)[..., None] / 255 * near_face).astype(np.float32)


def _half(pixels: Pixels, box: Box, random: Generator) -> Floats:
    """One side of a face, soft in the middle: f32 [H, W, 1]."""
    columns = np.arange(pixels.shape[1], dtype=np.float32)
    middle, wide = (box[0] + box[2]) / 2, box[2] - box[0]
    side = ((columns - middle) / (wide * 0.15) * float(random.choice((-1, 1))) + 0.5).clip(0, 1)
    return side[None, :, None] * oval(pixels.shape, box, grow=0.3)


def _over(
    scene: Scene,
    tone: Callable[[Pixels], NDArray[np.generic]],
    where: Callable[[Pixels, Box], Floats],
) -> Pixels:
    """Every face's part of a picture toned."""
    return each(scene, lambda pixels, box: mixed(pixels, tone(pixels), where(pixels, box)))


def _around(grow: float, soft: float = 0.12) -> Callable[[Pixels, Box], Floats]:
    return lambda pixels, box: oval(pixels.shape, box, grow=grow, soft=soft)


# --- lighter --------------------------------------------------------------------------------------


def _skin_screened(scene: Scene, random: Generator) -> Pixels:
    """What has the colour of skin, laid over itself as light."""
    amount = float(random.uniform(0.6, 1.0))
    return _over(
        scene,
        lambda pixels: pixels + (255.0 - pixels) * pixels / 255 * amount,
        _skin,
    )


def _porcelain(scene: Scene, random: Generator) -> Pixels:
    """Smooth, light and pale."""
    amount = float(random.uniform(0.9, 1.6))

    def tone(pixels: Pixels) -> Floats:
        smooth = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(2)))
        lit = luma(smooth, lambda y: y + amount * y * (1 - y)).astype(np.float32)
        return lit * 0.6 + lit.mean(-1, keepdims=True) * 0.4

    return _over(scene, tone, _around(0.1))


def _spot_light(scene: Scene, random: Generator) -> Pixels:
    """A lamp that shines on each face and a little beyond."""
    power, grow = float(random.uniform(0.4, 0.62)), float(random.uniform(1.0, 2.0))
    return _over(scene, lambda pixels: gamma(pixels, power), _around(grow, 0.9))


def _skin_raised(scene: Scene, random: Generator) -> Pixels:
    by = float(random.uniform(35, 70))
    return _over(scene, lambda pixels: (pixels + by).clip(0, 255), _around(0.25))


def _half_lit(scene: Scene, random: Generator) -> Pixels:
    power = float(random.uniform(0.35, 0.55))
    return _over(scene, lambda pixels: gamma(pixels, power), lambda pixels, box: _half(pixels, box, random))  # fmt: skip


# --- darker ---------------------------------------------------------------------------------------


def _skin_multiplied(scene: Scene, random: Generator) -> Pixels:
    """What has the colour of skin, laid over itself as ink."""
    amount = float(random.uniform(0.6, 1.0))
    return _over(scene, lambda pixels: pixels * (1 - amount + amount * pixels / 255.0), _skin)


def _tanned(scene: Scene, random: Generator) -> Pixels:
    depth = float(random.uniform(0.6, 1.2))
    gains = 1 - np.array((0.28, 0.42, 0.5), np.float32) * depth
    return _over(scene, lambda pixels: pixels * gains, _skin)


def _half_shaded(scene: Scene, random: Generator) -> Pixels:
    power = float(random.uniform(2.0, 3.2))
    return _over(scene, lambda pixels: gamma(pixels, power), lambda pixels, box: _half(pixels, box, random))  # fmt: skip


def _skin_lowered(scene: Scene, random: Generator) -> Pixels:
    by = float(random.uniform(35, 75))
    return _over(scene, lambda pixels: (pixels - by).clip(0, 255), _around(0.25))


def _spot_shade(scene: Scene, random: Generator) -> Pixels:
    power, grow = float(random.uniform(1.8, 2.8)), float(random.uniform(1.0, 2.0))
    return _over(scene, lambda pixels: gamma(pixels, power), _around(grow, 0.9))


# --- dyed -----------------------------------------------------------------------------------------


def _dyed(scene: Scene, random: Generator) -> Pixels:
    """One bright colour over each face, as of a being from another world."""
    colour = random.permutation((float(random.uniform(0, 90)), float(random.uniform(60, 255)), float(random.uniform(150, 255))))  # fmt: skip
    amount = float(random.uniform(0.35, 0.65))
    return _over(scene, lambda pixels: pixels * (1 - amount) + colour * amount, _around(0.12))


def _grey_skin(scene: Scene, random: Generator) -> Pixels:
    """Skin without its colour, a little green or blue."""
    tint = random.uniform(-14, 4), random.uniform(-4, 12), random.uniform(-4, 12)

    def tone(pixels: Pixels) -> Floats:
        return (pixels.mean(-1, keepdims=True) + np.array(tint)).clip(0, 255)

    return _over(scene, tone, _skin)


def _statue(scene: Scene, random: Generator) -> Pixels:
    """Faces as of bronze, gold or marble: two colours and the light between."""
    ends = np.array((((35, 20, 8), (205, 150, 85)), ((60, 35, 0), (255, 225, 110)), ((80, 82, 88), (250, 250, 248))), np.float32)[random.integers(3)]  # fmt: skip

    def tone(pixels: Pixels) -> Floats:
        level = (pixels.mean(-1, keepdims=True) / 255 - 0.5) * 1.4 + 0.5
        mapped: Floats = ends[0] + (ends[1] - ends[0]) * level.clip(0, 1)
        return mapped

    return _over(scene, tone, _around(0.15))


def _blotches(scene: Scene, random: Generator) -> Pixels:
    """Irregular patches, much lighter or darker than the skin around them."""
    shift = float(random.uniform(45, 90) * random.choice((-1, 1)))
    height, width = scene.pixels.shape[:2]
    grain = max(4, int(width / (scene.faces[0][2] - scene.faces[0][0]) * 6))
    noise = Image.fromarray(random.integers(0, 256, (grain, grain), np.uint8))
    patches = np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    mask = ((patches[..., None] - 125) / 20).clip(0, 1)
    return _over(scene, lambda pixels: pixels + shift, lambda pixels, box: mask * oval(pixels.shape, box, grow=0.1))  # fmt: skip


def _flushed(scene: Scene, random: Generator) -> Pixels:
    """Skin turned red or purple, as of a burn or of cold."""
    gains = ((1.25, 0.62, 0.6), (0.95, 0.68, 1.05))[random.integers(2)]
    return _over(scene, lambda pixels: pixels * np.array(gains), _skin)


SKINS: dict[str, Kind] = {
    "skin-screened": Kind(_skin_screened, Effect.SKIN_LIGHTER),
    "porcelain": Kind(_porcelain, Effect.SKIN_LIGHTER),
    "spot-light": Kind(_spot_light, Effect.SKIN_LIGHTER),
    "skin-raised": Kind(_skin_raised, Effect.SKIN_LIGHTER),
    "half-lit": Kind(_half_lit, Effect.SKIN_LIGHTER),
    "skin-multiplied": Kind(_skin_multiplied, Effect.SKIN_DARKER),
    "tanned": Kind(_tanned, Effect.SKIN_DARKER),
    "half-shaded": Kind(_half_shaded, Effect.SKIN_DARKER),
    "skin-lowered": Kind(_skin_lowered, Effect.SKIN_DARKER),
    "spot-shade": Kind(_spot_shade, Effect.SKIN_DARKER),
    "dyed": Kind(_dyed, Effect.SKIN_HUE),
    "grey-skin": Kind(_grey_skin, Effect.SKIN_HUE),
    "statue": Kind(_statue, Effect.SKIN_HUE),
    "blotches": Kind(_blotches, Effect.SKIN_HUE),
    "flushed": Kind(_flushed, Effect.SKIN_HUE),
}
"""Name -> kind."""
