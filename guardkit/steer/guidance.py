"""Steer the steps of a diffusion model away from what a classifier calls unsafe.

Classifier guidance with the sign turned: the usual formula moves toward a class. The classifier has to be one of
noisy pictures x_t; of one that knows clean pictures only, take the gradient through `predicted_x0`.

The gradient of log p stays large where p is next to nothing: guided there too, a picture that was safe is driven out
of what the model knows (measured in tests/unit/test_steer_guidance.py). Put 0 in its place where p(unsafe | x_t) is low.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

from guardkit.errors import InputError

Array = TypeVar("Array")


def guided_noise(noise: Array, gradient: Array, alpha_bar: float, *, strength: float) -> Array:
    """The noise to take out of a step instead of the model's, so that the picture moves away from unsafe.

    eps_hat = eps + s sqrt(1 - abar) grad_x log p(unsafe | x_t)

    Args:
        noise: The model's eps, any array or tensor.
        gradient: Of log p(unsafe | x_t) at x_t, of the same shape.
        alpha_bar: The schedule's cumulative product at this step, in (0, 1].
        strength: s, at least 0; 0 changes nothing. A `Guidance` says how strongly a category asks for it.

    Raises:
        InputError: `alpha_bar` or `strength` is out of range.

    >>> guided_noise(1.0, 0.5, 0.64, strength=2)
    1.6
    """
    if not 0 < alpha_bar <= 1 or not 0 <= strength < math.inf:
        raise InputError(
            f"alpha_bar is {alpha_bar}, strength {strength}. Expected within (0, 1], and at least 0."
        )
    eps: Any = noise
    grad: Any = gradient
    guided: Array = eps + strength * math.sqrt(1 - alpha_bar) * grad
    return guided
