"""Golden cases: read strictly, run against a policy, and counted for what they leave unproven."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardkit.decision import Decision
from guardkit.errors import PolicyError
from guardkit.policy.cases import Case, cases_file, load_cases, run_cases, uncovered
from guardkit.policy.rules import Policy, Rule, StagePolicy, When
from guardkit.taxonomy import Stage
from guardkit.types import Action, Context, Scores
from tests.conftest import WriteFile

POLICY = Policy(
    "mine",
    prompt=StagePolicy(
        rules=(
            Rule("no-threats", When("threat", 0.8), Action.BLOCK),
            Rule("kind-to-children", When("insult", 0.5, audience="children"), Action.REGENERATE),
        )
    ),
)


def cases(write_file: WriteFile, *lines: str) -> tuple[Case, ...]:
    return load_cases(write_file("mine.cases.yaml", "\n".join(["cases:", *lines, ""])))


def problems(write_file: WriteFile, *lines: str) -> list[str | None]:
    return [result.problem for result in run_cases(POLICY, cases(write_file, *lines))]


def test_cases_lie_beside_their_policy() -> None:
    assert cases_file(Path("policies/chat.yaml")) == Path("policies/chat.cases.yaml")


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(
            "- {name: a, stage: prompt, scores: {threat: 0.8},"
            " expect: {action: block, fired: [no-threats]}}",
            id="at-the-threshold",
        ),
        pytest.param(
            "- {name: a, stage: prompt, scores: {threat: 0.79}, expect: {action: allow, fired: []}}",
            id="just-below",
        ),
        pytest.param(
            "- {name: a, stage: prompt, scores: {}, expect: {action: allow}}",
            id="scores-left-out-are-zero",
        ),
        pytest.param(
            "- {name: a, stage: prompt, scores: {insult: 0.9}, context: {audience: children},"
            " expect: {action: regenerate}}",
            id="in-a-context",
        ),
    ],
)
def test_a_case_that_holds_has_no_problem(write_file: WriteFile, line: str) -> None:
    assert problems(write_file, line) == [None]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        pytest.param(
            "- {name: a, stage: prompt, scores: {threat: 0.8}, expect: {action: allow}}",
            "expected action allow, found action block, fired ['no-threats']",
            id="another-action",
        ),
        pytest.param(
            "- {name: a, stage: prompt, scores: {threat: 0.8}, expect: {action: block, fired: []}}",
            "expected fired [], found ['no-threats']",
            id="another-rule",
        ),
        pytest.param(
            "- {name: a, stage: output-text, scores: {threat: 0.8}, expect: {action: block}}",
            "the policy has no stage output-text. It has: prompt",
            id="a-stage-the-policy-lacks",
        ),
    ],
)
def test_a_case_that_fails_says_what_was_found(
    write_file: WriteFile, line: str, problem: str
) -> None:
    assert problems(write_file, line) == [problem]


def test_a_case_with_text_asks_the_check_it_is_given(write_file: WriteFile) -> None:
    asked: list[tuple[Stage, str, Context]] = []

    def check(stage: Stage, text: str, context: Context) -> Decision:
        asked.append((stage, text, context))
        return Decision(action=Action.BLOCK, stage=stage, scores=Scores())

    line = (
        "- {name: a, stage: prompt, text: hello, context: {language: en}, expect: {action: block}}"
    )
    loaded = cases(write_file, line)
    assert [result.problem for result in run_cases(POLICY, loaded, check=check)] == [None]
    assert asked == [(Stage.PROMPT, "hello", Context(language="en"))]


def test_a_case_with_text_is_left_out_without_a_check(write_file: WriteFile) -> None:
    assert (
        problems(write_file, "- {name: a, stage: prompt, text: hi, expect: {action: allow}}") == []
    )


@pytest.mark.parametrize(
    ("line", "path", "problem"),
    [
        pytest.param(
            "- {name: a, stage: prompt, expect: {action: allow}}",
            "cases[0]", "needs either scores or text", id="neither-scores-nor-text",
        ),
        pytest.param(
            "- {name: a, stage: prompt, scores: {}, text: hi, expect: {action: allow}}",
            "cases[0]", "needs either scores or text", id="both-scores-and-text",
        ),
        pytest.param(
            "- {name: a, stage: promt, scores: {}, expect: {action: allow}}",
            "cases[0].stage", "Did you mean 'prompt'?", id="unknown-stage",
        ),
        pytest.param(
            "- {name: a, stage: prompt, scores: {threat: 2}, expect: {action: allow}}",
            "cases[0].scores.threat", "Expected 0 to 1", id="no-probability",
        ),
    ],
)  # fmt: skip
def test_a_fault_in_a_cases_file_has_its_place(
    write_file: WriteFile, line: str, path: str, problem: str
) -> None:
    with pytest.raises(PolicyError) as caught:
        cases(write_file, line)
    (fault,) = caught.value.faults
    assert (fault.line, fault.path) == (2, path)
    assert problem in fault.problem


def case(score: float, *, looks_like: str | None = None) -> str:
    similar = f", looks_like: {looks_like}" if looks_like else ""
    return f"- {{name: a, stage: prompt, scores: {{threat: {score}}}, expect: {{action: allow}}{similar}}}"


def test_a_rule_is_covered_below_at_above_and_by_a_look_alike(write_file: WriteFile) -> None:
    # 0.75 is "just below" 0.80 although 0.80 - 0.75 is a hair above 0.05 in binary.
    lines = [case(0.75), case(0.8), case(0.95), case(0.1, looks_like="no-threats")]
    left = list(uncovered(POLICY, cases(write_file, *lines)))
    assert not [line for line in left if "no-threats" in line]
    assert left == [
        f"prompt: rule kind-to-children has no case '{what}'"
        for what in ("just below", "exactly at", "above", "look-alike")
    ]


@pytest.mark.parametrize(
    ("scores", "missing"),
    [
        pytest.param([0.8, 0.9], ["just below"], id="none-below"),
        pytest.param([0.7, 0.8, 0.9], ["just below"], id="none-near-enough"),
        pytest.param([0.79, 0.9], ["exactly at"], id="none-at"),
        pytest.param([0.79, 0.8], ["above"], id="none-above"),
    ],
)
def test_what_the_cases_leave_unproven_is_named(
    write_file: WriteFile, scores: list[float], missing: list[str]
) -> None:
    policy = Policy("p", prompt=StagePolicy(rules=(Rule("r", When("threat", 0.8), Action.BLOCK),)))
    lines = [*map(case, scores), case(0.1, looks_like="r")]
    assert list(uncovered(policy, cases(write_file, *lines))) == [
        f"prompt: rule r has no case '{what}'" for what in missing
    ]


def test_a_case_without_the_topic_says_nothing_of_a_rule_beside_it(write_file: WriteFile) -> None:
    rule = Rule("r", When("threat", 0.8, topic="school"), Action.BLOCK)
    policy = Policy("p", prompt=StagePolicy(rules=(rule,)))
    line = "- {name: a, stage: prompt, scores: {threat: %s, school: %s}, expect: {action: allow}}"
    beside = [line % (score, 1) for score in (0.79, 0.8, 0.9)]
    apart = [line % (score, 0) for score in (0.79, 0.8, 0.9)]
    look_alike = case(0.1, looks_like="r")
    assert list(uncovered(policy, cases(write_file, *beside, look_alike))) == []
    assert len(list(uncovered(policy, cases(write_file, *apart, look_alike)))) == 3


@pytest.mark.parametrize(
    ("threshold", "score"),
    [pytest.param(0.0, 0.5, id="nothing-lies-below-0"), pytest.param(1.0, 0.96, id="nor-above-1")],
)
def test_a_case_that_cannot_be_is_not_asked_for(
    write_file: WriteFile, threshold: float, score: float
) -> None:
    rule = Rule("r", When("threat", threshold), Action.BLOCK)
    policy = Policy("p", prompt=StagePolicy(rules=(rule,)))
    lines = [case(threshold), case(score), case(0.1, looks_like="r")]
    assert list(uncovered(policy, cases(write_file, *lines))) == []
