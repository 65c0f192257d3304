"""More edits of light and colour of the whole picture, as editors' sliders, curves and filters make them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageChops, ImageFilter, ImageOps

from guardkit.image.decode import Pixels
from guardkit.train.edit_scene import Effect, Floats, Kind, Numbers, Scene, gamma, luma, mixed

_LIGHT_MASK = 0.15  # least share of a light from one side on the other one


def _brightness_up(scene: Scene, random: Generator) -> Pixels:
    return _shifted(scene.pixels, float(random.uniform(25, 65)))


def _brightness_down(scene: Scene, random: Generator) -> Pixels:
    return _shifted(scene.pixels, -float(random.uniform(25, 65)))


def _shifted(pixels: Pixels, by: float) -> Pixels:
    return (pixels + by).clip(0, 255).astype(np.uint8)


def _shadows_up(scene: Scene, random: Generator) -> Pixels:
    amount = float(random.uniform(1.2, 2.6))
    return luma(scene.pixels, lambda y: y + amount * y * (1 - y) ** 2)


def _highlights_down(scene: Scene, random: Generator) -> Pixels:
    amount = float(random.uniform(1.0, 2.0))
    return luma(scene.pixels, lambda y: y - amount * y**2 * (1 - y) - 0.1 * amount * y**3)


def _screened(scene: Scene, random: Generator) -> Pixels:
    """The picture laid over itself as light."""
    lit = 255 - (255 - scene.pixels.astype(np.float32)) ** 2 / 255
    return _part(scene.pixels, lit, float(random.uniform(0.4, 0.9)))


def _multiplied(scene: Scene, random: Generator) -> Pixels:
    """The picture laid over itself as ink."""
    inked = scene.pixels.astype(np.float32) ** 2 / 255
    return _part(scene.pixels, inked, float(random.uniform(0.5, 1.0)))


def _part(pixels: Pixels, other: Numbers | Pixels, amount: float) -> Pixels:
    return mixed(pixels, other, np.full((*pixels.shape[:2], 1), amount, np.float32))


def _haze(scene: Scene, random: Generator) -> Pixels:
    pale = np.empty_like(scene.pixels)
    pale[:] = random.integers(200, 245)
    return _part(scene.pixels, pale, float(random.uniform(0.2, 0.45)))


def _local_tones(scene: Scene, random: Generator) -> Pixels:
    """Dark places lighter, light ones darker, detail kept, as a phone maps tones."""
    radius = min(scene.pixels.shape[:2]) / 8
    around = np.asarray(Image.fromarray(scene.pixels).convert("L").filter(ImageFilter.GaussianBlur(radius)), np.float32)  # fmt: skip
    amount = float(random.uniform(0.35, 0.65))
    factor = (130 / (around + 20)) ** amount
    return (scene.pixels * factor[..., None]).clip(0, 255).astype(np.uint8)


def _glow(scene: Scene, random: Generator) -> Pixels:
    image = Image.fromarray(scene.pixels)
    blurred = image.filter(ImageFilter.GaussianBlur(float(random.uniform(4, 10))))
    lit = np.asarray(ImageChops.screen(image, blurred))
    return _part(scene.pixels, lit, float(random.uniform(0.35, 0.7)))


def _slope(scene: Scene, random: Generator) -> Floats:
    """From `_LIGHT_MASK` to 1 along a direction: f32 [H, W, 1]."""
    height, width = scene.pixels.shape[:2]
    turn = float(random.uniform(0, 2 * np.pi))
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    along = (np.cos(turn) * columns + np.sin(turn) * rows) / 2 + 0.5
    return np.clip(along, _LIGHT_MASK, 1)[..., None].astype(np.float32)


def _side_light(scene: Scene, random: Generator) -> Pixels:
    lit = gamma(scene.pixels, float(random.uniform(0.35, 0.6)))
    return mixed(scene.pixels, lit, _slope(scene, random))


def _side_shade(scene: Scene, random: Generator) -> Pixels:
    shaded = gamma(scene.pixels, float(random.uniform(1.7, 2.8)))
    return mixed(scene.pixels, shaded, _slope(scene, random))


def _dusk(scene: Scene, random: Generator) -> Pixels:
    """Evening: darker, and blue."""
    darker = gamma(scene.pixels, float(random.uniform(1.2, 1.8)))
    return (darker * np.array((0.75, 0.85, 1.05))).clip(0, 255).astype(np.uint8)


def _split_tone(scene: Scene, random: Generator) -> Pixels:
    """Shadows towards one colour, lights towards another."""
    level = scene.pixels.mean(-1, keepdims=True) / 255
    tints = random.uniform(-30, 30, (2, 3))
    tinted = scene.pixels + (tints[0] - tints[0].mean()) * (1 - level) + (tints[1] - tints[1].mean()) * level  # fmt: skip
    return tinted.clip(0, 255).astype(np.uint8)


def _channel_curves(scene: Scene, random: Generator) -> Pixels:
    """A curve of its own a channel, as cross-processed film has."""
    powers = random.uniform(0.78, 1.28, 3)
    channels = [gamma(scene.pixels[..., at], float(power)) for at, power in enumerate(powers)]
    return np.stack(channels, axis=-1)


def _hue_turned(scene: Scene, random: Generator) -> Pixels:
    hue, saturation, value = Image.fromarray(scene.pixels).convert("HSV").split()
    turn = int(random.integers(10, 40) * random.choice((-1, 1)))
    turned = Image.fromarray((np.asarray(hue).astype(int) + turn).astype(np.uint8))
    return np.asarray(Image.merge("HSV", (turned, saturation, value)).convert("RGB"))


def _negative(scene: Scene, _: Generator) -> Pixels:
    return 255 - scene.pixels


def _solarized(scene: Scene, random: Generator) -> Pixels:
    return np.asarray(ImageOps.solarize(Image.fromarray(scene.pixels), int(random.integers(120, 200))))  # fmt: skip


def _vibrance(scene: Scene, random: Generator) -> Pixels:
    """Pale colours stronger, strong ones as they are."""
    grey = scene.pixels.mean(-1, keepdims=True)
    away = scene.pixels - grey
    factor = 1 + float(random.uniform(0.5, 1.2)) * np.exp(-np.abs(away).max(-1, keepdims=True) / 50)
    return (grey + away * factor).clip(0, 255).astype(np.uint8)


def _s_curve(scene: Scene, random: Generator) -> Pixels:
    """Contrast of lightness alone, steep in the middle."""
    steep = float(random.uniform(4, 7))
    low, high = 1 / (1 + np.exp(steep / 2)), 1 / (1 + np.exp(-steep / 2))
    return luma(scene.pixels, lambda y: (1 / (1 + np.exp(-steep * (y - 0.5))) - low) / (high - low))


def _matte(scene: Scene, random: Generator) -> Pixels:
    """Faded, as an old print: black is grey, and white is."""
    low, high = float(random.uniform(25, 60)), float(random.uniform(200, 240))
    return (low + scene.pixels * ((high - low) / 255)).astype(np.uint8)


def _whole(edit: Callable[[Scene, Generator], Pixels], effect: Effect) -> Kind:
    return Kind(edit, effect, needs_face=False)


LIGHTS: dict[str, Kind] = {
    "brightness-up": _whole(_brightness_up, Effect.LIGHT),
    "shadows-up": _whole(_shadows_up, Effect.LIGHT),
    "screened": _whole(_screened, Effect.LIGHT),
    "haze": _whole(_haze, Effect.LIGHT),
    "local-tones": _whole(_local_tones, Effect.LIGHT),
    "glow": _whole(_glow, Effect.LIGHT),
    "side-light": _whole(_side_light, Effect.LIGHT),
    "brightness-down": _whole(_brightness_down, Effect.DARK),
    "highlights-down": _whole(_highlights_down, Effect.DARK),
    "multiplied": _whole(_multiplied, Effect.DARK),
    "side-shade": _whole(_side_shade, Effect.DARK),
    "dusk": _whole(_dusk, Effect.DARK),
    "split-tone": _whole(_split_tone, Effect.NONE),
    "channel-curves": _whole(_channel_curves, Effect.NONE),
    "hue-turned": _whole(_hue_turned, Effect.NONE),
    "negative": _whole(_negative, Effect.NONE),
    "solarized": _whole(_solarized, Effect.NONE),
    "vibrance": _whole(_vibrance, Effect.NONE),
    "s-curve": _whole(_s_curve, Effect.NONE),
    "matte": _whole(_matte, Effect.NONE),
}
"""Name -> kind."""
