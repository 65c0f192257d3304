r"""Texts written for guardkit, and labels given to texts of the pool: `data/written`, `data/labels`.

`data/written/*.txt` holds one text a line, `categories | form | text`:

    violence threat? | message | see you at the bus stop. bring a dentist     (threat is arguable: masked)
    -                | ask     | do bees die after they sting you             (harmless in every category)

`{group}` and the like are slots (`vary.fill`), `\\n` is a line break. `data/written/context.jsonl` holds
texts whose context decides. `data/labels/*.csv` holds `digest,categories` for texts of the pool.
Every category that a line does not name is a definite no.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from guardkit.errors import InputError
from guardkit.text.context import describe
from guardkit.train.data import CATEGORIES, ENGLISH, Floats, Pool, joined, labelled
from guardkit.train.vary import fill
from guardkit.types import Context, Turn

_WRITTEN_RATE = 12.0  # few, and they carry what the pool lacks
_TWIN_RATE = 30.0  # `twins*.txt`: what the model gets wrong
_IMAGE_TWIN_RATE = (
    60.0  # `twins_image*.txt`: beside so many risky image prompts, what only looks like one
)
_CONTEXT_RATE = 16.0
_LABELLED_RATE = 4.0
_VALID_SHARE = 0.1


def load_written(folder: Path, *, split: str) -> Pool:
    """Read the written texts of one split, `train` or `valid` (a tenth, by hash of the line).

    In `valid` every slot is filled, the same way each time; in `train` the draw fills it.

    Raises:
        InputError: The folder holds no texts, or a line has another form.
    """
    paths = sorted(folder.glob("*.txt"))
    if not paths:
        raise InputError(f"{folder}: no *.txt in it. Expected the written texts; pass --written.")
    pools = [_read_texts(path, split) for path in paths]
    context = folder / "context.jsonl"
    if context.is_file():
        pools.append(_read_contexts(context, split))
    texts = [text for pool in pools for text in pool.texts]
    if split == "valid":
        texts = [fill(text, np.random.default_rng(number_of(text))) for text in texts]
    return replace(joined(pools), texts=texts)


def load_foreign(folder: Path, *, split: str) -> Pool:
    """Read the texts written in other languages, `<language>.txt`; split and errors as above."""
    paths = sorted(folder.glob("*.txt"))
    if not paths:
        raise InputError(f"{folder}: no *.txt in it. Expected one file a language.")
    return joined([_read_texts(path, split, language=path.stem) for path in paths])


def relabelled(pool: Pool, folder: Path) -> Pool:
    """The pool with the labels of `folder/*.csv` in place of its own, drawn more often.

    Raises:
        InputError: A file names an unknown category.
    """
    by_digest = {
        row["digest"]: row["categories"]
        for path in sorted(folder.glob("*.csv"))
        for row in csv.DictReader(path.read_text().splitlines())
    }
    labels, weights, rates = pool.labels.copy(), pool.weights.copy(), pool.rates.copy()
    for row, text in enumerate(pool.texts):
        categories = by_digest.get(digest(text))
        if categories is not None:
            labels[row], weights[row] = parse_categories(categories, where=str(folder))
            rates[row] = _LABELLED_RATE
    return replace(pool, labels=labels, weights=weights, rates=rates)


def digest(text: str) -> str:
    """How `data/labels` names a text without holding it: 16 hex digits of SHA-256."""
    return hashlib.sha256(text.encode("utf8", "replace")).hexdigest()[:16]


def parse_categories(listed: str, *, where: str) -> tuple[Floats, Floats]:
    """Read `violence threat?` or `-`: f32 [categories] labels and weights.

    >>> labels, weights = parse_categories("violence threat?", where="here")
    >>> labels[CATEGORIES.index("violence")], weights[CATEGORIES.index("threat")]
    (np.float32(1.0), np.float32(0.0))
    """
    labels = np.zeros(len(CATEGORIES), np.float32)
    weights = np.ones(len(CATEGORIES), np.float32)
    for name in listed.split():
        if name == "-":
            continue
        category = name.removesuffix("?")
        if category not in CATEGORIES:
            raise InputError(
                f"{where}: unknown category '{category}'. Allowed: {', '.join(CATEGORIES)}."
            )
        column = CATEGORIES.index(category)
        labels[column] = 1.0
        weights[column] = 0.0 if name.endswith("?") else 1.0
    return labels, weights


def read_lines(path: Path) -> Iterator[tuple[int, str, str, str]]:
    """Yield (line number, categories, form, text) of a written file; comments are skipped.

    Raises:
        InputError: A line has another form.
    """
    for number, line in enumerate(path.read_text(encoding="utf8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = line.split(" | ", 2)
        if len(parts) != 3:
            raise InputError(f"{path}:{number}: expected `categories | form | text`.")
        categories, form, text = (part.strip() for part in parts)
        yield number, categories, form, text.replace("\\n", "\n")


def _read_texts(path: Path, split: str, *, language: str = ENGLISH) -> Pool:
    rows = [
        (parse_categories(categories, where=f"{path}:{number}"), text)
        for number, categories, _, text in read_lines(path)
        if split_of(text) == split
    ]
    return labelled(
        [text for _, text in rows],
        _stacked([labels for (labels, _), _ in rows]),
        weights=_stacked([weights for (_, weights), _ in rows]),
        source=f"written-{path.stem.replace('_', '-')}",
        rate=_rate_of(path.stem),
        language=language,
    )


def _rate_of(stem: str) -> float:
    if stem.startswith("twins_image"):
        return _IMAGE_TWIN_RATE
    return _TWIN_RATE if stem.startswith("twins") else _WRITTEN_RATE


def _read_contexts(path: Path, split: str) -> Pool:
    rows = [json.loads(line) for line in path.read_text(encoding="utf8").splitlines() if line]
    rows = [row for row in rows if split_of(row["text"]) == split]
    listed = [
        " ".join([*row["yes"], *(f"{name}?" for name in row.get("maybe", []))]) for row in rows
    ]
    parsed = [parse_categories(categories, where=str(path)) for categories in listed]
    return labelled(
        [row["text"] for row in rows],
        _stacked([labels for labels, _ in parsed]),
        weights=_stacked([weights for _, weights in parsed]),
        source="written-context",
        rate=_CONTEXT_RATE,
        contexts=[describe(read_context(row["context"])) for row in rows],
    )


def read_context(fields: dict[str, object]) -> Context:
    """A `Context` from its JSON form, turns as [role, text] pairs."""
    turns = cast("list[tuple[str, str]]", fields.get("turns") or [])
    named = {key: str(value) for key, value in fields.items() if key != "turns" and value}
    return Context(**named, turns=tuple(Turn(role, text) for role, text in turns))


def split_of(text: str) -> str:
    """`valid` for a tenth of the texts, by hash; both lines of a context pair fall on one side."""
    return "valid" if number_of(text) % 1000 < 1000 * _VALID_SHARE else "train"


def number_of(text: str) -> int:
    """The digest of a text as a number."""
    return int(digest(text), 16)


def _stacked(rows: Sequence[Floats]) -> Floats:
    return np.stack(rows) if rows else np.zeros((0, len(CATEGORIES)), np.float32)
