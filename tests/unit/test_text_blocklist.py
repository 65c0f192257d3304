"""Word lists match whole words of the normalised text, and nothing that only contains them."""

from __future__ import annotations

import time

import pytest

from guardkit.policy.rules import WordList
from guardkit.text.blocklist import Allowlist, Blocklist, list_words
from guardkit.text.normalize import normalize
from guardkit.types import Span


def spans_in(text: str, *entries: str) -> list[str]:
    """What a list finds, as it stands in the original text."""
    lists = {"topic": WordList(block=entries)}
    (scored,) = Blocklist(lists).score([normalize(text, words=list_words(lists))])
    assert scored.scores == {"topic": 1.0 if scored.spans else 0.0}
    return [text[span.start : span.end] for span in scored.spans]


@pytest.mark.parametrize(
    ("text", "entry", "expected"),
    [
        pytest.param("you idiot", "idiot", ["idiot"], id="whole-word"),
        pytest.param("You IDIOT!", "idiot", ["IDIOT"], id="capitals-in-the-text"),
        pytest.param("you idiot", "IdIoT", ["idiot"], id="capitals-in-the-entry"),
        pytest.param("idiot, idiot", "idiot", ["idiot", "idiot"], id="twice"),
        pytest.param("two idiots", "idiot", ["idiots"], id="plural"),
        pytest.param("the idiot's hat", "idiot", ["idiot's"], id="possessive"),
        pytest.param("three asses", "ass", ["asses"], id="plural-in-es"),
        pytest.param("idiooooot", "idiot", ["idiooooot"], id="stretched"),
        pytest.param("iidiott", "idiot", ["iidiott"], id="doubled"),
        pytest.param("1d10t", "idiot", ["1d10t"], id="leetspeak"),
        pytest.param("a$$", "ass", ["a$$"], id="leetspeak-too-short-for-normalize"),
        pytest.param("k1|l", "kill", ["k1|l"], id="leetspeak-i-and-l"),
        pytest.param("k!!!ll", "kill", ["k!!!ll"], id="leetspeak-stretched"),
        pytest.param("дурааааааааааааак", "дурак", ["дурааааааааааааак"], id="stretched-cyrillic"),
        pytest.param("an i.d.i.o.t", "idiot", ["i.d.i.o.t"], id="spelled-out"),
        pytest.param("please shut up now", "shut up", ["shut up"], id="phrase"),
        pytest.param("shut   up", "shut up", ["shut   up"], id="phrase-far-apart"),
        pytest.param("shut-up", "shut up", ["shut-up"], id="phrase-hyphened"),
        pytest.param("shutup", "shut up", ["shutup"], id="phrase-in-one"),
        pytest.param("idi\u200bot 😀", "idiot", ["idi\u200bot"], id="invisible-inside"),
        pytest.param("idiot", "idiot", ["idiot"], id="whole-text"),
        pytest.param("Scunthorpe", "cunt", [], id="scunthorpe"),
        pytest.param("a classic assassin", "ass", [], id="classic-assassin"),
        pytest.param("cocktail", "cock", [], id="cocktail"),
        pytest.param("idiotic", "idiot", [], id="longer-word"),
        pytest.param("kil", "kill", [], id="one-letter-short"),
        pytest.param("a", "a longer phrase than the text", [], id="entry-longer-than-the-text"),
        pytest.param("", "idiot", [], id="empty-text"),
        pytest.param("use c++ here", "c++", ["c++"], id="metacharacters"),
        pytest.param("cccc", "c.c", [], id="a-dot-is-a-dot"),
        pytest.param("what (idiot)?", "(idiot)?", ["(idiot)?"], id="group-and-question-mark"),
        pytest.param("a[b", "a[b", ["a[b"], id="open-bracket"),
        pytest.param("a\\b", "a\\b", ["a\\b"], id="backslash"),
        pytest.param("on 4chan", "4chan", ["4chan"], id="digit-in-the-entry"),
        pytest.param("44chan", "4chan", [], id="digits-do-not-stretch"),
    ],
)
def test_an_entry_is_found_as_a_whole_word(text: str, entry: str, expected: list[str]) -> None:
    assert spans_in(text, entry) == expected


def test_the_longer_of_two_entries_is_the_finding() -> None:
    assert spans_in("shut up now", "shut", "shut up") == ["shut up"]


def test_every_topic_has_its_own_score_and_spans() -> None:
    lists = {
        "election": WordList(block=("vote",)),
        "sport": WordList(block=("goal",)),
        "food": WordList(block=("soup",)),
    }
    (scored,) = Blocklist(lists).score([normalize("vote for soup")])
    assert scored.scores == {"election": 1.0, "sport": 0.0, "food": 1.0}
    assert scored.spans == (
        Span(0, 4, "election", 1.0, "blocklist"),
        Span(9, 13, "food", 1.0, "blocklist"),
    )


def test_texts_are_answered_one_by_one_in_their_order() -> None:
    blocklist = Blocklist({"topic": WordList(block=("idiot",))})
    scored = blocklist.score([normalize("hello"), normalize("idiot")])
    assert [one.scores["topic"] for one in scored] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        pytest.param("kill", "k" + "1" * 7990 + "x", id="ones-that-may-be-i-or-l"),
        pytest.param("aardvark", "a@" * 4000, id="many-starts"),
        pytest.param("illicit", "|!" * 4000 + "x", id="signs"),
        pytest.param("kill all", "kil" + "1l" * 3990 + "x", id="phrase"),
    ],
)
def test_no_text_makes_matching_slow(entry: str, text: str) -> None:
    started = time.process_time()
    assert spans_in(text, entry) == []
    assert time.process_time() - started < 1.0


@pytest.mark.parametrize(
    ("text", "allow", "expected"),
    [
        pytest.param("kill the lights", "kill the lights", "", id="whole-text"),
        pytest.param("kill the lights now", "kill the lights", " now", id="start"),
        pytest.param("please kill the lights", "kill the lights", "please ", id="end"),
        pytest.param("Kill-The-Lights", "kill the lights", "", id="hyphened"),
        pytest.param("kill them", "kill the", "kill them", id="not-inside-a-word"),
        pytest.param("hello", "kill the lights", "hello", id="absent"),
    ],
)
def test_allowed_phrases_are_taken_out_of_what_scorers_read(
    text: str, allow: str, expected: str
) -> None:
    allowlist = Allowlist({"topic": WordList(allow=(allow,))})
    assert allowlist.apply(normalize(text)).text == expected


def test_behind_an_allowed_phrase_positions_still_lead_to_the_original() -> None:
    lists = {"topic": WordList(block=("idiot",), allow=("kill the lights",))}
    prompt = Allowlist(lists).apply(normalize("kill the lights idiot"))
    (scored,) = Blocklist(lists).score([prompt])
    assert scored.spans == (Span(16, 21, "topic", 1.0, "blocklist"),)


def test_without_allowed_phrases_the_prompt_is_the_same_object() -> None:
    prompt = normalize("hello")
    assert Allowlist({"topic": WordList(block=("x",))}).apply(prompt) is prompt


def test_the_words_of_a_list_are_single_and_lower_case() -> None:
    lists = {"topic": WordList(block=("Shut Up", "4chan", "c++"), allow=("Kill",))}
    assert list_words(lists) == {"shut", "up", "kill"}
