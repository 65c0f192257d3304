"""The files under a folder, in a fixed order, with memory that does not grow with their number."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

_BLOCK = (
    20_000  # names held of one folder; chosen: 14 MB, and 100,000 files in one are listed in 1.8 s
)


class Kind(StrEnum):
    """What there is to do with what was found."""

    TEXT = "text"
    IMAGE = "image"
    OTHER = "other"
    """Neither by its ending, or no regular file."""
    LINK = "link"
    """A symbolic link, to whatever: links are not followed."""
    FOLDER = "folder"
    UNREADABLE = "unreadable"
    """A folder that could not be listed."""


ENDINGS = {
    Kind.TEXT: (".txt", ".md"),
    Kind.IMAGE: (".jpg", ".jpeg", ".png", ".webp", ".gif"),
}
"""Kind -> the endings of its files, in any case."""
_KINDS = {ending: kind for kind, endings in ENDINGS.items() for ending in endings}


@dataclass(frozen=True, slots=True)
class Found:
    """One thing under the folder."""

    path: Path
    kind: Kind
    problem: str = ""
    """Why a folder could not be listed."""


def walk(folder: Path, *, block: int = _BLOCK) -> Iterator[Found]:
    """Everything under a folder but the folders themselves, by name, what is in a folder where its name stands.

    Hidden files count. Links are reported and not followed, so that nothing is seen twice and no loop is entered.

    Args:
        folder: Where to begin.
        block: Names of one folder that are held at once.
    """
    entered = [_entries(folder, block)]
    while entered:
        found = next(entered[-1], None)
        if found is None:
            entered.pop()
        elif found.kind is Kind.FOLDER:
            entered.append(_entries(found.path, block))
        else:
            yield found


def _entries(folder: Path, most: int) -> Iterator[Found]:
    """What lies in one folder, by name.

    It is listed anew for every block of names: a folder of a million files costs a few more listings, not memory.
    """
    after = ""
    while True:
        try:
            with os.scandir(folder) as entries:
                later = ((entry.name, _kind(entry)) for entry in entries if entry.name > after)
                block = heapq.nsmallest(most, later, key=lambda pair: pair[0])
        except OSError as e:
            yield Found(folder, Kind.UNREADABLE, f"cannot be listed ({e.strerror}).")
            return
        yield from (Found(folder / name, kind) for name, kind in block)
        if len(block) < most:
            return
        after = block[-1][0]


def _kind(entry: os.DirEntry[str]) -> Kind:
    if entry.is_symlink():
        return Kind.LINK
    if entry.is_dir(follow_symlinks=False):
        return Kind.FOLDER
    is_regular = entry.is_file(follow_symlinks=False)
    return _KINDS.get(Path(entry.name).suffix.lower(), Kind.OTHER) if is_regular else Kind.OTHER
