"""What a rewriting is tidied to, and what is left as its author wrote it. Expected: by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardkit.text.spelling import spelled, tidied, with_articles


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("we know , now !", "We know, now!", id="space before a mark"),
        pytest.param("is n't it ? ! !", "Is n't it?!!", id="marks in a row"),
        pytest.param("you don 't , we 're", "You don't, we're.", id="contraction"),
        pytest.param("so i said i 'd go", "So I said I'd go.", id="I"),
        pytest.param("it isnt theirs, Im sure", "It isn't theirs, I'm sure.", id="no apostrophe"),
        pytest.param("IF YOU DONT", "IF YOU DON'T.", id="no apostrophe, in capitals"),
        pytest.param("its ill shell", "its ill shell", id="other words"),
        pytest.param("u and ur cat", "You and your cat.", id="chat spellings"),
        pytest.param(
            "a u-turn in the u.s. by ur-nammu", "a u-turn in the u.s. by ur-nammu", id="no chat"
        ),
        pytest.param("a portrait of her boss", "a portrait of her boss", id="a caption"),
        pytest.param("my boss's hat", "my boss's hat", id="a caption with an s"),
        pytest.param("that's a hat \n", "That's a hat. \n", id="a sentence"),
        pytest.param('say "it is"', 'Say "it is"', id="a sentence that ends in a mark"),
        pytest.param("part ii, i.e. a map", "part ii, i.e. a map", id="no I"),
        pytest.param("one. two. three.", "One. Two. Three.", id="sentences"),
        pytest.param("a castle. a moat", "a castle. a moat", id="no sentence at the end"),
        pytest.param("smile :) please", "smile :) please", id="emoticon"),
        pytest.param("at 3 .5 metres", "at 3 .5 metres", id="a number's point"),
        pytest.param("one\n two", "one\n two", id="line break"),
        pytest.param("", "", id="empty"),
    ],
)
def test_a_text_is_tidied_as_people_do(text: str, expected: str) -> None:
    assert tidied(text) == expected


@given(st.text())
def test_tidying_takes_no_letter_away(text: str) -> None:
    assert tidied(text).lower().split() == tidied(tidied(text)).lower().split()
    kept = iter("".join(tidied(text).split()).lower())
    assert all(letter in kept for letter in "".join(text.split()).lower())  # in their order


def test_letters_do_not_tell_the_article_of_an_hour() -> None:
    assert with_articles("a long hour", "a hour") == "a hour"


def test_a_word_that_is_left_out_takes_its_article_along() -> None:
    ranges = [(0, 0), (0, 1), (2, 7), (8, 10), (11, 16), (16, 17), (18, 23), (0, 0)]
    assert spelled("a night in Paris, photo", ranges, [1, 2, "an", 5, 6]) == "a night, photo"
    assert (
        spelled("a night an, photo", [*ranges[:4], (10, 11), (12, 17), (0, 0)], [1, 2, 3, 4, 5])
        == "a night an, photo"
    )


def test_written_pieces_stand_among_copied_ones() -> None:
    ranges = [(0, 0), (0, 1), (2, 7), (8, 11), (11, 12), (0, 0)]
    assert spelled("a silly fox.", ranges, [1, "small", 3, 4]) == "a small fox."
    assert spelled("a silly fox.", ranges, [1, "otter", 4]) == "an otter."
