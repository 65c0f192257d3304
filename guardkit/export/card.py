"""`CARD.md` of text-safety: measured on the validation rows, through the SDK, as shipped.

    guardkit export card --data FOLDER --fp32 WORK/fp32/text-safety

Calibration is cross-fitted for the table: each half of the rows is scored with the calibration of
the other half, so recall and precision are not measured on the rows that placed the threshold.
Intervals are 95 %: bootstrap over rows for areas, Wilson for shares.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from guardkit.artifacts import Artifact, Calibration, load_artifact
from guardkit.export.text_safety import fit_calibration, logits_of
from guardkit.metrics.shares import wilson_interval
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
)
from guardkit.train.mixture import Folders, load_mixture

_RESAMPLES = 1000
_PAIRED_RESAMPLES = 200
_SEED = 20261123
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


def write_card(folder: Path, folders: Folders, policy: Policy, *, fp32: Path | None = None) -> Path:
    """Measure an artifact and write its `CARD.md`.

    Args:
        folder: The artifact.
        folders: Where the sources lie.
        policy: Its lowest thresholds are the ones reported.
        fp32: The unquantized twin; None leaves the comparison out.
    """
    artifact = load_artifact(folder)
    first, second = halves(load_mixture(folders, split="valid"))
    logits = [logits_of(artifact, half) for half in (first, second)]
    scores = _cross_fitted(logits, (first, second))
    pool = joined([first, second])
    thresholds = {category: lowest_threshold(policy, category) for category in CATEGORIES}
    parts = [
        _head(artifact),
        _table(measure_categories(scores, pool, thresholds), policy),
        _harmless(scores, pool, thresholds, policy),
        _by_source(scores, pool),
        _written(scores, pool, thresholds),
        _contexts(scores, pool),
    ]
    if fp32 is not None:
        reference = np.concatenate(
            [logits_of(load_artifact(fp32), half) for half in (first, second)]
        )
        parts.append(int8_cost(np.concatenate(logits), reference, pool, artifact, thresholds))
    parts += [_training(load_mixture(folders, split="train")), _LIMITS]
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
    return Measured(hits / count, *wilson_interval(hits, count))


def _cross_fitted(logits: Sequence[Floats], pools: Sequence[Pool]) -> Floats:
    """Scores of each half under the calibration fitted on the other."""
    scored = []
    for mine, others in ((0, 1), (1, 0)):
        fitted = fit_calibration(logits[others], pools[others])
        scored.append(calibrated_rows(logits[mine], fitted))
    return np.concatenate(scored)


def calibrated_rows(logits: Floats, by: Mapping[str, Calibration]) -> Floats:
    """Probabilities f64 [rows, categories] of logits, each category under its own calibration."""
    columns = [
        _calibrated(column, by[category])
        for column, category in zip(logits.T, CATEGORIES, strict=True)
    ]
    return np.stack(columns, axis=1)


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
MiniLM-L6 (22.7 M parameters, Apache-2.0, sentence-transformers/all-MiniLM-L6-v2) fine-tuned on an open pool and own texts,
{manifest.precision} with one activation scale a token, {size:.1f} MB. Made by `guardkit train text-safety` and `guardkit export text-safety`;
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

Validation rows of every source (5 % of the pool, 10 % of the written texts, by hash; never trained on, but of the same sources
and writers as the training rows, so this is no independent test: see `bench/RESULTS.md` for the held-out proxies). Only rows with a known label count. Threshold: the lowest one of the policy
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


def _written(scores: Floats, pool: Pool, thresholds: dict[str, float]) -> str:
    """Each category on its own hand-written texts: positives against the twins that look like them."""
    known = known_labels(pool)
    is_written = np.char.startswith(pool.sources.astype(str), "written")
    lines = []
    for column, category in enumerate(CATEGORIES):
        rows = known[:, column] & is_written
        truth = pool.labels[rows, column] >= 0.5
        if min(truth.sum(), (~truth).sum()) < 10:
            continue
        fired = scores[rows, column] >= thresholds[category]
        auc = bootstrap(roc_auc_score, truth, scores[rows, column])
        recall = wilson(int((fired & truth).sum()), int(truth.sum()))
        wrong = wilson(int((fired & ~truth).sum()), int((~truth).sum()))
        lines.append(
            f"| {category} | {int(truth.sum())} / {int(rows.sum())} | {auc} | {recall} | {wrong} |"
        )
    table = "\n".join(lines)
    return f"""## Hand-written texts and their harmless twins

The validation tenth of `data/written`: harmful texts beside harmless ones that share their words and form.

| category | positive / known | ROC AUC | recall | false-positive rate |
|---|---|---|---|---|
{table}
"""


def _contexts(scores: Floats, pool: Pool) -> str:
    """Pairs of one text in two contexts: is the harmful one scored higher, where a label differs?"""
    by_text: dict[str, list[int]] = {}
    for row, context in enumerate(pool.contexts):
        if context:
            by_text.setdefault(pool.texts[row], []).append(row)
    right = [
        bool((scores[one, column] > scores[other, column]) == (pool.labels[one, column] == 1))
        for one, other in (rows for rows in by_text.values() if len(rows) == 2)
        for column in range(len(CATEGORIES))
        if pool.labels[one, column] != pool.labels[other, column]
        and min(pool.weights[one, column], pool.weights[other, column]) == 1
    ]
    return f"""## Context

Texts of the validation tenth that stand in two contexts, one of which makes them harmful: where a category holds in one context
alone, it scored higher there in {wilson(sum(right), len(right))} of {len(right)} comparisons. A model that ignores the context scores .500.
"""


def int8_cost(
    int8: Floats, fp32: Floats, pool: Pool, artifact: Artifact, thresholds: dict[str, float]
) -> str:
    """What the card says of logits f64 [rows, categories] of an artifact against its fp32 twin's."""
    crosses = np.zeros((len(pool.texts), len(CATEGORIES)), bool)
    for column, category in enumerate(CATEGORIES):
        calibration = artifact.manifest.calibration[category]
        sides = [
            _calibrated(x[:, column], calibration) >= thresholds[category] for x in (int8, fp32)
        ]
        crosses[:, column] = sides[0] != sides[1]
    macro = _macro_difference(int8, fp32, pool)
    some = wilson(int(crosses.any(axis=1).sum()), len(crosses))
    each = wilson(int(crosses.sum()), crosses.size)
    return f"""## What int8 costs

On the same rows, int8 minus fp32: macro AUPRC {macro.value:+.4f} [{macro.low:+.4f}, {macro.high:+.4f}] (paired bootstrap
over rows). A category changes sides of its threshold in {each} of the {crosses.size} pairs of row and category; at least one
does on {some} of the {len(crosses)} rows.
"""


def _macro_difference(int8: Floats, fp32: Floats, pool: Pool) -> Measured:
    """Mean over categories of the difference in AUPRC, with a paired bootstrap over rows."""
    known = known_labels(pool)
    truth = pool.labels >= 0.5
    rng = np.random.default_rng(_SEED)

    def difference(rows: NDArray[np.int64]) -> float:
        differences = []
        for column in range(len(CATEGORIES)):
            kept = rows[known[rows, column]]
            if truth[kept, column].any():
                one, other = (
                    average_precision_score(truth[kept, column], x[kept, column])
                    for x in (int8, fp32)
                )
                differences.append(one - other)
        return float(np.mean(differences))

    count = len(pool.texts)
    draws = [difference(rng.integers(0, count, count)) for _ in range(_PAIRED_RESAMPLES)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return Measured(difference(np.arange(count)), float(low), float(high))


def _training(pool: Pool) -> str:
    names, counts = np.unique(pool.sources, return_counts=True)
    rows = "\n".join(f"| {name} | {count} |" for name, count in zip(names, counts, strict=True))
    return f"""## Trained on

{len(pool.texts)} English training rows, drawn with fixed rates. `written-*` were written for guardkit, and part of the pool was
labelled again, by language-model agents under the rules in `data/README.md`; sources under use-restricted licences (OpenRAIL++)
are left out. Licences: `THIRD_PARTY.md`.

| source | rows |
|---|---|
{rows}
"""


_LIMITS = """## Limits

- English only. Text found to be in another language is not scored: `text-safety-multi` knows 16 more, and the policy's
  `languages.low_evidence` answers the rest. Fewer than four words in Latin letters count as English.
- Self-harm, violence, sexual, illicit, bias and jailbreak were learned largely from texts written for this purpose, few of
  them longer than 120 words. Do not rely on self-harm alone to find people at risk.
- `shocking`, privacy and public figures are not scored.
- A context (speaker, listener, situation, earlier turns) is read as words before the text, its last 64 tokens; it was learned
  from 172 contrast pairs and moves a score where it is plain, not where it takes inference.
- Texts longer than 128 tokens are scored in windows of 128 that overlap by 32; the highest window counts.
- Not measured: dialects, code-mixed text, texts by children, any language but English.
- Labels are the judgement of crowds of several projects, and of language-model agents, and disagree between them.

Licence of the weights: Apache-2.0.
"""
