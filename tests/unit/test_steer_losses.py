"""The losses that make a generator forget: their values by hand, and the identities that methods 4.1 to 4.3 name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from guardkit.errors import InputError
from guardkit.steer import (
    distillation_loss,
    distillation_scale,
    guidance_erase_loss,
    mosaic_loss,
    mosaic_target,
    override_loss,
    score_loss,
)

_RNG = np.random.default_rng(3)
X, P, G, N = (_RNG.normal(size=(4, 6)) for _ in range(4))


def slope(loss: Callable[[np.ndarray], float], at: np.ndarray) -> np.ndarray:
    """Central differences."""
    found = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        step = np.zeros_like(at)
        step[index] = 1e-5
        found[index] = (loss(at + step) - loss(at - step)) / 2e-5
    return found


def test_the_override_loss_is_zero_exactly_where_the_override_is_taken_and_the_rest_is_kept() -> (
    None
):
    assert override_loss(P, P, X, X) == 0
    assert override_loss(P, G, X, X) == pytest.approx(((P - G) ** 2).mean())
    assert override_loss(P, G, X, N, forget=0) == pytest.approx(((X - N) ** 2).mean())


def test_the_loss_of_the_following_network_is_least_where_it_predicts_the_noise() -> None:
    assert score_loss(N, N) == 0
    np.testing.assert_allclose(slope(lambda found: score_loss(N, found), N), 0, atol=1e-6)


def test_the_distillation_loss_at_alpha_one_is_what_the_paper_shortens_it_to() -> None:
    shortened = ((P - G) * (G - X)).sum() / 2
    assert distillation_loss(X, P, G, omega=2, alpha=1) == pytest.approx(shortened)


@pytest.mark.parametrize("alpha", [1.0, 1.2])
def test_the_generator_rests_where_teacher_and_follower_agree(alpha: float) -> None:
    assert distillation_loss(X, P, P, omega=1, alpha=alpha) == 0
    at_rest = slope(lambda x: distillation_loss(x, P, P, omega=1, alpha=alpha), X)
    np.testing.assert_allclose(at_rest, 0, atol=1e-9)


def test_the_generator_is_drawn_from_the_follower_to_the_teacher() -> None:
    # dL/dx_0 = -(D_p - D_sg) / omega where the networks are held still.
    moved = slope(lambda x: distillation_loss(x, P, G, omega=2), X)
    np.testing.assert_allclose(moved, -(P - G) / 2, atol=1e-6)


def test_the_scale_is_the_mean_distance_and_never_zero() -> None:
    assert distillation_scale(np.array([1.0, -3.0]), np.array([0.0, 0.0])) == 2
    assert distillation_scale(X, X) == 1e-5


def test_erasing_is_done_where_the_alternative_guides_and_the_null_prediction_has_not_moved() -> (
    None
):
    assert guidance_erase_loss(G, G, N, N) == 0
    assert guidance_erase_loss(G, 0.0, N, N) == pytest.approx((G**2).mean())
    assert guidance_erase_loss(G, G, N, X, keep=2) == pytest.approx(2 * ((N - X) ** 2).mean())


def test_on_a_linear_model_erasing_leaves_the_null_prediction_and_takes_the_alternative() -> None:
    # eps(x, c) = a x + b_c: gradient descent on the loss, by hand. b_null must stay, g(c_erase) must become g(c_alt).
    x = np.ones(5)
    a, b_erase, b_null = 0.7, 2.0, 0.3
    frozen_null, alternative = a * x + b_null, np.full(5, -0.5)
    for _ in range(400):
        null = a * x + b_null
        g = a * x + b_erase - null
        on_guidance, on_null = 2 * (g - alternative).mean(), 2 * (null - frozen_null).mean()
        b_erase -= 0.1 * on_guidance
        b_null -= 0.1 * (on_null - on_guidance)
    assert guidance_erase_loss(g, alternative, null, frozen_null) < 1e-6
    assert b_null == pytest.approx(0.3, abs=1e-3)
    assert b_erase - b_null == pytest.approx(-0.5, abs=1e-3)


def test_the_mosaic_loss_is_the_released_one() -> None:
    target = mosaic_target(X, P, N)
    np.testing.assert_array_equal(target, X - P + N)
    expected = 0.1 * ((G - target) ** 2).mean() + 0.9 * ((P - N) ** 2).mean()
    assert mosaic_loss(G, target, P, N) == pytest.approx(expected)


def test_a_network_that_answers_with_the_mosaics_target_lands_on_the_mosaic() -> None:
    # z_t = z_n + s eps with abar = 1 / (1 + s^2), rescaled: taking out (z_n - z_m) / s + eps leaves z_m; s = 1.
    noisy = X + N
    np.testing.assert_allclose(noisy - mosaic_target(X, P, N), P, atol=1e-12)


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda: override_loss(X, X, X, X, forget=-1), id="a negative weight"),
        pytest.param(lambda: guidance_erase_loss(X, 0.0, X, X, keep=float("nan")), id="no number"),
        pytest.param(lambda: mosaic_loss(X, X, X, X, tune=1.5), id="a share above one"),
        pytest.param(lambda: distillation_loss(X, X, X, omega=0), id="a scale of zero"),
    ],
)
def test_weights_out_of_range_are_refused(call: Callable[[], object]) -> None:
    with pytest.raises(InputError, match="Expected"):
        call()
