"""Which part of a picture carries a score: hide one square after the other, and see how far the score falls.

Method: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks" (arXiv 1311.2901), section 4.2, with a grey square that moves
by half its side. It asks nothing of a model but scores. Of the cells that count most as few are then taken as
are needed: hidden by the editor itself, they must bring the score below what made a rule fire.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from guardkit.image.decode import Pixels

Votes = Callable[[Sequence[Pixels]], Sequence[float]]
"""Pictures, uint8 [h, w, 3] each, to the score of each, in [0, 1]."""
Hide = Callable[[Pixels, NDArray[np.bool_]], Pixels]
"""A picture with some cells hidden by an editor."""
Cells = NDArray[np.bool_]

GRID = 5
"""Cells along each side; 36 squares are tried."""
_SQUARE = 2  # cells along a side of what is hidden at a time
_GREY = 128
_STEPS = (1, 2, 4, 7, 11, 16, GRID * GRID)  # how many cells are tried, fewest first
_TOGETHER = 4  # pictures handed over at a time, for they may be large
_SUREST = 1e-6  # a score of 0 or 1 has no log-odds


def occlusion_map(view: Pixels, votes: Votes) -> NDArray[np.float64]:
    """How much of a score each cell carries.

    Args:
        view: uint8 [h, w, 3], at least `GRID` pixels a side.
        votes: What scores it.

    Returns:
        f64 [GRID, GRID]: by how much the log-odds of the score fall when the cell is hidden, the mean over the squares that
        cover it. Log-odds, for the score of a sure model hardly moves.
    """
    squares = list(_squares())
    hidden = (_greyed(view, square) for square in squares)
    (before,) = votes([view])
    after = _asked(hidden, votes)
    falls, covered = np.zeros((GRID, GRID)), np.zeros((GRID, GRID))
    for square, score in zip(squares, after, strict=True):
        falls[square] += _log_odds(before) - _log_odds(score)
        covered[square] += 1
    fall: NDArray[np.float64] = falls / covered
    return fall


def region_of(view: Pixels, votes: Votes, hide: Hide, *, below: float) -> Cells:
    """The fewest cells that bring a score down, by the map.

    Args:
        view: uint8 [h, w, 3].
        votes: What scores it.
        hide: What an editor makes of it.
        below: The score that must not be reached any more, in [0, 1].

    Returns:
        bool [GRID, GRID]; all of them where nothing less is enough, though that may not be enough either.
    """
    order = np.argsort(-occlusion_map(view, votes), axis=None, kind="stable")
    for count in _STEPS:
        cells = np.isin(np.arange(GRID * GRID), order[:count]).reshape(GRID, GRID)
        (score,) = votes([hide(view, cells)])
        if score < below:
            break
    return cells


def _squares() -> Iterator[tuple[slice, slice]]:
    """Those over the edge are cut: each cell is covered equally often, and none counts for its neighbour alone."""
    sides = [slice(max(start, 0), min(start + _SQUARE, GRID)) for start in range(1 - _SQUARE, GRID)]
    for rows in sides:
        for columns in sides:
            yield rows, columns


def _greyed(view: Pixels, square: tuple[slice, slice]) -> Pixels:
    height, width = view.shape[:2]
    (top, bottom), (left, right) = (
        (side * one.start // GRID, side * one.stop // GRID)
        for side, one in zip((height, width), square, strict=True)
    )
    hidden = view.copy()
    hidden[top:bottom, left:right] = _GREY
    return hidden


def _asked(views: Iterable[Pixels], votes: Votes) -> list[float]:
    """Score pictures, a few at a time."""
    scores: list[float] = []
    waiting: list[Pixels] = []
    for view in views:
        waiting.append(view)
        if len(waiting) == _TOGETHER:
            scores += votes(waiting)
            waiting = []
    return scores + list(votes(waiting)) if waiting else scores


def _log_odds(score: float) -> float:
    score = min(max(score, _SUREST), 1 - _SUREST)
    return math.log(score / (1 - score))
