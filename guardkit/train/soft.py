"""Soft labels: what a larger model, and the one it teaches, say together of texts of the mixture.

    guardkit train soft-labels --teacher RUNS/mpnet --data FOLDER --work FOLDER

What comes out, `data/labels/soft.npz`, names a text by its digest and holds f16 probabilities; `load_mixture`
mixes them into the labels of the training split. Chunks in --work let a stopped run go on.
Method: Hinton et al., "Distilling the Knowledge in a Neural Network" (2015), at temperature 1: a cross
entropy against a mixed label equals the mixture of the cross entropies.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from guardkit.errors import InputError
from guardkit.train.data import CATEGORIES, Pool, known_labels
from guardkit.train.written import number_of

Floats = NDArray[np.float32]

FILE = Path("labels", "soft.npz")
"""Where they lie in the repository's `data`."""
# Chosen: a teacher is right more often than one annotator on what it was shown, and less often than a
# label that a person gave to exactly this text.
_SHARE_OF_KNOWN = 0.4
_TRUST_IN_UNKNOWN = 0.6
_SLOT = "{"  # the text changes with every draw


def softened(pool: Pool, path: Path) -> Pool:
    """The pool with soft labels mixed in: beside known labels, in place of filled-in ones.

    Args:
        pool: Any rows; those that the file does not name stay as they are.
        path: What `save` wrote.

    Raises:
        InputError: The file is of other categories.
    """
    with np.load(path) as stored:
        if tuple(stored["categories"]) != CATEGORIES:
            raise InputError(
                f"{path}: holds other categories. Make it again: guardkit train soft-labels."
            )
        names = dict(zip(stored["digests"].tolist(), range(len(stored["digests"])), strict=True))
        scores = stored["scores"].astype(np.float32)
    found = np.array([names.get(number_of(text), -1) for text in pool.texts], np.int64)
    rows = np.flatnonzero((found >= 0) & [not context for context in pool.contexts])
    soft, known = scores[found[rows]], known_labels(pool)[rows]
    labels, weights = pool.labels.copy(), pool.weights.copy()
    mixed = labels[rows] + _SHARE_OF_KNOWN * (soft - labels[rows])
    labels[rows] = np.where(known, mixed, soft)
    weights[rows] = np.where(known, weights[rows], _TRUST_IN_UNKNOWN)
    return replace(pool, labels=labels, weights=weights)


def save(path: Path, texts: list[str], scores: NDArray[np.float64]) -> None:
    """Write probabilities f64 [texts, categories] under the digests of their texts."""
    names = np.array([number_of(text) for text in texts], np.uint64)
    order = np.argsort(names)
    np.savez_compressed(
        path,
        categories=np.array(CATEGORIES),
        digests=names[order],
        scores=scores[order].astype(np.float16),
    )


def choose(pool: Pool, rows: int, *, seed: int) -> Pool:
    """The texts that training draws most: by their rates, each at most once.

    Left out are texts with a context, with slots, and those that state every label for certain.
    """
    fits = [
        not context and _SLOT not in text
        for text, context in zip(pool.texts, pool.contexts, strict=True)
    ]
    open_labels = ~known_labels(pool).all(axis=1)
    candidates = pool.take(np.flatnonzero(np.array(fits) & open_labels))
    keys = np.random.default_rng(seed).exponential(size=len(candidates.texts)) / candidates.rates
    return candidates.take(np.argsort(keys)[:rows])
