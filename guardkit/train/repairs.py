"""Pairs of a text and what it should become: what `prompt-rewriter` learns from.

    paradetox   toxic sentences and neutral ones that people wrote for them
    written     `data/written/repairs`: risky image prompts and harmless ones, slots filled anew for every row
    kept        captions, prompts and the neutral sentences themselves, which stay as they are
    mended      harmless texts with words thrown in, or others in their place, to be put right: what fits there is the lesson

`paradetox/dev` and a tenth of the written pairs (by hash) are the `valid` split.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from guardkit.errors import InputError
from guardkit.train.data import CATEGORIES, ENGLISH, Pool, labelled
from guardkit.train.vary import fill, mistype
from guardkit.train.written import parse_categories

Rng = np.random.Generator
_VALID_SHARE = 0.1
LONGEST = 400
"""Characters of a pair that is read; longer ones teach little and cost much."""
_LONGEST_BLAMED = 4  # words
_TWICE, _REPLACED = 0.15, 0.55
"""Shares of what is done to a text to be mended: a word said twice, up to three words replaced; the rest thrown in."""


KEEP, MENDED, RUDE = "keep", "mended", "rude"


@dataclass(frozen=True, slots=True)
class Pair:
    """A text and what it should become."""

    source: str
    target: str
    category: str = RUDE
    """What is wrong with the source; `KEEP`: nothing; `MENDED`: grammar, and nobody can say what else."""


@dataclass(frozen=True, slots=True)
class Draws:
    """How often each source is read."""

    paradetox: int = 5
    """Times."""
    written: int = 10
    """Times; slots and case differ each time."""
    repaired: int = 1
    """Times that what a written pair became is read as a text to keep."""
    kept: int = 14_000
    mended: int = 50_000


def load_pairs(
    data: Path, written: Path, *, draws: Draws, seed: int, chosen: Sequence[Pair] = ()
) -> list[Pair]:
    """Every training pair, shuffled.

    Args:
        data: The shared data: `rewrite/paradetox` and `text/unified.parquet`.
        written: `data/written/repairs`.
        draws: How much of each source.
        seed: Of all that is drawn.
        chosen: Rude sentences and what they are to become, read instead of those of ParaDetox.

    Raises:
        InputError: A folder holds nothing to read, or a line has another form.
    """
    rng = np.random.default_rng(seed)
    detox = list(chosen) or list(paradetox(data, "train"))
    pairs = [_recased(pair, rng) for _ in range(draws.paradetox) for pair in detox]
    own = list(written_pairs(written, split="train"))
    pairs += [_varied(pair, rng) for _ in range(draws.written) for pair in own]
    harmless = [*harmless_texts(data, split="train"), *(pair.target for pair in detox)]
    kept = rng.permutation(len(harmless))[: draws.kept]
    mended = rng.integers(len(harmless), size=draws.mended)
    rude = [*_blamed(detox), *_blamed(pair for pair in own if pair.category != KEEP)]
    pairs += [_recased(_kept(harmless[at]), rng) for at in kept]
    repaired = [_kept(pair.target) for pair in own] * draws.repaired
    pairs += [_recased(_filled(pair, rng), rng) for pair in repaired]
    pairs += [_broken(harmless[at], rude, rng) for at in mended]
    pairs = [pair for pair in pairs if max(len(pair.source), len(pair.target)) <= LONGEST]
    return [pairs[at] for at in rng.permutation(len(pairs))]


def paradetox(data: Path, name: str) -> Iterator[Pair]:
    """`train` or `dev` of ParaDetox."""
    file = data / "rewrite" / "paradetox" / f"{name}.csv.gz"
    with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            yield Pair(row["toxic"], row["neutral"])


def written_pairs(folder: Path, *, split: str) -> Iterator[Pair]:
    """Pairs of one split, `train` or `valid`; in `valid` every slot is filled, the same way each time.

    Raises:
        InputError: There are none, or a line is not `category | text => text`.
    """
    paths = sorted(folder.glob("*.txt"))
    if not paths:
        raise InputError(f"{folder}: no *.txt in it. Expected the written pairs.")
    for path in paths:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            category, bar, texts = line.partition(" | ")
            source, arrow, target = texts.partition(" => ")
            if not bar or not arrow:
                raise InputError(f"{path}:{number}: expected 'category | text => text'.")
            key = int(hashlib.sha256(line.encode()).hexdigest()[:8], 16)
            is_valid = key % 1000 < 1000 * _VALID_SHARE
            if is_valid is not (split == "valid"):
                continue
            pair = Pair(source, target, category)
            yield _filled(pair, np.random.default_rng(key)) if is_valid else pair


_LABELS = {
    "violence": "violence threat?",
    "gore": "violence self-harm?",
    "sexual": "sexual",
    "self-harm": "self-harm violence?",
    "shocking": "violence? self-harm? sexual?",
    "illicit": "illicit violence? self-harm?",
    "hate": "hate bias? toxicity? insult? violence? harassment?",
    "harassment": "harassment insult? toxicity? violence? hate? threat? bias?",
    "insult": "insult toxicity? harassment? profanity? bias? hate?",
    "rude": "toxicity insult? profanity? harassment? threat? hate?",
    "threat": "threat violence harassment?",
    "bias": "bias hate? toxicity? insult? illicit?",
    "keep": "-",
}
"""A written pair's category -> what `text-safety` learns of its source, in `written.parse_categories`' form."""
_WORD = re.compile(r"\w+")
_RATE = 8.0  # of a draw; 16 made image prompts of any kind look risky


def load_twins_of_repairs(folder: Path, *, split: str) -> Pool:
    """The written pairs as labelled texts: what is wrong with a source, and nothing with what became of it.

    Raises:
        InputError: As in `written_pairs`, or a category has no labels.
    """
    texts, listed = list[str](), list[str]()
    spans = list[list[tuple[int, int]] | None]()
    for pair in written_pairs(folder, split=split):
        if pair.category not in _LABELS:
            raise InputError(f"{folder}: unknown category '{pair.category}'. Allowed: {', '.join(_LABELS)}.")  # fmt: skip
        texts += [pair.source, pair.target]
        listed += [_LABELS[pair.category], "-"]
        spans += [ranges_changed(pair) or None, []]
    parsed = [parse_categories(categories, where=str(folder)) for categories in listed]
    pool = labelled(
        texts,
        np.array([labels for labels, _ in parsed], np.float32).reshape(-1, len(CATEGORIES)),
        weights=np.array([known for _, known in parsed], np.float32).reshape(-1, len(CATEGORIES)),
        source="written-repairs",
        rate=_RATE,
        language=ENGLISH,
    )
    # Filling a slot moves what stands behind it.
    marked = [None if "{" in text else one for text, one in zip(texts, spans, strict=True)]
    return replace(pool, spans=marked)


def ranges_changed(pair: Pair) -> list[tuple[int, int]]:
    """The words of a source that did not stay, as half-open ranges of characters.

    >>> ranges_changed(Pair("my idiot neighbour", "my neighbour"))
    [(3, 8)]
    """
    words = list(_WORD.finditer(pair.source))
    old, new = [word[0] for word in words], _WORD.findall(pair.target)
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    return [
        (words[first].start(), words[last - 1].end())
        for kind, first, last, _, _ in matcher.get_opcodes()
        if kind in ("replace", "delete")
    ]


def _kept(text: str) -> Pair:
    return Pair(text, text, KEEP)


def _filled(pair: Pair, rng: Rng) -> Pair:
    """Both sides with the same fillers."""
    source, target = fill(f"{pair.source}\0{pair.target}", rng).split("\0")
    return Pair(source, target, pair.category)


def _varied(pair: Pair, rng: Rng) -> Pair:
    filled = _recased(_filled(pair, rng), rng)
    if pair.category != KEEP and rng.random() < 0.1:
        return Pair(mistype(filled.source, rng), filled.target, filled.category)
    return filled


def _recased(pair: Pair, rng: Rng) -> Pair:
    return pair if rng.random() < 0.7 else Pair(pair.source.lower(), pair.target.lower(), pair.category)  # fmt: skip


def harmless_texts(data: Path, *, split: str) -> list[str]:
    """Captions and prompts of the pool, `train` or `valid`."""
    table = pq.read_table(data / "text" / "unified.parquet", columns=["text", "source", "split"])
    sources = ("coco_captions", "diffusiondb_benign", "benign_prompts")
    return [
        row["text"]
        for row in table.to_pylist()
        if row["source"] in sources and row["split"] == split
    ]


def _blamed(pairs: Iterable[Pair]) -> list[list[str]]:
    """The runs of words that pairs did not keep, of a few words each."""
    return [
        words
        for pair in pairs
        for first, last in ranges_changed(pair)
        if len(words := pair.source[first:last].split()) <= _LONGEST_BLAMED
        and "{" not in pair.source[first:last]
    ]


def _broken(text: str, rude: Sequence[Sequence[str]], rng: Rng) -> Pair:
    """Some words of a text replaced by rude ones, rude ones thrown in, words said twice: the way back is the lesson."""
    words = text.split()
    for _ in range(int(rng.integers(1, 4))):
        at, kind = int(rng.integers(len(words) + 1)), rng.random()
        if kind < _TWICE and at < len(words):
            words.insert(at, words[at])
        else:
            replaced = int(rng.integers(1, 4)) if kind < _TWICE + _REPLACED else 0
            words[at : at + replaced] = rude[int(rng.integers(len(rude)))]
    return Pair(" ".join(words), text, MENDED)
