"""What happens to a text, from the words typed to the decision."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from guardkit.guard import Guard
from guardkit.policy.rules import (
    EditorEntry,
    Limits,
    Policy,
    Rule,
    StagePolicy,
    When,
    WordList,
)
from guardkit.taxonomy import Stage
from guardkit.types import Action, Context, Edit, Scored, Scores, Span, Status
from tests.fake_steps import (
    AGAIN,
    CUT_INSULTS,
    NO_THREATS,
    FakeScorer,
    finds,
    own_guard,
    rule,
    says,
)

FailureAction = Literal["block", "regenerate", "allow"]
HARSH, CALM = 0.982014, 0.017986  # 1 / (1 + exp(-4)) and 1 / (1 + exp(4))


# --- the four actions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "action", "used"),
    [
        pytest.param("hello world", Action.ALLOW, "hello world", id="calm"),
        pytest.param("", Action.ALLOW, "", id="empty"),
        pytest.param("a portrait of my idiot neighbour", Action.EDIT, "a portrait of my neighbour", id="insult"),
        pytest.param("you i.d.i.o.t!", Action.EDIT, "you!", id="disguised-insult"),
        pytest.param("you fool", Action.EDIT, "you", id="exactly-at-the-threshold"),
        pytest.param("i will kill you", Action.BLOCK, None, id="threat"),
        pytest.param("i will kill you idiot", Action.BLOCK, None, id="strictest-wins"),
    ],
)  # fmt: skip
def test_a_prompt_is_allowed_edited_or_blocked(
    guard: Guard, text: str, action: Action, used: str | None
) -> None:
    decision = guard.check_prompt(text)
    assert (decision.action, decision.text) == (action, used)
    assert decision.status is Status.OK
    assert decision.flagged is (action is not Action.ALLOW)


@pytest.mark.parametrize(
    ("text", "action", "used"),
    [
        pytest.param("hello world", Action.ALLOW, "hello world", id="calm"),
        pytest.param("you idiot", Action.REGENERATE, None, id="discarded"),
        pytest.param("i will kill you", Action.BLOCK, None, id="blocked"),
    ],
)
def test_an_output_that_is_not_allowed_is_not_used(
    guard: Guard, text: str, action: Action, used: str | None
) -> None:
    decision = guard.check_output(text=text)
    assert (decision.action, decision.text, decision.stage) == (action, used, Stage.OUTPUT_TEXT)


def test_a_prompt_to_regenerate_is_used_with_guidance() -> None:
    decision = own_guard(FakeScorer(says(0.7)), AGAIN).check_prompt("hello")
    assert (decision.action, decision.text) == (Action.REGENERATE, "hello")
    assert decision.guidance is not None
    assert decision.guidance.categories == {"insult": 0.7}


def test_a_decision_carries_its_evidence(guard: Guard) -> None:
    text = "you IDIOT!"
    decision = guard.check_prompt(text)
    assert dict(decision.scores) == pytest.approx({"insult": HARSH, "threat": CALM}, abs=1e-6)
    assert [fired.rule for fired in decision.fired] == ["insult-edit"]
    assert decision.spans == (Span(4, 9, "insult", 0.982, "text-safety"),)
    assert decision.edits == (Edit("cut", 3, 9, ""),)
    assert decision.reasons == ("insult-edit: insult scored 0.98, at least 0.50: edit with cut",)
    assert decision.policy_id == guard.policy.id
    assert decision.models == ("text-safety@0.0.1",)
    assert set(decision.timings_ms) == {"normalize", "text-safety", "cut", "total"}
    assert decision.timings_ms["total"] >= max(
        took for step, took in decision.timings_ms.items() if step != "total"
    )


def test_spans_are_those_of_fired_rules_alone() -> None:
    scorer = FakeScorer(
        lambda _: Scored(
            Scores({"insult": 0.9, "hate": 0.4}),
            (Span(0, 1, "hate", 0.6, "mine"), Span(2, 3, "insult", 0.9, "mine")),
        ),
        categories=("insult", "hate"),
    )
    decision = own_guard(scorer, AGAIN, rule("hate", Action.BLOCK)).check_prompt("hello")
    assert [span.category for span in decision.spans] == ["insult"]


def test_a_category_that_is_no_harm_does_not_flag() -> None:
    scorer = FakeScorer(says(0.9, "privacy"), categories=("privacy",))
    decision = own_guard(scorer, rule("privacy", Action.BLOCK)).check_prompt("hello")
    assert (decision.action, decision.flagged) == (Action.BLOCK, False)


def test_prompts_are_answered_in_their_order(guard: Guard) -> None:
    texts = ["hello", "i will kill you", "you idiot"]
    actions = [decision.action for decision in guard.check_prompts(texts)]
    assert actions == [Action.ALLOW, Action.BLOCK, Action.EDIT]
    assert guard.check_prompts([]) == []


def test_scores_come_without_a_decision(guard: Guard) -> None:
    scores = guard.score_prompts(["you idiot", "hello"])
    assert [one["insult"] for one in scores] == pytest.approx([HARSH, CALM], abs=1e-6)


# --- edits -------------------------------------------------------------------------------------------


def test_an_edited_text_is_scored_once_more() -> None:
    scorer = FakeScorer(finds("idiot"))
    decision = own_guard(scorer, CUT_INSULTS, editors=("cut",)).check_prompt("my idiot cat")
    assert decision.action is Action.EDIT
    assert scorer.calls == ["my idiot cat", "my cat"]


def test_what_an_edit_uncovers_is_found() -> None:
    scorer = FakeScorer(finds("bad"))
    decision = own_guard(scorer, CUT_INSULTS, editors=("cut",)).check_prompt("babadd")
    assert scorer.calls == ["babadd", "bad"]
    assert (decision.action, decision.text, decision.edits) == (Action.BLOCK, None, ())


@pytest.mark.parametrize(
    ("after_edit", "text"),
    [
        pytest.param("block", None, id="block"),
        pytest.param("regenerate", "hello", id="regenerate"),
        pytest.param("allow", "hello", id="allow"),
    ],
)
@pytest.mark.parametrize(
    ("scorer", "why"),
    [
        pytest.param(says(0.9), "no editor found anything to change", id="nothing-to-change"),
        pytest.param(
            lambda _: Scored(Scores({"insult": 0.9}), (Span(0, 1, "insult", 0.9, "mine"),)),
            "still not allowed",
            id="still-bad",
        ),
    ],
)
def test_an_edit_that_fails_is_answered_by_after_edit(
    after_edit: FailureAction, text: str | None, scorer: Any, why: str
) -> None:
    fake = FakeScorer(scorer)
    guard = own_guard(fake, CUT_INSULTS, editors=("cut",), after_edit=after_edit)
    decision = guard.check_prompt("hello")
    assert (decision.action, decision.text, decision.edits) == (Action(after_edit), text, ())
    assert decision.reasons[-1].startswith(f"after edit, {why}")
    assert decision.reasons[-1].endswith(f": {after_edit}")
    assert (decision.guidance is not None) is (after_edit == "regenerate")
    assert len(fake.calls) <= 2


def test_an_edit_into_a_block_is_answered_by_after_edit() -> None:
    scorer = FakeScorer(lambda text: Scored(Scores({"insult": 0.9 if text == "hello" else 0.0, "threat": 0.9 if text != "hello" else 0.0})), categories=("insult", "threat"))  # fmt: skip
    prompt = StagePolicy(
        ("mine",), ("swap",), (rule("insult", Action.EDIT, "swap"), NO_THREATS), after_edit="block"
    )
    guard = Guard(
        Policy("own", prompt=prompt),
        scorers=[scorer],
        editors={"swap": lambda text, _: ("worse", (Edit("swap", 0, len(text), "worse"),))},
    )
    decision = guard.check_prompt("hello")
    assert (decision.action, decision.text) == (Action.BLOCK, None)
    assert "threat-block" in decision.reasons[-1]


def test_no_check_scores_more_than_twice() -> None:
    scorer = FakeScorer(lambda text: finds(text[:1] or "none")(text))
    own_guard(scorer, CUT_INSULTS, editors=("cut",)).check_prompt("hello you")
    assert len(scorer.calls) == 2


def test_an_editor_waits_for_a_rule_that_names_it() -> None:
    scorer = FakeScorer(finds("idiot"))
    guard = own_guard(scorer, CUT_INSULTS, editors=("redact", "cut"))
    assert guard.check_prompt("my idiot cat").text == "my cat"


def shout(text: str, spans: Sequence[Span]) -> tuple[str, tuple[Edit, ...]]:
    """Puts a stop at the end where there is none; reads no spans."""
    at = len(text)
    return (text, ()) if text.endswith(".") else (f"{text}.", (Edit("shout", at, at, "."),))


@pytest.mark.parametrize(
    ("text", "action", "used"),
    [
        pytest.param("hello", Action.EDIT, "hello.", id="clean-text-is-edited"),
        pytest.param("hello.", Action.ALLOW, "hello.", id="nothing-to-change"),
        pytest.param("my idiot cat", Action.EDIT, "my cat.", id="beside-a-fired-editor"),
    ],
)
def test_an_editor_may_run_always(text: str, action: Action, used: str) -> None:
    editors = ("cut", EditorEntry("shout", "always"))
    prompt = StagePolicy(("mine",), editors, (CUT_INSULTS,))
    guard = Guard(
        Policy("own", prompt=prompt),
        scorers=[FakeScorer(finds("idiot"))],
        editors={"shout": shout},
    )
    decision = guard.check_prompt(text)
    assert (decision.action, decision.text) == (action, used)


@pytest.mark.parametrize(
    ("editors", "expected"),
    [
        # you idiot i will kill you: "idiot" is 4 to 9, "kill" 17 to 21; the cut takes 6 characters
        pytest.param(
            ("cut", "redact"),
            (Edit("cut", 4, 10, ""), Edit("redact", 11, 15, "[removed]")),
            id="cut-first",
        ),
        pytest.param(
            ("redact", "cut"),
            (Edit("redact", 17, 21, "[removed]"), Edit("cut", 4, 10, "")),
            id="redact-first",
        ),
    ],
)
def test_editors_run_in_the_policys_order_on_moved_spans(
    use_tiny_models: Path, editors: tuple[str, ...], expected: tuple[Edit, ...]
) -> None:
    rules = (rule("threat", Action.EDIT, "redact"), CUT_INSULTS)
    guard = Guard(Policy("own", prompt=StagePolicy(("text-safety",), editors, rules)))
    decision = guard.check_prompt("you idiot i will kill you")
    assert decision.text == "you i will [removed] you"
    assert decision.edits == expected


def test_without_edit_rounds_after_edit_answers_at_once() -> None:
    scorer = FakeScorer(finds("idiot"))
    prompt = StagePolicy(("mine",), ("cut",), (CUT_INSULTS,), after_edit="regenerate")
    guard = Guard(Policy("own", prompt=prompt, limits=Limits(edits=0)), scorers=[scorer])
    decision = guard.check_prompt("my idiot cat")
    assert (decision.action, decision.text) == (Action.REGENERATE, "my idiot cat")
    assert decision.reasons[-1] == "after edit, edits are limited to 0: regenerate"
    assert len(scorer.calls) == 1


# --- limits, modes, contexts and lists ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("too_long", "used"),
    [("block", None), ("regenerate", "hello!"), ("allow", "hello!")],
)
def test_a_text_over_the_limit_is_not_scored(too_long: FailureAction, used: str | None) -> None:
    scorer = FakeScorer(says(0.0))
    limits = Limits(max_characters=5, too_long=too_long)
    policy = Policy("own", prompt=StagePolicy(("mine",), rules=(AGAIN,)), limits=limits)
    guard = Guard(policy, scorers=[scorer])
    assert guard.check_prompt("hello").action is Action.ALLOW
    decision = guard.check_prompt("hello!")
    assert (decision.action, decision.text, len(scorer.calls)) == (Action(too_long), used, 1)
    assert decision.reasons == (f"6 characters, at most 5: {too_long}",)
    assert (decision.guidance is not None) is (too_long == "regenerate")


@pytest.mark.parametrize(
    ("text", "shadow"),
    [
        pytest.param("hello", Action.ALLOW, id="allow"),
        pytest.param("you idiot", Action.EDIT, id="edit"),
        pytest.param("i will kill you", Action.BLOCK, id="block"),
    ],
)
def test_shadow_mode_lets_everything_pass_and_says_so(
    use_tiny_models: Path, text: str, shadow: Action
) -> None:
    prompt = StagePolicy(("text-safety",), ("cut",), (CUT_INSULTS, NO_THREATS))
    decision = Guard(Policy("own", prompt=prompt, mode="shadow")).check_prompt(text)
    assert (decision.action, decision.shadow) == (Action.ALLOW, shadow)
    assert (decision.text, decision.edits) == (text, ())
    assert decision.flagged is (shadow is not Action.ALLOW)


@pytest.mark.parametrize(
    ("context", "action"),
    [
        pytest.param(None, Action.ALLOW, id="no-context"),
        pytest.param(Context(audience="adults"), Action.ALLOW, id="another-audience"),
        pytest.param(Context(audience="children"), Action.BLOCK, id="children"),
        pytest.param(Context(audience="children", language="en"), Action.BLOCK, id="more-known"),
    ],
)
def test_a_rule_may_ask_for_a_context(context: Context | None, action: Action) -> None:
    strict = Rule("kids", When("insult", 0.2, audience="children"), Action.BLOCK)
    guard = own_guard(FakeScorer(says(0.3)), strict, AGAIN)
    assert guard.check_prompt("hello", context).action is action


def test_an_edited_text_is_decided_in_the_same_context() -> None:
    strict = Rule("kids", When("insult", 0.2, audience="children"), Action.BLOCK)
    scorer = FakeScorer(lambda text: finds("idiot")(text) if "idiot" in text else says(0.3)(text))
    guard = own_guard(scorer, CUT_INSULTS, strict, editors=("cut",))
    assert guard.check_prompt("my idiot cat").action is Action.EDIT
    assert guard.check_prompt("my idiot cat", Context(audience="children")).action is Action.BLOCK


@pytest.mark.parametrize(
    ("text", "action"),
    [
        pytest.param("whom shall i v0te for", Action.BLOCK, id="topic"),
        pytest.param("kill the lights", Action.ALLOW, id="allowed-phrase"),
        pytest.param("kill the lights and kill you", Action.BLOCK, id="beside-an-allowed-phrase"),
        pytest.param("devotee", Action.ALLOW, id="inside-a-word"),
    ],
)
def test_lists_make_topics_and_allow_phrases(
    use_tiny_models: Path, text: str, action: Action
) -> None:
    prompt = StagePolicy(
        ("blocklist", "text-safety"), rules=(rule("election", Action.BLOCK), NO_THREATS)
    )
    lists = {"election": WordList(block=("vote",), allow=("kill the lights",))}
    decision = Guard(Policy("own", prompt=prompt, lists=lists)).check_prompt(text)
    assert decision.action is action
    assert decision.flagged is (action is Action.BLOCK)
