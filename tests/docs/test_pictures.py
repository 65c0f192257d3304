"""README's picture shows what the preset really does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from docs.before_after import TARGET, before_after

_LARGEST = 150_000  # bytes; chosen: a reader waits for no more
_JPEG = 3.0  # mean difference of a level that saving as JPEG makes


def test_the_picture_of_readme_is_made_by_the_project() -> None:
    shown, made = (np.asarray(one, np.int64) for one in (Image.open(TARGET), before_after()))
    assert shown.shape == made.shape
    assert np.abs(shown - made).mean() < _JPEG


def test_it_is_small_and_shown() -> None:
    assert TARGET.stat().st_size < _LARGEST
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert f"docs/pictures/{TARGET.name}" in readme
