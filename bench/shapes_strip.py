"""A strip of generated pictures: a row a caption, a column a remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from bench.shapes_remedies import Remedy
from guardkit.shapes.generator import ShapesGenerator

_TEXTS = ("a red star", "a black triangle above a blue circle", "three blue squares", "a green star left of a red circle")  # fmt: skip
_SEEDS = (7, 8)  # before and after
_ZOOM, _GAP, _HEAD, _LEFT = 5, 8, 18, 236  # pixels


def save_strip(generator: ShapesGenerator, remedies: dict[str, Remedy], target: Path) -> None:
    """Generate, and write a PNG."""
    side = 16 * _ZOOM
    width, height = _LEFT + len(remedies) * (side + _GAP), _HEAD + len(_TEXTS) * (side + _GAP)
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    for row, text in enumerate(_TEXTS):
        draw.text((4, _HEAD + row * (side + _GAP) + side // 2 - 6), text, fill="black")
    for column, (name, remedy) in enumerate(remedies.items()):
        left = _LEFT + column * (side + _GAP)
        draw.text((left + 4, 3), name, fill="black")
        seed = _SEEDS[name != "before"]
        seeds = [seed * 1000 + row for row in range(len(_TEXTS))]
        for row, picture in enumerate(remedy.pictures(generator, _TEXTS, seeds)):
            pixels = np.round(picture * 255).astype(np.uint8)
            large = Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(large, (left, _HEAD + row * (side + _GAP)))
    sheet.save(target, optimize=True)
