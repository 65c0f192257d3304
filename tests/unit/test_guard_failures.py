"""Failure is never permission: what was not measured is None, and the policy says what follows."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from guardkit.guard import Guard
from guardkit.policy.rules import EditorEntry, Policy, StagePolicy
from guardkit.text.edit import Editor
from guardkit.text.normalize import Prompt
from guardkit.types import Action, Edit, Scored, Scores, Span, Status
from tests.fake_steps import FakeScorer, finds, rule, says

FailureAction = Literal["block", "regenerate", "allow"]
NO_INSULTS = rule("insult", Action.BLOCK)
NO_THREATS = rule("threat", Action.BLOCK)
CUT_INSULTS = rule("insult", Action.EDIT, "cut")


@dataclass
class RawScorer:
    """Hands back whatever the test wants, right or wrong."""

    answer: Any
    name: str = "mine"
    categories: Sequence[str] = ("insult",)

    def score(self, prompts: Sequence[Prompt]) -> list[Scored]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]  # wrong on purpose


@pytest.fixture
def hanging() -> Iterator[threading.Event]:
    """An event that never comes while the test runs; set at its end, so that no thread is left."""
    event = threading.Event()
    yield event
    event.set()


def hangs(event: threading.Event, *, name: str = "mine", category: str = "insult") -> FakeScorer:
    def function(_: str) -> Scored:
        event.wait(5)
        return Scored(Scores({category: 0.0}))

    return FakeScorer(function, name, (category,))


CALM_THREAT = FakeScorer(says(0.1, "threat"), "other", ("threat",))
HARSH_THREAT = FakeScorer(says(0.9, "threat"), "other", ("threat",))
BROKEN_ANSWERS = [
    pytest.param(ValueError("broken"), id="raises"),
    pytest.param([], id="no-answer"),
    pytest.param([Scored(Scores({"insult": 0.0}))] * 2, id="two-answers"),
    pytest.param(None, id="none"),
    pytest.param([None], id="list-of-none"),
    pytest.param([{"insult": 0.0}], id="dict-instead-of-scored"),
    pytest.param([Scored({"insult": float("nan")})], id="nan"),  # type: ignore[arg-type]
    pytest.param([Scored({"insult": 1.5})], id="above-one"),  # type: ignore[arg-type]
    pytest.param([Scored({"insult": "low"})], id="text-as-score"),  # type: ignore[arg-type]
    pytest.param([Scored(Scores())], id="category-left-out"),
    pytest.param([Scored(Scores({"insult": None}))], id="says-none-itself"),
    pytest.param([Scored(Scores({"insult": 0.0}), None)], id="no-spans"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("answer", BROKEN_ANSWERS)
def test_a_broken_scorer_is_no_permission(answer: Any) -> None:
    policy = Policy("own", prompt=StagePolicy(("mine",), rules=(NO_INSULTS,)))
    decision = Guard(policy, scorers=[RawScorer(answer)]).check_prompt("hello")
    assert (decision.action, decision.text) == (Action.BLOCK, None)
    assert (decision.status, dict(decision.scores)) == (Status.ERROR, {"insult": None})
    assert decision.reasons == ("insult was not measured (its scorer failed): block",)


@pytest.mark.parametrize("answer", BROKEN_ANSWERS)
def test_a_broken_scorer_does_not_silence_the_others(answer: Any) -> None:
    prompt = StagePolicy(("mine", "other"), rules=(NO_INSULTS, NO_THREATS))
    policy = Policy("own", prompt=prompt, on_failure="allow")
    decision = Guard(policy, scorers=[RawScorer(answer), HARSH_THREAT]).check_prompt("hello")
    assert (decision.action, decision.status) == (Action.BLOCK, Status.DEGRADED)
    assert dict(decision.scores) == {"insult": None, "threat": 0.9}


@pytest.mark.parametrize("answer", BROKEN_ANSWERS)
def test_allowing_on_failure_is_honoured_and_said(answer: Any) -> None:
    prompt = StagePolicy(("mine", "other"), rules=(NO_INSULTS, NO_THREATS))
    policy = Policy("own", prompt=prompt, on_failure="allow")
    decision = Guard(policy, scorers=[RawScorer(answer), CALM_THREAT]).check_prompt("hello")
    assert (decision.action, decision.status) == (Action.ALLOW, Status.DEGRADED)
    assert decision.reasons == ("insult was not measured (its scorer failed): allow",)


def test_a_failure_counts_even_where_no_rule_asks() -> None:
    policy = Policy("own", prompt=StagePolicy(("mine", "other"), rules=(NO_THREATS,)))
    guard = Guard(policy, scorers=[RawScorer(ValueError("broken")), CALM_THREAT])
    decision = guard.check_prompt("hello")
    assert (decision.action, decision.status) == (Action.BLOCK, Status.DEGRADED)


def test_scores_of_a_broken_scorer_are_none() -> None:
    prompt = StagePolicy(("mine", "other"), rules=(NO_INSULTS, NO_THREATS))
    guard = Guard(
        Policy("own", prompt=prompt), scorers=[RawScorer(ValueError("broken")), CALM_THREAT]
    )
    assert guard.score_prompts(["hello"]) == [Scores({"insult": None, "threat": 0.1})]


def test_a_failure_after_an_edit_is_no_permission() -> None:
    guard = guard_failing_on_edited_text("block")
    decision = guard.check_prompt("my idiot cat")
    assert (decision.action, decision.text, decision.edits) == (Action.BLOCK, None, ())
    assert decision.status is Status.ERROR
    assert "insult was not measured" in decision.reasons[-1]


def test_a_failure_after_an_edit_that_is_allowed_is_said() -> None:
    decision = guard_failing_on_edited_text("allow").check_prompt("my idiot cat")
    assert (decision.action, decision.text) == (Action.EDIT, "my cat")
    assert decision.status is Status.ERROR
    assert decision.reasons[-1] == (
        "after edit, insult was not measured (its scorer failed): allow"
    )


def guard_failing_on_edited_text(on_failure: FailureAction) -> Guard:
    def function(text: str) -> Scored:
        if "idiot" not in text:
            raise ValueError
        return finds("idiot")(text)

    prompt = StagePolicy(("mine",), ("cut",), (CUT_INSULTS,))
    policy = Policy("own", prompt=prompt, on_failure=on_failure)
    return Guard(policy, scorers=[FakeScorer(function)])


# --- time --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on_timeout", "on_failure", "action"),
    [
        pytest.param("regenerate", "block", Action.REGENERATE, id="on-timeout"),
        pytest.param("allow", "block", Action.ALLOW, id="on-timeout-allows"),
        pytest.param(None, "regenerate", Action.REGENERATE, id="as-on-failure"),
        pytest.param(None, "block", Action.BLOCK, id="as-on-failure-by-default"),
    ],
)
def test_a_scorer_that_hangs_is_answered_by_on_timeout(
    hanging: threading.Event,
    on_timeout: FailureAction | None,
    on_failure: FailureAction,
    action: Action,
) -> None:
    policy = Policy(
        "own",
        prompt=StagePolicy(("mine",), rules=(NO_INSULTS,)),
        timeout_ms=20,
        on_timeout=on_timeout,
        on_failure=on_failure,
    )
    decision = Guard(policy, scorers=[hangs(hanging)]).check_prompt("hello")
    assert (decision.action, decision.status) == (action, Status.ERROR)
    assert decision.scores["insult"] is None
    assert decision.reasons == (
        f"insult was not measured (its scorer ran out of time): {action.value}",
    )


def test_a_scorer_that_answered_in_time_still_counts(hanging: threading.Event) -> None:
    prompt = StagePolicy(("other", "mine"), rules=(NO_INSULTS, NO_THREATS))
    policy = Policy("own", prompt=prompt, timeout_ms=30, on_timeout="allow")
    decision = Guard(policy, scorers=[hangs(hanging), HARSH_THREAT]).check_prompt("hello")
    assert (decision.action, decision.status) == (Action.BLOCK, Status.DEGRADED)
    assert dict(decision.scores) == {"threat": 0.9, "insult": None}


def test_a_scorer_behind_one_that_hangs_was_not_measured(hanging: threading.Event) -> None:
    prompt = StagePolicy(("mine", "other"), rules=(NO_INSULTS, NO_THREATS))
    policy = Policy("own", prompt=prompt, timeout_ms=20)
    decision = Guard(policy, scorers=[hangs(hanging), CALM_THREAT]).check_prompt("hello")
    assert (decision.action, decision.status) == (Action.BLOCK, Status.ERROR)
    assert dict(decision.scores) == {"insult": None, "threat": None}


def test_the_time_limit_holds_for_the_edited_text_too(hanging: threading.Event) -> None:
    def function(text: str) -> Scored:
        if "idiot" not in text:
            hanging.wait(5)
        return finds("idiot")(text)

    prompt = StagePolicy(("mine",), ("cut",), (CUT_INSULTS,))
    policy = Policy("own", prompt=prompt, timeout_ms=40)
    decision = Guard(policy, scorers=[FakeScorer(function)]).check_prompt("my idiot cat")
    assert (decision.action, decision.text) == (Action.BLOCK, None)
    assert "ran out of time" in decision.reasons[-1]


def test_a_late_answer_does_not_change_a_decision(hanging: threading.Event) -> None:
    answered = threading.Event()

    def function(_: str) -> Scored:
        hanging.wait(5)
        answered.set()
        return Scored(Scores({"insult": 0.0}))

    policy = Policy("own", prompt=StagePolicy(("mine",), rules=(NO_INSULTS,)), timeout_ms=10)
    decision = Guard(policy, scorers=[FakeScorer(function)]).check_prompt("hello")
    hanging.set()
    assert answered.wait(5)
    assert decision.scores["insult"] is None


def test_a_scorer_within_its_time_is_not_disturbed() -> None:
    policy = Policy("own", prompt=StagePolicy(("mine",), rules=(NO_INSULTS,)), timeout_ms=60_000)
    decision = Guard(policy, scorers=[FakeScorer(says(0.2))]).check_prompt("hello")
    assert (decision.action, decision.status) == (Action.ALLOW, Status.OK)


# --- editors -----------------------------------------------------------------------------------------


def breaks(text: str, spans: Sequence[Span]) -> tuple[str, tuple[Edit, ...]]:
    raise ValueError("broken")


def forgets(text: str, spans: Sequence[Span]) -> Any:
    return None


def empties(text: str, spans: Sequence[Span]) -> Any:
    return None, (Edit("own", 0, len(text), ""),)


@pytest.mark.parametrize("editor", [breaks, forgets, empties])
@pytest.mark.parametrize("after_edit", ["block", "regenerate", "allow"])
def test_a_broken_editor_is_answered_by_after_edit(
    editor: Editor, after_edit: FailureAction
) -> None:
    rules = (rule("insult", Action.EDIT, "own"),)
    prompt = StagePolicy(("mine",), ("own",), rules, after_edit=after_edit)
    scorers = [FakeScorer(finds("idiot"))]
    guard = Guard(Policy("own", prompt=prompt), scorers=scorers, editors={"own": editor})
    decision = guard.check_prompt("my idiot cat")
    assert (decision.action, decision.status) == (Action(after_edit), Status.DEGRADED)
    assert decision.reasons[-1] == f"after edit, an editor failed: {after_edit}"
    assert decision.text == (None if after_edit == "block" else "my idiot cat")


def test_an_editor_that_always_runs_and_breaks_is_no_permission() -> None:
    prompt = StagePolicy(("mine",), (EditorEntry("own", "always"),), (NO_INSULTS,))
    guard = Guard(
        Policy("own", prompt=prompt), scorers=[FakeScorer(says(0.0))], editors={"own": breaks}
    )
    decision = guard.check_prompt("hello")
    assert (decision.action, decision.status) == (Action.BLOCK, Status.DEGRADED)
