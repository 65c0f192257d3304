"""Losses that make a generator forget: pure functions of what its networks predict, for numpy and torch alike.

    override, SFD (arXiv 2409.11219)      `override_loss`, `score_loss`, `distillation_loss`, `distillation_scale`
    surgical erasing (arXiv 2312.12807)   `guidance_erase_loss`: our reading of its abstract, not its code
    SafeGen (arXiv 2404.06666)            `mosaic_loss`

Nothing here runs a network, and what is frozen is for the caller to keep frozen. ||.||^2 is the mean over all numbers.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

from guardkit.errors import InputError

Array = TypeVar("Array")
_LEAST = 1e-5  # the clamp of SFD's scale, from its released losses


def override_loss(
    forgotten: Array, override: Array, remembered: Array, frozen: Array, *, forget: float = 1.0
) -> Array:
    """Predict under a forgotten caption what the frozen model predicts under the one put in its place.

    L = ||eps(x, c_keep) - eps_frozen(x, c_keep)||^2 + forget ||eps(x, c_forget) - eps_frozen(x, c_safe)||^2

    The override of SFD's teacher (its eps is conditioned on c_safe while the student's is on c_forget), for a student
    that denoises in many steps as its teacher does.

    Args:
        forgotten: eps(x_t, c_forget) of the model in training.
        override: eps(x_t, c_safe) of the frozen one.
        remembered: eps(x_t, c_keep) of the model in training.
        frozen: The same of the frozen one.
        forget: Weight of the second term, at least 0.

    >>> import numpy as np
    >>> float(override_loss(np.array([1.0]), np.array([3.0]), np.array([2.0]), np.array([2.0]), forget=0.5))
    2.0
    """
    _at_least_0(forget=forget)
    loss: Array = _squared(remembered, frozen) + forget * _squared(forgotten, override)
    return loss


def score_loss(noise: Array, predicted: Array) -> Array:
    """SFD's loss of the network that follows the generator: ||eps - eps_sg(x_t, t, c)||^2."""
    loss: Array = _squared(noise, predicted)
    return loss


def distillation_scale(teacher: Any, x_0: Any) -> float:
    """SFD's omega = mean |D_p - x_0|, at least 1e-5; a number, through which no gradient flows."""
    return max(float(abs(teacher - x_0).mean().item()), _LEAST)


def distillation_loss(
    x_0: Array, teacher: Array, follower: Array, *, omega: float, alpha: float = 1.2
) -> Array:
    """SFD's loss of a one-step generator.

    L_g = 1/omega sum (D_p - D_sg) ((D_p - x_0) - alpha (D_p - D_sg))

    To forget, D_p is conditioned on the caption put in the place of the one that made x_0.

    Args:
        x_0: What the generator made.
        teacher: D_p(x_t, c), the frozen model's x_0.
        follower: D_sg(x_t, c), that of the network that follows the generator.
        omega: `distillation_scale(teacher, x_0)`.
        alpha: 1.2 in the paper's CIFAR-10 runs; 1 gives (D_p - D_sg) (D_sg - x_0).

    >>> import numpy as np
    >>> float(distillation_loss(np.array([1.0]), np.array([3.0]), np.array([2.0]), omega=2.0, alpha=1.0))
    0.5
    """
    if not 0 < omega < math.inf:
        raise InputError(f"omega is {omega}. Expected a finite number above 0.")
    p: Any = teacher
    apart = p - follower
    loss: Array = (apart * ((p - x_0) - alpha * apart)).sum() / omega
    return loss


def guidance_erase_loss(
    guidance: Array,
    alternative: Array | float,
    null: Array,
    frozen_null: Array,
    *,
    keep: float = 1.0,
) -> Array:
    """Take a concept out of classifier-free guidance, and hold the unconditional prediction where it was.

    L = ||g(c_erase) - g_frozen(c_alt)||^2 + keep ||eps(x, null) - eps_frozen(x, null)||^2,  g(c) = eps(x, c) - eps(x, null)

    Args:
        guidance: g(c_erase) of the model in training.
        alternative: g_frozen(c_alt); 0: the concept guides nowhere.
        null: eps(x_t, null) of the model in training.
        frozen_null: The same of the frozen one.
        keep: lambda, at least 0.

    >>> import numpy as np
    >>> float(guidance_erase_loss(np.array([2.0]), 0.0, np.array([1.0]), np.array([0.0]), keep=3.0))
    7.0
    """
    _at_least_0(keep=keep)
    loss: Array = _squared(guidance, alternative) + keep * _squared(null, frozen_null)
    return loss


def mosaic_target(explicit: Array, mosaic: Array, noise: Array) -> Array:
    """What SafeGen has the network take for the noise in an explicit picture: z_n - z_m + eps."""
    z: Any = explicit
    target: Array = z - mosaic + noise
    return target


def mosaic_loss(
    on_explicit: Array, target: Array, on_benign: Array, benign_noise: Array, *, tune: float = 0.1
) -> Array:
    """SafeGen's: explicit pictures denoise to their mosaic, benign ones as before, whatever the prompt.

    L = tune ||eps(z_n, t) - (z_n - z_m + eps)||^2 + (1 - tune) ||eps(z_b, t) - eps_b||^2

    Args:
        on_explicit: eps(z_n, t) of the model in training, without a prompt.
        target: `mosaic_target` of the same picture, its mosaic and its noise.
        on_benign: eps(z_b, t).
        benign_noise: eps_b, that was put on the benign picture.
        tune: In [0, 1]; 0.1 in the released training.

    >>> import numpy as np
    >>> float(mosaic_loss(np.array([1.0]), np.array([3.0]), np.array([2.0]), np.array([1.0]), tune=0.25))
    1.75
    """
    if not 0 <= tune <= 1:
        raise InputError(f"tune is {tune}. Expected within [0, 1].")
    loss: Array = tune * _squared(on_explicit, target) + (1 - tune) * _squared(on_benign, benign_noise)  # fmt: skip
    return loss


def _squared(found: Any, wanted: Any) -> Any:
    return ((found - wanted) ** 2).mean()


def _at_least_0(**weights: float) -> None:
    for name, weight in weights.items():
        if not 0 <= weight < math.inf:
            raise InputError(f"{name} is {weight}. Expected a finite number of at least 0.")
