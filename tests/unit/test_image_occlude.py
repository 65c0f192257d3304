"""The map points at what a score depends on, and as little is hidden as is needed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from guardkit.image.decode import Pixels
from guardkit.image.occlude import GRID, Cells, occlusion_map, region_of
from tests.pictures import BLUE, plain

SIDE = 10 * GRID


def with_noise(rows: slice, columns: slice) -> Pixels:
    """Blue, with noise in some cells."""
    picture = plain(BLUE, width=SIDE, height=SIDE)
    down, across = (slice(10 * one.start, 10 * one.stop) for one in (rows, columns))
    part = picture[down, across]
    part[:] = np.random.default_rng(8).integers(0, 2, part.shape[:2])[..., None] * 255
    return picture


def votes(views: Sequence[Pixels]) -> list[float]:
    """n / (n + 30), where n counts steps between neighbours that are sharper than any towards grey."""
    counts = [
        int((np.abs(np.diff(view[..., 0].astype(int), axis=1)) > 200).sum()) for view in views
    ]
    return [n / (n + 30) for n in counts]


def blackened(view: Pixels, cells: Cells) -> Pixels:
    hidden = view.copy()
    hidden[cells.repeat(10, axis=0).repeat(10, axis=1)] = 0
    return hidden


def map_of(view: Pixels) -> NDArray[np.float64]:
    return occlusion_map(view, votes)


@pytest.mark.parametrize("row", range(GRID))
@pytest.mark.parametrize("column", [0, 2, 4])
def test_the_map_is_highest_where_the_score_comes_from(row: int, column: int) -> None:
    found = map_of(with_noise(slice(row, row + 1), slice(column, column + 1)))
    assert np.unravel_index(found.argmax(), found.shape) == (row, column)
    assert np.abs(found[row - 2, column - 2]) == 0  # two cells away, or around the edge


def test_a_map_of_nothing_is_flat() -> None:
    assert np.abs(map_of(plain(BLUE, width=SIDE, height=SIDE))).max() == 0


def test_a_sure_score_still_points() -> None:
    def sure(views: Sequence[Pixels]) -> list[float]:
        return [1 - (1 - one) ** 8 for one in votes(views)]  # close to 1: falls by thousandths

    found = occlusion_map(with_noise(slice(0, 2), slice(3, 5)), sure)
    assert np.unravel_index(found.argmax(), found.shape) in {(0, 3), (0, 4), (1, 3), (1, 4)}


def test_as_few_cells_as_are_needed_are_taken() -> None:
    view = with_noise(slice(2, 4), slice(2, 4))
    cells = region_of(view, votes, blackened, below=0.1)
    assert cells[2:4, 2:4].all()
    assert cells.sum() == 4
    assert votes([blackened(view, cells)])[0] < 0.1


def test_all_is_taken_where_nothing_helps() -> None:
    cells = region_of(with_noise(slice(2, 3), slice(2, 3)), votes, lambda view, _: view, below=0.1)
    assert cells.all()


@pytest.mark.parametrize("shape", [(61, 47), (16, 200)])
def test_any_shape_has_a_map(shape: tuple[int, int]) -> None:
    view = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    assert map_of(view).shape == (GRID, GRID)
