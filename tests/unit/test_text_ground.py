"""What grounding puts in a prompt, and that the sentence stays one."""

from __future__ import annotations

from collections import Counter

import pytest

from guardkit.policy.rules import Attributes, Ground, Specific
from guardkit.text.ground import Grounder
from guardkit.types import Edit, Span

WOMAN = Attributes(gender={"woman": 1}, ethnicity={"East Asian": 1}, age={"in their forties": 1})
MAN = Attributes(gender={"man": 1}, ethnicity={"Black": 1}, age={"elderly": 1})


def grounded(text: str, attributes: Attributes = WOMAN, *, spans: tuple[Span, ...] = ()) -> str:
    return Grounder(Ground(seed=7, attributes=attributes), this_year=2026)(text, spans)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a doctor", "an East Asian female doctor in her forties", id="a-to-an"),
        pytest.param("An engineer", "An East Asian female engineer in her forties", id="an-stays"),
        pytest.param("the doctor", "the East Asian female doctor in her forties", id="the"),
        pytest.param("A DOCTOR", "An East Asian female DOCTOR in her forties", id="capitals"),
        pytest.param("doctor, 8k", "East Asian female doctor in her forties, 8k", id="keywords"),
        pytest.param("a person", "an East Asian woman in her forties", id="person"),
        pytest.param("Someone waits", "An East Asian woman in her forties waits", id="someone"),
        pytest.param("a young person", "a young East Asian woman", id="person-with-more"),
        pytest.param("a happy doctor", "a happy East Asian female doctor in her forties", id="adjective"),
        pytest.param("a brain surgeon", "an East Asian female brain surgeon in her forties", id="compound"),
        pytest.param("a professor of physics", "an East Asian female professor of physics in her forties", id="of"),
        pytest.param("a male nurse", "a male East Asian nurse in his forties", id="his-as-said"),
        pytest.param("a couple", "an East Asian couple in their forties", id="their"),
        pytest.param("two doctors", "two doctors of different genders, ethnicities and ages", id="plural"),
        pytest.param("two young doctors", "two young doctors of different genders and ethnicities", id="plural-with-age"),
        pytest.param("men and women", "men and women of different ethnicities and ages", id="joined-plurals"),
        pytest.param("a doctor and a nurse", "an East Asian female doctor in her forties and an East Asian female nurse in her forties", id="each"),
        pytest.param("a harbour at dawn", "a harbour at dawn", id="nobody"),
    ],
)  # fmt: skip
def test_what_is_open_is_put_where_it_reads(text: str, expected: str) -> None:
    assert grounded(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a doctor", "an elderly Black male doctor", id="a-to-an"),
        pytest.param("an engineer", "an elderly Black male engineer", id="an-stays"),
        pytest.param("Engineer at work", "Elderly Black male Engineer at work", id="first-word"),
        pytest.param("a person", "an elderly Black man", id="person"),
        pytest.param("an old engineer", "an old Black male engineer", id="no-article-beside"),
    ],
)
def test_an_age_may_be_an_adjective(text: str, expected: str) -> None:
    assert grounded(text, MAN) == expected


def test_only_what_the_policy_lists_is_filled() -> None:
    assert grounded("an artist", Attributes(ethnicity={"Black": 1})) == "a Black artist"
    assert grounded("a person", Attributes(gender={"non-binary": 1})) == "a non-binary person"
    ages = Attributes(age={"in their prime": 1})
    assert grounded("two artists and a person", ages) == (
        "two artists of different ages and a person in their prime"
    )


def test_a_value_that_no_list_knows_is_known_a_second_time() -> None:
    odd = Attributes(
        gender={"non-binary": 1}, ethnicity={"Martian-born": 1}, age={"in their prime": 1}
    )
    once = grounded("a doctor and a person", odd)
    assert once.count("Martian-born") == 2
    assert grounded(once, odd) == once


def test_a_span_that_names_somebody_is_respected() -> None:
    text = "jane roe, a doctor, and a guest"
    name = Span(0, 8, "privacy", 0.9, "tagger", "PERSON")
    assert (
        grounded(text, MAN, spans=(name,)) == "jane roe, a doctor, and an elderly Black male guest"
    )


def test_edits_say_what_stands_where() -> None:
    ground = Grounder(Ground(attributes=WOMAN), this_year=2026)
    assert ground("see a doctor", ())[1] == (
        Edit("ground", 4, 6, "an East Asian female "),
        Edit("ground", 12, 12, " in her forties"),
    )


VAGUE = Ground(seed=1, specific=(Specific("having fun", ("dancing", "singing")),))


@pytest.mark.parametrize(
    ("text", "verb"),
    [
        ("two people having fun", "two people {}"),
        ("two people are having fun, oil painting", "two people are {}, oil painting"),
        ("a child who is Having Fun.", "a child who is {}."),
    ],
)
def test_a_vague_phrase_becomes_a_specific_one(text: str, verb: str) -> None:
    ground = Grounder(VAGUE, this_year=2026)
    assert {ground(text, ())[0] for _ in range(2)} == {
        verb.format("dancing"),
        verb.format("singing"),
    }


@pytest.mark.parametrize(
    "text",
    [
        "two people having fun at the beach",
        "two dogs having fun",
        "having fun",
        "people having funds",
    ],
)
def test_a_phrase_that_is_specific_or_nobodys_stays(text: str) -> None:
    assert Grounder(VAGUE, this_year=2026)(text, ()) == (text, ())


def test_a_batch_is_balanced_and_a_seed_repeats_it() -> None:
    attributes = Attributes(gender={"woman": 1, "man": 1}, ethnicity=dict.fromkeys(("Black", "White", "Asian"), 1.0))  # fmt: skip
    runs = []
    for _ in range(2):
        ground = Grounder(Ground(seed=3, attributes=attributes), this_year=2026)
        runs.append([ground("a portrait of a doctor", ())[0] for _ in range(31)])
    assert runs[0] == runs[1]
    counts = Counter(word for text in runs[0] for word in text.split())
    assert abs(counts["female"] - counts["male"]) == 1
    assert sorted(counts[word] for word in ("Black", "White", "Asian")) == [10, 10, 11]


def test_a_word_before_somebody_without_a_noun_is_not_lost() -> None:
    options = Ground(seed=0, attributes=Attributes(gender={}, ethnicity={}, age={"elderly": 1}))
    assert Grounder(options)("doctor someone", ())[0] == "elderly doctor someone"
