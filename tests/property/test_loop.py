"""Laws of the loop: the budget holds, only what is allowed comes out, and the three ways to run it agree."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from guardkit import Guidance
from guardkit.loop import Budget
from guardkit.types import Action, RunResult
from tests.unit.test_loop_run import POLICY, Scripted, guard_of

GUARDS = {
    answer: guard_of(replace(POLICY, on_failure=answer, on_timeout=answer))
    for answer in ("block", "regenerate", "allow")
}
outputs = st.lists(
    st.sampled_from(["a boat", "an idiot", "kill it", "in gloom", None, ValueError(), 7, b"png"]),
    min_size=1,
    max_size=6,
)
prompts = st.sampled_from(["draw a boat", "an idiot boat", "kill him", "draw gloom"])
answers = st.sampled_from(sorted(GUARDS))
allowed = st.integers(0, 4)


def run(way: str, answer: str, given_: list[Any], prompt: str, most: int) -> RunResult:
    guard, generate = GUARDS[answer], Scripted(*given_)
    options: dict[str, Any] = {"budget": Budget(regenerations=most, total_s=None), "seed": 1}
    if way == "sync":
        return guard.run(generate, prompt, **options)
    if way == "async":
        return asyncio.run(guard.arun(generate, prompt, **options))

    def each(prompts: list[str], guidance: list[Guidance | None]) -> list[Any]:
        return [generate(one, told) for one, told in zip(prompts, guidance, strict=True)]

    return guard.run_batch(each, [prompt], **options)[0]


@given(answers, outputs, prompts, allowed)
def test_only_what_is_allowed_comes_out_and_the_budget_holds(
    answer: str, given_: list[Any], prompt: str, most: int
) -> None:
    result = run("sync", answer, given_, prompt, most)
    assert len(result.attempts) <= 1 + most
    if result.output is None:
        assert result.decision.action is Action.BLOCK
        assert result.decision.text is None
    else:
        assert result.decision.action <= Action.EDIT
        assert GUARDS[answer].check_output(text=result.output).action is Action.ALLOW
    for earlier in result.attempts[:-1]:
        assert earlier.decision.action is Action.REGENERATE
    assert all(one.guidance is not None for one in result.attempts[1:])
    assert result.attempts or prompt == "kill him"


@given(answers, outputs, prompts, allowed)
def test_sync_async_and_batch_agree(answer: str, given_: list[Any], prompt: str, most: int) -> None:
    one, *others = (run(way, answer, given_, prompt, most) for way in ("sync", "async", "batch"))
    for other in others:
        assert other.output == one.output
        assert told(other) == told(one)


def told(result: RunResult) -> list[Any]:
    """What was decided at each attempt, and what the generator was told."""
    return [
        (attempt.decision.action, attempt.decision.reasons, attempt.problem, attempt.guidance)
        for attempt in result.attempts
    ]
