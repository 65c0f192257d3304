"""Labelled files: a CSV, JSONL or parquet table into texts, labels and groups.

    text,hate,self_harm,group
    "good morning, all",0,,british

A column named like a category holds 0, 1, a fraction (0.5 or more is positive), true, false, or
nothing where the label is unknown. `any` or `flagged` says whether the text is harmful at all.
Messages name the file, the row and the column, never what stands in a text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from guardkit.errors import InputError
from guardkit.evaluate.table import Table, read_table
from guardkit.metrics.ranking import Bools
from guardkit.taxonomy import is_harm

OVERALL = ("any", "flagged")
"""Columns that say whether a text is harmful at all; a file has one of them, or none."""
_MOST_GROUPS = 50  # chosen: more is no grouping, and might be the texts themselves
_WORDS = {"true": 1.0, "false": 0.0}
_ALLOWED = "Expected 0, 1, a fraction between, true, false, or nothing for unknown."


@dataclass(frozen=True, slots=True)
class Labels:
    """What one column says of every row."""

    truth: Bools
    """bool [rows]: positive, that is a label of at least 0.5; False where it is unknown."""
    known: Bools
    """bool [rows]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledRows:
    """What people said of a set of texts or images."""

    file: str
    """The name of the file or folder, without the one it lies in."""
    sha256: str
    """Of a file of texts; of images also of each one's name and content."""
    labels: Mapping[str, Labels]
    """Category, in kebab-case -> labels."""
    overall: Labels | None
    """Harmful at all; None when no column says so and no harm category is labelled."""
    overall_from: str
    """The column it was read from, or how it was derived."""
    slices: Mapping[str, tuple[str, ...]]
    """Column -> the group of each row."""
    ignored: tuple[str, ...]
    """Columns that are neither text or image, labels nor slices."""

    @property
    def rows(self) -> int:
        """How many."""
        known = [*self.labels.values(), *([self.overall] if self.overall else [])]
        return len(known[0].truth)


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled(LabelledRows):
    """A labelled file. Its repr holds no text."""

    texts: tuple[str, ...] = field(repr=False)


def read_labelled(
    path: Path,
    *,
    categories: Collection[str],
    text_column: str = "text",
    slices: Sequence[str] = (),
) -> Labelled:
    """Read a labelled file.

    Args:
        path: `.csv`, `.jsonl` or `.parquet`.
        categories: Names, in kebab-case, that a label column may have.
        text_column: The column of the texts.
        slices: Columns to group by.

    Raises:
        InputError: The file, a column or a row cannot be used; the message says where and why.
        MissingExtraError: A parquet file, and pyarrow is not installed.
    """
    table = read_table(path)
    texts = _texts(table, text_column)
    rows = label_rows(table, categories, item=text_column, slices=slices)
    return Labelled(texts=texts, **{one.name: getattr(rows, one.name) for one in fields(rows)})


def label_rows(
    table: Table, categories: Collection[str], *, item: str, slices: Sequence[str]
) -> LabelledRows:
    """What a table says of its rows, but for the column `item`; arguments and errors as for `read_labelled`."""
    path = table.path
    named = _label_columns(table, categories, taken=item)
    overall = [name for name in OVERALL if name in table.columns and name != item]
    if not named and not overall:
        raise InputError(
            f"{path}: no column of labels. Found columns {_listed(table.columns)}. "
            f"Expected a column named like a category ({_listed(categories)}), or 'any'."
        )
    if len(overall) > 1:
        raise InputError(f"{path}: columns 'any' and 'flagged' mean the same. Keep one of them.")
    labels = {category: _labels(table, column) for category, column in named.items()}
    used = {item, *named.values(), *overall, *slices}
    return LabelledRows(
        file=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        labels=labels,
        overall=_labels(table, overall[0]) if overall else derive_overall(labels),
        overall_from=f"column '{overall[0]}'" if overall else "derived from the categories",
        slices={column: _groups(table, column, item) for column in slices},
        ignored=tuple(column for column in table.columns if column not in used),
    )


def read_texts(path: Path, *, text_column: str = "text") -> tuple[str, ...]:
    """The texts of a file, labelled or not; arguments and errors as for `read_labelled`."""
    return _texts(read_table(path), text_column)


@dataclass(frozen=True, slots=True)
class Prompts:
    """A file of prompts, labelled or not. Its repr holds no text."""

    file: str
    """The file's name, without its folder."""
    sha256: str
    texts: tuple[str, ...] = field(repr=False)
    slices: Mapping[str, tuple[str, ...]]
    """Column -> the group of each row."""


def read_prompts(path: Path, *, text_column: str = "text", slices: Sequence[str] = ()) -> Prompts:
    """Prompts and their groups; arguments and errors as for `read_labelled`."""
    table = read_table(path)
    groups = {column: _groups(table, column, text_column) for column in slices}
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Prompts(path.name, digest, _texts(table, text_column), groups)


def derive_overall(labels: Mapping[str, Labels]) -> Labels | None:
    """Positive when any harm category is; negative when all that are known are negative.

    Returns:
        Unknown where no harm category is known; None when none is labelled at all.
    """
    harms = [one for category, one in labels.items() if is_harm(category)]
    if not harms:
        return None
    known = np.any([one.known for one in harms], axis=0)
    truth = np.any([one.known & one.truth for one in harms], axis=0)
    return Labels(truth, known)


def _texts(table: Table, column: str) -> tuple[str, ...]:
    texts: list[str] = []
    for row, value in enumerate(column_of(table, column, "--text-column")):
        if not isinstance(value, str):
            raise InputError(
                f"{table.where(row)}: column '{column}': found {_kind(value)}. Expected a text. "
                "Remove the row, or name the right column with --text-column."
            )
        texts.append(value)
    return tuple(texts)


def _label_columns(table: Table, categories: Collection[str], *, taken: str) -> dict[str, str]:
    """Category -> the column that holds its labels."""
    found: dict[str, str] = {}
    for column in table.columns:
        category = column.replace("_", "-")
        if column == taken or category not in categories:
            continue
        if category in found:
            raise InputError(
                f"{table.path}: columns '{found[category]}' and '{column}' both name the category "
                f"'{category}'. Keep one of them."
            )
        found[category] = column
    return found


def _labels(table: Table, column: str) -> Labels:
    values = [_label(table, row, column) for row in range(table.rows)]
    known = np.array([value is not None for value in values], np.bool_)
    truth = np.array([value is not None and value >= 0.5 for value in values], np.bool_)
    return Labels(truth, known)


def _label(table: Table, row: int, column: str) -> float | None:
    """One label in [0, 1]; None when it is unknown."""
    value = table.columns[column][row]
    if isinstance(value, str):
        value = value.strip().lower()
        value = None if value == "" else _WORDS.get(value, _number(value))
    elif isinstance(value, float) and value != value:  # a parquet file's way to say: unknown
        value = None
    if value is None:
        return None
    if isinstance(value, (int, float)) and 0 <= value <= 1:
        return float(value)
    found = f"{value}" if isinstance(value, (int, float)) else _kind(table.columns[column][row])
    raise InputError(
        f"{table.where(row)}: column '{column}': found {found}. {_ALLOWED} "
        "Mend the row; a text with commas or line breaks needs quotes."
    )


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _groups(table: Table, column: str, item: str) -> tuple[str, ...]:
    values = column_of(table, column, "--slice")
    if column == item:
        raise InputError(f"{table.path}: --slice {column}: that column holds what is measured.")
    groups = tuple("(empty)" if value in (None, "") else str(value) for value in values)
    count = len(set(groups))
    if count > _MOST_GROUPS:
        raise InputError(
            f"{table.path}: --slice {column}: found {count} different values, at most "
            f"{_MOST_GROUPS} make groups. Name a column with fewer, or write a coarser one."
        )
    return groups


def column_of(table: Table, column: str, option: str) -> Sequence[object]:
    """The values of a column that an option of the command line names.

    Raises:
        InputError: There is no such column.
    """
    if column not in table.columns:
        near = get_close_matches(column, table.columns, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise InputError(
            f"{table.path}: {option} {column}: no such column. "
            f"Found columns {_listed(table.columns)}.{hint}"
        )
    return table.columns[column]


def _kind(value: object) -> str:
    """What a value is, without saying what it says: it may be a user's text."""
    if value is None:
        return "nothing"
    return f"{len(value)} characters" if isinstance(value, str) else f"a {type(value).__name__}"


def _listed(names: Collection[str]) -> str:
    return ", ".join(names) or "none"
