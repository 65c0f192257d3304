"""Linear erasure in closed form: the smallest linear change after which no linear classifier tells two classes apart.

    r(x) = x - u v^T (x - m)    with W the whitening of x, w = W (mean_toxic - mean_clean), v = W w / |w|, u = W^-1 w / |w|

(Belrose et al., LEACE, for one binary label.) It is where a bottleneck may begin: the adversary then only has to find what is
not linear.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

_LEAST = 1e-4  # of the largest eigenvalue: directions that do not vary are left alone


@dataclass(frozen=True, slots=True)
class Eraser:
    """r(x) = x - u v^T (x - m)."""

    u: NDArray[np.float64]
    """f64 [d]."""
    v: NDArray[np.float64]
    """f64 [d]."""


def fit_eraser(features: Tensor, toxic: Tensor) -> Eraser:
    """Fit the eraser of a binary label.

    Args:
        features: f32 [N, d], of whole texts.
        toxic: int64 [N], both 0 and 1 among them.

    >>> import torch
    >>> x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [2.0, 0.0], [2.0, 1.0]])
    >>> one = fit_eraser(x, torch.tensor([0, 0, 1, 1]))
    >>> np.round((x.numpy() - np.outer((x.numpy() - 1) @ one.v, one.u))[:, 0], 6).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    x, a = features.double().numpy(), toxic.numpy() == 1
    values, vectors = np.linalg.eigh(np.cov(x.T))
    kept = values > _LEAST * values[-1]
    values, vectors = values[kept], vectors[:, kept]
    whitened = (vectors.T @ (x[a].mean(0) - x[~a].mean(0))) / np.sqrt(values)
    whitened /= np.linalg.norm(whitened)
    return Eraser(
        u=vectors @ (np.sqrt(values) * whitened), v=vectors @ (whitened / np.sqrt(values))
    )
