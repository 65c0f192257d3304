"""A file as columns: CSV, JSONL or parquet, chosen by the file's ending."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from guardkit.errors import InputError, MissingExtraError


@dataclass(frozen=True, slots=True)
class Table:
    """The columns of a file, at least one row long. Its repr holds no value of theirs."""

    path: Path
    columns: Mapping[str, Sequence[object]] = field(repr=False)
    """Name -> one value a row: text in a CSV, None where a value is missing."""
    lines: Sequence[int] | None
    """1-based line on which each row begins; None for a file without lines."""

    @property
    def rows(self) -> int:
        """How many."""
        return len(next(iter(self.columns.values())))

    def where(self, row: int) -> str:
        """`file:line` of a 0-based row; where there are no lines, its 1-based number."""
        if self.lines is None:
            return f"{self.path}: row {row + 1}"
        return f"{self.path}:{self.lines[row]}"


def read_table(path: Path) -> Table:
    """Read a file by its ending.

    Raises:
        InputError: Its ending is unknown, it cannot be read, or a row is malformed.
        MissingExtraError: A parquet file, and pyarrow is not installed.
    """
    reader = _READERS.get(path.suffix)
    if reader is None:
        found = f"the ending '{path.suffix}'" if path.suffix else "no ending"
        raise InputError(f"{path}: found {found}. Expected one of {', '.join(_READERS)}.")
    table = reader(path)
    if not table.columns or not table.rows:
        raise InputError(f"{path}: no rows. Expected at least one labelled text.")
    return table


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror}).") from e
    except UnicodeDecodeError as e:
        raise InputError(f"{path}: byte {e.start} is not UTF-8. Save the file as UTF-8.") from e


def _read_csv(path: Path) -> Table:
    reader = csv.reader(io.StringIO(_read_text(path), newline=""), strict=True)
    lines: list[int] = []
    records: list[list[str]] = []
    begin = 1
    try:
        for record in reader:
            if record:  # an empty line is no row
                lines.append(begin)
                records.append(record)
            begin = reader.line_num + 1
    except csv.Error as e:
        raise InputError(f"{path}:{begin}: malformed CSV ({e}). Check the quotes.") from e
    header = records[0] if records else []
    if len(set(header)) < len(header):
        raise InputError(f"{path}:{lines[0]}: a column is named twice: {', '.join(header)}.")
    for line, record in zip(lines[1:], records[1:], strict=True):
        if len(record) != len(header):
            raise InputError(
                f"{path}:{line}: found {len(record)} values. Expected {len(header)}, one a column. "
                "A text with commas or line breaks needs quotes."
            )
    columns = {name: [row[at] for row in records[1:]] for at, name in enumerate(header)}
    return Table(path, columns, lines[1:])


def _read_jsonl(path: Path) -> Table:
    lines: list[int] = []
    records: list[dict[str, object]] = []
    # split, not splitlines: JSON may hold a bare U+2028, which ends no line of a file
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            records.append(msgspec.json.decode(line, type=dict[str, object]))
        except msgspec.DecodeError as e:  # ValidationError is one
            raise InputError(f"{path}:{number}: {e}. Expected one JSON object a line.") from e
        lines.append(number)
    names = dict.fromkeys(name for record in records for name in record)
    return Table(path, {name: [record.get(name) for record in records] for name in names}, lines)


def _read_parquet(path: Path) -> Table:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as e:
        raise MissingExtraError(f"{path}: reading parquet", "train") from e
    try:
        content = parquet.read_table(path)
    except (OSError, arrow.ArrowException) as e:
        raise InputError(f"{path}: cannot be read as parquet ({type(e).__name__}).") from e
    return Table(path, content.to_pydict(), None)


_READERS: Mapping[str, Callable[[Path], Table]] = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
