"""Every shipped policy does what its cases say, with the shipped model."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardkit import Guard
from guardkit.decision import Decision
from guardkit.policy.cases import cases_file, load_cases, run_cases, uncovered
from guardkit.policy.load import list_policies, load_policy
from guardkit.taxonomy import Stage
from guardkit.types import Context

_POLICIES = {name: file for name, file in list_policies().items() if cases_file(file).is_file()}


@pytest.mark.parametrize("name", _POLICIES)
def test_every_case_of_a_shipped_policy_holds(name: str) -> None:
    file = _POLICIES[name]
    policy = load_policy(file)
    guard = Guard(policy)

    def check(stage: Stage, text: str, context: Context) -> Decision:
        if stage is Stage.PROMPT:
            return guard.check_prompt(text, context)
        return guard.check_output(text=text, context=context)

    results = list(run_cases(policy, load_cases(cases_file(file)), check=check))
    assert results
    assert [(r.case.name, r.problem) for r in results if r.problem] == []


@pytest.mark.parametrize("name", _POLICIES)
def test_every_rule_of_a_shipped_policy_is_proven_by_cases(name: str) -> None:
    file = _POLICIES[name]
    assert list(uncovered(load_policy(file), load_cases(cases_file(file)))) == []


def test_the_promised_presets_are_shipped() -> None:
    assert {"text-to-image", "chat", "kids", "research"} <= set(_POLICIES)


def test_research_measures_and_blocks_nothing() -> None:
    decision = Guard.from_preset("research").check_prompt("I will find you and kill you")
    assert decision.action.value == "allow"
    assert decision.fired
    assert decision.shadow is not None


def test_policy_files_name_the_schema_beside_them() -> None:
    for file in _POLICIES.values():
        assert (Path(file).parent / "policy.schema.json").is_file()
