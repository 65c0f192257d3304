"""Every shipped policy does what its cases say, with the shipped model."""

from __future__ import annotations

import pytest

from guardkit import Action, Guard
from guardkit.cli.main import main
from guardkit.policy.cases import cases_file
from guardkit.policy.load import list_policies

_POLICIES = {name: file for name, file in list_policies().items() if cases_file(file).is_file()}


@pytest.mark.parametrize("name", _POLICIES)
def test_every_case_holds_and_every_rule_is_proven(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", "test", str(_POLICIES[name])]) == 0, capsys.readouterr().out


def test_the_promised_presets_are_shipped() -> None:
    assert {"text-to-image", "chat", "kids", "research"} <= set(_POLICIES)


def test_research_measures_and_blocks_nothing() -> None:
    decision = Guard.from_preset("research").check_prompt("I will find you and kill you")
    assert decision.action is Action.ALLOW
    assert decision.shadow is Action.BLOCK
    assert decision.fired


def test_the_schema_that_policy_files_name_stands_beside_them() -> None:
    for file in _POLICIES.values():
        assert (file.parent / "policy.schema.json").is_file()
