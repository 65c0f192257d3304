"""A picture with any bytes changed is decoded or refused with one error of ours: nothing else."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from guardkit.errors import ImageError
from guardkit.image.decode import decode
from guardkit.image.prepare import boxes, crops_of
from guardkit.policy.rules import ImageLimits
from tests.pictures import animated, encoded, halves, plain

LIMITS = ImageLimits(max_pixels=1_000_000, max_animated_pixels=4_000_000, max_frames=20)
EXIF = Image.Exif()
EXIF[0x0112] = 6
FILES = (
    encoded(halves(), "JPEG", exif=EXIF),
    encoded(halves(), "JPEG", progressive=True),
    encoded(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), "JPEG"),
    encoded(halves(), "PNG"),
    encoded(np.dstack([plain(), np.full((64, 64), 9, np.uint8)]), "PNG"),
    encoded(Image.fromarray(halves()).convert("P"), "PNG", transparency=0),
    encoded(np.full((32, 32), 0x80FF, np.uint16), "PNG"),
    encoded(halves(), "WEBP"),
    animated(4, "WEBP"),
    animated(4, "GIF"),
    animated(4, "PNG"),
)
CHANGES = st.lists(st.tuples(st.integers(0, 100_000), st.integers(0, 255)), max_size=12)


@pytest.mark.parametrize("number", range(len(FILES)))
@given(changes=CHANGES, keep=st.floats(0, 1), tail=st.binary(max_size=30))
def test_a_mutated_file_is_decoded_or_refused(
    number: int, changes: list[tuple[int, int]], keep: float, tail: bytes
) -> None:
    content = bytearray(FILES[number])
    for at, value in changes:
        content[at % len(content)] = value
    if keep < 0.5:  # half of them are cut short, too
        del content[round(len(content) * 2 * keep) :]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own, of broken metadata
            picture = decode(bytes(content) + tail, LIMITS, shortest=32)
    except ImageError:
        return
    for frame in picture.frames:
        assert frame.dtype == np.uint8
        assert frame.shape[2:] == (3,)
        assert frame.shape[0] * frame.shape[1] <= LIMITS.max_pixels
    assert crops_of(picture, side=16).shape[1:] == (16, 16, 3)


@given(content=st.binary(max_size=200))
def test_any_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(ImageError):
        decode(content)


@given(width=st.integers(16, 3000), height=st.integers(16, 3000))
def test_crops_stay_inside_and_cover_the_picture(width: int, height: int) -> None:
    found = boxes(width, height)
    assert min(box[0] for box in found) == min(box[1] for box in found) == 0
    assert max(box[2] for box in found) == width
    assert max(box[3] for box in found) == height
    for before, after in itertools.pairwise(found):
        assert after[0] <= before[2]
        assert after[1] <= before[3]
