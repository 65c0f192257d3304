"""Concepts: what a policy says is to stand in their place, before a rewriter sees the text."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from guardkit.guard import Guard
from guardkit.policy.rules import Concept, Policy, Rule, StagePolicy, When
from guardkit.text.concepts import ConceptMap, ConceptRewriter
from guardkit.types import Action, Span

CONCEPTS = ConceptMap(
    {"zombie": Concept("owl", ("the undead", "zombies")), "old oak": "lamp", "(x)": "tree"}
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("one zombie here", "one owl here", id="its name"),
        pytest.param("fear the undead", "fear owl", id="an example"),
        pytest.param("a zombie, an old oak", "an owl, a lamp", id="articles follow"),
        pytest.param("A zombie", "An owl", id="article at the start"),
        pytest.param("Zombie and ZOMBIE", "Owl and OWL", id="case is kept"),
        pytest.param("an old \n oak", "a lamp", id="any space between its words"),
        pytest.param("a zombielike ozombie", "a zombielike ozombie", id="whole words alone"),
        pytest.param("f (x) y", "f tree y", id="signs are no pattern"),
        pytest.param("nothing of it", "nothing of it", id="nothing"),
        pytest.param("", "", id="empty"),
    ],
)
def test_concepts_are_replaced(text: str, expected: str) -> None:
    replaced, edits = CONCEPTS.replace(text)
    assert replaced == expected
    for edit in reversed(edits):
        text = text[: edit.start] + edit.replacement + text[edit.end :]
    assert text == expected


def test_a_map_of_nothing_replaces_nothing() -> None:
    assert ConceptMap({}).replace("a zombie") == ("a zombie", ())


class Watched:
    """Changes nothing and remembers what it was given."""

    def __init__(self) -> None:
        self.given: tuple[str, Sequence[Span]] = ("", ())

    def rewrite(self, text: str, spans: Sequence[Span] = ()) -> str | None:
        self.given = (text, spans)
        return text


def span(start: int, end: int) -> Span:
    return Span(start, end, "violence", 0.9, "test")


def test_the_rewriter_sees_what_is_left_to_blame() -> None:
    rewriter = Watched()
    made = ConceptRewriter(rewriter, CONCEPTS).rewrite("a zombie bites", [span(2, 8), span(9, 14)])
    assert made == "an owl bites"
    assert rewriter.given == ("an owl bites", [span(7, 12)])


@pytest.mark.usefixtures("use_tiny_models")
class Calm:
    """A rewriter that finds nothing wrong."""

    runs = 0

    def rewrite(self, text: str, spans: Sequence[Span] = ()) -> str | None:
        self.runs += 1
        return text


def test_a_text_with_which_nothing_is_wrong_keeps_its_concepts() -> None:
    calm = ConceptRewriter(Calm(), CONCEPTS)
    assert calm.rewrite("a zombie film night") == "a zombie film night"
    assert calm.rewrite("a zombie bites", [span(9, 14)]) == "an owl bites"


def test_a_text_without_concepts_is_read_once() -> None:
    calm = Calm()
    assert ConceptRewriter(calm, CONCEPTS).rewrite("a quiet harbour") == "a quiet harbour"
    assert calm.runs == 1


def test_a_policy_names_them_and_a_rewriter_of_your_own_honours_them() -> None:
    insults = Rule("insults-are-rewritten", When("insult", 0.5), Action.EDIT, using="rewrite")
    stage = StagePolicy(scorers=("text-safety",), editors=("rewrite",), rules=(insults,))
    policy = Policy("repair", prompt=stage, concepts={"idiot": "neighbour"})
    guard = Guard(policy, rewriter=Watched())
    decision = guard.check_prompt("an idiot")
    assert (decision.action, decision.text) == (Action.EDIT, "a neighbour")
    assert guard.rewrite("my idiot") == "my neighbour"
