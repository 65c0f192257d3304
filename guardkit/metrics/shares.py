"""How sure a counted share is."""

from __future__ import annotations

import math

_Z = 1.959964  # 95 %, two-sided


def wilson_interval(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share, within [0, 1].

    Source: E. B. Wilson, JASA 22 (1927):
    (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n).

    Args:
        hits: How many of the counted, at least 0.
        count: How many were counted; 0 says nothing, and gives all of [0, 1].

    >>> low, high = wilson_interval(50, 100)
    >>> f"{low:.4f} {high:.4f}"
    '0.4038 0.5962'
    >>> wilson_interval(0, 0)
    (0.0, 1.0)
    """
    if count == 0:
        return 0.0, 1.0
    p, z2 = hits / count, _Z * _Z
    middle = (p + z2 / (2 * count)) / (1 + z2 / count)
    reach = _Z / (1 + z2 / count) * math.sqrt(p * (1 - p) / count + z2 / (4 * count * count))
    return max(0.0, min(p, middle - reach)), min(1.0, max(p, middle + reach))
