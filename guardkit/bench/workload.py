"""Workloads: fixed, versioned texts to measure with, split by length bucket.

A JSONL file. First a header, then one text a line:

    {"workload": "prompts", "version": 1, "tokenizer_sha256": "..."}
    {"bucket": "16", "text": "a lighthouse in the fog, oil painting"}

A bucket is named after the most tokens its texts have, special tokens included.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from guardkit.errors import InputError

T = TypeVar("T", bound=Struct)

PROMPTS = Path(__file__).parent / "workloads" / "prompts-v1.jsonl"
"""The shipped workload."""


class Workload(Struct, frozen=True):
    """The texts of one file, by bucket."""

    id: str
    """`name/version`."""
    sha256: str
    """Of the whole file."""
    buckets: Mapping[str, tuple[str, ...]]
    """Bucket -> texts, shortest bucket first."""


class _Header(Struct):
    workload: Annotated[str, Meta(min_length=1)]
    version: Annotated[int, Meta(ge=1)]


class _Line(Struct, forbid_unknown_fields=True):
    bucket: Annotated[str, Meta(pattern=r"^[1-9][0-9]*$")]
    text: Annotated[str, Meta(min_length=1)]


def load_workload(path: Path) -> Workload:
    """Read a workload.

    Raises:
        InputError: The file cannot be read or a line is malformed; the message names the line.
    """
    try:
        content = path.read_bytes()
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror}).") from e
    lines = content.splitlines()
    if len(lines) < 2:
        raise InputError(f"{path}:1: no texts. Expected a header line and at least one text.")
    header = _decode(lines[0], _Header, f"{path}:1")
    texts: dict[str, list[str]] = {}
    for number, line in enumerate(lines[1:], start=2):
        entry = _decode(line, _Line, f"{path}:{number}")
        texts.setdefault(entry.bucket, []).append(entry.text)
    return Workload(
        id=f"{header.workload}/{header.version}",
        sha256=hashlib.sha256(content).hexdigest(),
        buckets={bucket: tuple(texts[bucket]) for bucket in sorted(texts, key=int)},
    )


def _decode(line: bytes, kind: type[T], where: str) -> T:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.DecodeError as e:  # ValidationError is one
        raise InputError(f"{where}: {e}.") from e
