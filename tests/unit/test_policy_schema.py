"""The JSON Schema for editors, judged by the jsonschema library."""

from __future__ import annotations

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest

from guardkit.policy.rules import Limits, Policy, Rule, StagePolicy, When, json_schema
from guardkit.types import Action

GOOD = {
    "policy": "mine",
    "version": 2,
    "extends": "base.yaml",
    "prompt": {
        "scorers": ["blocklist", "text-safety"],
        "editors": ["cut", {"name": "redact", "when": "always"}],
        "rules": [
            {
                "name": "no-insults",
                "when": {"category": "insult", "at_least": 0.5, "audience": "children"},
                "action": "edit",
                "using": "cut",
            }
        ],
        "after_edit": "regenerate",
    },
    "output-text": {"scorers": ["text-safety"]},
    "on_failure": "block",
    "timeout_ms": 250,
    "limits": {"edits": 1, "max_characters": 8000, "too_long": "block"},
    "mode": "shadow",
    "lists": {"election": {"block": ["vote"], "allow_file": "fine.txt"}},
    "models": {"text-safety": {"backend": "onnx", "provider": "cpu", "threads": 1}},
}


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_the_schema_accepts_a_good_policy() -> None:
    jsonschema.validate(GOOD, json_schema())
    msgspec.convert(GOOD, Policy)  # and the types agree


def test_the_schema_accepts_what_a_policy_dumps() -> None:
    rule = Rule("r", When("insult", 0.5), Action.BLOCK)
    policy = Policy("mine", prompt=StagePolicy(rules=(rule,)), limits=Limits(edits=0))
    jsonschema.validate(msgspec.json.decode(msgspec.json.encode(policy)), json_schema())


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"polcy": "x"}, id="unknown-key"),
        pytest.param({"policy": "Not Kebab"}, id="bad-name"),
        pytest.param({"policy": None}, id="no-name"),
        pytest.param({"version": 0}, id="version-below-one"),
        pytest.param({"on_failure": "edit"}, id="edit-is-no-answer-to-failure"),
        pytest.param({"mode": "off"}, id="unknown-mode"),
        pytest.param({"limits": {"edits": 4}}, id="too-many-edit-rounds"),
        pytest.param({"prompt": {"rules": [{"name": "a", "action": "block"}]}}, id="no-condition"),
        pytest.param(
            {
                "prompt": {
                    "rules": [
                        {
                            "name": "a",
                            "when": {"category": "insult", "at_least": 1.5},
                            "action": "block",
                        }
                    ]
                }
            },
            id="threshold-above-one",
        ),
        pytest.param({"models": {"text-safety": {"backend": "onxx"}}}, id="unknown-backend"),
    ],
)
def test_the_schema_rejects_a_bad_policy(change: dict[str, object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**GOOD, **change}, json_schema())
