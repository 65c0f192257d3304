"""The tone of a face's pixels, held to angles worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from bench.skin_tone import tone_of, typology_angle


def test_grey_is_yellow_of_nothing_and_so_a_right_angle() -> None:
    # CIELAB of sRGB (200, 200, 200): L* 80.6, b* 0: the angle of a vertical
    assert typology_angle(np.array([200.0] * 3)) == pytest.approx(90, abs=0.5)
    assert typology_angle(np.array([60.0] * 3)) == pytest.approx(-90, abs=0.5)


def test_published_lab_of_yellow_gives_its_angle() -> None:
    # sRGB yellow is L* 97.14, b* 94.48 (Lindbloom's tables): atan(47.14 / 94.48) = 26.5 degrees
    assert typology_angle(np.array([255.0, 255.0, 0.0])) == pytest.approx(26.5, abs=0.1)


def test_only_the_middle_of_a_face_counts() -> None:
    face = np.full((100, 100, 3), (20, 15, 10), np.uint8)
    face[40:70, 40:70] = (240, 215, 200)
    assert tone_of(face) == "very light"
