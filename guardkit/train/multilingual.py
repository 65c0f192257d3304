"""What `text-safety-multi` is trained, calibrated and judged on: the English sources, and other languages.

Other languages know little more than toxicity in the pool; what violence or self-harm is, a multilingual
encoder carries over from English; texts written for each language (`data/written/languages/<code>.txt`) are
read where there are any.
Sources under a use-restricted licence (OpenRAIL++) are read too: the card carries their restrictions.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from guardkit.train.data import ENGLISH, Pool, joined, known_labels, load_pool
from guardkit.train.mixture import Folders, load_mixture
from guardkit.train.written import load_foreign

LANGUAGES = (
    "am", "ar", "de", ENGLISH, "es", "fr", "he", "hi", "hi-Latn", "it", "ja", "ko", "pt", "ru", "tt", "uk", "zh",
)  # fmt: skip
"""Languages with at least a thousand labelled texts."""
_SPANS = Path("rewrite", "textdetox_toxic_spans", "train.csv.gz")
# Draws compared with a source's size. Chosen: about a third of the draws is English, and no language
# has ten times the draws of another, though Chinese and Portuguese have ten times the texts.
_SOURCE_RATE = {
    "cold_zh": 0.25,
    "told_br_pt": 0.35,
    "kocohub_ko": 0.6,
    "mlma_en_fr_ar": 0.6,
    "multijail": 3.0,
    "catqa": 1.5,
    "ailuminate_demo": 3.0,
}
_ENGLISH_COMMENTS_RATE = 0.06
_ENGLISH_OTHER_RATE = 0.35  # written texts, attacks, stereotypes: what other languages lack


def load_multilingual(folders: Folders, *, split: str) -> Pool:
    """All sources of one split, in all languages.

    Raises:
        InputError: A source is missing.
    """
    english = load_mixture(folders, split=split)
    foreign = [language for language in LANGUAGES if language != ENGLISH]
    pool = load_pool(folders.data / "text", split=split, languages=foreign, restricted=True)
    pools = [_thinned(english), with_spans(_rated(pool), folders.data / _SPANS)]
    own = folders.own / "written" / "languages"
    return joined([*pools, load_foreign(own, split=split)] if own.is_dir() else pools)


def _thinned(english: Pool) -> Pool:
    """The English sources with lower rates, the thin ones less so."""
    is_own = np.array([source.startswith("written") for source in english.sources])
    is_labelled = known_labels(english).all(axis=1)  # by annotators of ours, or by construction
    factor = np.where(is_own | is_labelled, _ENGLISH_OTHER_RATE, _ENGLISH_COMMENTS_RATE)
    return replace(english, rates=(english.rates * factor).astype(np.float32))


def _rated(pool: Pool) -> Pool:
    rates = np.array([_SOURCE_RATE.get(source, 1.0) for source in pool.sources], np.float32)
    return replace(pool, rates=rates)


def with_spans(pool: Pool, path: Path) -> Pool:
    """The pool with the toxic ranges that the span data names (`text,toxic_spans`), where it has the text."""
    if not path.is_file():
        return pool
    with gzip.open(path, "rt", encoding="utf8", newline="") as file:
        phrases = {row["text"]: row["toxic_spans"].split(", ") for row in csv.DictReader(file)}
    spans = [
        list(_found(text, phrases[text])) if text in phrases else known
        for text, known in zip(pool.texts, pool.spans, strict=True)
    ]
    return replace(pool, spans=spans)


def _found(text: str, phrases: list[str]) -> Iterator[tuple[int, int]]:
    """Where the phrases stand in the text; one that does not is left out."""
    for phrase in phrases:
        at = text.find(phrase) if phrase else -1
        if at >= 0:
            yield at, at + len(phrase)
