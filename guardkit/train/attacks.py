"""Prompts that attack the model they are sent to: real jailbreaks, and orders hidden in documents.

`deepset_prompt_injections` is never read here: it is held back whole, to measure on (bench/proxies).
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from guardkit.errors import InputError
from guardkit.train.data import CATEGORIES, Pool, joined, labelled
from guardkit.train.written import split_of

_RATE = 6.0
_PART = 480  # characters: about the 128 tokens the model reads at once
# How an order stands in a document that is handed to a model.
_JOINTS = (
    "\n\n{order}",
    " {order}",
    "\n{order}\n",
    "\n\nNote to the assistant: {order}",
    "\n<!-- {order} -->",
)
_CARRIERS_A_ORDER = 3


def load_attacks(multilingual: Path, carriers: Sequence[str], *, split: str) -> Pool:
    """Read the attack prompts of one split (a tenth by hash is `valid`).

    Args:
        multilingual: Holds `jailbreak_prompts` and `bipia_attacks`.
        carriers: Harmless texts that hidden orders are put into.
        split: `train` or `valid`.

    Raises:
        InputError: A file is missing.
    """
    jailbreaks = [row["text"] for row in _rows(multilingual / "jailbreak_prompts" / "dev.csv.gz")]
    parts = [part for text in _of(jailbreaks, split) for part in _parts(text)]
    orders = [row["attack"] for row in _rows(multilingual / "bipia_attacks" / "train.csv.gz")]
    hidden, bare = _hidden(_of(orders, split), carriers)
    return joined(
        [
            _labelled(parts, "jailbreak-prompts", only_jailbreak=False),
            _labelled(hidden, "hidden-orders", only_jailbreak=True),
            labelled(
                bare,
                np.zeros((len(bare), len(CATEGORIES)), np.float32),
                source="carriers",
                rate=2.0,
            ),
        ]
    )


def _labelled(texts: Sequence[str], source: str, *, only_jailbreak: bool) -> Pool:
    """Positive for jailbreak; the rest is unknown, or an assumed no."""
    labels = np.zeros((len(texts), len(CATEGORIES)), np.float32)
    weights = np.full_like(labels, 0.25 if only_jailbreak else 0.0)
    column = CATEGORIES.index("jailbreak")
    labels[:, column] = 1.0
    weights[:, column] = 1.0
    return labelled(texts, labels, weights=weights, source=source, rate=_RATE)


def _parts(text: str) -> list[str]:
    """The start of a long prompt, and its end: the middle is often an ordinary story."""
    return [text] if len(text) <= _PART else [text[:_PART], text[-_PART:]]


def _hidden(orders: Sequence[str], carriers: Sequence[str]) -> tuple[list[str], list[str]]:
    """Documents with an order in them, and the same documents without."""
    rng = np.random.default_rng(len(orders))
    hidden: list[str] = []
    bare: list[str] = []
    for order in orders:
        for at in rng.integers(len(carriers), size=_CARRIERS_A_ORDER):
            joint = _JOINTS[int(rng.integers(len(_JOINTS)))]
            hidden.append(carriers[at][: _PART // 2] + joint.format(order=order[: _PART // 2]))
            bare.append(carriers[at])
    return hidden, bare


def _of(texts: Sequence[str], split: str) -> list[str]:
    return [text for text in texts if split_of(text) == split]


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise InputError(f"{path}: no such file. Expected the attack prompts; pass --multilingual.")
    with gzip.open(path, "rt", encoding="utf8", newline="") as file:
        return list(csv.DictReader(file))
