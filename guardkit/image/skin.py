"""The colour of skin: CIELAB, and the individual typology angle of a face.

The angle orders skin from dark to light whatever its hue (Chardon, Cretois, Hourseau, "Skin colour typology and suntanning
pathways", 1991): ITA = atan((L* - 50) / b*) * 180 / pi; above 55 very light, 41 to 55 light, 28 to 41 intermediate, 10 to 28 tan,
-30 to 10 brown, below -30 dark. Only its change between two pictures of one scene is used here: what a camera and its light make of
a skin says little about the skin.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from guardkit.image.decode import Pixels

Floats = NDArray[np.float32]

# sRGB to XYZ (IEC 61966-2-1), each row divided by the white point D65.
_TO_XYZ = np.array(
    [
        [0.4124564 / 0.95047, 0.3575761 / 0.95047, 0.1804375 / 0.95047],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339 / 1.08883, 0.1191920 / 1.08883, 0.9503041 / 1.08883],
    ],
    np.float32,
)
_EPSILON, _KAPPA = 216 / 24389, 24389 / 27  # CIE 15: where the cube root becomes a line
_LEVELS = np.arange(256) / 255
_LINEAR = np.where(_LEVELS <= 0.04045, _LEVELS / 12.92, ((_LEVELS + 0.055) / 1.055) ** 2.4).astype(
    np.float32
)
_LEAST_B = (
    1.0  # skin is yellowish, b* > 0; under blue light it may not be, and the angle would jump
)
_NEAR = (
    18.0,
    12.0,
    12.0,
)  # of L*, a*, b*: what is further from the median is an eye, hair, glasses, a shadow
_FEWEST = 12  # pixels


def lab_of(pixels: Pixels) -> Floats:
    """CIELAB of sRGB pixels: uint8 [..., 3] to f32 [..., 3], L* in [0, 100].

    >>> lab_of(np.array([[255, 255, 255]], np.uint8)).round(1).tolist()[0][0]
    100.0
    """
    xyz = _LINEAR[pixels] @ _TO_XYZ.T
    f = np.where(xyz > _EPSILON, np.cbrt(xyz), (_KAPPA * xyz + 16) / 116)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    lab: Floats = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
    return lab


def typology_angle(lab: Floats) -> float:
    """The individual typology angle in degrees of one colour, f32 [3].

    >>> round(typology_angle(np.array([70.0, 10.0, 20.0], np.float32)), 1)
    45.0
    """
    return float(np.degrees(np.arctan((lab[0] - 50) / max(float(lab[2]), _LEAST_B))))


def skin_colour(lab: Floats) -> Floats:
    """The median colour of what is skin among the pixels of a face, f32 [n, 3] to f32 [3]: those near the median of all."""
    median = np.median(lab, axis=0)
    near = (np.abs(lab - median) <= _NEAR).all(axis=1)
    colour: Floats = np.median(lab[near], axis=0) if near.sum() >= _FEWEST else median
    return colour.astype(np.float32)
