"""An editor of images changes what its mask covers, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from guardkit.image.edit import CHANGES, Mask, changed, oval, patch, pixelated

EDGES = st.integers(0, 58)


@st.composite
def boxes_in(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """A box of at least 3x3 pixels in a picture of 61x61."""
    (left, right), (top, bottom) = (sorted((draw(EDGES), draw(EDGES))) for _ in range(2))
    return left, top, right + 3, bottom + 3


MASKS = st.one_of(
    boxes_in().map(lambda box: oval(box, (61, 61))),
    st.tuples(arrays(np.bool_, (3, 3)).filter(np.any), boxes_in()).map(
        lambda drawn: patch(drawn[0], drawn[1], (61, 61))
    ),
)


@pytest.mark.parametrize("change", CHANGES)
@given(mask=MASKS, seed=st.integers(0, 9))
def test_only_masked_pixels_change(change: str, mask: Mask, seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (61, 61, 3), np.uint8)
    left, top, right, bottom = mask.box
    alpha = np.zeros((61, 61), np.uint8)
    alpha[top:bottom, left:right] = mask.alpha
    result = changed(picture, mask, CHANGES[change])
    assert (result.shape, result.dtype) == (picture.shape, picture.dtype)
    assert result[alpha == 0].tobytes() == picture[alpha == 0].tobytes()


@given(width=st.integers(1, 50), height=st.integers(1, 50), seed=st.integers(0, 9))
def test_a_mosaic_of_a_mosaic_is_the_same(width: int, height: int, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    once = pixelated(noise)
    assert pixelated(once).tobytes() == once.tobytes()
