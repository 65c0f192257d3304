"""The decision: strictest fired rule, thresholds inclusive, failure never permission."""

from __future__ import annotations

from typing import Literal

import pytest

from guardkit.policy.decide import decide
from guardkit.policy.rules import Policy, Rule, StagePolicy, When
from guardkit.taxonomy import Stage
from guardkit.types import Action, Context, Scores, Status

ScoreMap = dict[str, float | None]
Failure = Literal["block", "regenerate", "allow"]

CUT = Rule("cut-insults", When("insult", 0.5), Action.EDIT, "cut")
AGAIN = Rule("again-insults", When("insult", 0.7), Action.REGENERATE)
STOP = Rule("stop-threats", When("threat", 0.8), Action.BLOCK)


def policy_of(
    *rules: Rule, on_failure: Failure = "block", on_timeout: Failure | None = None
) -> Policy:
    prompt = StagePolicy(rules=rules)
    return Policy("mine", prompt=prompt, on_failure=on_failure, on_timeout=on_timeout)


@pytest.mark.parametrize(
    ("scores", "action", "fired"),
    [
        pytest.param({"insult": 0.49, "threat": 0.0}, Action.ALLOW, [], id="below"),
        pytest.param({"insult": 0.50, "threat": 0.0}, Action.EDIT, ["cut-insults"], id="at"),
        pytest.param({"insult": 0.51, "threat": 0.0}, Action.EDIT, ["cut-insults"], id="above"),
        pytest.param(
            {"insult": 0.7, "threat": 0.0}, Action.REGENERATE, ["again-insults", "cut-insults"],
            id="two-rules-strictest-first",
        ),
        pytest.param(
            {"insult": 1.0, "threat": 0.8}, Action.BLOCK,
            ["stop-threats", "again-insults", "cut-insults"], id="all",
        ),
        pytest.param(
            {"insult": 0.0, "threat": 0.0, "sexual": 1.0}, Action.ALLOW, [], id="no-rule-asks"
        ),
    ],
)  # fmt: skip
def test_the_strictest_fired_rule_wins(scores: ScoreMap, action: Action, fired: list[str]) -> None:
    decision = decide(policy_of(CUT, AGAIN, STOP), Stage.PROMPT, Scores(scores))
    assert decision.action is action
    assert [one.rule for one in decision.fired] == fired
    assert len(decision.reasons) == len(fired)
    assert decision.status is Status.OK


@pytest.mark.parametrize(
    ("scores", "action"),
    [
        pytest.param({"sexual": 0.4, "children": 1.0}, Action.BLOCK, id="both"),
        pytest.param({"sexual": 0.4, "children": 0.0}, Action.ALLOW, id="no-such-word"),
        pytest.param({"sexual": 0.4}, Action.ALLOW, id="not-looked-up"),
        pytest.param({"sexual": 0.3, "children": 1.0}, Action.ALLOW, id="below"),
        pytest.param({"sexual": 0.4, "children": None}, Action.BLOCK, id="lookup-failed"),
        pytest.param({"sexual": None, "children": 0.0}, Action.BLOCK, id="score-failed"),
    ],
)
def test_a_rule_beside_a_topic_needs_both(scores: ScoreMap, action: Action) -> None:
    rule = Rule("children", When("sexual", 0.4, topic="children"), Action.BLOCK)
    assert decide(policy_of(rule), Stage.PROMPT, Scores(scores)).action is action


def test_a_fired_rule_carries_the_numbers_that_made_it_fire() -> None:
    decision = decide(policy_of(CUT), Stage.PROMPT, Scores({"insult": 0.75}))
    (fired,) = decision.fired
    assert (fired.category, fired.score, fired.threshold) == ("insult", 0.75, 0.5)
    assert (fired.action, fired.using) == (Action.EDIT, "cut")
    assert decision.reasons == ("cut-insults: insult scored 0.75, at least 0.50: edit with cut",)


@pytest.mark.parametrize(
    ("scores", "status"),
    [
        pytest.param({"insult": None, "threat": 0.0}, Status.DEGRADED, id="one-none"),
        pytest.param({"threat": 0.0}, Status.DEGRADED, id="one-absent"),
        pytest.param({"insult": None, "threat": None}, Status.ERROR, id="all-none"),
        pytest.param({}, Status.ERROR, id="all-absent"),
        pytest.param(
            {"insult": 0.0, "threat": 0.0, "sexual": None},
            Status.DEGRADED,
            id="none-without-a-rule",
        ),
    ],
)
@pytest.mark.parametrize(
    ("on_failure", "action"),
    [
        pytest.param("block", Action.BLOCK, id="block"),
        pytest.param("regenerate", Action.REGENERATE, id="regenerate"),
        pytest.param("allow", Action.ALLOW, id="allow"),
    ],
)
def test_what_was_not_measured_is_answered_by_on_failure(
    scores: ScoreMap, status: Status, on_failure: Failure, action: Action
) -> None:
    policy = policy_of(CUT, STOP, on_failure=on_failure)
    decision = decide(policy, Stage.PROMPT, Scores(scores))
    assert (decision.action, decision.status) == (action, status)


def test_a_failure_that_allows_does_not_hide_a_rule_that_fired() -> None:
    policy = policy_of(CUT, STOP, on_failure="allow")
    decision = decide(policy, Stage.PROMPT, Scores({"insult": None, "threat": 0.9}))
    assert decision.action is Action.BLOCK


@pytest.mark.parametrize(
    ("on_timeout", "action"),
    [
        pytest.param("allow", Action.ALLOW, id="said"),
        pytest.param(None, Action.BLOCK, id="as-on-failure"),
    ],
)
def test_what_came_too_late_is_answered_by_on_timeout(
    on_timeout: Failure | None, action: Action
) -> None:
    policy = policy_of(CUT, on_failure="block", on_timeout=on_timeout)
    decision = decide(policy, Stage.PROMPT, Scores({"insult": None}), late=["insult"])
    assert decision.action is action
    assert "ran out of time" in decision.reasons[0]


@pytest.mark.parametrize(
    ("when", "there", "elsewhere"),
    [
        pytest.param(
            When("insult", 0.5, language="en"), Context(language="en"), Context(language="de"),
            id="language",
        ),
        pytest.param(
            When("insult", 0.5, audience="x"), Context(audience="x"), Context(audience="y"),
            id="audience",
        ),
        pytest.param(
            When("insult", 0.5, speaker="x"), Context(speaker="x"), Context(listener="x"),
            id="speaker",
        ),
        pytest.param(
            When("insult", 0.5, listener="x"), Context(listener="x"), Context(speaker="x"),
            id="listener",
        ),
        pytest.param(
            When("insult", 0.5, situation="x"), Context(situation="x"), Context(situation="y"),
            id="situation",
        ),
    ],
)  # fmt: skip
def test_a_rule_fires_only_in_the_context_it_names(
    when: When, there: Context, elsewhere: Context
) -> None:
    policy = policy_of(Rule("here", when, Action.BLOCK))
    scores = Scores({"insult": 0.9})
    answers = [
        decide(policy, Stage.PROMPT, scores, context=context).action
        for context in (there, elsewhere, Context())
    ]
    assert answers == [Action.BLOCK, Action.ALLOW, Action.ALLOW]


def test_a_category_asked_for_in_another_context_need_not_be_measured() -> None:
    rule = Rule("here", When("insult", 0.5, audience="children"), Action.BLOCK)
    decision = decide(policy_of(rule), Stage.PROMPT, Scores())
    assert (decision.action, decision.status) == (Action.ALLOW, Status.OK)


def test_guidance_names_what_to_steer_away_from() -> None:
    scores = Scores({"insult": 0.75, "threat": 0.1})
    decision = decide(policy_of(CUT, AGAIN, STOP), Stage.PROMPT, scores)
    assert decision.guidance is not None
    assert decision.guidance.categories == {"insult": 0.75}


@pytest.mark.parametrize("score", [pytest.param(0.5, id="edit"), pytest.param(0.0, id="allow")])
def test_there_is_no_guidance_without_a_regeneration(score: float) -> None:
    assert decide(policy_of(CUT), Stage.PROMPT, Scores({"insult": score})).guidance is None


def test_a_stage_without_rules_allows() -> None:
    assert decide(policy_of(), Stage.PROMPT, Scores({"insult": 1.0})).action is Action.ALLOW
