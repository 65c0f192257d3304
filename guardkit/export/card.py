"""`CARD.md` of text-safety: measured on the validation rows, through the SDK, as shipped.

    guardkit export card --data FOLDER --fp32 WORK/fp32/text-safety

Calibration is cross-fitted for the table: each half of the rows is scored with the calibration of
the other half, so recall and precision are not measured on the rows that placed the threshold.
Intervals are 95 %: bootstrap over rows for areas, Wilson for shares.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from guardkit.artifacts import Artifact, Calibration, load_artifact
from guardkit.export.text_safety import fit_calibration, logits_of
from guardkit.policy.rules import Policy
from guardkit.taxonomy import TAXONOMY
from guardkit.text.score import calibrate
from guardkit.train.data import (
    CATEGORIES,
    HARMLESS_SOURCES,
    Pool,
    halves,
    joined,
    known_labels,
    load_pool,
)

_RESAMPLES = 1000
_SEED = 20261123
_Z = 1.96  # 95 %
_DEFAULT_THRESHOLD = 0.5  # where no rule of the policy names the category

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Measured:
    """A number and its 95 % interval; None when it is not defined."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{_short(self.value)} [{_short(self.low)}, {_short(self.high)}]"


@dataclass(frozen=True, slots=True)
class CategoryResult:
    """One row of the card's table."""

    category: str
    known: int
    positive: int
    auprc: Measured
    roc_auc: Measured
    threshold: float
    recall: Measured | None
    precision: Measured | None


def write_card(folder: Path, data: Path, policy: Policy, *, fp32: Path | None = None) -> Path:
    """Measure an artifact and write its `CARD.md`.

    Args:
        folder: The artifact.
        data: The labelled pool.
        policy: Its lowest thresholds are the ones reported.
        fp32: The unquantized twin; None leaves the comparison out.
    """
    artifact = load_artifact(folder)
    first, second = halves(load_pool(data, split="valid"))
    logits = [logits_of(artifact, half) for half in (first, second)]
    scores = _cross_fitted(logits, (first, second))
    pool = joined(first, second)
    thresholds = {category: lowest_threshold(policy, category) for category in CATEGORIES}
    parts = [
        _head(artifact),
        _table(measure_categories(scores, pool, thresholds), policy),
        _harmless(scores, pool, thresholds, policy),
        _by_source(scores, pool),
    ]
    if fp32 is not None:
        reference = np.concatenate(
            [logits_of(load_artifact(fp32), half) for half in (first, second)]
        )
        parts.append(_int8_cost(np.concatenate(logits), reference, pool, artifact, thresholds))
    parts += [_training(load_pool(data, split="train")), _LIMITS]
    path = folder / "CARD.md"
    path.write_text("\n".join(parts))
    return path


def lowest_threshold(policy: Policy, category: str) -> float:
    """The lowest threshold of any rule on a category, in any stage and context."""
    named = [
        rule.when.at_least
        for stage in policy.stages.values()
        for rule in stage.rules
        if rule.when.category == category
    ]
    return min(named, default=_DEFAULT_THRESHOLD)


def measure_categories(
    scores: Floats, pool: Pool, thresholds: dict[str, float]
) -> list[CategoryResult]:
    """Every category on the rows whose label is known. Scores: f64 [rows, categories]."""
    known = known_labels(pool)
    results: list[CategoryResult] = []
    for column, category in enumerate(CATEGORIES):
        rows = known[:, column]
        truth = pool.labels[rows, column] >= 0.5
        values = scores[rows, column]
        fired = values >= thresholds[category]
        caught = int((fired & truth).sum())
        results.append(
            CategoryResult(
                category=category,
                known=int(rows.sum()),
                positive=int(truth.sum()),
                auprc=bootstrap(average_precision_score, truth, values),
                roc_auc=bootstrap(roc_auc_score, truth, values),
                threshold=thresholds[category],
                recall=wilson(caught, int(truth.sum())),
                precision=wilson(caught, int(fired.sum())),
            )
        )
    return results


def bootstrap(metric: Callable[[Bools, Floats], float], truth: Bools, values: Floats) -> Measured:
    """A metric and the 2.5 and 97.5 % quantiles of its bootstrap over rows."""
    rng = np.random.default_rng(_SEED)
    draws: list[float] = []
    for _ in range(_RESAMPLES if len(truth) < 20_000 else 200):
        rows = rng.integers(0, len(truth), len(truth))
        if 0 < truth[rows].sum() < len(rows):
            draws.append(float(metric(truth[rows], values[rows])))
    low, high = np.quantile(draws, [0.025, 0.975])
    return Measured(float(metric(truth, values)), float(low), float(high))


def wilson(hits: int, count: int) -> Measured | None:
    """A share and its Wilson interval; None when there is nothing to count.

    >>> str(wilson(50, 100))
    '.500 [.404, .596]'
    """
    if count == 0:
        return None
    share = hits / count
    centre = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * np.sqrt(share * (1 - share) / count + (_Z / (2 * count)) ** 2)
    return Measured(share, float(centre - half), float(centre + half))


def _cross_fitted(logits: Sequence[Floats], pools: Sequence[Pool]) -> Floats:
    """Scores of each half under the calibration fitted on the other."""
    scored = []
    for mine, others in ((0, 1), (1, 0)):
        fitted = fit_calibration(logits[others], pools[others])
        columns = [
            _calibrated(column, fitted[category])
            for column, category in zip(logits[mine].T, CATEGORIES, strict=True)
        ]
        scored.append(np.stack(columns, axis=1))
    return np.concatenate(scored)


def _calibrated(logits: Floats, by: Calibration) -> Floats:
    return np.array([calibrate(logit, by) for logit in logits.tolist()])


# --- the page -------------------------------------------------------------------------------------


def _short(value: float) -> str:
    return f"{value:.3f}".removeprefix("0") if 0 <= value < 1 else f"{value:.3f}"


def _head(artifact: Artifact) -> str:
    manifest = artifact.manifest
    size = manifest.files[manifest.model].size_bytes / 1e6
    rows = "\n".join(f"| {name} | {TAXONOMY[name].definition} |" for name in manifest.categories)
    return f"""# {manifest.name} {manifest.version}

English text to {len(manifest.categories)} scores in [0, 1], and the words that carried them, in one pass.
MiniLM-L6 (22.7 M parameters, Apache-2.0, sentence-transformers/all-MiniLM-L6-v2) fine-tuned on an open pool,
dynamic {manifest.precision}, {size:.1f} MB. Made by `guardkit train text-safety` and `guardkit export text-safety`;
this page by `guardkit export card`, {datetime.datetime.now(datetime.UTC):%Y-%m-%d}.

| category | means |
|---|---|
{rows}
"""


def _table(results: Sequence[CategoryResult], policy: Policy) -> str:
    rows = "\n".join(
        f"| {r.category} | {r.positive} / {r.known} | {r.auprc} | {r.roc_auc} | {r.threshold:.2f} "
        f"| {r.recall or '-'} | {r.precision or '-'} |"
        for r in results
    )
    return f"""## Quality

Validation rows of the pool (5 % by hash of the text, never trained on; the same sources as the training rows, so this
is no independent test). Only rows with a known label count. Threshold: the lowest one of the policy
`{policy.policy}`, 0.50 where no rule names the category. In brackets: 95 % intervals.

| category | positive / known | AUPRC | ROC AUC | threshold | recall | precision |
|---|---|---|---|---|---|---|
{rows}

AUPRC depends on the share of positives: compare it with positive / known, not between rows.
"""


def _harmless(scores: Floats, pool: Pool, thresholds: dict[str, float], policy: Policy) -> str:
    fires = scores >= np.array([thresholds[category] for category in CATEGORIES])
    is_ruled = np.array([_is_ruled(policy, category) for category in CATEGORIES])
    lines = []
    for source in HARMLESS_SOURCES:
        found = fires[pool.sources == source]
        shares = [
            wilson(int(some.any(axis=1).sum()), len(found)) for some in (found[:, is_ruled], found)
        ]
        counts = found.sum(axis=0)
        names = ", ".join(f"{CATEGORIES[c]} {counts[c]}" for c in np.argsort(-counts) if counts[c])
        lines.append(f"| {source} | {len(found)} | {shares[0]} | {shares[1]} | {names or '-'} |")
    table = "\n".join(lines)
    return f"""## Harmless texts flagged

Share of harmless validation rows on which a category reaches its threshold: the categories that the policy
`{policy.policy}` has a rule on, and all of them. That these rows are harmless is assumed by their source; nobody labelled them.

| source | rows | flagged by the policy | flagged by any category | rows by category |
|---|---|---|---|---|
{table}
"""


def _is_ruled(policy: Policy, category: str) -> bool:
    stages = policy.stages.values()
    return any(rule.when.category == category for stage in stages for rule in stage.rules)


def _by_source(scores: Floats, pool: Pool) -> str:
    column = CATEGORIES.index("toxicity")
    known = known_labels(pool)[:, column]
    lines = []
    for source in sorted(set(pool.sources)):
        rows = known & (pool.sources == source)
        truth = pool.labels[rows, column] >= 0.5
        if min(truth.sum(), (~truth).sum()) >= 20:
            auc = bootstrap(roc_auc_score, truth, scores[rows, column])
            lines.append(f"| {source} | {int(truth.sum())} / {int(rows.sum())} | {auc} |")
    table = "\n".join(lines)
    return f"""## Toxicity by source

| source | positive / known | ROC AUC |
|---|---|---|
{table}
"""


def _int8_cost(
    int8: Floats, fp32: Floats, pool: Pool, artifact: Artifact, thresholds: dict[str, float]
) -> str:
    known = known_labels(pool)
    changed = np.zeros(len(pool.texts), bool)
    differences = []
    for column, category in enumerate(CATEGORIES):
        calibration = artifact.manifest.calibration[category]
        bar = thresholds[category]
        one = _calibrated(int8[:, column], calibration) >= bar
        other = _calibrated(fp32[:, column], calibration) >= bar
        changed |= one != other
        rows = known[:, column]
        truth = pool.labels[rows, column] >= 0.5
        differences.append(
            average_precision_score(truth, int8[rows, column])
            - average_precision_score(truth, fp32[rows, column])
        )
    share = wilson(int(changed.sum()), len(changed))
    return f"""## What int8 costs

On the same rows, int8 minus fp32: macro AUPRC {np.mean(differences):+.4f}
(lowest category {min(differences):+.4f}, highest {max(differences):+.4f}); at least one category crosses
its threshold on {share} of {len(changed)} rows.
"""


def _training(pool: Pool) -> str:
    names, counts = np.unique(pool.sources, return_counts=True)
    rows = "\n".join(f"| {name} | {count} |" for name, count in zip(names, counts, strict=True))
    return f"""## Trained on

{len(pool.texts)} English training rows of an openly licensed pool, drawn with fixed rates; sources under use-restricted
licences (OpenRAIL++) are left out. Licences: `THIRD_PARTY.md`.

| source | rows |
|---|---|
{rows}
"""


_LIMITS = """## Limits

- English only. Text in another language gets scores that mean little; nothing says so yet.
- Thin categories: self-harm, threat and violence were learned from few positives, most of them image prompts and short
  requests. First-person crisis texts and long stories were hardly seen. Do not rely on self-harm to find people at risk.
- Negatives of sexual, violence, self-harm and illicit are mostly captions, benign prompts and civil comments.
- Mentions of groups, quoted or countered hate, and reclaimed words are flagged more often than they should be.
- Jailbreaks, bias, privacy and public figures are not scored.
- Texts longer than 128 tokens are scored in windows of 128 that overlap by 32; the highest window counts.
- Not measured: dialects, code-mixed text, texts by children, any language but English.
- Labels are the judgement of crowds of several projects and disagree between them.

Licence of the weights: Apache-2.0.
"""
