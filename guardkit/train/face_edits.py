"""More edits of faces and of who is there: shape, identity, what is drawn on a face, people taken away."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from guardkit.image.decode import Pixels
from guardkit.train.edit_scene import (
    Box,
    Effect,
    Floats,
    Kind,
    Scene,
    each,
    keep_faces,
    mixed,
    oval,
    part_of,
)
from guardkit.train.edit_warp import Move, warped

_EYES = ((0.12, 0.26, 0.46, 0.5), (0.54, 0.26, 0.88, 0.5))
_MOUTH = (0.2, 0.62, 0.8, 0.95)

# --- shape ----------------------------------------------------------------------------------------


def _each_warped(scene: Scene, move: Move) -> Pixels:
    return each(scene, lambda pixels, box: warped(pixels, box, move))


def _swirl(scene: Scene, random: Generator) -> Pixels:
    turn = float(random.uniform(0.8, 1.8) * random.choice((-1, 1)))

    def move(x: Floats, y: Floats) -> tuple[Floats, Floats]:
        angle = turn * (1 - np.hypot(x, y)).clip(0, 1)
        return x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)

    return _each_warped(scene, move)


def _shrunk(scene: Scene, random: Generator) -> Pixels:
    """A face too small or too large for its head."""
    factor = float(random.choice((random.uniform(0.6, 0.7), random.uniform(1.4, 1.7))))
    return _each_warped(scene, lambda x, y: (x * factor, y * factor))


def _slanted(scene: Scene, random: Generator) -> Pixels:
    slant = float(random.uniform(0.35, 0.65) * random.choice((-1, 1)))
    return _each_warped(scene, lambda x, y: (x + slant * y, y))


def _jaw(scene: Scene, random: Generator) -> Pixels:
    """Wide below and narrow above, or the other way round."""
    bend = float(random.uniform(0.5, 0.9) * random.choice((-1, 1)))
    return _each_warped(scene, lambda x, y: (x * (1 - bend * y.clip(-1, 1)).clip(0.35, 2.2), y))


def _halves_apart(scene: Scene, random: Generator) -> Pixels:
    """One half of a face higher than the other."""
    by = float(random.uniform(0.12, 0.22) * random.choice((-1, 1)))
    return _each_warped(scene, lambda x, y: (x, y + by * np.tanh(x * 12)))


def _two_alike(scene: Scene, random: Generator) -> Pixels:
    """One half of a face, and its mirror image moved closer, as the other."""
    side, by = float(random.choice((-1, 1))), float(random.uniform(0.08, 0.16))
    return _each_warped(scene, lambda x, y: (side * (np.abs(x) + by), y))


def _parts_bulged(
    scene: Scene, parts: tuple[tuple[float, float, float, float], ...], power: float
) -> Pixels:
    def move(x: Floats, y: Floats) -> tuple[Floats, Floats]:
        far = np.hypot(x, y).clip(1e-3, None)
        factor = np.where(far < 1, far ** (1 / power - 1), 1.0).astype(np.float32)
        return x * factor, y * factor

    def change(pixels: Pixels, box: Box) -> Pixels:
        for part in parts:
            pixels = warped(pixels, part_of(box, part), move)
        return pixels

    return each(scene, change)


def _big_eyes(scene: Scene, random: Generator) -> Pixels:
    return _parts_bulged(scene, _EYES, float(random.uniform(0.38, 0.5)))


def _big_mouth(scene: Scene, random: Generator) -> Pixels:
    return _parts_bulged(scene, (_MOUTH,), float(random.uniform(0.38, 0.5)))


def _features_turned(scene: Scene, _: Generator) -> Pixels:
    """Eyes and mouth upside down where they are."""

    def change(pixels: Pixels, box: Box) -> Pixels:
        for part in (*_EYES, _MOUTH):
            left, top, right, bottom = (int(max(side, 0)) for side in part_of(box, part))
            turned = pixels.copy()
            turned[top:bottom, left:right] = pixels[top:bottom, left:right][::-1]
            pixels = mixed(pixels, turned, oval(pixels.shape, part_of(box, part)))
        return pixels

    return each(scene, change)


# --- identity -------------------------------------------------------------------------------------


def _robot(scene: Scene, random: Generator) -> Pixels:
    """A box of metal with round lamps for eyes, in the place of each face."""
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    metal, lamp = int(random.integers(110, 190)), tuple(random.integers(120, 256, 3).tolist())
    for box in scene.faces:
        line = max(1, round((box[2] - box[0]) / 30))
        draw.rectangle(box, fill=(metal, metal, metal + 8), outline=(40, 40, 45), width=line)
        for left in (0.18, 0.58):
            draw.ellipse(part_of(box, (left, 0.25, left + 0.24, 0.45)), fill=lamp, outline=(40, 40, 45), width=line)  # fmt: skip
        for top in (0.66, 0.74, 0.82):
            draw.rectangle(part_of(box, (0.25, top, 0.75, top + 0.03)), fill=(45, 45, 50))
    return np.asarray(image)


def _pumpkin(scene: Scene, random: Generator) -> Pixels:
    """A carved vegetable in the place of each face."""
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    skin = ((225, 120, 20), (120, 150, 40), (190, 60, 40))[random.integers(3)]
    for box in scene.faces:
        draw.ellipse(part_of(box, (-0.1, 0.0, 1.1, 1.0)), fill=skin)
        for left in (0.16, 0.58):
            low, high, right, bottom = part_of(box, (left, 0.25, left + 0.26, 0.45))
            draw.polygon([(low, bottom), ((low + right) / 2, high), (right, bottom)], fill=(50, 25, 5))  # fmt: skip
        draw.chord(part_of(box, (0.18, 0.45, 0.82, 0.85)), 0, 180, fill=(50, 25, 5))
    return np.asarray(image)


def _textured(scene: Scene, random: Generator) -> Pixels:
    """A face with the surface of something else."""
    size = scene.pixels.shape[1], scene.pixels.shape[0]
    surface = np.asarray(Image.fromarray(scene.backdrop).convert("L").resize(size), np.float32)
    relief = (surface - surface.mean())[..., None] * float(random.uniform(0.9, 1.5))
    return each(scene, lambda pixels, box: mixed(pixels, (pixels * 0.6 + 50 + relief).clip(0, 255), oval(pixels.shape, box)))  # fmt: skip


def _cartoon(scene: Scene, random: Generator) -> Pixels:
    """Faces alone turned to few flat colours with dark outlines."""
    image = Image.fromarray(scene.pixels).filter(ImageFilter.MedianFilter(5))
    flat = np.asarray(image.quantize(int(random.integers(4, 8))).convert("RGB"), np.float32)
    edges = np.asarray(image.convert("L").filter(ImageFilter.FIND_EDGES), np.float32)[..., None]
    drawn = (flat - edges * 2).clip(0, 255)
    return each(scene, lambda pixels, box: mixed(pixels, drawn, oval(pixels.shape, box, grow=0.1)))


# --- drawn on a face ------------------------------------------------------------------------------


def _hatched(scene: Scene, random: Generator) -> Pixels:
    """Thin lines side by side over each face."""
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    colour = tuple(random.integers(0, 90, 3).tolist())
    for left, top, right, bottom in scene.faces:
        width = max(1, round((right - left) * 0.03))
        lean = (right - left) * float(random.uniform(-0.25, 0.25))
        for x in np.linspace(left, right, int(random.integers(6, 12))).tolist():
            draw.line((x, top, x + lean, bottom), fill=colour, width=width)
    return np.asarray(image)


def _devil(scene: Scene, random: Generator) -> Pixels:
    """A moustache and horns, drawn."""
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    colour = ((15, 15, 15), (130, 30, 30), (40, 60, 30))[random.integers(3)]
    for box in scene.faces:
        wide = box[2] - box[0]
        for side in (-1, 1):
            middle, (_, y, _, low) = (box[0] + box[2]) / 2, part_of(box, (0, 0.66, 1, 0.75))
            draw.polygon([(middle, y), (middle + side * wide * 0.34, y - wide * 0.05), (middle + side * wide * 0.1, low)], fill=colour)  # fmt: skip
            root = middle + side * wide * 0.22
            draw.polygon([(root, box[1]), (root + side * wide * 0.2, box[1]), (root + side * wide * 0.2, box[1] - wide * 0.3)], fill=colour)  # fmt: skip
    return np.asarray(image)


def _cracked(scene: Scene, random: Generator) -> Pixels:
    """Dark jagged lines from the middle of each face outwards."""
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    for left, top, right, bottom in scene.faces:
        start = np.array(((left + right) / 2, (top + bottom) / 2))
        for turn in random.uniform(0, 2 * np.pi, int(random.integers(4, 8))):
            step = np.array((np.cos(turn), np.sin(turn))) * (right - left) / 8
            steps = np.cumsum(step + random.normal(0, (right - left) / 16, (5, 2)), axis=0) + start
            draw.line([tuple(point) for point in (start.tolist(), *steps.tolist())], fill=(12, 12, 14), width=max(2, round((right - left) / 40)))  # fmt: skip
    return np.asarray(image)


def _taped(scene: Scene, random: Generator) -> Pixels:
    """A strip over the mouth."""
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    colour = ((190, 190, 185), (40, 40, 40), (200, 170, 90))[random.integers(3)]
    for box in scene.faces:
        draw.rectangle(part_of(box, (0.1, 0.64, 0.9, 0.88)), fill=colour)
    return np.asarray(image)


def _torn(scene: Scene, random: Generator) -> Pixels:
    """A white tear down each face, its edges ragged."""
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    for left, top, right, bottom in scene.faces:
        wide = right - left
        ys = np.linspace(top - wide * 0.1, bottom + wide * 0.1, 9)
        xs = left + wide * random.uniform(0.3, 0.7) + random.normal(0, wide * 0.06, 9)
        thick = wide * random.uniform(0.06, 0.16, 9)
        points = [
            *zip(xs - thick, ys, strict=True),
            *zip((xs + thick)[::-1], ys[::-1], strict=True),
        ]
        draw.polygon([(float(x), float(y)) for x, y in points], fill=(245, 243, 238))
    return np.asarray(image)


def _badge(scene: Scene, random: Generator) -> Pixels:
    """A bright disc with a word on each face."""
    image = Image.fromarray(scene.pixels)
    draw = ImageDraw.Draw(image)
    colour = tuple(random.integers(60, 256, 3).tolist())
    word = str(random.choice(("FAIL", "LOL", "VOID", "?!")))
    for box in scene.faces:
        draw.ellipse(part_of(box, (0.12, 0.2, 0.88, 0.85)), fill=colour)
        x, y, right, _ = part_of(box, (0.22, 0.4, 0.78, 0.6))
        draw.text((x, y), word, fill=(10, 10, 10), font_size=max(6.0, (right - x) / 2.5))
    return np.asarray(image)


# --- people taken away ----------------------------------------------------------------------------


def _cloned(scene: Scene, random: Generator) -> Pixels:
    """Each person under a copy of another part of the picture."""
    by = int(scene.pixels.shape[1] * random.uniform(0.3, 0.5) * random.choice((-1, 1)))
    return mixed(scene.pixels, np.roll(scene.pixels, by, axis=1), keep_faces(scene))


def _silhouette(scene: Scene, random: Generator) -> Pixels:
    """Each person one flat colour."""
    flat = np.empty_like(scene.pixels)
    flat[:] = random.integers(0, 256, 3)
    return mixed(scene.pixels, flat, keep_faces(scene))


def _faded(scene: Scene, random: Generator) -> Pixels:
    """Each person hardly there, before a blur of what is around."""
    far = min(scene.pixels.shape[:2]) / 5
    around = np.asarray(Image.fromarray(scene.pixels).filter(ImageFilter.GaussianBlur(far)))
    return mixed(scene.pixels, around, keep_faces(scene) * float(random.uniform(0.82, 0.95)))


def _sliced(scene: Scene, random: Generator) -> Pixels:
    """Each person filled with one column of the picture drawn across."""
    at = int(random.integers(scene.pixels.shape[1] // 8)) * int(random.choice((-1, 1)))
    filled = np.repeat(scene.pixels[:, [at]], scene.pixels.shape[1], axis=1)
    return mixed(scene.pixels, filled, keep_faces(scene))


FACES: dict[str, Kind] = {
    "swirl": Kind(_swirl, Effect.SHAPE),
    "face-resized": Kind(_shrunk, Effect.SHAPE),
    "face-slanted": Kind(_slanted, Effect.SHAPE),
    "jaw": Kind(_jaw, Effect.SHAPE),
    "halves-apart": Kind(_halves_apart, Effect.SHAPE),
    "halves-alike": Kind(_two_alike, Effect.SHAPE),
    "big-eyes": Kind(_big_eyes, Effect.SHAPE),
    "big-mouth": Kind(_big_mouth, Effect.SHAPE),
    "features-turned": Kind(_features_turned, Effect.SHAPE),
    "robot": Kind(_robot, Effect.IDENTITY),
    "pumpkin": Kind(_pumpkin, Effect.IDENTITY),
    "textured": Kind(_textured, Effect.IDENTITY),
    "cartoon": Kind(_cartoon, Effect.IDENTITY),
    "hatched": Kind(_hatched, Effect.DEFACED),
    "devil": Kind(_devil, Effect.DEFACED),
    "cracked": Kind(_cracked, Effect.DEFACED),
    "taped": Kind(_taped, Effect.DEFACED),
    "torn": Kind(_torn, Effect.DEFACED),
    "badge": Kind(_badge, Effect.DEFACED),
    "person-cloned": Kind(_cloned, Effect.REMOVED, needs_room=True),
    "silhouette": Kind(_silhouette, Effect.REMOVED, needs_room=True),
    "person-faded": Kind(_faded, Effect.REMOVED, needs_room=True),
    "person-sliced": Kind(_sliced, Effect.REMOVED, needs_room=True),
}
"""Name -> kind."""
