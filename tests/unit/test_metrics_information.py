"""Squared-loss mutual information: known values, bounds, bad input."""

from __future__ import annotations

import numpy as np
import pytest

from guardkit.errors import InputError
from guardkit.metrics.information import lsmi, smi_of_posteriors

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("p", "expected"),  # (2p - 1)^2 / 2 for two equally likely classes
    [(0.0, 0.5), (0.25, 0.125), (0.5, 0.0), (0.75, 0.125), (1.0, 0.5)],
)
def test_the_plug_in_value_of_two_classes(p: float, expected: float) -> None:
    assert smi_of_posteriors([[1 - p, p]], [0.5, 0.5]) == pytest.approx(expected)


def test_independent_features_have_about_none() -> None:
    z, a = RNG.normal(size=(2000, 5)), RNG.random(2000) < 0.5
    assert abs(lsmi(z, a, seed=1)) < 0.03


def test_features_that_decide_between_two_classes_have_about_a_half() -> None:
    a = RNG.random(2000) < 0.5
    z = RNG.normal(scale=0.1, size=(2000, 3)) + 4 * a[:, None]
    assert lsmi(z, a, seed=1) == pytest.approx(0.5, abs=0.05)


def test_features_that_decide_between_three_classes_have_about_one() -> None:
    a = RNG.integers(0, 3, 2400)  # (3 - 1) / 2
    z = np.eye(3)[a] * 4 + RNG.normal(scale=0.1, size=(2400, 3))
    assert lsmi(z, a, seed=1) == pytest.approx(1.0, abs=0.1)


def test_what_a_classifier_knows_half_of_lies_between() -> None:
    # One bit that is right with probability .75: SMI = (2 * .75 - 1)^2 / 2 = .125
    a = RNG.random(4000) < 0.5
    told = np.where(RNG.random(4000) < 0.75, a, ~a).astype(float)
    assert lsmi(told[:, None], a, seed=1) == pytest.approx(0.125, abs=0.03)


@pytest.mark.parametrize(
    ("z", "a", "words"),
    [
        pytest.param(np.zeros((30, 2)), np.zeros(30), "Expected two classes", id="one-class"),
        pytest.param(np.full((30, 2), np.nan), np.arange(30) % 2, "NaN", id="nan"),
        pytest.param(np.zeros(30), np.arange(30) % 2, "Expected [N, d]", id="flat"),
        pytest.param(np.zeros((30, 2)), np.arange(29) % 2, "Expected [N, d]", id="lengths"),
    ],
)
def test_bad_features_are_refused(z: np.ndarray, a: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words.replace("[", r"\[")):
        lsmi(z, a, seed=1)


def test_posteriors_that_are_none_are_refused() -> None:
    with pytest.raises(InputError, match="add up to 1"):
        smi_of_posteriors([[0.2, 0.2]], [0.5, 0.5])
    with pytest.raises(InputError, match="shape"):
        smi_of_posteriors([0.5, 0.5], [0.5, 0.5])
