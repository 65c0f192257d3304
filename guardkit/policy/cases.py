"""Golden cases: what a policy must do, beside it in `<policy>.cases.yaml`.

A case with `scores` is pure: the scores go straight to `decide`, categories left out count as 0.
A case with `text` calls the `check` function handed in, so this room needs no model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import Struct

from guardkit.decision import Decision
from guardkit.errors import Fault, PolicyError
from guardkit.policy.decide import decide
from guardkit.policy.rules import Name, Policy, Probability, Rule
from guardkit.policy.shape import check_shape
from guardkit.policy.tree import read_tree
from guardkit.taxonomy import Stage
from guardkit.types import Action, Context, Scores

# A score this little below a threshold is "just below"; 0.80 - 0.75 is a hair above 0.05 in binary.
_CLOSE = 0.05 + 1e-9

Check = Callable[[Stage, str, Context], Decision]


class CaseContext(Struct, frozen=True, forbid_unknown_fields=True):
    """The context of a case; fields as in `guardkit.Context`."""

    language: str | None = None
    audience: str | None = None
    speaker: str | None = None
    listener: str | None = None
    situation: str | None = None


class Expect(Struct, frozen=True, forbid_unknown_fields=True):
    """What must come out."""

    action: Action
    fired: tuple[Name, ...] | None = None
    """Exactly these rules, in any order; left out: not looked at."""


class Case(Struct, frozen=True, forbid_unknown_fields=True):
    """One sentence about a policy, and its proof."""

    name: str
    stage: Stage
    expect: Expect
    scores: dict[Name, Probability] | None = None
    text: str | None = None
    context: CaseContext | None = None
    looks_like: Name | None = None
    """The rule that a harmless text resembles and must not fire."""


class _CasesFile(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class CaseResult:
    """A case and what came of it; `problem` is None when it held."""

    case: Case
    problem: str | None = None


def cases_file(policy_file: Path) -> Path:
    """Where the cases of a policy are kept."""
    return policy_file.with_suffix(".cases.yaml")


def load_cases(path: Path) -> tuple[Case, ...]:
    """Read a cases file.

    Raises:
        PolicyError: The file has faults; all of them are in `faults`.
    """
    faults: list[Fault] = []
    tree = read_tree(path, faults)
    data = check_shape(tree, _CasesFile, faults)
    if not faults:
        for index, case in enumerate(data["cases"]):
            if (case.get("scores") is None) == (case.get("text") is None):
                node = tree.at(("cases", index))
                faults.append(node.fault(f"cases[{index}]", "needs either scores or text."))
    if faults:
        raise PolicyError(faults)
    return msgspec.convert(data, _CasesFile).cases


def run_cases(
    policy: Policy, cases: Iterable[Case], *, check: Check | None = None
) -> Iterator[CaseResult]:
    """Run cases against a policy.

    Args:
        policy: The policy under test.
        cases: Its cases.
        check: Checks a text (a `Guard` of the same policy); None leaves out the cases with text.
    """
    for case in cases:
        if case.stage not in policy.stages:
            stages = ", ".join(policy.stages) or "none"
            yield CaseResult(case, f"the policy has no stage {case.stage.value}. It has: {stages}")
        elif case.scores is not None:
            yield _judge(case, _decide(policy, case))
        elif check is not None:
            yield _judge(case, check(case.stage, case.text or "", _context(case)))


def uncovered(policy: Policy, cases: Iterable[Case]) -> Iterator[str]:
    """What the cases leave unproven: below, at and above every threshold, and a look-alike a rule."""
    cases = list(cases)
    for stage, stage_policy in policy.stages.items():
        for rule in stage_policy.rules:
            scores = list(_scores_for(rule, stage, cases))
            threshold = rule.when.at_least
            tests = {
                "just below": any(0 < threshold - score <= _CLOSE for score in scores)
                or threshold == 0,
                "exactly at": threshold in scores,
                "above": any(score > threshold for score in scores) or threshold == 1,
                "look-alike": any(case.looks_like == rule.name for case in cases),
            }
            for what, is_there in tests.items():
                if not is_there:
                    yield f"{stage.value}: rule {rule.name} has no case '{what}'"


def _scores_for(rule: Rule, stage: Stage, cases: Iterable[Case]) -> Iterator[float]:
    for case in cases:
        if case.stage is stage and case.scores and rule.when.category in case.scores:
            topic = rule.when.topic
            if topic is None or case.scores.get(topic):
                yield case.scores[rule.when.category]


def _context(case: Case) -> Context:
    return Context(**msgspec.structs.asdict(case.context)) if case.context else Context()


def _decide(policy: Policy, case: Case) -> Decision:
    named = {rule.when.category for rule in policy.stages[case.stage].rules}
    scores: dict[str, float | None] = dict.fromkeys(named, 0.0)
    scores |= case.scores or {}
    return decide(policy, case.stage, Scores(scores), context=_context(case))


def _judge(case: Case, decision: Decision) -> CaseResult:
    fired = sorted(one.rule for one in decision.fired)
    if decision.action is not case.expect.action:
        found = f"action {decision.action.value}, fired {fired or 'nothing'}"
        return CaseResult(case, f"expected action {case.expect.action.value}, found {found}")
    if case.expect.fired is not None and sorted(case.expect.fired) != fired:
        return CaseResult(case, f"expected fired {sorted(case.expect.fired)}, found {fired}")
    return CaseResult(case)
