"""Masks cover what they should, and changes stay inside them."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from PIL import Image, ImageFilter

from guardkit.image.edit import (
    CHANGES,
    Mask,
    all_changed,
    blurred,
    change_in_place,
    changed,
    filled,
    oval,
    patch,
    pixelated,
)
from tests.pictures import BLUE, RED, halves, plain


def covered(mask: Mask, *, width: int, height: int) -> np.ndarray:
    """The mask as a whole picture of alphas."""
    whole = np.zeros((height, width), np.uint8)
    left, top, right, bottom = mask.box
    whole[top:bottom, left:right] = mask.alpha
    return whole


def test_an_oval_covers_the_face_and_ends_around_it() -> None:
    alpha = covered(oval((40, 30, 60, 50), (100, 100)), width=100, height=100)
    assert alpha[40, 40:60].min() == 255  # across the middle of the box
    assert alpha[30:50, 50].min() == 255
    # Radii of a circle around (50, 40): whole to 13, nothing from 17.
    assert alpha[40, 62] == 255
    assert 0 < alpha[40, 64] < 255
    assert alpha[40, 67] == 0


def test_an_oval_is_cut_at_the_edge_of_the_picture() -> None:
    mask = oval((0, 0, 20, 20), (50, 25))
    assert mask.box == (0, 0, 27, 25)  # 10 + 17
    assert mask.alpha[0, 10] == 255


def test_a_patch_covers_its_cells_and_fades_over_half_a_cell() -> None:
    cells = np.zeros((4, 4), np.bool_)
    cells[1, 2] = True
    alpha = covered(patch(cells, (0, 0, 40, 40), (40, 40)), width=40, height=40)
    assert alpha[10:20, 20:30].min() == 255  # to its corners
    assert (alpha[15, 15:20] < 255).all()
    assert (alpha[15, 16:20] > 0).all()
    assert alpha[15, :15].max() == 0
    assert alpha[:, 36:].max() == 0


def test_a_patch_may_lie_anywhere_in_a_picture() -> None:
    box = (30, 10, 50, 20)
    alpha = covered(patch(np.ones((1, 1), np.bool_), box, (60, 40)), width=60, height=40)
    assert alpha[10:20, 30:50].min() == 255
    assert 0 < alpha[15, 27] < 255
    assert alpha[15, 24] == 0  # half of the shorter side is 5


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_covered_changes_and_nothing_else(name: str) -> None:
    picture = np.random.default_rng(4).integers(0, 256, (40, 60, 3), np.uint8)
    before = picture.copy()
    mask = oval((20, 10, 40, 30), (60, 40))
    result = changed(picture, mask, CHANGES[name])
    alpha = covered(mask, width=60, height=40)
    assert np.array_equal(picture, before)
    assert np.array_equal(result[alpha == 0], picture[alpha == 0])
    assert (result[alpha == 255] != picture[alpha == 255]).any(axis=-1).mean() > 0.9


def test_a_fill_is_the_mean_colour() -> None:
    part = halves(RED, BLUE, width=8, height=8)
    assert np.array_equal(filled(part), plain((128, 0, 128), width=8, height=8))


def test_pixels_become_blocks_of_their_mean() -> None:
    part = np.zeros((12, 12, 3), np.uint8)  # blocks of 2x2
    part[0, 0] = 200
    result = pixelated(part)
    assert result[:2, :2].tolist() == [[[50] * 3] * 2] * 2
    assert result[2:].max() == result[:, 2:].max() == 0


def test_a_blur_leaves_no_edge() -> None:
    part = halves((0, 0, 0), (255, 255, 255), width=100, height=100)
    steps = np.abs(np.diff(blurred(part).astype(int), axis=1))
    assert steps.max() <= 6  # 255 / (20 * sqrt(2 pi)) = 5.1 where it is steepest


def test_a_large_oval_is_as_symmetric_as_a_small_one() -> None:
    alpha = oval((400, 300, 1000, 1100), (1400, 1400)).alpha  # more rows than are computed at once
    assert alpha.shape[0] > 1024
    np.testing.assert_array_equal(alpha, alpha[::-1])
    np.testing.assert_array_equal(alpha, alpha[:, ::-1])


def test_several_masks_change_what_one_after_the_other_would() -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (60, 60, 3), np.uint8)
    masks = [oval((10, 10, 30, 30), (60, 60)), oval((20, 22, 50, 44), (60, 60))]
    one_by_one = changed(changed(pixels, masks[0], blurred), masks[1], blurred)
    np.testing.assert_array_equal(all_changed(pixels, masks, blurred), one_by_one)


def blurred_at_once(pixels: np.ndarray, mask: Mask) -> np.ndarray:
    """What `changed` does, on the whole of what is masked, in as many copies as it takes."""
    part = Image.fromarray(pixels).crop(mask.box)
    soft = part.filter(ImageFilter.GaussianBlur(0.2 * max(part.size)))
    whole = Image.fromarray(pixels)
    whole.paste(soft, mask.box[:2], Image.fromarray(mask.alpha))
    return np.asarray(whole)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (40, 300), (65, 64), (300, 400)], ids=str)
def test_a_blur_in_bands_is_the_blur_of_the_whole(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(6).integers(0, 256, (size[1] + 9, size[0] + 7, 3), np.uint8)
    mask = Mask(4, 5, np.random.default_rng(7).integers(0, 256, size[::-1], np.uint8))
    np.testing.assert_array_equal(changed(pixels, mask, blurred), blurred_at_once(pixels, mask))


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_in_place_takes_no_more_than_its_part(name: str) -> None:
    pixels = np.random.default_rng(8).integers(0, 256, (2000, 1500, 3), np.uint8)
    expected = changed(pixels, mask := oval((400, 500, 1100, 1500), (1500, 2000)), CHANGES[name])
    width, height = mask.alpha.shape[::-1]
    tracemalloc.start()
    change_in_place(pixels, [mask], CHANGES[name])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(pixels, expected)
    band = 64 * 4 * max(width, height)
    assert peak < 3 * width * height + 4 * band
