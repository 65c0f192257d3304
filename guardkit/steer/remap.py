"""Remap concepts in closed form: a linear layer that reads a harmful prompt's states as it read a harmless one's.

After TRCE (arXiv 2503.07389), stage 1. For a projection W of a text's states, W' minimises

    sum_i ||W' m_i - W s_i||^2  +  eta sum_j ||W' k_j - W k_j||^2  +  ridge ||W' - W||^2

where m are states of harmful prompts, s those of the same prompts with what takes the concept's place, and k those of
ordinary ones, which are to be read as before. Solved,

    W' = W + W (sum_i (s_i - m_i) m_i^T) (sum_i m_i m_i^T + eta sum_j k_j k_j^T + ridge I)^{-1} = W R

R does not depend on W: one matrix on the states is the edit of every projection that reads them, keys and values of all
layers alike. `remap_matrix` is R; put it between a text encoder and a generator, or multiply it into the weights.

A row may be a word's state, as the projections of a generator read it, or a short prompt's states one after the other: what a word is
beside others is then told apart better, by a matrix that no projection can take in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from guardkit.errors import InputError
from guardkit.policy.meaning import concept_problems
from guardkit.policy.rules import Concept

Floats = NDArray[np.float64]
_ILL = 1e10  # a condition number above it leaves fewer than six of float64's sixteen digits
_SLOT = "{}"


def closed_form_remap(
    weight: ArrayLike,
    harmful: ArrayLike,
    safe: ArrayLike,
    keep: ArrayLike,
    *,
    eta: float,
    ridge: float = 0.0,
) -> Floats:
    """W', which reads each harmful state about as W reads the safe one beside it.

    Args:
        weight: W, f64 [outputs, D].
        harmful: m, f64 [pairs, D].
        safe: s, f64 [pairs, D], row by row what is to be read instead.
        keep: k, f64 [rows, D], states that are to be read as before; there may be none.
        eta: What a kept row counts beside a pair, at least 0. The larger, the closer W' stays to W.
        ridge: Of staying at W in every direction, at least 0. Needed where the rows do not span all D.

    Raises:
        InputError: Shapes that do not fit, numbers that are not finite, or too few rows for a sure answer.

    >>> closed_form_remap(np.eye(2), [[1, 0]], [[0, 1]], [[0, 1]], eta=1).round(6).tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """
    matrix = remap_matrix(harmful, safe, keep, eta=eta, ridge=ridge)
    projection = _rows(weight, "weight", width=len(matrix))
    return np.asarray(projection @ matrix)


def remap_matrix(
    harmful: ArrayLike, safe: ArrayLike, keep: ArrayLike, *, eta: float, ridge: float = 0.0
) -> Floats:
    """R of the module's docstring, f64 [D, D]: `states @ R.T` instead of the states.

    Args and errors are those of `closed_form_remap`.

    >>> remap_matrix([[1, 0]], [[1, 0]], [[0, 1]], eta=1).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    if not 0 <= eta < math.inf or not 0 <= ridge < math.inf:
        raise InputError(f"eta is {eta}, ridge {ridge}. Expected finite numbers of at least 0.")
    m = _rows(harmful, "harmful")
    width = m.shape[1]
    s, k = _rows(safe, "safe", width=width), _rows(keep, "keep", width=width)
    if len(s) != len(m) or not len(m):
        raise InputError(f"harmful has {len(m)} rows, safe {len(s)}. Expected pairs, at least one.")
    gram = m.T @ m + eta * (k.T @ k) + ridge * np.eye(width)
    smallest, largest = np.linalg.eigvalsh(gram)[[0, -1]]
    condition = float(largest / smallest) if smallest > 0 else math.inf
    if not condition < _ILL:
        raise InputError(
            f"the remap is ill-conditioned: condition {condition:.1e} from {len(m)} pairs and {len(k)} kept rows "
            f"of width {width}, at most {_ILL:.0e}. Give more rows to keep, or a larger ridge."
        )
    return np.eye(width) + np.linalg.solve(gram, m.T @ (s - m)).T


def concept_pairs(
    concepts: Mapping[str, str | Concept], templates: Sequence[str]
) -> list[tuple[str, str]]:
    """Prompts with each concept, and the same prompts with what takes its place.

    Args:
        concepts: As in a policy: a phrase to its replacement, or to a `Concept` with further phrases.
        templates: Each with one `{}`, where the concept goes.

    Raises:
        InputError: A replacement is or holds a concept (a cycle), a phrase belongs to two, or a template has not one `{}`.

    >>> concept_pairs({"zombie": "gardener"}, ["a {} at work"])
    [('a zombie at work', 'a gardener at work')]
    """
    entries = {
        name: Concept(entry) if isinstance(entry, str) else entry
        for name, entry in concepts.items()
    }
    as_written = {
        name: {"replacement": one.replacement, "examples": list(one.examples)}
        for name, one in entries.items()
    }
    faults = [f"{where[-1]}: {problem}" for where, problem in concept_problems(as_written)]
    faults += [
        f"template {at}: found {template.count(_SLOT)} of '{_SLOT}'. Expected one."
        for at, template in enumerate(templates)
        if template.count(_SLOT) != 1
    ]
    if faults or not entries or not templates:
        raise InputError("; ".join(faults) or "concepts, templates: expected at least one of each.")
    return [
        (template.replace(_SLOT, phrase), template.replace(_SLOT, one.replacement))
        for name, one in entries.items()
        for phrase in (name, *one.examples)
        for template in templates
    ]


def _rows(values: ArrayLike, name: str, *, width: int | None = None) -> Floats:
    rows = np.asarray(values, np.float64)
    if rows.size == 0 and width is not None:
        rows = rows.reshape(0, width)
    if rows.ndim != 2 or width not in (None, rows.shape[1]):
        wanted = "[rows, D]" if width is None else f"[rows, {width}]"
        raise InputError(f"{name}: found {list(rows.shape)}. Expected {wanted}.")
    if not np.all(np.isfinite(rows)):
        raise InputError(f"{name}: holds NaN or infinity. Expected finite numbers.")
    return rows
