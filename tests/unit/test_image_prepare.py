"""Frames become square crops that cover them."""

from __future__ import annotations

import numpy as np
import pytest

from guardkit.image.decode import decode
from guardkit.image.prepare import boxes, crops_of
from tests.pictures import BLUE, GREEN, RED, animated, plain


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        pytest.param((200, 200), [(0, 0, 200, 200)], id="square"),
        pytest.param((220, 200), [(0, 0, 220, 200)], id="nearly-square"),
        pytest.param((200, 300), [(0, 0, 200, 200), (0, 50, 200, 250), (0, 100, 200, 300)], id="tall"),
        pytest.param(
            (500, 100),
            [(0, 0, 100, 100), (100, 0, 200, 100), (200, 0, 300, 100), (300, 0, 400, 100), (400, 0, 500, 100)],
            id="panorama",
        ),
    ],
)  # fmt: skip
def test_crops_lie_where_they_should(
    size: tuple[int, int], expected: list[tuple[int, ...]]
) -> None:
    assert boxes(*size) == expected


@pytest.mark.parametrize("width", range(100, 1700, 37))
def test_crops_leave_nothing_out(width: int) -> None:
    covered = np.zeros(width, bool)
    for left, _, right, _ in boxes(width, 100):
        covered[left:right] = True
    assert covered.all()


def test_each_crop_shows_its_part() -> None:
    pixels = np.concatenate(
        [plain(colour, width=64, height=64) for colour in (RED, GREEN, BLUE)], axis=1
    )
    crops = crops_of(decode(pixels), side=32)
    assert (crops.shape, crops.dtype) == ((3, 32, 32, 3), np.uint8)
    assert [tuple(crop[16, 16].tolist()) for crop in crops] == [RED, GREEN, BLUE]


def test_every_frame_is_cropped() -> None:
    assert crops_of(decode(animated(4)), side=32).shape == (4, 32, 32, 3)
