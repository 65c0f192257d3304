"""What callers may hand in, what they get from where, and what is never repeated."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from guardkit.artifacts import Artifact
from guardkit.decision import Decision
from guardkit.errors import Blocked, InputError, PolicyError
from guardkit.guard import Guard
from guardkit.policy.rules import Policy, StagePolicy, WordList
from guardkit.types import Action, Context, Edit, Scored, Scores, Span
from tests.fake_steps import (
    AGAIN,
    NO_THREATS,
    FakeScorer,
    finds,
    own_guard,
    rule,
    says,
)


@pytest.mark.parametrize("text", [None, b"hello", 1, ["hello"], Path("hello")])
def test_a_text_that_is_no_str_is_refused(guard: Guard, text: Any) -> None:
    expected = rf"text is {type(text).__name__}\. Expected str\."
    with pytest.raises(InputError, match=expected):
        guard.check_prompt(text)
    with pytest.raises(InputError, match=expected):
        guard.check_output(text=text)
    with pytest.raises(InputError, match=expected):
        guard.check_prompts([text])
    with pytest.raises(InputError, match=expected):
        guard.score_prompts([text])


@pytest.mark.parametrize("texts", ["hello", None, 1, b"hello"])
def test_texts_that_are_no_list_are_refused(guard: Guard, texts: Any) -> None:
    with pytest.raises(InputError, match="Expected"):
        guard.check_prompts(texts)
    with pytest.raises(InputError, match="Expected"):
        guard.score_prompts(texts)


@pytest.mark.parametrize("context", [{"audience": "children"}, "children", 0])
def test_a_context_of_another_type_is_refused(guard: Guard, context: Any) -> None:
    with pytest.raises(InputError, match=r"Expected guardkit\.Context"):
        guard.check_prompt("hello", context)


def test_a_stage_the_policy_does_not_have_is_refused() -> None:
    guard = own_guard(FakeScorer(says(0.0)), AGAIN)
    with pytest.raises(InputError, match=r"has no stage 'output-text'. It has: prompt\."):
        guard.check_output(text="hello")


def test_a_policy_that_names_unknown_steps_is_refused() -> None:
    prompt = StagePolicy(("mine",), ("cutt",), (rule("insult", Action.EDIT, "cutt"), NO_THREATS))
    with pytest.raises(PolicyError) as caught:
        Guard(Policy("own", prompt=prompt), scorers=[FakeScorer(says(0.0))])
    paths = [fault.path for fault in caught.value.faults]
    assert paths == ["prompt.editors[0]", "prompt.rules[1].when.category"]


def test_a_guard_is_made_from_a_file(use_tiny_models: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "policy: mine\nprompt:\n  scorers: [text-safety, mine]\n  rules:\n"
        "    - {name: no-threats, when: {category: threat, at_least: 0.5}, action: block}\n"
        "    - {name: no-hate, when: {category: hate, at_least: 0.5}, action: block}\n"
    )
    scorer = FakeScorer(finds("vermin", "hate"), categories=("hate",))
    guard = Guard.from_file(file, scorers=[scorer])
    decisions = guard.check_prompts(["hello", "kill", "vermin"])
    assert [one.action for one in decisions] == [Action.ALLOW, Action.BLOCK, Action.BLOCK]


def test_enforce_hands_back_what_may_be_used(guard: Guard) -> None:
    again = own_guard(FakeScorer(says(0.9)), AGAIN).check_prompt("hello")
    for decision in (guard.check_prompt("hello"), guard.check_prompt("you idiot"), again):
        assert guard.enforce(decision) is decision


def test_enforce_raises_for_what_must_not_be_used(guard: Guard) -> None:
    for decision in (guard.check_prompt("kill"), guard.check_output(text="idiot")):
        with pytest.raises(Blocked) as caught:
            guard.enforce(decision)
        assert caught.value.decision is decision


def test_info_says_what_is_really_running(guard: Guard, tiny_artifact: Artifact) -> None:
    (info,) = guard.info()
    assert (info.name, info.version, info.backend) == ("text-safety", "0.0.1", "onnx")
    assert (info.precision, info.digest) == (
        "fp32",
        tiny_artifact.manifest.files["1/model.onnx"].sha256,
    )


# --- twins, threads and secrets ----------------------------------------------------------------------


def timeless(decisions: Sequence[Decision]) -> list[Decision]:
    return [replace(decision, timings_ms={}) for decision in decisions]


def test_async_twins_answer_alike(guard: Guard) -> None:
    texts = ["hello", "you idiot", "kill"]

    async def ask() -> tuple[Decision, list[Decision], Decision, list[Scores]]:
        return (
            await guard.acheck_prompt("you idiot"),
            await guard.acheck_prompts(texts),
            await guard.acheck_output(text="kill"),
            await guard.ascore_prompts(texts),
        )

    one, several, output, scores = asyncio.run(ask())
    assert timeless([one, output]) == timeless(
        [guard.check_prompt("you idiot"), guard.check_output(text="kill")]
    )
    assert timeless(several) == timeless(guard.check_prompts(texts))
    assert scores == guard.score_prompts(texts)


def test_threads_get_the_answers_of_a_single_one(guard: Guard) -> None:
    texts = ["hello", "you idiot", "kill", "an i.d.i.o.t", "hello " * 40 + "fool"] * 10
    expected = timeless(guard.check_prompts(texts))
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: timeless(guard.check_prompts(texts)), range(8)):
            assert found == expected


def test_what_users_write_is_never_repeated(
    use_tiny_models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "zebrasecret"

    def fails(text: str) -> Scored:
        raise ValueError(text)

    def breaks(text: str, spans: Sequence[Span]) -> tuple[str, tuple[Edit, ...]]:
        raise ValueError(text)

    names = ("mine", "text-safety", "blocklist")
    rules = (rule("insult", Action.EDIT, "breaks"), NO_THREATS, rule("topic", Action.BLOCK))
    prompt = StagePolicy(names, ("breaks",), rules)
    lists = {"topic": WordList(block=(secret,))}
    policy = Policy("own", prompt=prompt, lists=lists, on_failure="allow")
    scorer = FakeScorer(fails, categories=("hate",))
    guard = Guard(policy, scorers=[scorer], editors={"breaks": breaks})
    texts = [f"{secret} idiot", f"zebra secret idiot {secret[::-1]}", f"kill {secret}" * 900]
    with caplog.at_level(logging.DEBUG):
        decisions = guard.check_prompts(texts, Context(speaker=secret, situation=secret))
    said = [caplog.text, *(repr(one) for one in decisions)]
    said += [json.dumps(one.to_dict()) + str(Blocked(one)) for one in decisions]
    assert "failed" in caplog.text
    for line in said:
        assert secret not in line
        assert secret[::-1] not in line
        assert "idiot" not in line
