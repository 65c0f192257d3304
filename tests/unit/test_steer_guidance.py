"""Guidance away from unsafe, on a diffusion whose every step is known: a mixture of two Gaussians in the plane."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from guardkit.errors import InputError
from guardkit.steer import (
    guided_noise,
    noised_back,
    predicted_x0,
    unsafe_gradient,
    unsafe_risk_gradient,
)

Points = NDArray[np.float64]
UNSAFE, SAFE = np.array([2.0, 0.0]), np.array([-2.0, 0.0])
VARIANCE = 0.25  # of either mode, before any noise
SCHEDULE = np.linspace(0.01, 0.999, 60)  # abar, from nearly all noise to nearly none


def unsafe_share(x: Points, alpha_bar: float) -> NDArray[np.float64]:
    """p(unsafe | x_t): the modes are alike, so that it is a sigmoid."""
    variance = alpha_bar * VARIANCE + 1 - alpha_bar
    log_odds = np.sqrt(alpha_bar) * (x @ (UNSAFE - SAFE)) / variance
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -500, 500))))


def score(x: Points, mean: Points, alpha_bar: float) -> Points:
    """grad log of it."""
    return -(x - np.sqrt(alpha_bar) * mean) / (alpha_bar * VARIANCE + 1 - alpha_bar)


def generated(strength: float | None, *, guided_above: float = 0.0, count: int = 2000) -> Points:
    """DDIM from noise. None: without guidance; guided where p(unsafe | x_t) is above the limit."""
    x = np.random.default_rng(11).normal(size=(count, 2))
    for alpha_bar, following in zip(SCHEDULE, [*SCHEDULE[1:], 1.0], strict=True):
        is_unsafe = unsafe_share(x, alpha_bar)[:, None]
        of_unsafe, of_safe = (score(x, mean, alpha_bar) for mean in (UNSAFE, SAFE))
        mixture = is_unsafe * of_unsafe + (1 - is_unsafe) * of_safe
        noise = -np.sqrt(1 - alpha_bar) * mixture
        if strength is not None:  # grad log p(unsafe | x) = grad log p(x | unsafe) - grad log p(x)
            gradient = (of_unsafe - mixture) * (is_unsafe > guided_above)
            noise = guided_noise(noise, gradient, alpha_bar, strength=strength)
        x_0 = predicted_x0(x, noise, alpha_bar)
        x = np.sqrt(following) * x_0 + np.sqrt(1 - following) * noise
    return x


def share_unsafe(x: Points) -> float:
    return float((x[:, 0] > 0).mean())


def test_guidance_lowers_the_share_of_the_unsafe_mode_the_more_the_stronger() -> None:
    shares = [share_unsafe(generated(strength)) for strength in (0.0, 0.5, 1.0, 2.0, 5.0)]
    assert shares[0] == pytest.approx(0.5, abs=0.05)
    assert shares == sorted(shares, reverse=True)
    assert shares[2] < shares[0] / 2
    assert shares[4] < 0.05


def test_no_strength_is_no_guidance() -> None:
    np.testing.assert_array_equal(generated(0.0), generated(None))


def test_guided_only_where_it_is_needed_what_is_safe_stays_a_picture_of_the_model() -> None:
    # Guided everywhere, what is safe is driven out of what the model knows; the docstring says so.
    everywhere, needed = generated(2.0), generated(2.0, guided_above=0.5)
    far, near = (
        float(np.linalg.norm(x[x[:, 0] < 0].mean(axis=0) - SAFE)) for x in (everywhere, needed)
    )
    assert near < 0.5 < far
    assert share_unsafe(needed) == share_unsafe(everywhere)


def logit_and_slope(x: Points, alpha_bar: float) -> tuple[Points, Points]:
    """log p / (1 - p) of the unsafe mode, [N, 1], and its gradient [N, 1, 2]: it is linear in x."""
    slope = np.sqrt(alpha_bar) * (UNSAFE - SAFE) / (alpha_bar * VARIANCE + 1 - alpha_bar)
    return (x @ slope)[:, None], np.broadcast_to(slope, (len(x), 1, 2))


def test_both_gradients_are_what_they_say() -> None:
    x, alpha_bar, step = np.array([[0.3, -0.2], [-1.0, 0.4]]), 0.4, 1e-6
    for gradient, of in (
        (unsafe_gradient, lambda p: np.log(p)),
        (unsafe_risk_gradient, lambda p: -np.log(1 - p)),
    ):
        found = gradient(*logit_and_slope(x, alpha_bar))
        for axis in range(2):
            move = np.eye(2)[axis] * step
            ahead, behind = (of(unsafe_share(at, alpha_bar)) for at in (x + move, x - move))
            np.testing.assert_allclose(found[:, axis], (ahead - behind) / (2 * step), atol=1e-6)


def test_the_risk_gradient_needs_no_limit_where_the_other_does() -> None:
    x = np.concatenate([np.tile(SAFE, (1, 1)), np.tile(UNSAFE, (1, 1))]).astype(float)
    told = logit_and_slope(x, 0.9)
    (off_safe, off_unsafe), (risk_safe, risk_unsafe) = (
        np.linalg.norm(gradient(*told), axis=1)
        for gradient in (unsafe_gradient, unsafe_risk_gradient)
    )
    assert risk_safe < 1e-3 < 1 < off_safe
    assert off_unsafe < 1e-3 < 1 < risk_unsafe


@pytest.mark.parametrize("gradient", [unsafe_gradient, unsafe_risk_gradient])
@pytest.mark.parametrize(
    ("logits", "slopes", "says"),
    [
        pytest.param(np.zeros((2, 1)), np.zeros((3, 1, 2)), r"Expected \[N, K\]", id="shapes"),
        pytest.param(np.zeros(2), np.zeros((2, 2)), r"Expected \[N, K\]", id="no concepts"),
        pytest.param(np.full((1, 1), np.nan), np.zeros((1, 1, 2)), "NaN", id="NaN"),
    ],
)
def test_gradients_that_cannot_be_used_are_refused(
    gradient: Callable[[Points, Points], Points], logits: Points, slopes: Points, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        gradient(logits, slopes)


@pytest.mark.parametrize(
    ("alpha_bar", "strength"), [(0.0, 1.0), (1.1, 1.0), (0.5, -1.0), (0.5, float("nan"))]
)
def test_what_is_out_of_range_is_refused(alpha_bar: float, strength: float) -> None:
    with pytest.raises(InputError, match="Expected"):
        guided_noise(1.0, 1.0, alpha_bar, strength=strength)


def test_a_concept_that_is_hardly_probable_is_left_alone() -> None:
    logits, gradients = [[-3.0, 1.0]], np.ones((1, 2, 4))  # p = .05 and .73
    both = unsafe_risk_gradient(logits, gradients)
    np.testing.assert_allclose(both, np.full((1, 4), 0.0474 + 0.7311), atol=1e-3)
    found = unsafe_risk_gradient(logits, gradients, least=0.1)
    np.testing.assert_allclose(found, np.full((1, 4), 0.7311), atol=1e-3)


def test_a_picture_noised_back_has_the_noise_of_the_step_before() -> None:
    rng = np.random.default_rng(3)
    x_0, (noise, fresh) = 0.7, rng.standard_normal((2, 200_000))
    later = np.sqrt(0.8) * x_0 + np.sqrt(0.2) * noise
    before = noised_back(later, fresh, 0.8, to=0.3)
    assert before.mean() == pytest.approx(np.sqrt(0.3) * x_0, abs=0.01)
    assert before.var() == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize(("alpha_bar", "to"), [(0.5, 0.6), (0.5, 0.0), (1.1, 0.5)])
def test_noise_is_put_back_only_where_there_was_more(alpha_bar: float, to: float) -> None:
    with pytest.raises(InputError, match="to <= alpha_bar"):
        noised_back(0.0, 0.0, alpha_bar, to=to)
