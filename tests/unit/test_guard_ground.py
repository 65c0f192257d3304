"""Grounding under a policy: silent unless somebody is left open, and never a reason to refuse."""

from __future__ import annotations

import pickle

import pytest

from guardkit import Action, Guard, Policy
from guardkit.policy.rules import Attributes, EditorEntry, Ground, Limits, StagePolicy
from guardkit.types import Scored, Scores, Span
from tests.fake_steps import CUT_INSULTS, NO_THREATS, FakeScorer, finds, rule

GROUND = Ground(seed=7, attributes=Attributes(gender={"woman": 1, "man": 1}))
ALWAYS = EditorEntry("ground", "always")
_RULES = {"insult": CUT_INSULTS, "threat": NO_THREATS}


def guarded(scorer: FakeScorer, *editors: str | EditorEntry, **changes: object) -> Guard:
    rules = tuple(_RULES[one] for one in scorer.categories if one in _RULES)
    rules = tuple(one for one in rules if one.using in (None, *editors))
    stage = StagePolicy(("mine",), editors or (ALWAYS,), rules)
    policy = Policy("balanced", prompt=stage, ground=GROUND, **changes)  # type: ignore[arg-type]
    return Guard(policy, scorers=[scorer])


def harmless(category: str = "insult") -> FakeScorer:
    return FakeScorer(finds("idiot", category), categories=(category,))


def test_a_grounded_prompt_is_an_edit_and_flags_nothing() -> None:
    decision = guarded(harmless()).check_prompt("a doctor")
    assert decision.action is Action.EDIT
    assert decision.text in ("a female doctor", "a male doctor")
    assert [edit.editor for edit in decision.edits] == ["ground"]
    assert (decision.flagged, decision.fired, decision.spans) == (False, (), ())


@pytest.mark.parametrize("text", ["a harbour at dawn", "a female doctor", "a lazy person", ""])
def test_a_prompt_with_nothing_to_ground_is_allowed(text: str) -> None:
    decision = guarded(harmless()).check_prompt(text)
    assert (decision.action, decision.text, decision.edits) == (Action.ALLOW, text, ())
    assert decision.reasons == ()


def test_a_name_is_seen_although_no_rule_fired_on_it() -> None:
    guard = guarded(harmless(), ALWAYS)
    assert guard.check_prompt("a doctor and ada").text != "a doctor and ada"
    name = FakeScorer(finds("ada", "public-figure", score=0.2), categories=("public-figure",))
    decision = guarded(name, ALWAYS).check_prompt("ada, a doctor")
    assert (decision.action, decision.text) == (Action.ALLOW, "ada, a doctor")


def test_another_editor_that_always_runs_gets_the_spans_of_fired_rules_alone() -> None:
    def score(text: str) -> Scored:
        spans = (Span(0, 2, "insult", 0.1, "mine"),)
        return Scored(Scores({"insult": 0.1}), spans)

    scorer = FakeScorer(score)
    stage = StagePolicy(("mine",), (EditorEntry("cut", "always"),), (CUT_INSULTS,))
    decision = Guard(Policy("own", prompt=stage), scorers=[scorer]).check_prompt("my cat")
    assert (decision.action, decision.text) == (Action.ALLOW, "my cat")


def test_a_grounded_text_that_is_not_allowed_is_used_as_it_was() -> None:
    scorer = FakeScorer(finds("male", "threat"), categories=("threat",))  # "female" as well
    decision = guarded(scorer).check_prompt("a doctor")
    assert (decision.action, decision.text, decision.edits) == (Action.ALLOW, "a doctor", ())
    assert "used as it was" in decision.reasons[-1]
    long = guarded(harmless(), limits=Limits(max_characters=9)).check_prompt("a doctor")
    assert (long.action, long.text) == (Action.ALLOW, "a doctor")


def test_a_prompt_that_another_editor_repairs_is_grounded_too() -> None:
    def score(text: str) -> Scored:
        found = finds("idiot")(text)
        return Scored(Scores({**found.scores, "threat": 0.0}), found.spans)

    scorer = FakeScorer(score, categories=("insult", "threat"))
    decision = guarded(scorer, "cut", ALWAYS).check_prompt("my idiot cat and a doctor")
    assert decision.action is Action.EDIT
    assert decision.text in ("my cat and a female doctor", "my cat and a male doctor")
    assert decision.flagged


def test_a_rule_may_ask_for_grounding() -> None:
    stage = StagePolicy(("mine",), ("ground",), (rule("bias", Action.EDIT, "ground"),))
    scorer = FakeScorer(finds("doctor", "bias"), categories=("bias",))
    policy = Policy("own", prompt=stage, ground=GROUND)
    assert Guard(policy, scorers=[scorer]).check_prompt("a nurse").action is Action.ALLOW


def test_in_shadow_mode_nothing_is_filled_in() -> None:
    decision = guarded(harmless(), mode="shadow").check_prompt("a doctor")
    assert (decision.text, decision.shadow, decision.edits) == ("a doctor", Action.EDIT, ())


def test_a_pickled_guard_begins_with_full_bags() -> None:
    stage = StagePolicy((), (ALWAYS,), ())
    guard = Guard(Policy("own", prompt=stage, ground=GROUND))
    first = [guard.check_prompt("a doctor").text for _ in range(5)]
    again = pickle.loads(pickle.dumps(guard))  # noqa: S301  our own bytes
    assert [again.check_prompt("a doctor").text for _ in range(5)] == first
