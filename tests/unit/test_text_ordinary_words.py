"""Ordinary words: which texts and spans cannot hold anybody's name."""

from __future__ import annotations

import pytest

from guardkit.text.ordinary_words import OrdinaryWords

LIST = sorted(
    ["a", "i", "am", "red", "paint", "house", "street", "elm", "in", "of", "abcdefghijkl"]
)
WORDS = OrdinaryWords.read(OrdinaryWords.packed(LIST))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a red house", True, id="all listed"),
        pytest.param("a red roe", False, id="one is not"),
        pytest.param("painting painted houses, house's paints", True, id="endings"),
        pytest.param("Red paint. House of paint!", True, id="capitals where sentences begin"),
        pytest.param("paint Red house", False, id="a capital inside"),
        pytest.param("Red Paint, A House", True, id="capitals everywhere say nothing"),
        pytest.param("RED PAINT", True, id="all capitals"),
        pytest.param("I am in", True, id="the word I"),
        pytest.param("12 elm street", False, id="a house number"),
        pytest.param("house, 8k, 35mm, 3d, 1920s", True, id="numbers of pictures"),
        pytest.param("r\u00e9d house", False, id="letters that the list has not"),
        pytest.param("abcdefghijklm", False, id="a longer word is not cut to a listed one"),
        pytest.param("abcdefghijkl", True, id="the longest word"),
        pytest.param("", True, id="nothing"),
        pytest.param("\U0001f642 !?", True, id="no words"),
    ],
)  # fmt: skip
def test_what_a_text_is_made_of(text: str, expected: bool) -> None:
    assert WORDS.cover(text) is expected


def test_a_part_is_seen_in_its_text() -> None:
    text = "a painting of Red"
    assert WORDS.cover(text, 0, 10)
    assert not WORDS.cover(text, 14, 17)
