"""The tone of the pixels in the middle of a face: the individual typology angle, in the groups of dermatology.

    ITA = atan((L* - 50) / b*) in degrees, of CIELAB under D65 (Chardon et al., 1991; groups: Del Bino et al., 2006)

It is what the pixels show under whatever light there is, and no label of a person.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

# Group -> the angle from which on it holds.
_FROM = {"very light": 55.0, "light": 41.0, "intermediate": 28.0, "tan": 10.0, "brown": -30.0}
TONES = (*_FROM, "dark")
# sRGB to XYZ (IEC 61966-2-1), and the white of D65.
_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = np.array([0.9505, 1.0, 1.089])
_MIDDLE = (
    0.4,
    0.7,
)  # rows and columns, in shares: cheeks and nose of a face that fills the picture


def tone_of(face: NDArray[np.uint8]) -> str:
    """The group of a face that fills its picture.

    Args:
        face: uint8 RGB [H, W, 3].

    >>> tone_of(np.full((64, 64, 3), (240, 215, 200), np.uint8))
    'very light'
    >>> tone_of(np.full((64, 64, 3), (60, 40, 30), np.uint8))
    'dark'
    """
    height, width = face.shape[:2]
    rows, columns = (slice(int(n * _MIDDLE[0]), int(n * _MIDDLE[1])) for n in (height, width))
    middle = np.median(face[rows, columns].reshape(-1, 3), axis=0)
    angle = typology_angle(middle)
    return next((name for name, low in _FROM.items() if angle > low), "dark")


def typology_angle(rgb: NDArray[np.floating]) -> float:
    """Degrees, of one colour of 0 to 255.

    >>> round(typology_angle(np.array([255.0, 255.0, 0.0])))  # L* 97.1, b* 94.5
    27
    """
    share = np.asarray(rgb) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    _, y, z = (_curve(float(one)) for one in _XYZ @ linear / _WHITE)
    lightness, yellow = 116 * y - 16, 200 * (y - z)
    return math.degrees(math.atan2(lightness - 50, yellow))


def _curve(share: float) -> float:
    """CIELAB's cube root, straight near black."""
    return share ** (1 / 3) if share > (6 / 29) ** 3 else share / (3 * (6 / 29) ** 2) + 4 / 29
