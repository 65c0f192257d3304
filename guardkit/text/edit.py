"""Editors that need no model: take spans out of a text, or redact them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from guardkit.types import Edit, Span

Editor = Callable[[str, Sequence[Span]], tuple[str, tuple[Edit, ...]]]

_REDACTED = "[removed]"  # not asterisks: to a model trained on forums they are a swear word


def cut(text: str, spans: Sequence[Span]) -> tuple[str, tuple[Edit, ...]]:
    """Take the spans out, each with one of the gaps beside it.

    >>> cut("a portrait of my idiot neighbour", [Span(17, 22, "insult", 0.9, "demo")])[0]
    'a portrait of my neighbour'
    """
    ranges = _over_gaps(text, _union(spans))
    return _replace(text, [_with_gap(text, *one) for one in ranges], "", editor="cut")


def redact(text: str, spans: Sequence[Span]) -> tuple[str, tuple[Edit, ...]]:
    """Put [removed] in place of the spans; everything outside them stays as it is.

    >>> redact("you idiot!", [Span(4, 9, "insult", 0.9, "demo")])[0]
    'you [removed]!'
    """
    return _replace(text, _union(spans), _REDACTED, editor="redact")


def shift(spans: Sequence[Span], edits: Sequence[Edit]) -> list[Span]:
    """Where spans stand after some edits; those an edit touched are gone."""
    kept: list[Span] = []
    for span in spans:
        if any(edit.start < span.end and span.start < edit.end for edit in edits):
            continue
        moved = sum(
            len(edit.replacement) - (edit.end - edit.start)
            for edit in edits
            if edit.end <= span.start
        )
        kept.append(replace(span, start=span.start + moved, end=span.end + moved))
    return kept


_Range = tuple[int, int]


def _replace(
    text: str, ranges: Sequence[_Range], replacement: str, *, editor: str
) -> tuple[str, tuple[Edit, ...]]:
    """Replace ranges from the end, so that earlier positions stay valid."""
    for start, end in reversed(ranges):
        text = text[:start] + replacement + text[end:]
    return text, tuple(Edit(editor, start, end, replacement) for start, end in ranges)


def _over_gaps(text: str, ranges: Sequence[_Range]) -> list[_Range]:
    """Make one of ranges that only white space parts: each would take that gap along."""
    joined: list[_Range] = []
    for start, end in ranges:
        if joined and text[joined[-1][1] : start].isspace():
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _with_gap(text: str, start: int, end: int) -> _Range:
    """Widen a range by the white space that would be left doubled, or left before a stop."""
    if start == 0 or text[start - 1].isspace():
        while end < len(text) and text[end].isspace():
            end += 1
    if end == len(text) or text[end] in ",.;:!?":
        while start > 0 and text[start - 1].isspace():
            start -= 1
    return start, end


def _union(spans: Sequence[Span]) -> list[_Range]:
    """The ranges covered by any span; empty ones are left out."""
    ranges: list[_Range] = []
    for start, end in sorted((span.start, span.end) for span in spans if span.end > span.start):
        if ranges and start <= ranges[-1][1]:
            ranges[-1] = (ranges[-1][0], max(ranges[-1][1], end))
        else:
            ranges.append((start, end))
    return ranges


EDITORS: dict[str, Editor] = {"cut": cut, "redact": redact}
