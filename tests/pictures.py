"""Pictures that tests draw themselves, as arrays and as the bytes of files."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
Colour = tuple[int, int, int]
PORTRAIT = Path(__file__).parents[1] / "docs" / "pictures" / "portrait.jpg"
"""An astronaut (NASA, public domain), 320x320; the face is that of README's picture."""


def plain(colour: Colour = RED, *, width: int = 64, height: int = 64) -> NDArray[np.uint8]:
    """One colour, uint8 [height, width, 3]."""
    return np.full((height, width, 3), colour, np.uint8)


def halves(
    left: Colour = RED, right: Colour = BLUE, *, width: int = 64, height: int = 64
) -> NDArray[np.uint8]:
    """Two colours side by side, uint8 [height, width, 3]."""
    picture = plain(left, width=width, height=height)
    picture[:, width // 2 :] = right
    return picture


def encoded(pixels: NDArray[Any] | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of a file; `options` as in Pillow's `save`."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def animated(count: int, kind: str = "GIF", *, side: int = 32) -> bytes:
    """Frames that go from black to red, the last one full red; every other one has some blue.

    Two equal frames in a row would become one.
    """
    levels = [round(255 * index / (count - 1)) for index in range(count)]
    frames = [
        Image.fromarray(plain((level, 0, 40 * (number % 2)), width=side, height=side))
        for number, level in enumerate(levels)
    ]
    lossless = {"lossless": True} if kind == "WEBP" else {}
    return encoded(
        frames[0], kind, save_all=True, append_images=frames[1:], duration=40, **lossless
    )


def declared_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises any size: a decompression bomb."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return _png((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 4096)), (b"IEND", b""))


def animated_bomb(width: int, height: int, count: int) -> bytes:
    """A GIF whose frames are one pixel each, on a canvas of any size: a hundred frames in two kilobytes."""
    screen = (
        b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes([0, 0, 0, 255, 0, 0])
    )
    delay = b"\x21\xf9\x04\x04\x0a\x00\x00\x00"
    pixel = struct.pack("<BHHHHB", 0x2C, 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return screen + (delay + pixel) * count + b";"


def sixteen_bit_png(colour: tuple[int, int, int], *, side: int = 32) -> bytes:
    """A PNG with three channels of 16 bits, which Pillow does not write."""
    header = struct.pack(">IIBBBBB", side, side, 16, 2, 0, 0, 0)
    row = b"\0" + struct.pack(">HHH", *colour) * side
    return _png((b"IHDR", header), (b"IDAT", zlib.compress(row * side)), (b"IEND", b""))


def _png(*chunks: tuple[bytes, bytes]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
