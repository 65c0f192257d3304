"""What must hold for any text: positions lead back, nothing is lost, disguises change no score."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from guardkit.artifacts import Artifact, RunnerOptions
from guardkit.guard import Guard
from guardkit.policy.rules import Policy, StagePolicy, WordList
from guardkit.text.edit import cut, redact, shift
from guardkit.text.encode import Encoder
from guardkit.text.normalize import normalize
from guardkit.types import Action, Span, Status
from tests.fake_steps import rule

WORDS = frozenset({"a", "an", "ass", "hello", "idiot", "kill", "stupid", "you"})
# Where the passes meet: letters in several scripts, leetspeak, marks, invisible characters, Korean
# letters that compose, signs whose compatibility form holds two letters, tags, a surrogate.
TRICKY = "aiIotdkl13!0$@|+. -_*яж\u043e\u0430\u03ba\u0456\u0301\u0323\u0337\u20dd\u200b\u200d\ufe0f" \
    "\u00e9\uff21\uff4b\u1100\u1161\u11a8\u3131\u314f\uffa1\uffc2\u2109\ufb01\u212a\u0345\u1d00ß" \
    "\U000e0061\U0001d41a\ud83d\n\t😀"  # fmt: skip
ANY_TEXT = st.text(st.characters()) | st.text(st.sampled_from(TRICKY), max_size=30)
MAX_TOKENS, OVERLAP = 16, 4


@pytest.fixture(scope="session")
def encoder(tiny_artifact: Artifact) -> Encoder:
    tokenizer = tiny_artifact.read("1/tokenizer.json")
    return Encoder(tokenizer, max_tokens=MAX_TOKENS, overlap=OVERLAP)


@pytest.fixture(scope="session")
def guard(tiny_artifact: Artifact) -> Guard:
    rules = (
        rule("insult", Action.EDIT, "cut"),
        rule("threat", Action.BLOCK),
        rule("topic", Action.REGENERATE),
    )
    prompt = StagePolicy(("blocklist", "text-safety"), ("cut",), rules)
    lists = {"topic": WordList(block=("vote", "c++"), allow=("kill the lights",))}
    models = {"text-safety": RunnerOptions(path=str(tiny_artifact.path))}
    return Guard(Policy("any", prompt=prompt, lists=lists, models=models))


# --- normalize ---------------------------------------------------------------------------------------


@given(ANY_TEXT)
def test_normalizing_twice_changes_nothing(text: str) -> None:
    once = normalize(text, words=WORDS).text
    assert normalize(once, words=WORDS).text == once


@given(ANY_TEXT)
def test_normal_text_can_be_encoded(text: str) -> None:
    normalize(text, words=WORDS).text.encode("utf-8")


@given(ANY_TEXT)
def test_positions_lead_back_into_the_original(text: str) -> None:
    prompt = normalize(text, words=WORDS)
    assert prompt.original == text
    if prompt.starts is None or prompt.ends is None:
        assert prompt.text == text
        return
    assert len(prompt.starts) == len(prompt.ends) == len(prompt.text)
    for bounds in (prompt.starts, prompt.ends):
        assert list(bounds) == sorted(bounds)
    for start, end in zip(prompt.starts, prompt.ends, strict=True):
        assert 0 <= start < end <= len(text)


@given(ANY_TEXT, st.data())
def test_a_range_leads_back_to_a_range_inside_the_original(text: str, data: st.DataObject) -> None:
    prompt = normalize(text, words=WORDS)
    start = data.draw(st.integers(0, len(prompt.text)))
    end = data.draw(st.integers(start, len(prompt.text)))
    first, last = prompt.to_original(start, end)
    assert 0 <= first <= last <= len(text)
    assert (first == last) is (start == end)


@given(st.from_regex(r"\A([A-Za-z]{2,9}[,.;:?]? ){0,8}[A-Za-z]{2,9}[.?]?\Z"))
def test_plain_text_without_disguise_is_unchanged(text: str) -> None:
    assume(all(len(set(three)) > 1 for three in zip(text, text[1:], text[2:], strict=False)))
    assume(not any(len({*map(str.lower, three)}) == 1 for three in _threes(text)))
    assert normalize(text, words=WORDS).text == text


def _threes(text: str) -> list[str]:
    return [text[at : at + 3] for at in range(len(text) - 2)]


# --- encode and edit ---------------------------------------------------------------------------------


@given(words=st.lists(st.sampled_from(["hello", "idiots", "zebra", "."]), max_size=80))
def test_windows_hold_every_character_of_every_word(encoder: Encoder, words: list[str]) -> None:
    text = " ".join(words)
    windows = encoder.encode([text])
    covered = {
        at for start, end in windows.offsets.reshape(-1, 2).tolist() for at in range(start, end)
    }
    assert covered == {at for at, character in enumerate(text) if character != " "}
    assert windows.inputs["input_ids"].shape[1] <= MAX_TOKENS


@st.composite
def texts_with_spans(draw: st.DrawFn) -> tuple[str, list[Span]]:
    text = draw(st.text(st.sampled_from("ab ,.😀\n"), max_size=20))
    edges = st.integers(0, len(text))
    pairs = draw(st.lists(st.tuples(edges, edges), max_size=4))
    return text, [Span(min(pair), max(pair), "insult", 0.9, "test") for pair in pairs]


def is_covered(spans: list[Span], at: int) -> bool:
    return any(span.start <= at < span.end for span in spans)


@given(texts_with_spans())
def test_masking_leaves_the_text_outside_spans_as_it_is(given_: tuple[str, list[Span]]) -> None:
    text, spans = given_
    runs = itertools.groupby(enumerate(text), key=lambda pair: is_covered(spans, pair[0]))
    expected = "".join(
        "[removed]" if covered else "".join(character for _, character in run)
        for covered, run in runs
    )
    assert redact(text, spans)[0] == expected


@given(texts_with_spans())
def test_cutting_takes_spans_and_the_white_space_beside_them(
    given_: tuple[str, list[Span]],
) -> None:
    text, spans = given_
    edited, edits = cut(text, spans)
    taken = {at for edit in edits for at in range(edit.start, edit.end)}
    covered = {at for at in range(len(text)) if is_covered(spans, at)}
    assert edited == "".join(one for at, one in enumerate(text) if at not in taken)
    assert covered <= taken
    assert all(text[at].isspace() for at in taken - covered)


@given(texts_with_spans())
def test_a_second_cut_of_what_is_left_changes_nothing(given_: tuple[str, list[Span]]) -> None:
    text, spans = given_
    edited, edits = cut(text, spans)
    left = [span for span in shift(spans, edits) if span.end > span.start]
    assert left == []
    assert cut(edited, left) == (edited, ())


@given(texts_with_spans(), st.data())
def test_spans_that_no_edit_touched_hold_the_same_text(
    given_: tuple[str, list[Span]], data: st.DataObject
) -> None:
    text, spans = given_
    edited, edits = redact(text, spans[:1])
    untouched = [
        span
        for span in spans[1:]
        if not any(edit.start < span.end and span.start < edit.end for edit in edits)
    ]
    moved = shift(spans[1:], edits)
    assert [edited[s.start : s.end] for s in moved] == [text[s.start : s.end] for s in untouched]


# --- the guard ---------------------------------------------------------------------------------------


@given(text=ANY_TEXT)
def test_any_text_gets_a_decision(guard: Guard, text: str) -> None:
    decision = guard.check_prompt(text)
    assert decision.status is Status.OK
    assert all(0 <= span.start < span.end <= len(text) for span in decision.spans)
    if decision.action is Action.ALLOW:
        assert decision.text == text


@given(text=ANY_TEXT)
def test_a_bad_word_is_found_in_any_company(guard: Guard, text: str) -> None:
    # A word of its own: behind a line with a full stop, so that the text cannot swallow it.
    decision = guard.check_prompt(f"{text}.\nyou will kill the world")
    assert decision.action is Action.BLOCK


def zero_width(word: str, draw: st.DrawFn) -> str:
    gaps = st.sampled_from(["", "\u200b", "\u200d", "\u2060", "\u00ad", "\ufeff"])
    return "".join(letter + draw(gaps) for letter in word)


def full_width(word: str, draw: st.DrawFn) -> str:
    is_wide = st.booleans()
    return "".join(chr(ord(one) + 0xFEE0) if draw(is_wide) else one for one in word)


def spaced(word: str, draw: st.DrawFn) -> str:
    return draw(st.sampled_from([" ", ".", "-", "_", "*", "/"])).join(word)


def leetspeak(word: str, draw: st.DrawFn) -> str:
    glyphs = {"i": "i1!|", "o": "o0", "t": "t7"}
    return "".join(draw(st.sampled_from(glyphs.get(letter, letter))) for letter in word)


@st.composite
def disguised(draw: st.DrawFn, word: str) -> str:
    return draw(st.sampled_from([zero_width, full_width, spaced, leetspeak]))(word, draw)


@given(word=disguised("idiot"))
def test_a_disguised_word_scores_as_the_plain_word(guard: Guard, word: str) -> None:
    plain = guard.check_prompt("you are an idiot")
    found = guard.check_prompt(f"you are an {word}")
    assert found.scores == plain.scores
    assert found.action is Action.EDIT
    assert found.text is not None
    assert found.text.startswith("you are an")
    assert found.scores["insult"] == pytest.approx(0.982014, abs=1e-6)  # 1 / (1 + exp(-4))
