"""Pure functions on arrays: how well scores rank, what they say as probabilities, how sure that is.

How safe a generator is stands here by name: `from guardkit.metrics import wintore`.
"""

from guardkit.metrics.toxicity import (
    atr,
    emt,
    emt_std,
    measure_generation_groups,
    measure_generations,
    tp,
    wintore,
)

__all__ = [
    "atr",
    "emt",
    "emt_std",
    "measure_generation_groups",
    "measure_generations",
    "tp",
    "wintore",
]
