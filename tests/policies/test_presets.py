"""Every shipped policy does what its cases say, with the shipped model."""

from __future__ import annotations

from typing import Literal

import pytest
from msgspec.structs import replace
from PIL import Image

from guardkit import Action, Guard
from guardkit.artifacts import RunnerOptions
from guardkit.cli.main import main
from guardkit.export.image_parity import drawn_crops
from guardkit.policy.cases import cases_file
from guardkit.policy.load import list_policies, load_preset
from guardkit.types import Status
from tests.pictures import PORTRAIT, encoded

_POLICIES = {name: file for name, file in list_policies().items() if cases_file(file).is_file()}


_NAMES = [
    pytest.param(name, marks=pytest.mark.languages if name == "multilingual" else ())
    for name in _POLICIES
]


@pytest.mark.parametrize("name", _NAMES)
def test_every_case_holds_and_every_rule_is_proven(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", "test", str(_POLICIES[name])]) == 0, capsys.readouterr().out


def test_the_promised_presets_are_shipped() -> None:
    promised = {
        "text-to-image",
        "text-to-image-balanced",
        "chat",
        "kids",
        "research",
        "multilingual",
        "generated-images",
        "hidden-faces",
        "image-edits",
    }
    assert promised <= set(_POLICIES)


def test_research_measures_and_blocks_nothing() -> None:
    decision = Guard.from_preset("research").check_prompt("I will find you and kill you")
    assert decision.action is Action.ALLOW
    assert decision.shadow is Action.BLOCK
    assert decision.fired


@pytest.mark.parametrize("mode", ["fast", "precise"])
def test_a_plain_picture_is_allowed(mode: Literal["fast", "precise"]) -> None:
    policy = load_preset("generated-images")
    guard = Guard(replace(policy, models={"image-safety": RunnerOptions(mode=mode)}))
    decision = guard.check_output(image=encoded(drawn_crops(3, 256)[2], "JPEG"))
    assert (decision.action, decision.status) == (Action.ALLOW, Status.OK)
    assert set(decision.scores) == {"sexual", "gore"}


@pytest.mark.parametrize("side", [320, 640])
def test_a_face_is_blurred_and_not_found_again(side: int) -> None:
    """At 640 the collar below the blur looks like a face, and is blurred in a second round."""
    policy = load_preset("hidden-faces")
    guard = Guard(replace(policy, timeout_ms=None))  # the machine may be busy with others
    decision = guard.check_output(image=Image.open(PORTRAIT).resize((side, side)))
    assert (decision.action, decision.status) == (Action.EDIT, Status.OK)
    assert {region.editor for region in decision.regions} == {"blur-faces"}
    assert guard.check_output(image=decision.image).action is Action.ALLOW


@pytest.fixture(scope="module")
def multilingual() -> Guard:
    return Guard.from_preset("multilingual")


@pytest.mark.languages
@pytest.mark.parametrize(
    ("text", "language", "action"),
    [
        ("Ich werde dich finden und dann bringe ich dich um", "de", Action.BLOCK),
        ("Morgen gehen wir mit den Kindern in den Zoo", "de", Action.ALLOW),
        ("Te voy a encontrar y te voy a matar", "es", Action.BLOCK),
        ("この荷物を明日までに届けてください", "ja", Action.ALLOW),
        ("Пойдём завтра в кино, говорят хороший фильм", "ru", Action.ALLOW),
        ("I will find you and kill you", "en", Action.BLOCK),
    ],
)
def test_other_languages_are_answered_by_the_model_that_knows_them(
    multilingual: Guard, text: str, language: str, action: Action
) -> None:
    decision = multilingual.check_prompt(text)
    assert (decision.language, decision.action) == (language, action)
    assert decision.status is Status.OK


@pytest.mark.languages
def test_a_language_that_no_model_knows_is_not_scored(multilingual: Guard) -> None:
    decision = multilingual.check_prompt("Jutro idziemy z dziećmi do zoo, będzie świetna zabawa")
    assert (decision.language, decision.action, decision.status) == (
        "pl",
        Action.BLOCK,
        Status.ERROR,
    )
    assert set(decision.scores.values()) == {None}


@pytest.mark.languages
def test_spans_of_another_script_are_characters_of_the_original(multilingual: Guard) -> None:
    text = "Слушай, ты идиот, закрой рот"
    spans = multilingual.check_output(text=text).spans
    assert "идиот" in {text[span.start : span.end] for span in spans if span.category == "insult"}


def test_the_schema_that_policy_files_name_stands_beside_them() -> None:
    for file in _POLICIES.values():
        assert (file.parent / "policy.schema.json").is_file()
