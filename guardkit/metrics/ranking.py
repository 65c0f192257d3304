"""How well scores rank rows: areas, recall at a false-positive rate, counts at a threshold.

Rows with equal scores are one step: no order among them is invented, so every number is exact
under ties and does not depend on the order of the rows. A row is called positive when
`score >= threshold`. A number that the rows do not define is None, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guardkit.errors import InputError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Counts:
    """The confusion table at one threshold."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def precision(self) -> float | None:
        """Share of positives among the rows called positive; None when none was called so."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float | None:
        """Share of the positives that was called positive; None without positives."""
        return _share(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def false_positive_rate(self) -> float | None:
        """Share of the negatives that was called positive; None without negatives."""
        return _share(self.false_positives, self.false_positives + self.true_negatives)

    @property
    def f1(self) -> float | None:
        """2 TP / (2 TP + FP + FN); None when nothing is positive and nothing was called so."""
        twice = 2 * self.true_positives
        return _share(twice, twice + self.false_positives + self.false_negatives)


@dataclass(frozen=True, slots=True)
class Ranking:
    """Rows sorted by score, equal scores as one step; what every metric here is computed from."""

    thresholds: Floats
    """f64 [steps], strictly descending: the distinct scores."""
    true_positives: Ints
    """int64 [steps]: positives with a score at or above the step's threshold."""
    false_positives: Ints
    """int64 [steps]: negatives likewise."""

    @property
    def positives(self) -> int:
        """Rows whose truth is positive."""
        return int(self.true_positives[-1]) if len(self.true_positives) else 0

    @property
    def negatives(self) -> int:
        """Rows whose truth is negative."""
        return int(self.false_positives[-1]) if len(self.false_positives) else 0

    def auprc(self) -> float | None:
        """Average precision: the sum over steps of (gain in recall) * precision; no interpolation.

        Returns:
            In (0, 1]; the share of positives is what chance gives. None unless both classes occur.
        """
        if not self._has_both_classes():
            return None
        called = np.maximum(self.true_positives + self.false_positives, 1)
        gained = np.diff(self.true_positives, prepend=0)
        return float(np.sum(gained * self.true_positives / called) / self.positives)

    def roc_auc(self) -> float | None:
        """Share of pairs (positive, negative) in the right order; a tie counts one half.

        Returns:
            In [0, 1]; chance gives 0.5. None unless both classes occur.
        """
        if not self._has_both_classes():
            return None
        before = self.true_positives - np.diff(self.true_positives, prepend=0)
        fallen = np.diff(self.false_positives, prepend=0)
        twice_right = int(np.sum(fallen * (self.true_positives + before)))
        return twice_right / (2 * self.positives * self.negatives)

    def recall_at_fpr(self, limit: float) -> float | None:
        """The highest recall of any threshold whose false-positive rate is at most `limit`.

        With fewer than 1 / limit negatives, that allows no false positive at all.

        Args:
            limit: In [0, 1].

        Returns:
            In [0, 1]; 0 when no threshold is strict enough. None unless both classes occur.
        """
        if not self._has_both_classes():
            return None
        # Divided, not multiplied: 29 / 100 <= 0.29 holds, 29 <= 0.29 * 100 does not.
        rates = self.false_positives / self.negatives
        steps = int(np.searchsorted(rates, limit, side="right"))
        return int(self.true_positives[steps - 1]) / self.positives if steps else 0.0

    def counts_at(self, threshold: float) -> Counts:
        """The confusion table when `score >= threshold` is called positive."""
        steps = int(np.searchsorted(-self.thresholds, -threshold, side="right"))
        hits = int(self.true_positives[steps - 1]) if steps else 0
        alarms = int(self.false_positives[steps - 1]) if steps else 0
        return Counts(hits, alarms, self.positives - hits, self.negatives - alarms)

    def pr_curve(self) -> tuple[Floats, Floats]:
        """Recall and precision at every step, strictest first; both f64 [steps] in [0, 1].

        Raises:
            InputError: A class does not occur.
        """
        self._require_both_classes()
        called = self.true_positives + self.false_positives
        return self.true_positives / self.positives, self.true_positives / called

    def roc_curve(self) -> tuple[Floats, Floats]:
        """False-positive rate and recall, from (0, 0) to (1, 1); both f64 [steps + 1].

        Raises:
            InputError: A class does not occur.
        """
        self._require_both_classes()
        alarms = np.concatenate([[0], self.false_positives]) / self.negatives
        hits = np.concatenate([[0], self.true_positives]) / self.positives
        return alarms, hits

    def _has_both_classes(self) -> bool:
        return self.positives > 0 and self.negatives > 0

    def _require_both_classes(self) -> None:
        if not self._has_both_classes():
            raise InputError(
                f"a curve of {self.positives} positives and {self.negatives} negatives is not "
                "defined. Expected at least one of each."
            )


def rank(truth: Bools, scores: Floats) -> Ranking:
    """Sort rows by score once; every metric is then a walk over the steps.

    Args:
        truth: bool [rows].
        scores: f64 [rows], finite; higher means more likely positive.

    Raises:
        InputError: The shapes differ, `truth` is not bool, or a score is NaN or infinite.

    >>> rank(np.array([True, False, True]), np.array([0.9, 0.9, 0.1])).thresholds.tolist()
    [0.9, 0.1]
    """
    check_rows(truth, scores)
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order].astype(np.float64)
    is_last = np.append(ranked[1:] != ranked[:-1], True)[: len(ranked)]  # of its score
    hits = np.cumsum(truth[order], dtype=np.int64)[is_last]
    called = np.flatnonzero(is_last) + 1
    return Ranking(ranked[is_last], hits, called - hits)


def check_rows(truth: Bools, scores: Floats) -> None:
    """Refuse what is not one truth and one finite score a row.

    Raises:
        InputError: The shapes differ, `truth` is not bool, or a score is NaN or infinite.
    """
    if truth.ndim != 1 or truth.shape != scores.shape:
        raise InputError(
            f"truth has shape {truth.shape}, scores {scores.shape}. Expected [rows] for both."
        )
    if truth.dtype != np.bool_:
        raise InputError(f"truth is {truth.dtype}. Expected bool: compare labels with 0.5 first.")
    unusable = int(np.count_nonzero(~np.isfinite(scores)))
    if unusable:
        raise InputError(
            f"{unusable} of {len(scores)} scores are NaN or infinite. "
            "Leave rows that were not scored out, and count them."
        )


def auprc(truth: Bools, scores: Floats) -> float | None:
    """Average precision of bool [rows] and f64 [rows]; see `Ranking.auprc`.

    >>> auprc(np.array([True, False]), np.array([0.2, 0.8]))
    0.5
    """
    return rank(truth, scores).auprc()


def roc_auc(truth: Bools, scores: Floats) -> float | None:
    """Area under the ROC curve of bool [rows] and f64 [rows]; see `Ranking.roc_auc`.

    >>> roc_auc(np.array([True, False]), np.array([0.5, 0.5]))
    0.5
    """
    return rank(truth, scores).roc_auc()


def recall_at_fpr(truth: Bools, scores: Floats, limit: float) -> float | None:
    """Highest recall at a false-positive rate of at most `limit`; see `Ranking.recall_at_fpr`.

    >>> recall_at_fpr(np.array([True, False, True]), np.array([0.9, 0.5, 0.1]), 0.01)
    0.5
    """
    return rank(truth, scores).recall_at_fpr(limit)


def counts_at(truth: Bools, scores: Floats, threshold: float) -> Counts:
    """The confusion table of bool [rows] and f64 [rows] when `score >= threshold` is positive.

    >>> counts_at(np.array([True, False]), np.array([0.5, 0.4]), 0.5).precision
    1.0
    """
    return rank(truth, scores).counts_at(threshold)


def always_positive_f1(positives: int, rows: int) -> float | None:
    """The F1 of calling every row positive: the bar that any F1 has to clear.

    Args:
        positives: In [0, rows].
        rows: Rows in all.

    Returns:
        2 p / (1 + p) for the share p of positives; None without rows.

    >>> always_positive_f1(1, 3)
    0.5
    """
    return _share(2 * positives, positives + rows)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
