"""Thresholds from a team's own labelled scores, written into the text of a policy.

Pure: scores and a file's text come in, a text goes out that differs in the thresholds alone. The cases
that go with it are made in `tune_cases.py`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from guardkit.errors import Fault, PolicyError
from guardkit.metrics.shares import wilson_interval
from guardkit.policy.rules import Policy, Rule, StagePolicy
from guardkit.policy.tree import Node
from guardkit.taxonomy import Stage

_STEPS = 100  # thresholds have two decimals
_END = 0.001  # logits of 0 and 1 are infinite: such a threshold counts as this far inside


@dataclass(frozen=True, slots=True)
class Share:
    """A share and its 95 % Wilson interval, each in [0, 1]."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Point:
    """What a threshold does to labelled texts; a share is None when there is nothing to count."""

    threshold: float
    fpr: Share | None
    """Of the negatives, those that score at or above it."""
    recall: Share | None
    """Of the positives."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """One category, before and after."""

    category: str
    negatives: int
    positives: int
    before: Point
    """At the lowest threshold that the policy had."""
    after: Point


def wilson(hits: int, count: int) -> Share | None:
    """A share and its Wilson interval; None when there is nothing to count.

    >>> wilson(0, 0) is None
    True
    >>> share = wilson(50, 100)
    >>> f"{share.value} [{share.low:.4f}, {share.high:.4f}]"
    '0.5 [0.4038, 0.5962]'
    """
    if not count:
        return None
    return Share(hits / count, *wilson_interval(hits, count))


def measure_at(threshold: float, negatives: Sequence[float], positives: Sequence[float]) -> Point:
    """False-positive rate and recall of `score >= threshold`."""
    wrong, caught = (
        sum(score >= threshold for score in scores) for scores in (negatives, positives)
    )
    return Point(threshold, wilson(wrong, len(negatives)), wilson(caught, len(positives)))


def lowest_threshold(negatives: Iterable[float], max_fpr: float) -> float | None:
    """The lowest threshold of two decimals at which at most `max_fpr` of the negatives fire.

    Args:
        negatives: Scores in [0, 1] of texts that are none, at least one.
        max_fpr: In (0, 1).

    Returns:
        In [0.01, 1]; None when too many score 1, so that no threshold does it.

    >>> lowest_threshold([0.1, 0.2, 0.3, 0.4], 0.25)  # `score >= 0.3` would fire on two of four
    0.31
    """
    ranked = sorted(negatives)
    for step in range(1, _STEPS + 1):
        wrong = len(ranked) - bisect_left(ranked, step / _STEPS)
        if wrong / len(ranked) <= max_fpr:
            return step / _STEPS
    return None


# --- rules ----------------------------------------------------------------------------------------


def measuring_stage(policy: Policy) -> StagePolicy | None:
    """The stage whose scorers measure the labelled texts: prompts, else answers."""
    return policy.prompt or policy.output_text


def rules_on(policy: Policy, category: str) -> list[tuple[Stage, Rule]]:
    """The rules on a category, at the stages that share a scorer with the measuring one."""
    measuring = measuring_stage(policy)
    scorers = set(measuring.scorers if measuring else ())
    return [
        (stage, rule)
        for stage, stage_policy in policy.stages.items()
        for rule in stage_policy.rules
        if rule.when.category == category and scorers & set(stage_policy.scorers)
    ]


def move_rules(policy: Policy, category: str, threshold: float) -> Policy:
    """Give the lowest rule on a category a threshold, and move the others as far in logit space.

    Moved thresholds are rounded up to two decimals; the order of the rules stays.
    """
    lowest = min(rule.when.at_least for _, rule in rules_on(policy, category))

    def move(rule: Rule) -> Rule:
        at_least = moved(rule.when.at_least, lowest=lowest, threshold=threshold)
        return msgspec.structs.replace(
            rule, when=msgspec.structs.replace(rule.when, at_least=at_least)
        )

    tuned = {(stage, rule.name) for stage, rule in rules_on(policy, category)}
    stages = {
        stage.name.lower(): msgspec.structs.replace(
            stage_policy,
            rules=tuple(
                move(rule) if (stage, rule.name) in tuned else rule for rule in stage_policy.rules
            ),
        )
        for stage, stage_policy in policy.stages.items()
    }
    return msgspec.structs.replace(policy, **stages)


def moved(at_least: float, *, lowest: float, threshold: float) -> float:
    """Where a threshold goes when the lowest one of its category goes to `threshold`.

    >>> moved(0.5, lowest=0.2, threshold=0.5)  # odds of 1/4 became 1: times four
    0.8
    """
    if at_least == lowest:
        return threshold
    if at_least == 1 or threshold == lowest:
        return at_least
    logit = _logit(at_least) + _logit(threshold) - _logit(lowest)
    steps = math.ceil(round(_STEPS / (1 + math.exp(-logit)), 6))
    return max(threshold, min(steps, _STEPS - 1) / _STEPS)  # at 1 the rule would be switched off


def _logit(p: float) -> float:
    p = min(max(p, _END), 1 - _END)
    return math.log(p / (1 - p))


# --- the policy's file ----------------------------------------------------------------------------


def threshold_node(tree: Node, stage: Stage, rule: str) -> Node | None:
    """Where a file writes the threshold of a rule; None when the rule is not in this file."""
    for node in tree.at((stage.value, "rules")).items or ():
        name = (node.mapping or {}).get("name")
        if name is not None and name.scalar == rule:
            return node.at(("when", "at_least"))
    return None


def edit_thresholds(text: str, tree: Node, before: Policy, after: Policy) -> str:
    """Write the thresholds that differ between two policies into the text of a file.

    Args:
        text: The whole file.
        tree: The same file, read.
        before: What it says, with what it extends.
        after: The same rules at other thresholds.

    Raises:
        PolicyError: A rule to change is not in this file, or not where the tree has it.
    """
    edits: list[tuple[int, str, str]] = []
    for stage, stage_policy in before.stages.items():
        for old, new in zip(stage_policy.rules, after.stages[stage].rules, strict=True):
            if old.when.at_least != new.when.at_least:
                node = threshold_node(tree, stage, old.name)
                start, found = _scalar(text, node or tree, old.name)
                edits.append((start, found, f"{new.when.at_least:.2f}"))
    for start, found, written in sorted(edits, reverse=True):
        text = text[:start] + written + text[start + len(found) :]
    return text


def _scalar(text: str, node: Node, rule: str) -> tuple[int, str]:
    """Offset and text of a threshold; lines end where YAML ends them, a mark in front is no column."""
    lines = text.splitlines(keepends=True)
    start = sum(map(len, lines[: node.line - 1])) + node.column - 1
    start += node.line == 1 and text.startswith("\ufeff")
    if node.scalar is None or text[start : start + len(node.scalar)] != node.scalar:
        problem = f"the threshold of '{rule}' is not here. Write the rule out in this file."
        raise PolicyError([node.fault("", problem)])
    return start, node.scalar


def inherited(policy: Policy, tree: Node, category: str) -> list[Fault]:
    """The rules on a category that a file has only from the one it extends."""
    return [
        tree.at(("extends",)).fault(
            f"{stage.value}.rules",
            f"'{rule.name}' on '{category}' stands in the policy that this one extends. "
            "Copy the rule into this file, or tune the file that holds it.",
        )
        for stage, rule in rules_on(policy, category)
        if threshold_node(tree, stage, rule.name) is None
    ]
