"""Steer the steps of a diffusion model away from what a classifier calls unsafe.

Classifier guidance with the sign turned: the usual formula moves toward a class. The classifier has to be one of
noisy pictures x_t; of one that knows clean pictures only, take the gradient through `predicted_x0`.

Two gradients lead away, and `unsafe_gradient` and `unsafe_risk_gradient` are them, from a classifier's logit:

    grad log p(unsafe)           (1 - p) grad logit   large where p is next to nothing, 0 where the classifier is sure
    -grad log (1 - p(unsafe))    p grad logit         0 where nothing is wrong, large where the classifier is sure

The first drives a picture that was safe out of what the model knows (measured in tests/unit/test_steer_guidance.py), unless
0 is put in its place where p(unsafe | x_t) is low, and lets go of one that is surely unsafe. The second is classifier guidance
toward the class "safe", and does neither.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

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


def noised_back(picture: Array, noise: Array, alpha_bar: float, *, to: float) -> Array:
    """A step's picture as it may have been before the step, so that the step can be taken again.

    Guidance pushes a picture off what the model draws; a step taken again draws there ("self-recurrence" of universal
    guidance, Bansal et al. 2023, arXiv 2302.07121):

    x_t = sqrt(abar_t / abar_s) x_s + sqrt(1 - abar_t / abar_s) z

    Args:
        picture: x_s, what the step gave: any array or tensor.
        noise: z, standard normal, of the same shape.
        alpha_bar: abar_s, the schedule's cumulative product behind the step, in (0, 1].
        to: abar_t, the same before it, in (0, alpha_bar].

    Raises:
        InputError: The two are out of range or order.

    >>> noised_back(1.0, 1.0, 0.5, to=0.32)
    1.4
    """
    if not 0 < to <= alpha_bar <= 1:
        raise InputError(f"alpha_bar is {alpha_bar}, to {to}. Expected 0 < to <= alpha_bar <= 1.")
    x: Any = picture
    z: Any = noise
    before: Array = math.sqrt(to / alpha_bar) * x + math.sqrt(1 - to / alpha_bar) * z
    return before


def unsafe_gradient(logits: ArrayLike, gradients: ArrayLike) -> NDArray[np.float64]:
    """The gradient of sum_k log p_k, p = 1 / (1 + exp(-logit)): away from it is away from every concept k.

    Args:
        logits: f64 [N, concepts], of pictures x_t.
        gradients: f64 [N, concepts, ...], of each logit at x_t.

    Returns:
        f64 [N, ...], for `guided_noise`.

    Raises:
        InputError: Shapes that do not fit, or numbers that are not finite.

    >>> unsafe_gradient([[0.0]], [[[2.0, 4.0]]]).tolist()
    [[1.0, 2.0]]
    """
    p, slopes = _measured(logits, gradients)
    return np.asarray(((1 - p) * slopes).sum(axis=1))


def unsafe_risk_gradient(
    logits: ArrayLike, gradients: ArrayLike, *, least: float = 0.0
) -> NDArray[np.float64]:
    """The gradient of -sum_k log (1 - p_k); arguments, result and errors as of `unsafe_gradient`.

    Args:
        logits: f64 [N, concepts], of pictures x_t.
        gradients: f64 [N, concepts, ...], of each logit at x_t.
        least: A concept less probable than this is left alone: a strong guidance would push ordinary pictures about.

    >>> unsafe_risk_gradient([[0.0], [-40.0]], [[[2.0]], [[2.0]]]).round(6).tolist()
    [[1.0], [0.0]]
    """
    p, slopes = _measured(logits, gradients)
    return np.asarray((p * (p >= least) * slopes).sum(axis=1))


def _measured(
    logits: ArrayLike, gradients: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Probabilities, shaped to multiply the gradients, and these."""
    told, slopes = np.asarray(logits, np.float64), np.asarray(gradients, np.float64)
    if told.ndim != 2 or slopes.shape[:2] != told.shape or slopes.ndim < 3:
        raise InputError(
            f"logits {list(told.shape)}, gradients {list(slopes.shape)}. Expected [N, K] and [N, K, ...]."
        )
    if not np.all(np.isfinite(told)) or not np.all(np.isfinite(slopes)):
        raise InputError("logits or gradients hold NaN or infinity. Expected finite numbers.")
    p = 1 / (1 + np.exp(-np.clip(told, -500, 500)))
    return p.reshape(*p.shape, *[1] * (slopes.ndim - 2)), slopes
