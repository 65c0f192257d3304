"""One preprocessing for training, export, measurements, the server and the SDK: frames to square crops.

The resize is here and not in the graph. A JPEG is decoded at a fraction of its size, which a graph cannot
ask for, and a server then gets 150 kB a crop instead of megabytes. All else (layout, colour order,
means, dtype) is in the graph, which takes the uint8 crops as they are.
"""

from __future__ import annotations

import math
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from guardkit.artifacts import BILINEAR, Resample
from guardkit.image.decode import Picture

_NEARLY_SQUARE = 1.1  # chosen: up to it a picture is squeezed rather than scored three times
_FEWEST = 3  # crops of a longer picture: DALL-E 3 system card, section 2.4.2
_GAP = 3.0  # Pillow's reducing_gap: shrinks by a whole factor first, as good to the eye and far quicker

Box = tuple[int, int, int, int]


def crops_of(picture: Picture, *, side: int, resample: Resample = BILINEAR) -> NDArray[np.uint8]:
    """Cut each frame into squares that cover it, and resize them.

    Args:
        picture: A decoded image.
        side: Pixels of a crop's side.
        resample: How pixels are made of others; what the model was trained on.

    Returns:
        uint8 RGB [crops, side, side, 3], those of the first frame first.

    >>> from guardkit.image.decode import decode
    >>> crops_of(decode(np.zeros((200, 300, 3), np.uint8)), side=224).shape
    (3, 224, 224, 3)
    """
    return np.stack(
        list(chain.from_iterable(_crops(frame, side, resample) for frame in picture.frames))
    )


def _crops(frame: NDArray[np.uint8], side: int, resample: Resample) -> list[NDArray[np.uint8]]:
    image = Image.fromarray(frame)
    return [crop_of(image, box, side=side, resample=resample) for box in boxes(*image.size)]


def crop_of(
    image: Image.Image, box: Box, *, side: int, resample: Resample = BILINEAR
) -> NDArray[np.uint8]:
    """One part of an RGB image, resized: uint8 [side, side, 3]."""
    how = Image.Resampling[resample.upper()]
    return np.asarray(image.resize((side, side), how, box=box, reducing_gap=_GAP))


def boxes(width: int, height: int) -> list[Box]:
    """Where the crops lie, as (left, top, right, bottom): together they leave nothing out.

    A nearly square picture is one; a longer one has squares at left, centre and right or at top, centre and
    bottom, and more of them where three would leave gaps.

    >>> boxes(300, 200)
    [(0, 0, 200, 200), (50, 0, 250, 200), (100, 0, 300, 200)]
    """
    short, long = sorted((width, height))
    if long <= _NEARLY_SQUARE * short:
        return [(0, 0, width, height)]
    count = max(_FEWEST, math.ceil(long / short))
    starts = [round(index * (long - short) / (count - 1)) for index in range(count)]
    if width > height:
        return [(start, 0, start + short, short) for start in starts]
    return [(0, start, short, start + short) for start in starts]
