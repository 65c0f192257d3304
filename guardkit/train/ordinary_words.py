"""Words that are nobody's name: what `pii-tagger` need not ask its model about.

Words of a dictionary (web2), and their inflections as harmless and harmful texts use them, without given names. A name
that is far more often a word ("moon", "forest") counts as a word; one of the usual given names ("will", "rose") never does.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq
from english_words import get_english_words_set
from faker import Faker

from guardkit.text.ordinary_words import LONGEST
from guardkit.train.people import LOCALES, given_names

_USUAL_NAMES = 400  # ranks of the census
_OFTEN, _TWICE = 30, 2  # texts
_MADE = 600  # given names a country
_ENDINGS = ("'s", "es", "s", "ed", "d", "ing", "er", "ers", "est", "ly", "y")
_BRITISH = (("or", "our"), ("ter", "tre"), ("ize", "ise"), ("ler", "ller"), ("ray", "rey"))
"""Endings of American words, and what British ones have: harbour, theatre, summarise, traveller, grey."""
_LOWER = re.compile(r"(?<![\w'])[a-z]{2,}(?:'s)?(?![\w'])")
_TITLES = frozenset({"mr", "mrs", "ms", "dr", "miss", "prof", "sir", "st", "ave", "rd"})


def ordinary_words(data: Path) -> list[str]:
    """The list, sorted.

    Args:
        data: The shared data: `pii/names_places` and `text/unified.parquet`.
    """
    seen = _texts_of_each_word(data)
    words = {word for word in get_english_words_set(["web2"]) if word.isalpha() and word.islower()}
    words |= {
        f"{word.removesuffix(us)}{british}"
        for us, british in _BRITISH
        for word in words
        if word.endswith(us)
    }
    words |= {word for word in seen if seen[word] >= _TWICE and any(_stems(word, words))}
    words |= {word for word in seen if seen[word] >= _OFTEN}
    kept = (word for word in words if 1 < len(word) <= LONGEST)
    return sorted({*kept, "a", "i"} - _names(data, seen) - _TITLES)


def _names(data: Path, seen: Counter[str]) -> set[str]:
    ranks = given_names(data / "pii")
    made = set[str]()
    for locale in sorted(set(LOCALES)):
        Faker.seed(0)
        fake = Faker(locale)
        for _ in range(_MADE):
            made |= set(re.split(r"[\s-]+", fake.first_name().lower()))
    rare = {name for name in {*ranks, *made} if seen[name] < _OFTEN}
    return rare | {name for name, rank in ranks.items() if rank <= _USUAL_NAMES}


def _texts_of_each_word(data: Path) -> Counter[str]:
    """In how many texts of the pool a word stands in lower case, between others that do."""
    table = pq.read_table(data / "text" / "unified.parquet", columns=["text", "lang", "split"])
    seen = Counter[str]()
    for row in table.to_pylist():
        if row["split"] == "train" and row["lang"] == "en" and not row["text"].islower():
            seen.update(set(_LOWER.findall(row["text"])))
    return seen


def _stems(word: str, words: set[str]) -> Iterable[bool]:
    for ending in _ENDINGS:
        if word.endswith(ending):
            stem = word.removesuffix(ending)
            yield stem in words or f"{stem}e" in words or stem[:-1] in words
