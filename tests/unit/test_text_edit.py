"""Editors change the spans they are given and not a character more."""

from __future__ import annotations

import pytest

from guardkit.text.edit import cut, redact, shift
from guardkit.types import Edit, Span

Ranges = list[tuple[int, int]]


def spans_of(ranges: Ranges) -> list[Span]:
    return [Span(start, end, "insult", 0.9, "test") for start, end in ranges]


@pytest.mark.parametrize(
    ("text", "ranges", "expected"),
    [
        pytest.param("", [], "", id="empty-text"),
        pytest.param("hello you", [], "hello you", id="no-spans"),
        pytest.param("hello you", [(3, 3)], "hello you", id="empty-span"),
        pytest.param("my idiot neighbour", [(3, 8)], "my neighbour", id="middle"),
        pytest.param("idiot neighbour", [(0, 5)], "neighbour", id="start"),
        pytest.param("my idiot", [(3, 8)], "my", id="end"),
        pytest.param("idiot", [(0, 5)], "", id="whole-text"),
        pytest.param("you idiot!", [(4, 9)], "you!", id="before-a-stop"),
        pytest.param("you idiot, hello", [(4, 9)], "you, hello", id="before-a-comma"),
        pytest.param("you, idiot, hello", [(5, 10)], "you,, hello", id="between-commas"),
        pytest.param("(idiot) you", [(1, 6)], "() you", id="in-brackets"),
        pytest.param("my idiot  neighbour", [(3, 8)], "my neighbour", id="wide-gap"),
        pytest.param("my\nidiot neighbour", [(3, 8)], "my\nneighbour", id="line-break-kept"),
        pytest.param("a  b idiot c  d", [(5, 10)], "a  b c  d", id="other-gaps-are-kept"),
        pytest.param("my bad idiot cat", [(3, 12), (7, 12)], "my cat", id="overlapping"),
        pytest.param("my idiotfool cat", [(3, 8), (8, 12)], "my cat", id="adjacent"),
        pytest.param("idiot cat fool", [(10, 14), (0, 5)], "cat", id="both-ends-unsorted"),
        pytest.param("idiot fool cat", [(0, 5), (6, 10)], "cat", id="neighbours-with-a-gap"),
        pytest.param("cat idiot fool", [(4, 9), (10, 14)], "cat", id="neighbours-at-the-end"),
        pytest.param(
            "idiot    fool. hello", [(0, 5), (9, 13)], ". hello", id="neighbours-before-a-stop"
        ),
        pytest.param("hi idiot fool, you", [(3, 8), (9, 13)], "hi, you", id="neighbours-inside"),
        pytest.param("😀 idiot 😀", [(2, 7)], "😀 😀", id="between-emoji"),
        pytest.param("a👩\u200d👧b", [(1, 4)], "ab", id="emoji-inside-a-word"),
    ],
)
def test_cut_takes_spans_out_with_one_gap(text: str, ranges: Ranges, expected: str) -> None:
    assert cut(text, spans_of(ranges))[0] == expected


@pytest.mark.parametrize(
    ("text", "ranges", "expected"),
    [
        pytest.param("", [], "", id="empty-text"),
        pytest.param("hello", [], "hello", id="no-spans"),
        pytest.param("hello", [(5, 5)], "hello", id="empty-span"),
        pytest.param("you idiot!", [(4, 9)], "you [removed]!", id="middle"),
        pytest.param("idiot", [(0, 5)], "[removed]", id="whole-text"),
        pytest.param(
            "idiot cat fool", [(10, 14), (0, 5)], "[removed] cat [removed]", id="both-ends-unsorted"
        ),
        pytest.param("bad idiot", [(0, 9), (4, 9)], "[removed]", id="overlapping"),
        pytest.param("idiotfool", [(0, 5), (5, 9)], "[removed]", id="adjacent"),
        pytest.param(
            "idiot fool", [(0, 5), (6, 10)], "[removed] [removed]", id="neighbours-with-a-gap"
        ),
        pytest.param("a  😀  b", [(3, 4)], "a  [removed]  b", id="gaps-stay"),
    ],
)
def test_mask_replaces_spans_and_nothing_else(text: str, ranges: Ranges, expected: str) -> None:
    assert redact(text, spans_of(ranges))[0] == expected


def test_cut_says_what_it_took_from_where() -> None:
    assert cut("my idiot cat", spans_of([(3, 8)]))[1] == (Edit("cut", 3, 9, ""),)


def test_mask_says_what_it_put_where() -> None:
    _, edits = redact("idiot cat fool", spans_of([(10, 14), (0, 5)]))
    assert edits == (Edit("redact", 0, 5, "[removed]"), Edit("redact", 10, 14, "[removed]"))


@pytest.mark.parametrize(
    ("ranges", "edits", "expected"),
    [
        pytest.param([], [(0, 5, "")], [], id="no-spans"),
        pytest.param([(3, 8)], [], [(3, 8)], id="no-edits"),
        pytest.param([(6, 9)], [(0, 4, "")], [(2, 5)], id="cut-before"),
        pytest.param([(6, 9)], [(0, 1, "***")], [(8, 11)], id="longer-replacement-before"),
        pytest.param([(0, 3)], [(5, 9, "")], [(0, 3)], id="edit-behind"),
        pytest.param([(4, 6)], [(2, 4, "")], [(2, 4)], id="edit-ends-where-the-span-starts"),
        pytest.param([(4, 6)], [(6, 8, "")], [(4, 6)], id="edit-starts-where-the-span-ends"),
        pytest.param([(4, 6)], [(5, 8, "***")], [], id="touched-span-is-gone"),
        pytest.param([(4, 6)], [(4, 6, "***")], [], id="replaced-span-is-gone"),
        pytest.param([(8, 9)], [(0, 2, ""), (4, 6, "***")], [(7, 8)], id="two-edits-add-up"),
        pytest.param([(0, 1), (5, 6)], [(2, 3, "")], [(0, 1), (4, 5)], id="only-later-spans-move"),
    ],
)
def test_spans_move_with_the_edits_before_them(
    ranges: Ranges, edits: list[tuple[int, int, str]], expected: Ranges
) -> None:
    made = [Edit("cut", start, end, replacement) for start, end, replacement in edits]
    assert [(span.start, span.end) for span in shift(spans_of(ranges), made)] == expected
