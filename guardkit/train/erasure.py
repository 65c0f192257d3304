"""Erasure in closed form: the smallest linear change after which two classes are no longer told apart, by their means or by their spread.

    r(x) = x - U V^T (x - m)    with W the whitening of x, Q orthonormal columns, V = W Q, U = W^-1 Q

The first column of Q is W (mean_toxic - mean_clean): after it no linear classifier tells the classes (Belrose et al., LEACE, for one binary label).
More columns take the directions in which the classes *spread* most differently (largest |log| of the generalized eigenvalues of their covariances, as in common spatial
patterns, Koles 1991): what is left there is what classifiers with hidden layers read first. It is where a bottleneck may begin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

_LEAST = 1e-4  # of the largest eigenvalue: directions that do not vary are left alone
_SHRUNK = 0.3  # share of the identity in a class's whitened covariance: rows are few beside d * d


@dataclass(frozen=True, slots=True)
class Eraser:
    """r(x) = x - U V^T (x - m)."""

    u: NDArray[np.float64]
    """f64 [d, k]."""
    v: NDArray[np.float64]
    """f64 [d, k]."""

    @property
    def rank(self) -> int:
        """How many directions it takes: k."""
        return self.u.shape[1]


def fit_eraser(features: Tensor, toxic: Tensor, *, spread: int = 0) -> Eraser:
    """Fit the eraser of a binary label.

    Args:
        features: f32 [N, d], of whole texts.
        toxic: int64 [N], both 0 and 1 among them.
        spread: How many directions of different spread it takes beside that of the means; those that do not vary are none.

    >>> import torch
    >>> x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [2.0, 0.0], [2.0, 1.0]])
    >>> one = fit_eraser(x, torch.tensor([0, 0, 1, 1]))
    >>> np.round((x.numpy() - (x.numpy() - 1) @ one.v @ one.u.T)[:, 0], 6).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    x, a = features.double().numpy(), toxic.numpy() == 1
    values, vectors = np.linalg.eigh(np.cov(x.T))
    kept = values > _LEAST * values[-1]
    widths, vectors = np.sqrt(values[kept]), vectors[:, kept]
    white = (x - x.mean(0)) @ vectors / widths
    means = white[a].mean(0) - white[~a].mean(0)
    taken = means[:, None]
    if spread:
        taken = np.column_stack([means, _spread(white[a], white[~a])[:, :spread]])
    q, _ = np.linalg.qr(taken[:, : len(means)])
    return Eraser(u=(vectors * widths) @ q, v=(vectors / widths) @ q)


def _spread(toxic: NDArray[np.float64], clean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Directions [d, d] of whitened rows, those first in which the variance of the classes differs by the largest factor."""
    covariances = [(1 - _SHRUNK) * np.cov(rows.T) + _SHRUNK * np.eye(rows.shape[1]) for rows in (toxic, clean)]  # fmt: skip
    inverse = np.linalg.inv(np.linalg.cholesky(covariances[1]))
    factors, vectors = np.linalg.eigh(inverse @ covariances[0] @ inverse.T)
    return (inverse.T @ vectors)[:, np.argsort(-np.abs(np.log(factors)))]
