"""`Guard.stream`: what comes out and when, edits across cuts, the last event, and bad sources."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from guardkit import Guard, Policy
from guardkit.errors import InputError
from guardkit.loop.held import StreamEnd
from guardkit.loop.stream import StreamText
from guardkit.policy.rules import Limits, Rule, StagePolicy, When, WordList
from guardkit.types import Action, Scored, Scores, Span, Status
from tests.fake_steps import FakeScorer, rule

NO_ELECTION = Rule("no-election", When("election", 1), Action.BLOCK)
CUT_RUDE = Rule("no-rude", When("rude", 1), Action.EDIT, "redact")
NO_DATA = Rule("no-data", When("privacy", 1), Action.EDIT, "anonymize")
STAGE = StagePolicy(
    scorers=("blocklist", "identifiers"),
    editors=("redact", "anonymize"),
    rules=(NO_ELECTION, CUT_RUDE, NO_DATA),
)
POLICY = Policy(
    "stream",
    output_text=STAGE,
    lists={"election": WordList(block=("ballot box",)), "rude": WordList(block=("idiot",))},
)
HOLD = 60  # the longest entry, spread as far as it may be: 10 * 6
CALM = "the boats lie in the mist and nobody is awake to see them but a few gulls on the wall "
SECRET = "my secret words"


@pytest.fixture(scope="module")
def guard() -> Guard:
    return Guard(POLICY)


Streamed = tuple[list[str], StreamEnd]


def sync(guard: Guard, tokens: Any, **options: Any) -> Streamed:
    stream = guard.stream(tokens, **options)
    pieces = list(stream)
    assert stream.end is not None
    return pieces, stream.end


def asynchronous(guard: Guard, tokens: Any, **options: Any) -> Streamed:
    async def later() -> AsyncIterator[str]:
        for token in tokens:
            await asyncio.sleep(0)
            yield token

    async def main() -> Streamed:
        stream = guard.astream(later(), **options)
        pieces = [piece async for piece in stream]
        assert stream.end is not None
        return pieces, stream.end

    return asyncio.run(main())


Run = Callable[..., Streamed]


@pytest.fixture(params=[sync, asynchronous], ids=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Run:
    return request.param  # type: ignore[no-any-return]


# --- what comes out -----------------------------------------------------------------------------------


def test_a_harmless_text_comes_out_as_it_is(guard: Guard, run: Run) -> None:
    text = CALM * 5
    pieces, end = run(guard, text, hold=HOLD)
    assert "".join(pieces) == text
    assert (end.decision.action, end.is_complete) == (Action.ALLOW, True)
    assert (end.received, end.emitted) == (len(text), len(text))
    assert len(pieces) > 4


def test_nothing_of_what_is_blocked_comes_out(guard: Guard, run: Run) -> None:
    text = f"{CALM}{CALM}a ballot box stands here. {CALM * 8}"
    pieces, end = run(guard, text, hold=HOLD)
    out = "".join(pieces)
    assert text.startswith(out)
    assert 0 < len(out) <= text.index("ballot")
    assert (end.decision.action, end.is_complete) == (Action.BLOCK, False)
    assert [fired.rule for fired in end.decision.fired] == ["no-election"]
    assert end.emitted == len(out)
    assert end.received < len(text)  # what follows was not even taken


def test_patience_is_how_many_checks_in_a_row_may_say_no_before_the_end(guard: Guard) -> None:
    text = f"{CALM}{CALM}a ballot box stands here. {CALM * 8}"
    ends = [sync(guard, text, hold=HOLD, patience=patience)[1] for patience in range(4)]
    steps = [later.received - earlier.received for earlier, later in itertools.pairwise(ends)]
    assert all(HOLD <= step < HOLD + 10 for step in steps)
    (emitted,) = {end.emitted for end in ends}
    assert 0 < emitted <= text.index("ballot")


def test_a_no_that_is_taken_back_in_time_costs_nothing_but_time() -> None:
    def score(text: str) -> Scored:
        return Scored(Scores({"insult": 0.9 if 100 < len(text) < 250 else 0.0}))

    stage = StagePolicy(scorers=("mine",), rules=(rule("insult", Action.BLOCK),))
    guard = Guard(Policy("moody", output_text=stage), scorers=[FakeScorer(score)])
    text = CALM * 6
    assert "".join(guard.stream(text, hold=60, patience=3)) == text
    pieces, end = sync(guard, text, hold=60, patience=0)
    assert (pieces, end.decision.action) == ([], Action.BLOCK)


def test_a_rude_word_is_redacted_wherever_the_chunks_end(guard: Guard, run: Run) -> None:
    text = f"{CALM}you are an idiot, he said. {CALM}"
    whole = guard.check_output(text=text).text
    for size in (1, 7, 60, 1000):
        pieces, end = run(guard, [text[at : at + size] for at in range(0, len(text), size)])
        assert "".join(pieces) == whole == text.replace("idiot", "[removed]")
        assert end.decision.action is Action.EDIT


def test_personal_data_across_a_cut_is_replaced_and_the_vault_leads_back(
    guard: Guard, run: Run
) -> None:
    # The first cut comes inside the number: it is waited for.
    start = CALM[: HOLD - 8]
    text = f"{start} call +44 20 7946 0958 or ada@example.org or +44 20 7946 0958. {CALM}"
    pieces, end = run(guard, text, hold=HOLD)
    out = "".join(pieces)
    assert out == f"{start} call <PHONE_1> or <EMAIL_1> or <PHONE_1>. {CALM}"
    assert end.decision.vault is not None
    assert end.decision.vault.restore(out) == text


def test_a_long_entry_of_a_list_widens_the_hold() -> None:
    entry = "the ballot box of the people of the northern shore"
    lists = {"election": WordList(block=(entry,))}
    stage = StagePolicy(scorers=("blocklist",), rules=(NO_ELECTION,))
    guard = Guard(Policy("long", output_text=stage, lists=lists))
    for lead in range(0, 80, 5):
        text = f"{CALM * 4}{CALM[:lead].rstrip()} {'  '.join(entry.split())} {CALM * 4}"
        pieces, _ = sync(guard, text, hold=1)
        assert len("".join(pieces)) <= text.index("the  ballot")


def test_in_shadow_mode_everything_comes_out() -> None:
    guard = Guard(replace(POLICY, mode="shadow"))
    text = f"{CALM}a ballot box {CALM}"
    pieces, end = sync(guard, text)
    assert ("".join(pieces), end.decision.shadow) == (text, Action.BLOCK)


def test_events_end_with_a_typed_one(guard: Guard) -> None:
    stream = guard.stream([CALM, CALM, CALM])
    *pieces, end = stream.events()
    assert all(isinstance(piece, StreamText) for piece in pieces)
    assert end is stream.end
    assert isinstance(end, StreamEnd)
    assert CALM[:20] not in repr(pieces)


def test_a_text_without_spaces_is_cut_all_the_same(guard: Guard) -> None:
    text = "海" * 900
    pieces, end = sync(guard, text, hold=HOLD)
    assert "".join(pieces) == text
    assert end.checks == 1 + 900 // (2 * HOLD)


def test_a_check_comes_every_hold_characters_and_the_first_text_after_two_of_them() -> None:
    scorer = FakeScorer(lambda _: Scored(Scores({"insult": 0.0})))
    stage = StagePolicy(scorers=("mine",), rules=(rule("insult", Action.BLOCK),))
    guard = Guard(Policy("mine", output_text=stage), scorers=[scorer])
    taken = 0

    def count() -> Iterator[str]:
        nonlocal taken
        for letter in CALM * 10:
            taken += 1
            yield letter

    stream = guard.stream(count(), hold=60)
    first = next(stream)
    assert 60 <= len(first) < 70
    assert taken < 140
    assert "".join([first, *stream]) == CALM * 10
    assert stream.end is not None
    assert stream.end.checks == len(scorer.calls) <= 1 + taken // 60


def test_however_long_the_text_the_checks_read_a_bounded_multiple_of_it() -> None:
    scorer = FakeScorer(lambda _: Scored(Scores({"insult": 0.0})))
    stage = StagePolicy(scorers=("mine",), rules=(rule("insult", Action.BLOCK),))
    limits = Limits(max_characters=1_000_000)
    guard = Guard(Policy("mine", output_text=stage, limits=limits), scorers=[scorer])
    for repeats in (20, 200, 1000):
        scorer.calls.clear()
        text = CALM * repeats
        assert "".join(guard.stream([text])) == text
        assert sum(map(len, scorer.calls)) <= 18 * len(text)


# --- what changes its mind ------------------------------------------------------------------------------


def late_guard(after_edit: Any) -> Guard:
    """Finds the first word rude once the text is long: by then it is out."""

    def score(text: str) -> Scored:
        if len(text) < 300:
            return Scored(Scores({"insult": 0.0}))
        if text.startswith("[removed]"):
            return Scored(Scores({"insult": 0.0}))
        return Scored(Scores({"insult": 0.9}), (Span(0, 3, "insult", 0.9, "mine"),))

    stage = StagePolicy(
        scorers=("mine",),
        editors=("redact",),
        rules=(rule("insult", Action.EDIT, "redact"),),
        after_edit=after_edit,
    )
    return Guard(Policy("late", output_text=stage), scorers=[FakeScorer(score)])


@pytest.mark.parametrize("after_edit", ["block", "regenerate"])
def test_an_edit_of_what_is_out_already_is_answered_by_after_edit(after_edit: str) -> None:
    text = CALM * 6
    pieces, end = sync(late_guard(after_edit), text)
    out = "".join(pieces)
    assert text.startswith(out)
    assert 0 < len(out) < 300
    assert (end.decision.action, end.is_complete) == (Action(after_edit), False)
    assert end.decision.text is None
    assert "is out already" in end.decision.reasons[-1]
    assert (end.decision.guidance is not None) == (after_edit == "regenerate")


def test_after_edit_may_say_aloud_that_it_goes_on() -> None:
    text = CALM * 6
    pieces, end = sync(late_guard("allow"), text)
    assert ("".join(pieces), end.decision.action) == (text, Action.ALLOW)


# --- bad sources ------------------------------------------------------------------------------------------


def test_a_source_that_yields_bytes_is_refused_and_the_record_kept(guard: Guard) -> None:
    stream = guard.stream(["the ", b"boats"])  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"number 2 is bytes\. Expected str\. Decode it"):
        list(stream)
    assert stream.end is not None
    assert (stream.end.decision.action, stream.end.is_complete) == (Action.BLOCK, False)
    assert stream.end.decision.status is Status.ERROR
    assert (stream.end.received, stream.end.emitted) == (4, 0)


def test_a_source_that_raises_ends_the_stream_with_its_error(guard: Guard) -> None:
    def fail() -> Iterator[str]:
        yield CALM * 3
        raise ConnectionError(SECRET)

    stream = guard.stream(fail())
    pieces: list[str] = []
    with pytest.raises(ConnectionError):
        pieces.extend(stream)
    assert (CALM * 3).startswith("".join(pieces))
    assert pieces
    assert list(stream) == []
    assert stream.end is not None
    assert stream.end.decision.reasons == (
        f"the source raised ConnectionError after {3 * len(CALM)} characters: block",
    )
    assert SECRET not in repr(stream.end)


def test_an_async_source_that_raises_does_so_too(guard: Guard) -> None:
    async def fail() -> AsyncIterator[str]:
        yield "the boats"
        raise ConnectionError

    async def main() -> StreamEnd | None:
        stream = guard.astream(fail())
        with pytest.raises(ConnectionError):
            async for _ in stream:
                pass
        return stream.end

    end = asyncio.run(main())
    assert end is not None
    assert end.decision.action is Action.BLOCK


def test_a_source_that_never_ends_is_ended_by_the_limit_on_length(guard: Guard) -> None:
    def for_ever() -> Iterator[str]:
        while True:
            yield CALM

    pieces, end = sync(guard, for_ever())
    assert (end.decision.action, end.is_complete) == (Action.BLOCK, False)
    assert 7000 < len("".join(pieces)) <= 8000  # limits.max_characters


def test_a_source_that_gives_nothing_for_ever_is_refused(guard: Guard) -> None:
    def nothing() -> Iterator[str]:
        while True:
            yield ""

    with pytest.raises(InputError, match="in a row were empty"):
        list(guard.stream(nothing()))


def test_a_source_is_closed_when_the_stream_ends_early(guard: Guard) -> None:
    closed = []

    def source() -> Iterator[str]:
        try:
            while True:
                yield "a ballot box "
        finally:
            closed.append(True)

    sync(guard, source())
    assert closed


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        pytest.param(["a \ud83d", "\ude00 b"], "a \U0001f600 b", id="halves-in-two-chunks"),
        pytest.param(["a \ud83d\ude00 b"], "a \U0001f600 b", id="halves-in-one"),
        pytest.param(["a \ud83d"], "a \ufffd", id="ends-in-mid-character"),
        pytest.param(["\ude00 b"], "\ufffd b", id="begins-in-mid-character"),
        pytest.param(["caf", "e", "\u0301 "], "cafe\u0301 ", id="combining"),
        pytest.param([], "", id="nothing"),
    ],
)
def test_characters_in_pieces(guard: Guard, run: Run, tokens: list[str], expected: str) -> None:
    pieces, end = run(guard, tokens)
    assert "".join(pieces) == expected
    assert end.is_complete


def test_what_cannot_be_streamed_is_refused(guard: Guard) -> None:
    with pytest.raises(InputError, match="no stage 'output-text'"):
        Guard(Policy("in", prompt=StagePolicy())).stream([])
    with pytest.raises(InputError, match="hold is 0"):
        guard.stream([], hold=0)
    with pytest.raises(InputError, match="patience -1"):
        guard.stream([], patience=-1)
    with pytest.raises(InputError, match=r"tokens is NoneType\. Expected an iterable"):
        guard.stream(None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"tokens is NoneType\. Expected an iterable"):
        guard.astream(None)  # type: ignore[arg-type]

    async def later() -> AsyncIterator[str]:
        yield "a"

    with pytest.raises(InputError, match="use astream"):
        guard.stream(later())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="context is str"):
        guard.stream([], context="adult")  # type: ignore[arg-type]
