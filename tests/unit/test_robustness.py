"""Listed words are found in disguise, where they stand; words that only contain them are not."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from guardkit.policy.load import load_policy
from guardkit.policy.rules import WordList
from guardkit.text.blocklist import Blocklist
from guardkit.text.normalize import Prompt, normalize

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "bench"))  # a folder of scripts, no package

from disguises import (  # noqa: E402
    CARRIERS,
    DISGUISES,
    SHORT_WORDS,
    Case,
    cases,
    innocent_words,
    listed_words,
)
from robustness import CHANGES, Finder, count_caught, count_innocent, count_lost, wilson  # noqa: E402

WORDS = listed_words()
LEAST_CAUGHT = 0.95
VARIANTS = 2
# The innocent words stand in for a model's vocabulary: `normalize` must not be led astray by them.
KNOWN = {"list": frozenset[str](), "more-words": frozenset(map(str.lower, innocent_words()))}


def disguised(disguise: str) -> list[Case]:
    return cases(WORDS, {disguise: DISGUISES[disguise]}, variants=VARIANTS)


def found_without_normalizing(text: str) -> bool:
    (scored,) = Blocklist({"topic": WordList(block=WORDS)}).score([Prompt(text, text)])
    return bool(scored.spans)


def test_there_are_words_and_disguises_enough() -> None:
    assert len(WORDS) >= 40
    assert len(DISGUISES) >= 9
    assert len(innocent_words()) >= 500


@pytest.mark.parametrize("known", KNOWN)
@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_disguised_word_is_found_where_it_stands(disguise: str, known: str) -> None:
    finder = Finder(WORDS, vocabulary=KNOWN[known])
    counted = count_caught(disguised(disguise), finder, known=known, promised=True)
    assert counted.caught.share is not None
    assert counted.caught.share >= LEAST_CAUGHT
    assert counted.exact.share == 1.0


# A list allows for some leetspeak and for stretched letters by itself.
LIST_KNOWS = {"leetspeak", "stretched", "leetspeak-and-stretched"}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_no_disguise_leaves_the_word_as_it_is(disguise: str) -> None:
    found = disguised(disguise)
    assert [one for one in found if re.search(rf"\b{one.word}\b", one.text.lower())] == []


@pytest.mark.parametrize("disguise", sorted(DISGUISES.keys() - LIST_KNOWS))
def test_without_normalizing_most_disguises_work(disguise: str) -> None:
    found = disguised(disguise)
    assert sum(found_without_normalizing(one.text) for one in found) < len(found) / 2


@pytest.mark.parametrize("disguise", ["leetspeak", "leetspeak-and-stretched"])
def test_without_normalizing_too_few_are_found(disguise: str) -> None:
    found = disguised(disguise)
    assert sum(found_without_normalizing(one.text) for one in found) < LEAST_CAUGHT * len(found)


@pytest.mark.parametrize("known", KNOWN)
def test_no_innocent_word_is_flagged(known: str) -> None:
    finder = Finder((*WORDS, *SHORT_WORDS), vocabulary=KNOWN[known])
    assert count_innocent(innocent_words(), finder).count == 0


def test_every_innocent_word_contains_a_listed_one() -> None:
    listed = (*WORDS, *SHORT_WORDS)
    assert [w for w in innocent_words() if not any(one in w.lower() for one in listed)] == []


def test_a_listed_word_in_the_same_sentences_is_flagged() -> None:
    finder = Finder(WORDS)
    assert [one for one in CARRIERS if not finder.spans(one.format("idiot"))] == []


def test_the_same_seed_gives_the_same_cases() -> None:
    assert cases(WORDS, DISGUISES, seed=3) == cases(WORDS, DISGUISES, seed=3)
    assert cases(WORDS, DISGUISES, seed=3) != cases(WORDS, DISGUISES, seed=4)


def test_a_case_says_where_its_word_stands() -> None:
    (one,) = cases(["idiot"], {"same": lambda word, _: word}, variants=1)
    assert one.text[one.start : one.end].lower() == "idiot"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("you 8uff00n!", "8uff00n", id="glyphs-for-b-and-o"),
        pytest.param("you idiotttttt.", "idiotttttt", id="stretched-to-the-end"),
        pytest.param("you cccrrreeeppp", "cccrrreeeppp", id="every-letter-stretched"),
        pytest.param("such a 1d1000000t", "1d1000000t", id="stretched-glyph"),
        pytest.param("you idiots!!", "idiots", id="exclamation-marks-are-no-letters"),
        pytest.param("you m0ron!!", "m0ron", id="nor-behind-a-glyph"),
        pytest.param("a i  d  i  o  t", "i  d  i  o  t", id="far-apart"),
        pytest.param("a i - d - i - o - t", "i - d - i - o - t", id="dashes-and-spaces"),
        pytest.param("I met a c r e e p I know", "c r e e p", id="between-short-words"),
        pytest.param("you idi\u03c3\u03c4", "idi\u03c3\u03c4", id="greek-sigma-and-tau"),
        pytest.param("you ⒤⒟⒤⒪⒯", "⒤⒟⒤⒪⒯", id="letters-in-brackets"),
        pytest.param("you 🅸🅳🅸🅾🆃", "🅸🅳🅸🅾🆃", id="letters-in-black-squares"),
        pytest.param("you ídíöt", "ídíöt", id="accents"),
        pytest.param("you 1d\u00edo\u0301t", "1d\u00edo\u0301t", id="accents-and-glyphs"),
        pytest.param("you id\u0300i\u20dd\u030dot", "id\u0300i\u20dd\u030dot", id="marks"),
    ],
)
def test_the_span_covers_what_the_user_typed(text: str, expected: str) -> None:
    finder = Finder(("idiot", "moron", "creep", "buffoon"))
    assert [text[start:end] for start, end in finder.spans(text)] == [expected]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("100k for the 800m, the 60th", id="numbers-with-units"),
        pytest.param("vitamins A, B, C, D", id="list-of-letters"),
        pytest.param("A - B - C - D", id="letters-and-dashes"),
        pytest.param("p. 4-5-6-7", id="numbers-and-dashes"),
        pytest.param("feliz año", id="one-accent-is-a-spelling"),
        pytest.param("sin(ωt) and 5 μm", id="greek-in-formulas"),
        pytest.param("Führer für Mädchen", id="umlauts"),
    ],
)
def test_what_is_no_disguise_stays(text: str) -> None:
    words = {"ab", "ano", "both", "boom", "cd", "fur", "look", "wt", "madchen"}
    assert normalize(text, words=words).text == text


@pytest.mark.parametrize("text", ["rates", "hates", "capes"])
def test_es_is_no_plural_of_every_word(text: str) -> None:
    assert Finder(("rat", "hat", "cap")).spans(text) == []


def test_a_policy_can_name_the_shipped_list(tmp_path: Path) -> None:
    shipped = ROOT / "policies" / "lists" / "mild-insults.txt"
    file = tmp_path / "polite.yaml"
    file.write_text(f"policy: polite\nlists: {{manners: {{block_file: '{shipped}'}}}}\n")
    assert load_policy(file).lists["manners"].block == WORDS
    assert "Apache-2.0" in shipped.read_text("utf-8")


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [
        # Wilson with z = 1.96 by hand: 0 of 10 is z^2 / (n + z^2); 5 of 10 is 1/2 -+ z / (2 sqrt(n + z^2)).
        pytest.param(0, 10, 0.0, 0.2775, id="none"),
        pytest.param(5, 10, 0.2366, 0.7634, id="half"),
        pytest.param(10, 10, 0.7225, 1.0, id="all"),
    ],
)
def test_an_interval_is_wilsons(count: int, total: int, low: float, high: float) -> None:
    share = wilson(count, total)
    assert (share.low, share.high) == pytest.approx((low, high), abs=1e-4)


def test_nothing_counted_has_no_share() -> None:
    assert wilson(0, 0).share is None


def test_lost_texts_are_those_that_a_change_sets_free() -> None:
    lost = count_lost(["abc"] * 20, lambda text: len(text) == 3, seed=1)
    assert {one.change: one.lost.share for one in lost} == {
        "swap": 0.0, "drop": 1.0, "insert": 1.0, "replace": 0.0, "double": 1.0, "all": 0.6
    }  # fmt: skip
    assert [one.change for one in lost] == [*CHANGES, "all"]
