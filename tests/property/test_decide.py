"""Laws of decisions: order is irrelevant, and more harm or more rules never relax them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guardkit.policy.decide import decide
from guardkit.policy.rules import Policy, Rule, StagePolicy
from guardkit.taxonomy import Stage
from guardkit.types import Action, Context, Scores
from tests.property.policies import CATEGORIES, failures, probabilities, rule_lists, rules, scores

Rules = tuple[Rule, ...]
orders = rule_lists.flatmap(lambda some: st.tuples(st.just(some), st.permutations(some)))
steps_up = st.tuples(probabilities, probabilities).map(sorted)
contexts = st.sampled_from([Context(), Context(audience="children")])


def policy_of(some: Rules, on_failure: str = "block") -> Policy:
    return Policy("drawn", prompt=StagePolicy(rules=some), on_failure=on_failure)  # type: ignore[arg-type]


def action_of(some: Rules, measured: Scores, context: Context, on_failure: str) -> Action:
    return decide(policy_of(some, on_failure), Stage.PROMPT, measured, context=context).action


@given(orders, scores, contexts, failures)
def test_the_order_of_rules_is_irrelevant(
    order: tuple[Rules, list[Rule]], measured: Scores, context: Context, on_failure: str
) -> None:
    one, two = (
        decide(policy_of(tuple(some), on_failure), Stage.PROMPT, measured, context=context)
        for some in order
    )
    assert one == two


@given(rule_lists, scores, contexts, failures, st.sampled_from(CATEGORIES), steps_up)
def test_raising_a_score_never_relaxes_the_action(
    some: Rules,
    measured: Scores,
    context: Context,
    on_failure: str,
    category: str,
    scores_of_it: list[float],
) -> None:
    low, high = (
        action_of(some, Scores({**measured, category: score}), context, on_failure)
        for score in scores_of_it
    )
    assert high >= low


@given(rule_lists, rules(), scores, contexts, failures)
def test_adding_a_rule_never_relaxes_the_action(
    some: Rules, another: Rule, measured: Scores, context: Context, on_failure: str
) -> None:
    assert action_of((*some, another), measured, context, on_failure) >= action_of(
        some, measured, context, on_failure
    )


@given(rule_lists.filter(bool), scores, contexts, failures)
def test_the_same_rule_twice_changes_nothing_of_the_action(
    some: Rules, measured: Scores, context: Context, on_failure: str
) -> None:
    twin = Rule("twin-of-the-first", some[0].when, some[0].action, some[0].using)
    assert action_of((*some, twin), measured, context, on_failure) is action_of(
        some, measured, context, on_failure
    )


@given(rule_lists, scores, contexts, failures, st.sampled_from(CATEGORIES))
def test_a_score_that_failed_never_relaxes_below_on_failure(
    some: Rules, measured: Scores, context: Context, on_failure: str, category: str
) -> None:
    failed = Scores({**measured, category: None})
    assert action_of(some, failed, context, on_failure) >= Action(on_failure)


@given(rule_lists, scores, contexts, failures)
def test_the_action_is_the_strictest_of_what_fired_and_what_failed(
    some: Rules, measured: Scores, context: Context, on_failure: str
) -> None:
    decision = decide(policy_of(some, on_failure), Stage.PROMPT, measured, context=context)
    assert all(decision.action >= fired.action for fired in decision.fired)
    assert all(fired.score >= fired.threshold for fired in decision.fired)
    assert len(decision.reasons) >= len(decision.fired)
