"""Anonymizing under a policy, and by `Guard.anonymize`."""

from __future__ import annotations

import asyncio

import pytest

from guardkit import Action, Guard, Policy
from guardkit.cli.main import main
from guardkit.errors import InputError
from guardkit.policy.rules import Anonymize, Rule, StagePolicy, When
from guardkit.types import Scored, Scores, Span, Status
from tests.conftest import WriteFile
from tests.fake_steps import NO_THREATS, FakeScorer

PRIVACY = Rule("anonymize", When("privacy", 0.5), Action.EDIT, using="anonymize")
TEXT = "mail ada@example.org at 12 Elm Street in fog"


def guarded(**changes: object) -> Guard:
    stage = StagePolicy(
        scorers=("identifiers", "text-safety"), editors=("anonymize",), rules=(PRIVACY, NO_THREATS)
    )
    return Guard(Policy("private", prompt=stage, **changes))  # type: ignore[arg-type]


pytestmark = pytest.mark.usefixtures("use_tiny_models")


def test_personal_data_is_replaced_and_the_vault_leads_back() -> None:
    decision = guarded().check_prompt(TEXT)
    assert decision.action is Action.EDIT
    assert decision.text == "mail <EMAIL_1> at <ADDRESS_1> in fog"
    assert decision.vault is not None
    assert decision.vault.restore(decision.text) == TEXT
    assert not decision.flagged
    assert [span.kind for span in decision.spans] == ["EMAIL", "ADDRESS"]
    assert [one["kind"] for one in decision.to_dict()["spans"]] == ["EMAIL", "ADDRESS"]
    assert {TEXT[span.start : span.end] for span in decision.spans} == {"ada@example.org", "12 Elm Street"}  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("generic", "mail an e-mail address in fog"),
        ("mask", "mail *************** at ** *** ****** in fog"),
    ],
)
def test_a_one_way_mode_has_a_vault_that_says_so(mode: str, expected: str) -> None:
    decision = guarded(anonymize=Anonymize(mode=mode)).check_prompt(TEXT)  # type: ignore[arg-type]
    assert decision.text == expected
    assert decision.vault is not None
    assert not decision.vault.is_reversible


def test_a_scorer_of_ones_own_has_its_spans_replaced_too() -> None:
    def employee(text: str) -> Scored:
        at = text.find("E-4711")
        spans = (Span(at, at + 6, "privacy", 1.0, "mine"),) if at >= 0 else ()
        return Scored(Scores({"privacy": float(bool(spans))}), spans)

    stage = StagePolicy(scorers=("mine",), editors=("anonymize",), rules=(PRIVACY,))
    guard = Guard(
        Policy("own", prompt=stage), scorers=[FakeScorer(employee, categories=("privacy",))]
    )
    assert guard.check_prompt("badge E-4711 please").text == "badge <DATA_1> please"


def test_a_text_that_is_harmful_beside_is_still_blocked() -> None:
    decision = guarded().check_prompt(f"i will kill you, {TEXT}")
    assert (decision.action, decision.text, decision.vault) == (Action.BLOCK, None, None)


def test_a_text_without_personal_data_stays_as_it_is() -> None:
    decision = guarded().check_prompt("a harbour at dawn")
    assert (decision.action, decision.text, decision.vault) == (
        Action.ALLOW,
        "a harbour at dawn",
        None,
    )


def test_the_decision_as_a_dict_holds_no_personal_data() -> None:
    decision = guarded().check_prompt(TEXT)
    assert "ada" not in str(decision.to_dict(include_text=True))
    assert "ada" not in repr(decision)


def test_in_shadow_mode_nothing_is_replaced() -> None:
    decision = guarded(mode="shadow").check_prompt(TEXT)
    assert (decision.text, decision.vault, decision.shadow) == (TEXT, None, Action.EDIT)


def test_a_text_of_placeholders_alone_is_left_alone() -> None:
    decision = guarded().check_prompt("<EMAIL_1> <PHONE_2>")
    assert (decision.action, decision.status) == (Action.ALLOW, Status.OK)


def test_a_conversation_goes_on_with_its_vault() -> None:
    guard = guarded()
    _, first = guard.anonymize("I am ada@example.org", conversation="c1")
    text, both = guard.anonymize(
        "bob@example.org met ada@example.org", vault=first, conversation="c1"
    )
    assert text == "<EMAIL_2> met <EMAIL_1>"
    assert (
        both.restore("<EMAIL_2>, <EMAIL_1>", conversation="c1")
        == "bob@example.org, ada@example.org"
    )
    with pytest.raises(InputError, match="another conversation"):
        both.restore(text, conversation="c2")


def test_what_one_conversation_held_does_not_go_into_another() -> None:
    guard = guarded()
    _, vault = guard.anonymize("I am ada@example.org", conversation="c1")
    with pytest.raises(InputError, match="another conversation"):
        guard.anonymize("hello", vault=vault, conversation="c2")
    _, one_way = guard.anonymize("I am ada@example.org", "mask")
    with pytest.raises(InputError, match="one-way"):
        guard.anonymize("hello", vault=one_way)


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(InputError, match="Expected one of placeholder, surrogate"):
        guarded().anonymize("x", "shred")


def test_the_async_twin_gives_the_same() -> None:
    guard = guarded()
    text, vault = asyncio.run(guard.aanonymize(TEXT))
    assert (text, vault.restore(text)) == (guard.anonymize(TEXT)[0], TEXT)


def test_the_command_shows_what_was_changed(
    write_file: WriteFile, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = write_file(
        "private.yaml",
        "policy: private\nprompt:\n  scorers: [identifiers]\n  editors: [anonymize]\n  rules:\n"
        "    - {name: anonymize, when: {category: privacy, at_least: 0.5}, action: edit, using: anonymize}\n"
        "anonymize: {mode: generic}\n",
    )
    assert main(["check", "--policy", str(policy), "--show-diff", TEXT]) == 0
    shown = capsys.readouterr().out
    assert f"- {TEXT}" in shown
    assert "+ mail an e-mail address in fog" in shown
    assert "anonymize [5, 20) -> 'an e-mail address'" in shown
