"""Cut-paste pairs differ in what was pasted, and in nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from guardkit.train.cut_paste import box_of, composites, draw_pairs, paste

HOST = np.full((100, 160, 3), 10, np.uint8)
GUEST = np.full((40, 30, 3), 200, np.uint8)
DECOY = np.full((64, 64, 3), 90, np.uint8)


def test_both_pictures_of_a_pair_differ_from_the_host_in_the_same_box_alone() -> None:
    [pair] = draw_pairs([0, 2], [1], 1, seed=4)
    pictures = [HOST, GUEST, DECOY]
    host = pictures[pair.host]
    positive, negative = composites(pair, pictures)
    height, width = host.shape[:2]
    left, top, right, bottom = box_of(width, height, pair.at)
    inside = np.zeros((height, width), bool)
    inside[top:bottom, left:right] = True
    for picture, pasted in ((positive, 200), (negative, int(pictures[pair.decoy][0, 0, 0]))):
        assert set(picture[inside].ravel().tolist()) == {pasted}
        np.testing.assert_array_equal(picture[~inside], host[~inside])


@pytest.mark.parametrize(("width", "height"), [(224, 224), (640, 360), (90, 1000)])
@pytest.mark.parametrize("at", [(0.0, 0.0), (0.999, 0.999), (0.3, 0.7)])
def test_the_box_is_a_fifth_of_the_picture_and_inside_it(
    width: int, height: int, at: tuple[float, float]
) -> None:
    left, top, right, bottom = box_of(width, height, at)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    area = (right - left) * (bottom - top) / (width * height)
    assert area == pytest.approx(0.2, rel=0.03)  # sides are whole pixels


def test_pairs_come_from_the_rows_given_and_a_host_is_no_decoy_of_its_own() -> None:
    pairs = draw_pairs([3, 5, 8], [1, 2], 200, seed=7)
    assert {one.host for one in pairs} == {one.decoy for one in pairs} == {3, 5, 8}
    assert {one.guest for one in pairs} == {1, 2}
    assert all(one.host != one.decoy for one in pairs)


def test_the_same_seed_draws_the_same_pairs() -> None:
    assert draw_pairs([1, 2], [3], 9, seed=1) == draw_pairs([1, 2], [3], 9, seed=1)
    assert draw_pairs([1, 2], [3], 9, seed=1) != draw_pairs([1, 2], [3], 9, seed=2)


def test_the_host_is_not_changed() -> None:
    paste(HOST, GUEST, (0, 0, 50, 50))
    assert set(HOST.ravel().tolist()) == {10}
