"""What an evaluation found: typed values, written as JSON and as one self-contained page.

Holds numbers, names of columns and groups, and digests; never a text of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from guardkit.errors import InputError
from guardkit.metrics.calibration import Bin
from guardkit.metrics.slices import Gap, Row

Points = tuple[tuple[float, float], ...]


class Curves(Struct, frozen=True):
    """The points of both curves, thinned out for plotting; each number in [0, 1]."""

    precision_recall: Points
    """(recall, precision), strictest threshold first."""
    roc: Points
    """(false-positive rate, recall), from (0, 0) to (1, 1)."""


class SliceReport(Struct, frozen=True):
    """The rows of one target, a group."""

    column: str
    groups: Mapping[str, Row]
    gaps: tuple[Gap, ...]


class Target(Struct, frozen=True):
    """One thing that was to be found, and how well it was."""

    name: str
    """A category; `any`: the highest score of all; `decision`: what the policy flags."""
    threshold: float
    """`score >= threshold` is called positive."""
    threshold_from: str
    """Where it comes from: a rule, the command line, the default."""
    unknown: int
    """Rows without a label: left out."""
    failed: int
    """Labelled rows that could not be scored: left out of every number, never taken for 0."""
    result: Row
    slices: tuple[SliceReport, ...]
    reliability: tuple[Bin, ...]
    """Empty for the decision, which is no probability."""
    calibration_error: float | None
    """Expected calibration error, in [0, 1]."""
    curves: Curves | None
    """None unless both classes occur, and for the decision."""


class Report(Struct, frozen=True):
    """Everything one evaluation found."""

    data: str
    """The file's name."""
    data_sha256: str
    rows: int
    policy_id: str
    models: tuple[str, ...]
    """`name@version#digest` of every model that took part."""
    guardkit: str
    """Version."""
    resamples: int
    """Draws of a 95 % bootstrap interval over rows; 0: no intervals."""
    seed: int
    overall_from: str
    """Where the labels of `any` and `decision` come from."""
    overall: tuple[Target, ...]
    """`any` and `decision`; empty when nothing says which texts are harmful."""
    cleared_by_fast_tier: int
    """Rows on which `decision` is that of the fast tier; every other number is the full model's."""
    categories: tuple[Target, ...]
    not_scored: tuple[str, ...]
    """Labelled categories that nothing in this policy scores."""
    ignored_columns: tuple[str, ...]
    format: int = 1


def to_json(report: Report) -> str:
    """The report as one line of JSON."""
    return msgspec.json.encode(report).decode()


def from_json(line: str | bytes) -> Report:
    """The report a JSON line holds.

    Raises:
        msgspec.DecodeError: It is not one.
    """
    return msgspec.json.decode(line, type=Report)


def write_report(report: Report, folder: Path, page: str) -> None:
    """Write `report.json` and `report.html` into a folder; errors as in `write_files`."""
    write_files(to_json(report), folder, page)


def write_files(document: str, folder: Path, page: str) -> None:
    """Write a JSON document and a page into a folder, made when missing.

    Raises:
        InputError: The folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.json").write_text(f"{document}\n", "utf-8")
        (folder / "report.html").write_text(page, "utf-8")
    except OSError as e:
        raise InputError(f"--out {folder}: cannot be written ({e.strerror}).") from e
