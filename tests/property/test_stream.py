"""Laws of a stream: chunks are irrelevant, what is out was allowed, and a text without faults comes out whole."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from guardkit import Guard, Policy
from guardkit.loop.held import StreamEnd
from guardkit.policy.rules import StagePolicy, WordList
from guardkit.types import Action
from tests.unit.test_loop_stream import CUT_RUDE, NO_DATA, NO_ELECTION

STAGE = StagePolicy(
    scorers=("blocklist", "identifiers"),
    editors=("redact", "anonymize"),
    rules=(NO_ELECTION, CUT_RUDE, NO_DATA),
)
LISTS = {"election": WordList(block=("vote",)), "rude": WordList(block=("idiot",))}
GUARD = Guard(Policy("drawn", output_text=STAGE, lists=LISTS))
HOLD = 24  # four letters, spread as far as they may be

calm = st.sampled_from(
    ["boat", "mist", "a", "gull's", "12", "\U0001f600", "naïve", "wall,", "\n", "e.g."]
)
faults = st.sampled_from(
    ["vote", "idiot", "i d i o t", "ada@example.org", "+44 20 7946 0958", "v.o.t.e"]
)
calm_texts = st.lists(calm, max_size=60).map(" ".join)
texts = st.lists(st.one_of(calm, calm, calm, faults), max_size=60).map(" ".join)


def chunked(text: str, ends: list[int]) -> list[str]:
    at = sorted({min(end, len(text)) for end in ends} | {0, len(text)})
    return [text[start:end] for start, end in itertools.pairwise(at)]


def streamed(tokens: list[str], patience: int) -> tuple[list[str], StreamEnd]:
    stream = GUARD.stream(tokens, hold=HOLD, patience=patience)
    pieces = list(stream)
    assert stream.end is not None
    return pieces, stream.end


chunks = st.lists(st.integers(0, 400), max_size=60)
patiences = st.integers(0, 3)


@given(texts, chunks, patiences)
def test_chunks_are_irrelevant(text: str, ends: list[int], patience: int) -> None:
    pieces, end = streamed(chunked(text, ends), patience)
    by_letter, end_by_letter = streamed(list(text), patience)
    assert pieces == by_letter
    assert end.decision.to_dict() | {"timings_ms": 0} == end_by_letter.decision.to_dict() | {"timings_ms": 0}  # fmt: skip


@given(texts, chunks, patiences)
def test_at_every_moment_what_is_out_is_allowed(text: str, ends: list[int], patience: int) -> None:
    pieces, end = streamed(chunked(text, ends), patience)
    out = ""
    for piece in pieces:
        out += piece
        assert GUARD.check_output(text=out).action is Action.ALLOW
    whole = GUARD.check_output(text=text)
    assert end.is_complete is (whole.text is not None and out == whole.text)
    if end.is_complete:
        assert end.decision.action is whole.action
    else:
        assert end.decision.action >= Action.REGENERATE


@given(texts, chunks, patiences)
def test_what_is_blocked_is_never_even_begun(text: str, ends: list[int], patience: int) -> None:
    found = [span for span in GUARD.check_output(text=text).spans if span.category == "election"]
    pieces, _ = streamed(chunked(text, ends), patience)
    if found:
        before = GUARD.check_output(text=text[: found[0].start]).text
        assert before is not None
        assert before.startswith("".join(pieces).rstrip())


@given(calm_texts, chunks, patiences)
def test_where_nothing_fires_the_text_comes_out_as_it_is(
    text: str, ends: list[int], patience: int
) -> None:
    pieces, end = streamed(chunked(text, ends), patience)
    assert "".join(pieces) == text
    assert (end.is_complete, end.decision.action) == (True, Action.ALLOW)
