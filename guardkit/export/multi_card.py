"""`CARD.md` of text-safety-multi: a report a language, measured on the validation rows as shipped.

    guardkit export card --model text-safety-multi --data FOLDER --fp32 WORK/fp32/text-safety-multi

The rows are those that training draws from, thinned alike, so that no language drowns the others. Intervals
are 95 %: bootstrap over rows for areas, Wilson for shares.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from guardkit.artifacts import Artifact, RunnerOptions, find_artifact, load_artifact
from guardkit.export.card import (
    bootstrap,
    calibrated_rows,
    int8_cost,
    lowest_threshold,
    wilson,
)
from guardkit.export.text_safety import calibration_rows, logits_of
from guardkit.policy.rules import Policy
from guardkit.runtime.base import open_runner
from guardkit.text.language import identify, load_namer
from guardkit.text.normalize import normalize
from guardkit.text.score import TextScorer
from guardkit.train.data import CATEGORIES, Pool, known_labels
from guardkit.train.mixture import Folders
from guardkit.train.multilingual import LANGUAGES, load_multilingual

_FEW = 10  # positives or negatives below which there is no row

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def write_multi_card(
    folder: Path, folders: Folders, policy: Policy, *, fp32: Path | None = None
) -> Path:
    """Measure the multilingual artifact and write its `CARD.md`.

    Args:
        folder: The artifact.
        folders: Where the sources lie.
        policy: Its lowest thresholds are the ones reported.
        fp32: The unquantized twin; None leaves the comparison out.
    """
    artifact = load_artifact(folder)
    pool = calibration_rows(load_multilingual(folders, split="valid"))
    logits = logits_of(artifact, pool)
    scores = calibrated_rows(logits, artifact.manifest.calibration)
    thresholds = {category: lowest_threshold(policy, category) for category in CATEGORIES}
    parts = [_head(artifact), _toxicity(scores, pool), _written(scores, pool, thresholds)]
    parts += [_categories(scores, pool), _found(pool)]
    if fp32 is not None:
        reference = logits_of(load_artifact(fp32), pool)
        parts.append(int8_cost(logits, reference, pool, artifact, thresholds))
    parts += [_training(load_multilingual(folders, split="train")), _LIMITS]
    path = folder / "CARD.md"
    path.write_text("\n".join(parts), encoding="utf8")
    return path


def _head(artifact: Artifact) -> str:
    manifest = artifact.manifest
    size = sum(entry.size_bytes for entry in manifest.files.values()) / 1e6
    return f"""# {manifest.name} {manifest.version}

Text in {len(LANGUAGES)} languages to {len(manifest.categories)} scores in [0, 1], and the words that carried them, in one pass: {", ".join(LANGUAGES)}
(`hi-Latn` is Hindi in Latin letters). Multilingual-e5-small (MIT), its vocabulary cut from 250k to 67k pieces, fine-tuned;
{manifest.precision} with one activation scale a token, {size:.1f} MB. Made by `guardkit train text-safety-multi` and
`guardkit export text-safety-multi`; this page by `guardkit export card --model text-safety-multi`, {datetime.datetime.now(datetime.UTC):%Y-%m-%d}.
Categories: as in the card of `text-safety`.

Held-out texts, which no training reads: `python -m bench.languages`, `bench/RESULTS.md`.
"""


def _toxicity(scores: Floats, pool: Pool) -> str:
    column = CATEGORIES.index("toxicity")
    rows = "\n".join(
        f"| {language} | {int(truth.sum())} / {len(truth)} | {bootstrap(average_precision_score, truth, values)} "
        f"| {bootstrap(roc_auc_score, truth, values)} |"
        for language, truth, values in _by_language(scores, pool, column)
    )
    return f"""## Toxicity, a language

Validation rows (by hash; of the same sources and writers as the training rows).

| language | positive / known | AUPRC | ROC AUC |
|---|---|---|---|
{rows}
"""


def _by_language(scores: Floats, pool: Pool, column: int) -> Iterator[tuple[str, Bools, Floats]]:
    known = known_labels(pool)[:, column]
    for language in LANGUAGES:
        rows = known & (pool.languages == language)
        truth = pool.labels[rows, column] >= 0.5
        if min(truth.sum(), (~truth).sum()) >= _FEW:
            yield language, truth, scores[rows, column]


def _written(scores: Floats, pool: Pool, thresholds: dict[str, float]) -> str:
    """Texts written for guardkit: each states every category."""
    own = np.flatnonzero(
        np.char.startswith(pool.sources.astype(str), "written") & (pool.languages != "en")
    )
    harmful = ((pool.labels[own] >= 0.5) & (pool.weights[own] > 0)).any(axis=1)
    clear = harmful | (pool.weights[own] >= 1).all(axis=1)
    fired = np.any(scores[own] >= np.array([thresholds[c] for c in CATEGORIES]), axis=1)
    recall = wilson(int(fired[harmful].sum()), int(harmful.sum()))
    wrong = wilson(int(fired[clear & ~harmful].sum()), int((clear & ~harmful).sum()))
    return f"""## Hand-written texts and their harmless twins

The validation tenth of `data/written/languages`, all languages but English together: of the harmful texts {recall} of {int(harmful.sum())}
reach the lowest threshold that the policy has for some category in any tier (.50 where it has none), of the harmless ones {wrong} of {int((clear & ~harmful).sum())}.
"""


def _categories(scores: Floats, pool: Pool) -> str:
    known = known_labels(pool) & (pool.languages != "en")[:, None]
    lines = []
    for column, category in enumerate(CATEGORIES):
        truth = pool.labels[known[:, column], column] >= 0.5
        if min(truth.sum(), (~truth).sum()) >= _FEW:
            values = scores[known[:, column], column]
            lines.append(
                f"| {category} | {int(truth.sum())} / {len(truth)} | "
                f"{bootstrap(average_precision_score, truth, values)} | {bootstrap(roc_auc_score, truth, values)} |"
            )
    table = "\n".join(lines)
    return f"""## Categories, all languages but English

| category | positive / known | AUPRC | ROC AUC |
|---|---|---|---|
{table}

A category with fewer than {_FEW} known positives has no row.
"""


def _found(pool: Pool) -> str:
    """How often a row's language is found, with the English model's words as in a `Guard`."""
    english = find_artifact("text-safety")
    words = TextScorer(english, open_runner(english, RunnerOptions(threads=1))).words()
    found = np.array(
        [identify(normalize(text).text, words, namer=load_namer) for text in pool.texts]
    )
    rows = "\n".join(
        f"| {language} | {wilson(int((found[own] == language).sum()), int(own.sum()))} of {int(own.sum())} |"
        for language in LANGUAGES
        if (own := pool.languages == language).any()
    )
    return f"""## Languages found

Share of validation rows whose language `guardkit.text.language` finds. What is too short to tell counts as English.

| language | found |
|---|---|
{rows}
"""


def _training(pool: Pool) -> str:
    shares = {
        language: pool.rates[pool.languages == language].sum() / pool.rates.sum()
        for language in LANGUAGES
    }
    rows = "\n".join(
        f"| {language} | {int((pool.languages == language).sum())} | {shares[language]:.3f} |"
        for language in LANGUAGES
    )
    return f"""## Trained on

{len(pool.texts)} rows, drawn with fixed rates. Sources and licences: `THIRD_PARTY.md`. `written-*` were written for guardkit by
language-model agents under the rules in `data/README.md`; no native speaker has checked them.

| language | rows | share of the draws |
|---|---|---|
{rows}
"""


_LIMITS = """## Licence and restrictions

The weights derive from data under OpenRAIL++ (`textdetox_multilingual`, `textdetox_toxic_spans`), whose use restrictions travel with
them. Among others they forbid use that breaks the law, exploits or harms minors, spreads false information to harm others,
defames or harasses, decides alone on a person's rights, discriminates by protected characteristics, gives medical advice, or serves
law enforcement by profiling. Read the licence before you ship: https://huggingface.co/datasets/textdetox/multilingual_toxicity_dataset

## Limits

- Outside English most rows state toxicity alone. What violence, self-harm, sexual, illicit, jailbreak and bias mean was carried
  over from English and from about 120 written texts a language.
- Amharic, Tatar and Hindi in Latin letters are in the policy's tier `low`, for the encoder saw least of them; the tables show only the
  last as weak, and Hebrew and Portuguese beside it.
- Dialects, code-mixed text and any other language were not measured. Text in another language is answered by the policy's
  `languages.low_evidence`, not scored.
- A context was learned from English texts alone.
- Texts longer than 128 tokens are scored in windows of 128 that overlap by 32; the highest window counts.
"""
