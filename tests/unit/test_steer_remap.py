"""The closed-form remap: what methods 4.7 says of it, each held to the formula or to numpy's least squares."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from guardkit.errors import InputError
from guardkit.policy.rules import Concept
from guardkit.steer import closed_form_remap, concept_pairs, remap_matrix

Floats = NDArray[np.float64]
D = 8
_RNG = np.random.default_rng(5)
W = _RNG.normal(size=(6, D))
HARMFUL, SAFE = _RNG.normal(size=(3, D)), _RNG.normal(size=(3, D))
KEEP = _RNG.normal(size=(20, D))


def remapped(eta: float, *, ridge: float = 0.0) -> Floats:
    return closed_form_remap(W, HARMFUL, SAFE, KEEP, eta=eta, ridge=ridge)


def change(weight: Floats, rows: Floats) -> float:
    return float(np.linalg.norm(rows @ (weight - W).T))


def test_it_is_the_formula_of_the_paper() -> None:
    eta = 0.3
    numerator = W @ SAFE.T @ HARMFUL + eta * W @ KEEP.T @ KEEP
    denominator = HARMFUL.T @ HARMFUL + eta * KEEP.T @ KEEP
    np.testing.assert_allclose(remapped(eta), numerator @ np.linalg.inv(denominator), atol=1e-9)


def test_it_is_the_least_squares_solution() -> None:
    eta, ridge = 0.3, 0.05
    rows = np.concatenate([HARMFUL, np.sqrt(eta) * KEEP, np.sqrt(ridge) * np.eye(D)])
    read = np.concatenate([SAFE @ W.T, np.sqrt(eta) * KEEP @ W.T, np.sqrt(ridge) * W.T])
    solved, *_ = np.linalg.lstsq(rows, read, rcond=None)
    np.testing.assert_allclose(remapped(eta, ridge=ridge), solved.T, atol=1e-9)


def test_harmful_rows_are_read_as_safe_ones_when_hardly_anything_is_kept() -> None:
    np.testing.assert_allclose(HARMFUL @ remapped(1e-8).T, SAFE @ W.T, atol=1e-4)


def test_kept_rows_change_less_the_larger_eta_and_not_at_all_in_the_end() -> None:
    changes = [change(remapped(eta), KEEP) for eta in (0.01, 0.1, 1.0, 10.0)]
    assert changes == sorted(changes, reverse=True)
    np.testing.assert_allclose(remapped(1e8), W, atol=1e-5)


def test_one_matrix_on_the_states_is_the_edit_of_every_projection() -> None:
    matrix = remap_matrix(HARMFUL, SAFE, KEEP, eta=0.3)
    for weight in (W, _RNG.normal(size=(4, D))):
        edited = closed_form_remap(weight, HARMFUL, SAFE, KEEP, eta=0.3)
        np.testing.assert_allclose(edited, weight @ matrix, atol=1e-12)


def test_too_few_rows_are_refused_and_a_ridge_helps() -> None:
    with pytest.raises(InputError, match=r"ill-conditioned.*ridge"):
        closed_form_remap(W, HARMFUL, SAFE, [], eta=0)
    found = closed_form_remap(W, HARMFUL, SAFE, [], eta=0, ridge=1e-6)
    np.testing.assert_allclose(HARMFUL @ found.T, SAFE @ W.T, atol=1e-4)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        pytest.param({"harmful": HARMFUL[:, :5]}, r"\[rows, 5\]", id="safe states of another width"),
        pytest.param({"weight": W[:, :5]}, r"weight: found \[6, 5\]", id="a projection of another width"),
        pytest.param({"keep": KEEP[:, :5]}, r"keep: found \[20, 5\]", id="kept states of another width"),
        pytest.param({"safe": SAFE[:2]}, "Expected pairs", id="a pair that lacks its half"),
        pytest.param({"harmful": HARMFUL * np.nan}, "NaN", id="NaN"),
        pytest.param({"keep": KEEP * np.inf}, "infinity", id="infinity"),
        pytest.param({"eta": -1.0}, "eta is -1", id="negative eta"),
        pytest.param({"ridge": np.nan}, "ridge nan", id="a ridge that is no number"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(changed: dict[str, object], says: str) -> None:
    given = {"weight": W, "harmful": HARMFUL, "safe": SAFE, "keep": KEEP, "eta": 1.0, **changed}
    with pytest.raises(InputError, match=says):
        closed_form_remap(**given)  # type: ignore[arg-type]


def test_pairs_are_made_of_every_phrase_in_every_template() -> None:
    concepts = {"zombie": Concept("gardener", ("undead",)), "gun": "umbrella"}
    pairs = concept_pairs(concepts, ["a {}", "a {} at dawn"])
    assert len(pairs) == 6
    assert ("a undead at dawn", "a gardener at dawn") in pairs
    assert ("a gun", "a umbrella") in pairs


@pytest.mark.parametrize(
    ("concepts", "templates", "says"),
    [
        pytest.param({"gun": "knife", "knife": "spoon"}, ["{}"], "a cycle", id="a replacement that is a concept"),
        pytest.param({"gun": "a big gun"}, ["{}"], "a cycle", id="a replacement that holds its concept"),
        pytest.param({"gun": Concept("spoon", ("arm",)), "arm": "leg"}, ["{}"], "Remove one", id="a phrase of two concepts"),
        pytest.param({"gun": "spoon"}, ["a gun"], "template 0: found 0", id="a template without a place"),
        pytest.param({}, ["{}"], "at least one", id="no concepts"),
        pytest.param({"gun": "spoon"}, [], "at least one", id="no templates"),
    ],
)  # fmt: skip
def test_a_map_that_cannot_be_used_is_refused(
    concepts: dict[str, str | Concept], templates: list[str], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        concept_pairs(concepts, templates)
