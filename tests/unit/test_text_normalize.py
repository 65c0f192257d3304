"""Disguises are undone, innocent text stays, and positions lead back to what the user typed."""

from __future__ import annotations

import re
import time
import unicodedata

import pytest

from guardkit.text.normalize import Prompt, drop, normalize

WORDS = frozenset(
    {"a", "an", "and", "are", "at", "cool", "covid", "hello", "idiot", "kill", "mp", "of", "stupid",
     "th", "the", "tits", "you"}
)  # fmt: skip
COMBINING_SHORT_SOLIDUS = "\u0337"
TAGS = "".join(chr(0xE0000 + ord(letter)) for letter in "kill")
NFD_KOREAN = unicodedata.normalize("NFD", "안녕")
NFD_VIETNAMESE = unicodedata.normalize("NFD", "Việt")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("ｙｏｕ ｉｄｉｏｔ", "you idiot", id="full-width"),
        pytest.param("𝐢𝐝𝐢𝐨𝐭", "idiot", id="mathematical-bold"),
        pytest.param("𝔨𝔦𝔩𝔩", "kill", id="mathematical-fraktur"),
        pytest.param("ⓘⓓⓘⓞⓣ", "idiot", id="circled-letters"),
        pytest.param("ﬁne", "fine", id="ligature"),
        pytest.param("id\u200biot", "idiot", id="zero-width-space"),
        pytest.param("id\u00adiot", "idiot", id="soft-hyphen"),
        pytest.param("i\u2060d\u200di\ufeffot", "idiot", id="three-joiners"),
        pytest.param(TAGS, "kill", id="tag-characters-are-read"),
        pytest.param("idi\u043et", "idiot", id="cyrillic-o-in-a-latin-word"),
        pytest.param("\u043a\u0456ll", "kill", id="cyrillic-k-and-i"),
        pytest.param("idi\u03bft", "idiot", id="greek-omicron"),
        pytest.param("ты idi\u043et", "ты idiot", id="mixed-word-in-a-russian-text"),
        pytest.param("\u0441\u043e\u043el", "cool", id="look-alikes-only"),
        pytest.param("idi\u043e\u0301t", "idiot", id="look-alike-under-a-mark"),
        pytest.param("ɪᴅɪᴏᴛ", "idiot", id="small-capitals"),
        pytest.param(COMBINING_SHORT_SOLIDUS.join("idiot"), "idiot", id="marks-on-each-letter"),
        pytest.param("i\u0334\u0337\u0338diot", "idiot", id="piled-up-marks"),
        pytest.param("i d i o t", "idiot", id="spaced"),
        pytest.param("1 d 1 0 t", "idiot", id="spaced-leetspeak"),
        pytest.param("i.d.i.o.t", "idiot", id="dotted"),
        pytest.param("i-d-i-o-t", "idiot", id="hyphened"),
        pytest.param("i_d_i_o_t", "idiot", id="underscored"),
        pytest.param("you i*d*i*o*t!", "you idiot!", id="starred-in-a-sentence"),
        pytest.param("y o u a r e a n i d i o t", "you are an idiot", id="four-words-in-a-row"),
        pytest.param("1d10t", "idiot", id="leetspeak-digits"),
        pytest.param("k1ll", "kill", id="leetspeak-one-is-i"),
        pytest.param("ki11", "kill", id="leetspeak-one-is-l"),
        pytest.param("$tup!d", "stupid", id="leetspeak-signs"),
        pytest.param("id!07", "idiot", id="leetspeak-sign-before-a-digit"),
        pytest.param("1d10ts", "idiots", id="leetspeak-with-an-ending"),
        pytest.param("K1LL", "KiLL", id="capitals-are-kept"),
        pytest.param("idiooooot", "idiot", id="stretched"),
        pytest.param("hellllo", "hello", id="stretched-to-two"),
        pytest.param("kiiiilllll", "kill", id="stretched-twice"),
        pytest.param("brrrrr", "br", id="stretched-unknown-word"),
        pytest.param("ｉ.Ｄ\u200b.1.0.t", "iDiot", id="full-width-zero-width-dotted-leetspeak"),
        pytest.param("1d1\u043e\u043e\u043et", "idiot", id="leetspeak-cyrillic-stretched"),
        pytest.param("k\u0337 1 l l", "kill", id="marked-spaced-leetspeak"),
    ],
)
def test_a_disguise_is_undone(text: str, expected: str) -> None:
    assert normalize(text, words=WORDS).text == expected


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("You are cool, aren't you?", id="plain-english"),
        pytest.param("mp3 and mp4", id="file-formats"),
        pytest.param("covid19", id="word-and-number"),
        pytest.param("R2D2", id="robot"),
        pytest.param("the 4th of July", id="ordinal"),
        pytest.param("in 3d", id="dimension"),
        pytest.param("the U.K. and e.g. Wales", id="abbreviations"),
        pytest.param("jane.doe+idiot@example.com", id="e-mail"),
        pytest.param("https://example.com/a1b2/?x=3&y=k", id="url"),
        pytest.param("$5 or US$100", id="prices"),
        pytest.param("1 2 3 4", id="spaced-digits"),
        pytest.param("10-11-12", id="date"),
        pytest.param("Scunthorpe", id="scunthorpe"),
        pytest.param("bookkeeper, cool, hello", id="double-letters"),
        pytest.param("👍🏽 🇫🇷 😀", id="emoji-skin-tone-and-flag"),
        pytest.param("ты хорошая", id="russian"),
        pytest.param("γεια σου κόσμε", id="greek"),
        pytest.param("Tiếng Việt rất đẹp", id="vietnamese"),
        pytest.param("مَرْحَبًا", id="arabic-with-vowels"),
        pytest.param("नमस्ते दुनिया", id="hindi"),
        pytest.param("안녕하세요", id="korean"),
        pytest.param("你好世界", id="chinese"),
        pytest.param("crème brûlée, Straße, Ångström", id="accents"),
        pytest.param("tab\tline\r\nend", id="white-space"),
    ],
)
def test_innocent_text_stays(text: str) -> None:
    assert normalize(text, words=WORDS).text == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", "", id="empty"),
        pytest.param("\ud800", "\ufffd", id="lone-surrogate"),
        pytest.param("id\x00iot", "idiot", id="nul"),
        pytest.param("\u202eyou\u202c \u200fidiot", "you idiot", id="right-to-left-marks"),
        pytest.param("\u200b\u200d\ufeff", "", id="only-invisible"),
        pytest.param("\u0301", "\u0301", id="only-a-mark"),
        pytest.param("👩\u200d👧 \u2764\ufe0f", "👩👧 \u2764", id="emoji-lose-their-joiners"),
        pytest.param("，", ",", id="full-width-comma"),
        pytest.param(NFD_KOREAN, "안녕", id="korean-decomposed"),
        pytest.param("\uffa1\uffc2", "가", id="korean-half-width"),
        pytest.param("\u3131\u314f", "가", id="korean-single-letters"),
        pytest.param(NFD_VIETNAMESE, "Việt", id="vietnamese-decomposed"),
        pytest.param("хра\u0301м", "храм", id="russian-stress-mark"),
        pytest.param("\u2109\u0301", "°F", id="mark-on-a-degree-sign"),
    ],
)
def test_odd_input_has_a_canonical_form(text: str, expected: str) -> None:
    prompt = normalize(text, words=WORDS)
    assert prompt.text == expected
    assert normalize(prompt.text, words=WORDS).text == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a" * 8000, "a", id="one-letter"),
        pytest.param("a " * 4000, None, id="spaced-letter"),
        pytest.param("1" * 7999 + " a1b", None, id="digits-before-a-letter"),
        pytest.param("1d" * 4000, "1d" * 4000, id="leetspeak"),
        pytest.param("a" + "\u0301" * 7999, "á", id="piled-marks"),
        pytest.param("\u200b" * 8000, "", id="invisible"),
        pytest.param("ㅋㅠ" * 4000, "큐" * 4000, id="korean-letters"),
    ],
)
def test_a_long_text_takes_under_a_second(text: str, expected: str | None) -> None:
    started = time.process_time()
    prompt = normalize(text, words=WORDS)
    assert time.process_time() - started < 1.0
    assert expected in (None, prompt.text)


def test_leetspeak_needs_a_known_word_beneath() -> None:
    assert normalize("1d10t").text == "1d10t"


def test_spaced_letters_that_spell_no_known_word_are_joined() -> None:
    assert normalize("q x z q", words=WORDS).text == "qxzq"


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        pytest.param("you idiot", "idiot", "idiot", id="plain"),
        pytest.param("an i.d.i.o.t!", "idiot", "i.d.i.o.t", id="dotted"),
        pytest.param("an ｉｄｉｏｔ!", "idiot", "ｉｄｉｏｔ", id="full-width"),
        pytest.param("my id\u200biot", "idiot", "id\u200biot", id="zero-width-inside"),
        pytest.param("\u200b\u200bidiot\u200b", "idiot", "idiot", id="zero-width-outside"),
        pytest.param("you idiooooot.", "idiot", "idiooooot", id="stretched"),
        pytest.param("😀 1d10t 😀", "idiot", "1d10t", id="between-emoji"),
        pytest.param("y o u k i l l", "kill", "k i l l", id="second-spelled-word"),
        pytest.param("ﬁne idiot", "fine", "ﬁne", id="ligature"),
        pytest.param("e\u0301 idiot", "idiot", "idiot", id="after-a-composed-letter"),
    ],
)
def test_a_range_leads_back_to_the_original(text: str, found: str, expected: str) -> None:
    prompt = normalize(text, words=WORDS)
    at = prompt.text.index(found)
    start, end = prompt.to_original(at, at + len(found))
    assert prompt.original[start:end] == expected


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        pytest.param(0, 0, id="start"),
        pytest.param(3, 6, id="middle"),
        pytest.param(5, 9, id="end"),
    ],
)
def test_an_empty_range_stays_empty_in_the_original(at: int, expected: int) -> None:
    prompt = normalize("i.d.i.o.t", words=WORDS)
    assert prompt.to_original(at, at) == (expected, expected)


def test_plain_text_needs_no_map() -> None:
    assert normalize("hello you", words=WORDS) == Prompt("hello you", "hello you")


def test_invisible_characters_are_counted() -> None:
    assert normalize("i\u200bd\u200biot").invisible == 2


def test_dropped_phrases_keep_the_positions_of_the_rest() -> None:
    prompt = drop(normalize("a big i.d.i.o.t", words=WORDS), re.compile("big "))
    assert prompt.text == "a idiot"
    assert prompt.to_original(2, 7) == (6, 15)


def test_dropping_what_is_not_there_changes_nothing() -> None:
    prompt = normalize("a cat")
    assert drop(prompt, re.compile("dog")) is prompt
