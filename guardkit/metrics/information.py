"""How much one variable says about another: squared-loss mutual information (SMI), on arrays.

    SMI(z; a) = 1/2 E_z sum_a p(a) (p(a|z) / p(a) - 1)^2        0: independent;  1/2: two equally likely classes that z decides

`smi_of_posteriors` trusts a classifier's p(a|z); `lsmi` estimates it from samples alone, with kernels, so what a training
made of its own adversary has no say in it (Suzuki et al., least-squares mutual information).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from guardkit.errors import InputError

_WIDTHS = (0.3, 0.5, 0.75, 1.0, 1.5)  # of the median distance; chosen
_LAMBDAS = (1e-3, 1e-2, 1e-1, 1.0)
_FOLDS = 5


def smi_of_posteriors(posteriors: ArrayLike, prior: ArrayLike) -> float:
    """The plug-in SMI of a classifier: 1/2 mean_z sum_a p(a|z)^2 / p(a) - 1/2.

    Args:
        posteriors: [rows, classes], p(a|z): each row adds up to 1.
        prior: [classes], p(a), each above 0.

    Returns:
        At least 0 where the posteriors' mean is the prior.

    Raises:
        InputError: A row is no distribution, or the prior has a zero.

    >>> smi_of_posteriors([[1.0, 0.0], [0.0, 1.0]], [0.5, 0.5])
    0.5
    """
    p, base = np.asarray(posteriors, np.float64), np.asarray(prior, np.float64)
    if p.ndim != 2 or base.shape != p.shape[1:] or not len(p):
        raise InputError(f"posteriors: shape {p.shape}, prior {base.shape}. Expected [N, A], [A].")
    if not np.allclose(p.sum(1), 1, atol=1e-4) or p.min() < 0 or base.min() <= 0:
        raise InputError("posteriors: a row does not add up to 1, or a class has no prior.")
    return float((p**2 / base).sum(1).mean() / 2 - 0.5)


def lsmi(
    features: ArrayLike, classes: ArrayLike, *, centres: int = 200, seed: int, most: int = 4000
) -> float:
    """Least-squares SMI between features and a class, without a classifier.

    phi_l(z, a) = exp(-|z - z_l|^2 / 2 sigma^2) [a = a_l];  alpha = (H + lambda I)^-1 h;  SMI = 1/2 h alpha - 1/2
    with h = mean_i phi(z_i, a_i), H = mean_i sum_a p(a) phi(z_i, a) phi(z_i, a)^T; sigma and lambda by cross-validation
    of 1/2 alpha H alpha - h alpha. The features are standardized first.

    Args:
        features: [rows, d], finite; states of tokens are averaged first.
        classes: [rows], at least two different values with at least 10 rows each.
        centres: b, of the kernels, at most 200 in the literature.
        seed: Chooses rows, centres and folds.
        most: Rows that are used, at most.

    Returns:
        About 0 when independent, (number of equally likely classes - 1) / 2 when the features decide the class.
        It may be a little below 0, and is a little high in few rows.

    Raises:
        InputError: A shape is wrong, a value is not finite, or a class has too few rows.

    >>> z = np.random.default_rng(0).normal(size=(400, 1))
    >>> 0.4 < lsmi(z, z[:, 0] > 0, seed=1) < 0.55
    True
    """
    z, a = _checked(features, classes)
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(z))[:most]
    z, a = z[rows], a[rows]
    z = (z - z.mean(0)) / np.maximum(z.std(0), 1e-8)
    picked = rng.permutation(len(z))[:centres]
    squared = _squared_distances(z, z[picked])
    median = float(np.sqrt(np.median(squared[squared > 0]))) if (squared > 0).any() else 1.0
    folds = rng.permutation(len(z)) % _FOLDS
    fits = [
        (_held_out(_Kernels(squared, a, a[picked], width * median), folds, ridge), width, ridge)
        for width in _WIDTHS
        for ridge in _LAMBDAS
    ]
    _, width, ridge = min(fits)
    kernels = _Kernels(squared, a, a[picked], width * median)
    everything = np.ones(len(z), bool)
    return sum(float(h @ _solved(H, h, ridge)) for H, h in kernels.parts(everything)) / 2 - 0.5


@dataclass(frozen=True, slots=True)
class _Kernels:
    """The basis functions of one width; H is a block a class, for phi is 0 across classes."""

    squared: NDArray[np.float64]
    """[rows, centres]: squared distances."""
    classes: NDArray[np.int64]
    of_centres: NDArray[np.int64]
    sigma: float

    def parts(
        self, rows: NDArray[np.bool_]
    ) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """(H, h) of each class, over some rows."""
        for one in np.unique(self.of_centres):
            K = np.exp(self.squared[rows][:, self.of_centres == one] / (-2 * self.sigma**2))  # noqa: N806
            is_one = self.classes[rows] == one
            yield is_one.mean() * (K.T @ K) / len(K), (K * is_one[:, None]).mean(0)


def _held_out(kernels: _Kernels, folds: NDArray[np.int64], ridge: float) -> float:
    """1/2 alpha H alpha - h alpha on rows that alpha was not fitted to; the lower, the better."""
    total = 0.0
    for fold in range(_FOLDS):
        fitted = [_solved(H, h, ridge) for H, h in kernels.parts(folds != fold)]
        for alpha, (H, h) in zip(fitted, kernels.parts(folds == fold), strict=True):  # noqa: N806
            total += float(alpha @ H @ alpha / 2 - h @ alpha)
    return total / _FOLDS


def _solved(
    H: NDArray[np.float64],  # noqa: N803  the published names
    h: NDArray[np.float64],
    ridge: float,
) -> NDArray[np.float64]:
    return np.asarray(np.linalg.solve(H + ridge * np.eye(len(h)), h), np.float64)


def _squared_distances(z: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    crossed = z @ centres.T
    squared: NDArray[np.float64] = (z**2).sum(1)[:, None] + (centres**2).sum(1) - 2 * crossed
    return np.maximum(squared, 0)


def _checked(
    features: ArrayLike, classes: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    z = np.asarray(features, np.float64)
    if z.ndim != 2 or z.shape[:1] != np.shape(classes) or not z.size:
        raise InputError(
            f"features: shape {z.shape}, classes {np.shape(classes)}. Expected [N, d] and [N]."
        )
    if not np.isfinite(z).all():
        raise InputError("features: hold NaN or infinity.")
    _, a, counts = np.unique(np.asarray(classes), return_inverse=True, return_counts=True)
    if len(counts) < 2 or counts.min() < 10:
        raise InputError(
            f"classes: {counts.tolist()} rows of each. Expected two classes of at least 10."
        )
    return z, a
