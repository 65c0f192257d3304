"""Public figures by name: whole names, any case and accents; private people who share a part of one stay private."""

from __future__ import annotations

import pytest

from guardkit import Action, Guard, Policy
from guardkit.policy.rules import Anonymize, Rule, StagePolicy, When
from guardkit.text.normalize import normalize
from guardkit.text.public_figures import PublicFigures, load_names, names_of

SHIPPED = PublicFigures()


def found(text: str, scorer: PublicFigures = SHIPPED) -> list[str]:
    (scored,) = scorer.score([normalize(text)])
    assert scored.scores["public-figure"] == float(bool(scored.spans))
    return [text[span.start : span.end] for span in scored.spans]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a portrait of Albert Einstein on a bike", ["Albert Einstein"]),
        ("albert einstein's desk", ["albert einstein"]),
        ("ALBERT EINSTEIN and Marie Curie", ["ALBERT EINSTEIN", "Marie Curie"]),
        ("Beyonce on stage", ["Beyonce"]),
        ("Beyoncé on stage", ["Beyoncé"]),
        ("Antonín Dvořák, antonin dvorak", ["Antonín Dvořák", "antonin dvorak"]),
        ("Jean-Jacques Rousseau in a garden", ["Jean-Jacques Rousseau"]),
        ("a statue of \u0410lbert Einstein", ["\u0410lbert Einstein"]),  # a Cyrillic A
        ("Michael Jordan dunking", ["Michael Jordan"]),  # common words, and famous enough
    ],
)
def test_a_name_is_found_whole(text: str, names: list[str]) -> None:
    assert found(text) == names


@pytest.mark.parametrize(
    "text",
    [
        "a portrait of Albert, my neighbour",
        "John Williams from next door",  # a composer's name, and thousands of others'
        "Marie Steiner and Albert Curie",
        "Thales Gomes at the beach",  # one word of a name is not the philosopher
        "the edge of a cliff, the rock in the sea, 50 cent coins",
        "a prince and a madonna",
        "einsteinium in a jar",
    ],
)
def test_a_private_person_and_a_thing_are_not(text: str) -> None:
    assert found(text) == []


def test_the_longest_name_counts() -> None:
    scorer = PublicFigures(names_of(["ada king", "ada king of lovelace"]))
    assert found("Ada King of Lovelace", scorer) == ["Ada King of Lovelace"]


def test_the_list_is_the_one_that_was_made() -> None:
    names = [" ".join(name) for those in load_names().values() for name in those]
    assert len(names) > 12_000
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("action", "expected"),
    [(Action.BLOCK, None), (Action.EDIT, "a portrait of a person at an e-mail address")],
)
def test_the_policy_chooses_what_becomes_of_a_public_figure(
    action: Action, expected: str | None
) -> None:
    using = "anonymize" if action is Action.EDIT else None
    rules = (
        Rule("figures", When("public-figure", 0.5), action, using=using),
        Rule("data", When("privacy", 0.5), Action.EDIT, using="anonymize"),
    )
    stage = StagePolicy(("identifiers", "public-figures"), ("anonymize",), rules)
    guard = Guard(Policy("p", prompt=stage, anonymize=Anonymize(mode="generic")))
    decision = guard.check_prompt("a portrait of Albert Einstein at ada@example.org")
    assert (decision.action, decision.text) == (action, expected)
    assert not decision.flagged


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("a painting of ada lovelace", True),
        ("ada lovelace by the sea", True),
        ("a man hugged by ada lovelace", True),
        ("a city in the style of Ada Lovelace", False),
        ("a cat, painting by ada lovelace", False),
        ("a cat, sharp focus, by ada lovelace", False),
        ("a cat, art by greg smith and ada lovelace, 8k", False),
        ("inspired by ada lovelace, ada lovelace at her desk", True),
    ],
)
def test_whose_manner_is_meant_is_nobody_in_the_picture(text: str, is_found: bool) -> None:
    (scored,) = PublicFigures(names_of(["ada lovelace"])).score([normalize(text)])
    assert bool(scored.spans) is is_found
