"""The labelled pool behind `text-safety`: parquet in, one row a text with masked labels out.

The pool is `unified.parquet` (schema and mapping rules: its README). Unknown labels are NaN and
carry weight 0 in the loss; what is filled in here, and with how much trust, is stated in
`_fill_implied`. Rows of use-restricted sources (OpenRAIL++) are left out unless asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from guardkit.errors import InputError

Floats = NDArray[np.float32]

# Category -> columns of the pool; the larger of the known ones counts.
COLUMNS: dict[str, tuple[str, ...]] = {
    "toxicity": ("toxicity",),
    "insult": ("insult",),
    "profanity": ("obscene", "profanity"),
    "threat": ("threat",),
    "harassment": ("harassment",),
    "hate": ("identity_attack", "hate"),
    "sexual": ("sexual",),
    "violence": ("violence",),
    "self-harm": ("self_harm",),
    "illicit": ("illicit",),
    "jailbreak": (),  # the pool has neither; `attacks`, `stereotypes` and `written` do
    "bias": (),
}
CATEGORIES = tuple(COLUMNS)
HARMLESS_SOURCES = ("benign_prompts", "coco_captions", "diffusiondb_benign")
ENGLISH = "en"
_RESTRICTED_LICENCES = ("OpenRAIL++",)

# How often a source may be drawn compared with its size. Chosen: large sets of one style would
# otherwise set the style of the classifier; small sets carry the thin categories.
_SOURCE_RATE = {
    "davidson": 0.6,
    "paradetox": 0.7,
    "wiki_context_toxicity": 0.6,
    "hatexplain_binary": 0.8,
    "coco_captions": 8.0,  # beside so many risky image prompts, what a harmless picture looks like
    "diffusiondb_benign": 6.0,
    "benign_prompts": 4.0,
}
# Trust in a source's labels. i2p: a search keyword, not an annotator; harmless sources: assumed.
_SOURCE_TRUST = {"i2p": 0.5, "wiki_context_toxicity": 0.7, "offensivelang": 0.7}
_RARE = ("threat", "harassment", "sexual", "violence", "self-harm", "illicit", "profanity")
_RARE_RATE = 2.5  # chosen: more repeats let the model learn the rows by heart
_IMPLIED_TRUST = 0.5
_ASSUMED_TRUST = 0.25
_NO_JAILBREAK_TRUST = 0.5  # nobody looked, but comments and captions talk to no model
_CIVIL = 0.1  # toxicity at or below this counts as civil
# Texts without words: nobody labels them, users send them, and a model never shown one guesses.
_WORDLESS = (
    "",
    ".",
    "...",
    "?",
    "!!!",
    "-",
    "1",
    "123",
    "\U0001f600",
    "\U0001f44d",
    "\u2764",
    "\U0001f389 \U0001f389",
)
_WORDLESS_RATE = 4.0


@dataclass(frozen=True, slots=True)
class Pool:
    """Texts with masked labels; every array has one row a text."""

    texts: list[str]
    labels: Floats
    """f32 [rows, categories] in [0, 1]; meaningless where the weight is 0."""
    weights: Floats
    """f32 [rows, categories]: 0 = label unknown, 1 = annotated."""
    sources: NDArray[np.str_]
    rates: Floats
    """f32 [rows]: how often a row is drawn, relative to others."""
    spans: list[list[tuple[int, int]] | None]
    """Half-open toxic character ranges where annotators marked them, else None."""
    contexts: list[str]
    """What `text.context.describe` gave for each text; "" for none."""
    languages: NDArray[np.str_]
    """ISO 639-1 code a text; `hi-Latn` is romanised Hindi."""

    def take(self, rows: NDArray[np.int64]) -> Pool:
        """Keep the given rows, in the given order."""
        return Pool(
            texts=[self.texts[row] for row in rows],
            labels=self.labels[rows],
            weights=self.weights[rows],
            sources=self.sources[rows],
            rates=self.rates[rows],
            spans=[self.spans[row] for row in rows],
            contexts=[self.contexts[row] for row in rows],
            languages=self.languages[rows],
        )


def joined(pools: Sequence[Pool]) -> Pool:
    """All pools as one, rows in their order."""
    return Pool(
        texts=[text for pool in pools for text in pool.texts],
        labels=np.concatenate([pool.labels for pool in pools]),
        weights=np.concatenate([pool.weights for pool in pools]),
        sources=np.concatenate([pool.sources for pool in pools]),
        rates=np.concatenate([pool.rates for pool in pools]),
        spans=[spans for pool in pools for spans in pool.spans],
        contexts=[context for pool in pools for context in pool.contexts],
        languages=np.concatenate([pool.languages for pool in pools]),
    )


def labelled(
    texts: Sequence[str],
    labels: Floats,
    *,
    source: str,
    rate: float,
    weights: Floats | None = None,
    contexts: Sequence[str] | None = None,
    language: str = ENGLISH,
) -> Pool:
    """A pool of one source, every label known unless `weights` says otherwise.

    Args:
        texts: The texts.
        labels: f32 [texts, categories].
        source: One word for where they come from.
        rate: How often a row is drawn, relative to others.
        weights: f32 [texts, categories]; all 1 when left out.
        contexts: One a text; none when left out.
        language: Of all texts.
    """
    return Pool(
        texts=list(texts),
        labels=labels,
        weights=np.ones_like(labels) if weights is None else weights,
        sources=np.full(len(texts), source),
        rates=np.full(len(texts), rate, np.float32),
        spans=[None] * len(texts),
        contexts=[""] * len(texts) if contexts is None else list(contexts),
        languages=np.full(len(texts), language),
    )


def load_pool(
    folder: Path,
    *,
    split: str,
    languages: Sequence[str] = (ENGLISH,),
    restricted: bool = False,
) -> Pool:
    """Read one split of the pool.

    Args:
        folder: Holds `unified.parquet` and, for spans, `toxic_spans/semeval2021_spans.parquet`.
        split: `train` or `valid`.
        languages: ISO 639-1 codes of the rows to keep.
        restricted: Whether to keep sources under a use-restricted licence.

    Raises:
        InputError: The folder holds no pool.
    """
    path = folder / "unified.parquet"
    if not path.is_file():
        raise InputError(f"{path}: no such file. Expected the labelled pool; pass --data FOLDER.")
    table = pq.read_table(path)
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    keep = np.isin(columns["lang"].astype(str), languages) & (columns["split"] == split)
    if not restricted:
        keep &= ~np.isin(columns["licence"].astype(str), _RESTRICTED_LICENCES)
    columns = {name: values[keep] for name, values in columns.items()}
    sources = columns["source"].astype(str)
    known = np.stack([_merge(columns, names) for names in COLUMNS.values()], axis=1)
    labels, weights = _fill_implied(known)
    weights *= np.array([_SOURCE_TRUST.get(source, 1.0) for source in sources], np.float32)[:, None]
    texts = columns["text"].tolist()
    marked = _read_spans(folder / "toxic_spans" / "semeval2021_spans.parquet")
    return Pool(
        texts=texts,
        labels=labels,
        weights=weights,
        sources=sources,
        rates=_rates(labels, weights, sources),
        spans=[marked.get(text) for text in texts],
        contexts=[""] * len(texts),
        languages=columns["lang"].astype(str),
    )


def wordless() -> Pool:
    """Texts without words, all harmless."""
    shape = (len(_WORDLESS), len(CATEGORIES))
    return labelled(_WORDLESS, np.zeros(shape, np.float32), source="wordless", rate=_WORDLESS_RATE)


def known_labels(pool: Pool) -> NDArray[np.bool_]:
    """Bool [rows, categories]: labels that an annotator (or the source) gave, not filled in here."""
    trust = np.array([_SOURCE_TRUST.get(source, 1.0) for source in pool.sources], np.float32)
    return pool.weights >= trust[:, None]


def halves(pool: Pool) -> tuple[Pool, Pool]:
    """Split a pool in two by a hash of the text: one half to calibrate on, one to report on."""
    digest = np.array(
        [hashlib.sha256(text.encode("utf8", "replace")).digest()[0] for text in pool.texts]
    )
    return pool.take(np.flatnonzero(digest % 2 == 0)), pool.take(np.flatnonzero(digest % 2 == 1))


def _merge(columns: dict[str, NDArray[np.float32]], names: Sequence[str]) -> Floats:
    """The largest known value of some columns; NaN where none is known."""
    if not names:
        return np.full(len(columns["text"]), np.nan, np.float32)
    merged = columns[names[0]].astype(np.float32)
    for name in names[1:]:
        merged = np.fmax(merged, columns[name].astype(np.float32))
    return merged


def _fill_implied(known: Floats) -> tuple[Floats, Floats]:
    """Fill labels that follow from others, at a lower weight.

    An insult, a threat or hate is toxic; a civil text is none of insult, threat, harassment or hate.
    A civil text is *assumed* free of the remaining harms: their annotated negatives are mostly
    captions, and without this a model learns the style of captions instead of the harm.
    """
    at = {category: index for index, category in enumerate(CATEGORIES)}
    weights = np.where(np.isnan(known), 0.0, 1.0).astype(np.float32)
    labels = np.nan_to_num(known, nan=0.0).astype(np.float32)
    rude = [at[name] for name in ("insult", "threat", "harassment", "hate")]
    is_rude = (labels[:, rude] * weights[:, rude]).max(axis=1) >= 0.5
    toxicity = at["toxicity"]
    unknown = weights[:, toxicity] == 0
    labels[unknown & is_rude, toxicity] = 1.0
    weights[unknown & is_rude, toxicity] = _IMPLIED_TRUST
    is_civil = (np.nan_to_num(known[:, toxicity], nan=1.0) <= _CIVIL)[:, None]
    blank = weights == 0
    implied = np.zeros_like(blank)
    implied[:, rude] = True
    weights[blank & is_civil & implied] = _IMPLIED_TRUST
    weights[blank & is_civil & ~implied] = _ASSUMED_TRUST
    weights[:, at["jailbreak"]] = _NO_JAILBREAK_TRUST
    is_fair = (weights[:, at["hate"]] >= 1) & (labels[:, at["hate"]] == 0)
    weights[is_fair, at["bias"]] = _IMPLIED_TRUST
    return labels, weights


def _rates(labels: Floats, weights: Floats, sources: NDArray[np.str_]) -> Floats:
    rates = np.array([_SOURCE_RATE.get(source, 1.0) for source in sources], np.float32)
    rare = [CATEGORIES.index(name) for name in _RARE]
    is_rare = ((labels[:, rare] >= 0.5) & (weights[:, rare] > 0)).any(axis=1)
    return np.where(is_rare, _RARE_RATE, rates).astype(np.float32)


def _read_spans(path: Path) -> dict[str, list[tuple[int, int]]]:
    """Text -> toxic ranges; the file lists single characters."""
    if not path.is_file():
        return {}
    table = pq.read_table(path)
    return {
        text: _runs(offsets)
        for text, offsets in zip(table["text"].to_pylist(), table["spans"].to_pylist(), strict=True)
    }


def _runs(offsets: Sequence[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for offset in sorted(offsets):
        if runs and offset == runs[-1][1]:
            runs[-1] = (runs[-1][0], offset + 1)
        else:
            runs.append((offset, offset + 1))
    return runs
