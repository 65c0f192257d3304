"""Scores to a decision: pure, no I/O, no clock, no model."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from guardkit.decision import Decision
from guardkit.policy.rules import Policy, Rule, When
from guardkit.taxonomy import Stage, is_harm
from guardkit.types import Action, Context, Fired, Guidance, Scores, Status

_NO_CONTEXT = Context()


def decide(
    policy: Policy,
    stage: Stage,
    scores: Scores,
    *,
    context: Context = _NO_CONTEXT,
    failed: Collection[str] = (),
    late: Collection[str] = (),
    foreign: Collection[str] = (),
) -> Decision:
    """Apply the rules of one stage: the strictest rule that fires wins, their order is irrelevant.

    Args:
        policy: A validated policy that has the stage.
        stage: Where in the conversation.
        scores: What was measured. A rule whose category is None or absent cannot be judged: the
            policy's `on_failure` (or `on_timeout`) then counts beside the rules that fired.
        context: Rules may ask for it.
        failed: Categories of which a scorer failed, even if another one scored them.
        late: Likewise, where a scorer ran out of time: `on_timeout` counts instead.
        foreign: Categories that were not scored, as no scorer knows the language of the text:
            `languages.low_evidence` counts.

    >>> from guardkit.policy.rules import Rule, StagePolicy, When
    >>> rule = Rule("no-threats", When("threat", 0.8), Action.BLOCK)
    >>> policy = Policy("demo", prompt=StagePolicy(rules=(rule,)))
    >>> decide(policy, Stage.PROMPT, Scores({"threat": 0.8})).action
    <Action.BLOCK: 'block'>
    """
    stage_policy = policy.stage(stage)
    known = dict(scores.items())
    fired: list[Fired] = []
    tier = policy.languages.tier_of(context.language)
    unmeasured = {*failed, *late, *(category for category, score in known.items() if score is None)}
    for rule in stage_policy.rules if stage_policy else ():
        score = known.get(rule.when.category)
        if score is not None and score < rule.when.at_least:
            continue  # first: most rules of most checks end here
        if applies(rule.when, context, tier) and _is_beside(rule.when.topic, known):
            if score is None:
                unmeasured.add(rule.when.category)
            else:
                fired.append(_fire(rule, score))
    fired.sort(key=lambda one: (_rank(one.action), one.rule))
    actions = [one.action for one in fired]
    reasons = [_reason(one) for one in fired]
    for category in sorted(unmeasured):
        why, answer = _shortfall(policy, category in late, category in foreign)
        actions.append(Action(answer))
        reasons.append(f"{category} was not measured ({why}): {answer}")
    action = max(actions, default=Action.ALLOW)
    return Decision(
        action=action,
        stage=stage,
        scores=scores,
        fired=tuple(fired),
        reasons=tuple(reasons),
        status=_status(scores, unmeasured),
        guidance=_guidance(fired) if action is Action.REGENERATE else None,
    )


def stricter(policy: Policy, stage: Stage, share: float) -> Policy:
    """The policy with the thresholds of a stage's rules on harm at a share of what they were.

    >>> from guardkit.policy.rules import Rule, StagePolicy, When
    >>> rule = Rule("no-threats", When("threat", 0.8), Action.BLOCK)
    >>> strict = stricter(Policy("demo", prompt=StagePolicy(rules=(rule,))), Stage.PROMPT, 0.25)
    >>> strict.prompt.rules[0].when.at_least
    0.2
    """
    stage_policy = policy.stage(stage)
    if stage_policy is None:
        return policy
    rules = tuple(
        replace(rule, when=replace(rule.when, at_least=share * rule.when.at_least))
        if is_harm(rule.when.category)
        else rule
        for rule in stage_policy.rules
    )
    return replace(policy, **{stage.name.lower(): replace(stage_policy, rules=rules)})


def usable(policy: Policy, decision: Decision, original: object, *, name: str) -> dict[str, Any]:
    """The fields of a decision that say what to use next.

    Under `mode: shadow` everything passes, and the decision says what would have been done.

    Args:
        policy: Its mode counts.
        decision: A decision whose edited text or image, if there is one, is in place.
        original: What was checked.
        name: Of its field: `text`, `image` or `video`.
    """
    if policy.mode == "shadow":
        passed = {name: original, "edits": (), "vault": None}
        return {"action": Action.ALLOW, "shadow": decision.action, **passed}
    if decision.action is Action.EDIT:
        return {}
    is_usable = decision.action is Action.ALLOW or (
        decision.action is Action.REGENERATE and decision.stage is Stage.PROMPT
    )
    return {name: original if is_usable else None}


def applies(when: When, context: Context, language_tier: str | None) -> bool:
    """Whether a rule's demands on the context are met; a rule without any always applies."""
    return (
        when.language in (None, context.language)
        and when.language_tier in (None, language_tier)
        and when.audience in (None, context.audience)
        and when.speaker in (None, context.speaker)
        and when.listener in (None, context.listener)
        and when.situation in (None, context.situation)
    )


def _is_beside(topic: str | None, scores: Mapping[str, float | None]) -> bool:
    """Whether a topic that a rule asks for was found; one that could not be looked up counts as found."""
    return topic is None or scores.get(topic, 0.0) != 0


def _shortfall(policy: Policy, is_late: bool, is_foreign: bool) -> tuple[str, str]:
    """Why a category was not measured, and what the policy wants done then."""
    if is_late:
        return "its scorer ran out of time", policy.on_timeout or policy.on_failure
    if is_foreign:
        return "no scorer knows the language", policy.languages.low_evidence or policy.on_failure
    return "its scorer failed", policy.on_failure


def _fire(rule: Rule, score: float) -> Fired:
    when = rule.when
    return Fired(rule.name, when.category, score, when.at_least, rule.action, rule.using)


def _rank(action: Action) -> int:
    return sum(action < other for other in Action)


def _reason(fired: Fired) -> str:
    using = f" with {fired.using}" if fired.using else ""
    return (
        f"{fired.rule}: {fired.category} scored {fired.score:.2f}, "
        f"at least {fired.threshold:.2f}: {fired.action.value}{using}"
    )


def _status(scores: Scores, unmeasured: Iterable[str]) -> Status:
    if not unmeasured:
        return Status.OK
    is_blind = all(score is None for score in scores.values())
    return Status.ERROR if is_blind else Status.DEGRADED


def _guidance(fired: Iterable[Fired]) -> Guidance:
    steer = {one.category: one.score for one in fired if one.action >= Action.REGENERATE}
    return Guidance(categories=steer)
