"""Labelled images: a folder with a folder a category, or a table of paths; measured as labelled texts are.

pictures/safe/beach.jpg          a picture that is nothing of the kind
pictures/gore/accident.png       one that is; of the other categories nobody said anything
pictures/any/other.png           harmful, in whatever way

image,sexual,gore,skin_tone      a CSV, JSONL or parquet file; paths beside the file
beach.jpg,0,0,dark
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from guardkit.errors import InputError
from guardkit.evaluate.read import (
    OVERALL,
    LabelledRows,
    Labels,
    column_of,
    derive_overall,
    label_rows,
)
from guardkit.evaluate.report import Report
from guardkit.evaluate.run import Scored, Settings, check_thresholds, make_report
from guardkit.evaluate.table import Table, read_table
from guardkit.guard import Guard
from guardkit.taxonomy import Stage
from guardkit.types import Scores, Status
from guardkit.walk import ENDINGS, Kind, walk

SAFE = "safe"
"""The folder of pictures that belong to no category."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledImages(LabelledRows):
    """Labelled images, as files."""

    images: tuple[Path, ...] = field(repr=False)


def read_image_table(
    path: Path,
    *,
    categories: Collection[str],
    image_column: str = "image",
    slices: Sequence[str] = (),
) -> LabelledImages:
    """Read a table of images: `read_labelled` with a column of paths, relative to the table's folder.

    Raises:
        InputError: As there, or a path is none of a file.
        MissingExtraError: A parquet file, and pyarrow is not installed.
    """
    table = read_table(path)
    names = column_of(table, image_column, "--image-column")
    images = tuple(_image(table, row, name, image_column) for row, name in enumerate(names))
    rows = label_rows(table, categories, item=image_column, slices=slices)
    sha256 = digest_of([str(name) for name in names], images, before=rows.sha256)
    return _with_images(rows, images, sha256=sha256)


def read_image_folder(folder: Path, *, categories: Collection[str]) -> LabelledImages:
    """Read a folder of pictures, in a folder each of `safe`, a category, or `any`, at any depth below it.

    Links are not followed; files with other endings are left out.

    Args:
        folder: Where they lie.
        categories: Names, in kebab-case, that a folder may have; a picture in `safe` is negative for all of them.

    Raises:
        InputError: A folder is named otherwise or cannot be listed, a picture lies outside, or there is none.
    """
    images: list[Path] = []
    kinds: list[str] = []
    for found in walk(folder):
        if found.kind is Kind.UNREADABLE:
            raise InputError(f"{found.path}: {found.problem}")
        if found.kind is Kind.IMAGE:
            kinds.append(_label_of(found.path.relative_to(folder), folder, categories))
            images.append(found.path)
    if not images:
        raise InputError(f"{folder}: no images. Expected {' '.join(ENDINGS[Kind.IMAGE])}.")
    labels = _labels(kinds, categories)
    return LabelledImages(
        file=folder.resolve().name,
        sha256=digest_of([image.relative_to(folder).as_posix() for image in images], images),
        labels=labels,
        overall=_overall(kinds, labels),
        overall_from="derived from the folders",
        slices={},
        ignored=(),
        images=tuple(images),
    )


def run_image_evaluation(
    labelled: LabelledImages,
    guard: Guard,
    settings: Settings,
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> Report:
    """Score every image once and measure.

    Args:
        labelled: The images.
        guard: Its policy has a stage for images.
        settings: Thresholds and intervals.
        progress: Told how many are scored, after each.

    Raises:
        InputError: The policy has no such stage, a threshold is given for a category without labels, or a file
            went away. An image that cannot be decoded is counted as failed.
    """
    check_thresholds(settings.thresholds, labelled)
    scored = score_image_rows(guard, labelled.images, progress)
    return make_report(labelled, scored, guard, settings, Stage.OUTPUT_IMAGE)


def score_image_rows(
    guard: Guard, images: Sequence[Path], progress: Callable[[int], None] = lambda _: None
) -> Scored:
    """Check every image: its scores, before any edit, and whether the policy flags it."""
    rows: list[Scores] = []
    flagged = np.full(len(images), np.nan)
    for row, image in enumerate(images):
        decision = guard.check_output(image=image)
        if decision.status is Status.OK:
            flagged[row] = decision.flagged
        rows.append(decision.scores)
        progress(row + 1)
    names = dict.fromkeys(name for scores in rows for name in scores)
    scores = {name: np.array([one.get(name) for one in rows], np.float64) for name in names}
    return Scored(scores, flagged, cleared=0)


def digest_of(names: Sequence[str], images: Sequence[Path], *, before: str = "") -> str:
    """SHA-256 of images: of each one's name and that of its content.

    Raises:
        InputError: One cannot be read.
    """
    whole = hashlib.sha256(before.encode())
    for name, image in zip(names, images, strict=True):
        try:
            with image.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as e:
            raise InputError(f"{image}: cannot be read ({e.strerror}).") from e
        whole.update(f"{content} {name}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def _with_images(rows: LabelledRows, images: tuple[Path, ...], *, sha256: str) -> LabelledImages:
    said: dict[str, Any] = {one.name: getattr(rows, one.name) for one in fields(rows)}
    return LabelledImages(**{**said, "sha256": sha256}, images=images)


def _image(table: Table, row: int, value: object, column: str) -> Path:
    problem = "found nothing"
    if isinstance(value, str) and value:
        image = table.path.parent / value
        if image.is_file():
            return image
        problem = "no such file"
    raise InputError(
        f"{table.where(row)}: column '{column}': {problem}. Expected the path of an image, relative to "
        f"the folder of {table.path.name}. Mend the row, or name the right column with --image-column."
    )


def _label_of(path: Path, folder: Path, categories: Collection[str]) -> str:
    """What the folder of a picture says of it: `safe`, `any` or a category."""
    allowed = (SAFE, *OVERALL[:1], *categories)
    listed = ", ".join(allowed)
    if len(path.parts) == 1:
        raise InputError(
            f"{folder}: a picture lies outside the folders of its labels. Expected it in one of {listed}."
        )
    name = path.parts[0].replace("_", "-")
    if name not in allowed:
        near = get_close_matches(name, allowed, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise InputError(f"{folder / path.parts[0]}: no label. Expected one of {listed}.{hint}")
    return name


def _labels(kinds: Sequence[str], categories: Collection[str]) -> dict[str, Labels]:
    """Positive in a category's own folder, negative in `safe`, unknown elsewhere."""
    named = np.array(kinds)
    is_safe = named == SAFE
    every = {name: Labels(named == name, is_safe | (named == name)) for name in categories}
    return {name: one for name, one in every.items() if one.known.any()}


def _overall(kinds: Sequence[str], labels: Mapping[str, Labels]) -> Labels | None:
    derived = derive_overall(labels)
    is_any = np.array(kinds) == OVERALL[0]
    if derived is None:
        return Labels(is_any, is_any) if is_any.any() else None
    return Labels(derived.truth | is_any, derived.known | is_any)
