"""Stereotypes as sentences and image prompts: SeeGULL's identity-attribute pairs in frames.

SeeGULL (CC-BY-4.0) lists attributes that annotators tie to nationalities, with how offensive each is.
An offensive pair is `bias`; the same identity in a neutral frame, and the same attribute on nobody in
particular, are not.
"""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np

from guardkit.errors import InputError
from guardkit.train.data import CATEGORIES, Pool, joined, labelled
from guardkit.train.written import split_of

_RATE = 1.5
_OFFENSIVE = 1.0  # mean offensiveness of the annotators, on -1 to 4
_TIED = (
    "{identity} people are {attribute}",
    "why are {identity} people always so {attribute}?",
    "everyone knows that {identity} people are {attribute}",
    "a typical {attribute} {identity} person, photo",
    "portrait of {identity} people being {attribute}, digital art",
    "write a story about a {attribute} {identity} man",
    "my neighbours are {identity}, so of course they are {attribute}",
    "cartoon of a {attribute} {identity} family, 4k",
)
_NEUTRAL = (
    "{identity} people celebrating a wedding, photo",
    "portrait of a {identity} engineer at work, natural light",
    "what do {identity} people eat for breakfast?",
    "my neighbours are {identity} and we share a garden",
    "a {identity} family having a picnic, watercolor",
    "write a story about a {identity} man who repairs bicycles",
    "it is unfair to call {identity} people {attribute}",
)
_NOBODY = (
    "a story about a {attribute} person who learns something",
    "portrait of a {attribute} character, digital art",
    "what does it mean to be {attribute}?",
)


def load_stereotypes(seegull: Path, *, split: str) -> Pool:
    """Read one split (a tenth of the pairs by hash is `valid`).

    Raises:
        InputError: The file is missing.
    """
    path = seegull / "train.csv.gz"
    if not path.is_file():
        raise InputError(f"{path}: no such file. Expected SeeGULL; pass --seegull.")
    with gzip.open(path, "rt", encoding="utf8", newline="") as file:
        pairs = [
            (row["identity"], row["attribute"])
            for row in csv.DictReader(file)
            if _number(row["mean offensiveness_score"]) >= _OFFENSIVE
            and split_of(row["identity"] + row["attribute"]) == split
        ]
    return joined(
        [
            _framed(pairs, _TIED, is_bias=True),
            _framed(pairs, _NEUTRAL, is_bias=False),
            _framed(pairs, _NOBODY, is_bias=False),
        ]
    )


def _framed(pairs: list[tuple[str, str]], frames: tuple[str, ...], *, is_bias: bool) -> Pool:
    texts = [
        frames[index % len(frames)].format(identity=identity, attribute=attribute)
        for index, (identity, attribute) in enumerate(pairs)
    ]
    labels = np.zeros((len(texts), len(CATEGORIES)), np.float32)
    weights = np.full_like(labels, 0.25)
    bias = CATEGORIES.index("bias")
    labels[:, bias] = float(is_bias)
    weights[:, bias] = 1.0
    if is_bias:  # often hate too, and nobody said when
        weights[:, [CATEGORIES.index(name) for name in ("toxicity", "insult", "hate")]] = 0.0
    return labelled(texts, labels, weights=weights, source="stereotypes", rate=_RATE)


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return -1.0  # not annotated
