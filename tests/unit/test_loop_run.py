"""`Guard.run` and its twins: the path of a prompt through a generator, the budget, and bad generators."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from guardkit import Decision, Guard, Guidance, Policy
from guardkit.errors import DeadlineError, InputError
from guardkit.loop import Budget
from guardkit.policy.rules import Limits, StagePolicy
from guardkit.text.normalize import Prompt
from guardkit.types import Action, RunResult, Scored, Scores, Span, Status
from tests.fake_steps import rule
from tests.pictures import BLUE, RED, encoded, plain
from tests.tiny_image import build_tiny_images

WORDS = {"idiot": "insult", "kill": "threat", "gloom": "self-harm"}
PROMPT = StagePolicy(
    scorers=("words",),
    editors=("cut",),
    rules=(
        rule("insult", Action.EDIT, "cut"),
        rule("threat", Action.BLOCK),
        rule("self-harm", Action.REGENERATE),
    ),
)
OUTPUT = StagePolicy(
    scorers=("words",),
    editors=("redact",),
    rules=(
        rule("insult", Action.REGENERATE),
        rule("threat", Action.BLOCK),
        rule("self-harm", Action.EDIT, "redact"),
    ),
)
POLICY = Policy("loop", prompt=PROMPT, output_text=OUTPUT, limits=Limits(regenerations=2))
LONG_S = 30.0
"""A limit no test reaches."""
SOON = Budget(attempt_s=0.05, total_s=LONG_S)
SECRET = "my secret words"


class Words:
    """Scores 0.9 for the category of each word that it finds."""

    name = "words"
    categories = tuple(WORDS.values())

    def score(self, prompts: Sequence[Prompt]) -> list[Scored]:
        return [self._score(prompt.text) for prompt in prompts]

    def _score(self, text: str) -> Scored:
        at = {category: text.find(word) for word, category in WORDS.items()}
        scores = {category: 0.0 if start < 0 else 0.9 for category, start in at.items()}
        spans = [
            Span(at[category], at[category] + len(word), category, 0.9, "words")
            for word, category in WORDS.items()
            if at[category] >= 0
        ]
        return Scored(Scores(scores), tuple(spans))


def guard_of(policy: Policy = POLICY) -> Guard:
    return Guard(policy, scorers=[Words()])


class Scripted:
    """Gives its outputs one after the other, the last one for ever; remembers what it was asked."""

    def __init__(self, *outputs: Any) -> None:
        self.outputs = list(outputs)
        self.asked: list[tuple[str, Guidance | None]] = []

    def __call__(self, prompt: str, guidance: Guidance | None = None) -> Any:
        self.asked.append((prompt, guidance))
        output = self.outputs.pop(0) if len(self.outputs) > 1 else self.outputs[0]
        if isinstance(output, Exception):
            raise output
        return output


Run = Callable[..., RunResult]


def run_sync(guard: Guard, *arguments: Any, **options: Any) -> RunResult:
    return guard.run(*arguments, **options)


def run_async(guard: Guard, *arguments: Any, **options: Any) -> RunResult:
    return asyncio.run(guard.arun(*arguments, **options))


def run_batch(guard: Guard, generate: Any, prompt: str, **options: Any) -> RunResult:
    def each(prompts: list[str], guidance: list[Guidance | None]) -> list[Any]:
        return [generate(one, guidance=told) for one, told in zip(prompts, guidance, strict=True)]

    return guard.run_batch(each, [prompt], **options)[0]


@pytest.fixture(params=[run_sync, run_async, run_batch], ids=["sync", "async", "batch"])
def run(request: pytest.FixtureRequest) -> Run:
    return request.param  # type: ignore[no-any-return]


# --- the path ---------------------------------------------------------------------------------------


def test_a_harmless_prompt_is_generated_once(run: Run) -> None:
    generate = Scripted("a boat")
    result = run(guard_of(), generate, "draw a boat")
    assert result.output == "a boat"
    assert generate.asked == [("draw a boat", None)]
    assert (result.decision.action, len(result.attempts)) == (Action.ALLOW, 1)
    assert result.decision == result.attempts[0].decision
    assert result.prompt is not None
    assert result.prompt.action is Action.ALLOW


def test_a_blocked_prompt_is_never_generated(run: Run) -> None:
    generate = Scripted("a boat")
    result = run(guard_of(), generate, "kill him")
    assert (result.output, generate.asked, result.attempts) == (None, [], ())
    assert result.decision == result.prompt
    assert result.decision.action is Action.BLOCK


def test_an_edited_prompt_is_what_the_generator_gets(run: Run) -> None:
    generate = Scripted("a boat")
    run(guard_of(), generate, "draw the idiot boat")
    assert generate.asked == [("draw the boat", None)]


def test_a_prompt_that_asks_for_guidance_gets_it_the_first_time(run: Run) -> None:
    generate = Scripted("a boat")
    result = run(guard_of(), generate, "draw gloom")
    [(prompt, guidance)] = generate.asked
    assert prompt == "draw gloom"
    assert guidance is not None
    assert (dict(guidance.categories), guidance.negative_prompt) == (
        {"self-harm": 0.9},
        "self-harm",
    )
    assert result.attempts[0].guidance == guidance


def test_an_output_that_goes_back_is_generated_again_with_guidance(run: Run) -> None:
    generate = Scripted("an idiot boat", "a boat")
    result = run(guard_of(), generate, "draw a boat")
    assert result.output == "a boat"
    (_, first), (prompt, second) = generate.asked
    assert (first, prompt) == (None, "draw a boat")
    assert second is not None
    assert dict(second.categories) == {"insult": 0.9}
    assert second.negative_prompt == "insults"
    assert second.revised_prompt == "draw a boat\n\nAnswer without insults."
    assert second.seed is not None
    actions = [attempt.decision.action for attempt in result.attempts]
    assert actions == [Action.REGENERATE, Action.ALLOW]
    assert [attempt.guidance for attempt in result.attempts] == [None, second]


def test_it_blocks_when_nothing_is_allowed_within_the_limit(run: Run) -> None:
    generate = Scripted("an idiot boat")
    result = run(guard_of(), generate, "draw a boat")
    assert len(generate.asked) == len(result.attempts) == 1 + 2  # limits.regenerations
    assert (result.output, result.decision.action) == (None, Action.BLOCK)
    assert result.decision.text is None
    assert result.decision.reasons[-1] == "regenerated 2 times, which is all: block"
    seeds = {told.seed for _, told in generate.asked if told is not None}
    assert len(seeds) == 2


def test_a_blocked_output_is_not_generated_again(run: Run) -> None:
    generate = Scripted("kill it", "a boat")
    result = run(guard_of(), generate, "draw a boat")
    assert (result.output, len(result.attempts)) == (None, 1)
    assert result.decision.action is Action.BLOCK


def test_an_edited_output_is_what_is_used(run: Run) -> None:
    result = run(guard_of(), Scripted("a boat in gloom"), "draw a boat")
    assert (result.output, result.decision.action) == ("a boat in [removed]", Action.EDIT)


def test_guidance_does_not_forget_an_earlier_attempt(run: Run) -> None:
    generate = Scripted("an idiot boat", "a boat")
    run(guard_of(), generate, "draw gloom")
    _, second = generate.asked[-1]
    assert second is not None
    assert dict(second.categories) == {"self-harm": 0.9, "insult": 0.9}
    assert second.revised_prompt == "draw gloom\n\nAnswer without insults, self-harm."


def test_a_budget_may_ask_for_fewer_or_more(run: Run) -> None:
    for allowed in (0, 4):
        generate = Scripted("an idiot boat")
        run(guard_of(), generate, "draw a boat", budget=Budget(regenerations=allowed))
        assert len(generate.asked) == 1 + allowed


def test_equal_seeds_give_equal_seeds(run: Run) -> None:
    def seeds(seed: int | None) -> list[int | None]:
        generate = Scripted("an idiot boat")
        run(guard_of(), generate, "draw a boat", seed=seed)
        return [told.seed for _, told in generate.asked if told is not None]

    assert seeds(7) == seeds(7) != seeds(8)
    assert seeds(None) != seeds(None)


def test_in_shadow_mode_everything_passes_and_says_what_would_have_been(run: Run) -> None:
    guard = guard_of(replace(POLICY, mode="shadow"))
    result = run(guard, Scripted("kill it"), "kill him")
    assert result.output == "kill it"
    assert result.prompt is not None
    assert (result.prompt.shadow, result.decision.shadow) == (Action.BLOCK, Action.BLOCK)


def test_a_policy_without_a_prompt_stage_leaves_the_prompt_alone(run: Run) -> None:
    result = run(guard_of(Policy("out", output_text=OUTPUT)), Scripted("a boat"), "kill him")
    assert (result.output, result.prompt) == ("a boat", None)


def test_the_record_is_json_without_content(run: Run) -> None:
    result = run(guard_of(), Scripted(f"idiot {SECRET}", ValueError(SECRET)), SECRET)
    record = json.dumps(result.to_dict())
    assert SECRET not in record
    assert SECRET not in repr(result)
    told = json.loads(record)
    assert [one["problem"] for one in told["attempts"]] == [None, "the generator raised ValueError"]
    assert told["attempts"][1]["guidance"] == {"insult": 0.9}


# --- generators without guidance ----------------------------------------------------------------------


def test_a_generator_that_takes_no_guidance_gets_the_revised_prompt() -> None:
    asked: list[str] = []

    def generate(prompt: str, temperature: float = 0.7) -> str:
        assert temperature == 0.7
        asked.append(prompt)
        return "a boat" if "without insults" in prompt else "an idiot boat"

    assert guard_of().run(generate, "draw a boat").output == "a boat"
    assert asked == ["draw a boat", "draw a boat\n\nAnswer without insults."]


def test_a_generator_that_ignores_guidance_ends_in_a_block() -> None:
    result = guard_of().run(lambda _: "an idiot boat", "draw a boat")
    assert (result.output, len(result.attempts)) == (None, 3)


@pytest.mark.parametrize(
    "generate",
    [
        pytest.param(str.upper, id="written-in-c"),
        pytest.param(functools.partial(lambda _, prompt: prompt, 3), id="partial"),
        pytest.param(Scripted("fine"), id="object"),
    ],
)
def test_any_callable_of_a_prompt_will_do(generate: Any) -> None:
    assert guard_of().run(generate, "a boat").output in ("A BOAT", "a boat", "fine")


# --- bad generators -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        pytest.param(ValueError(SECRET), "the generator raised ValueError", id="raises"),
        pytest.param(None, "the generator gave nothing (None)", id="none"),
        pytest.param(
            {"text": SECRET}, "the generator gave dict, and the policy has no stage", id="dict"
        ),
        pytest.param(b"bytes", "the generator gave bytes, and the policy has no stage", id="image"),
        pytest.param(
            iter(["a", "b"]), "the generator gave list_iterator. Expected a whole", id="tokens"
        ),
    ],
)
def test_an_unusable_output_is_the_policys_on_failure(
    run: Run, output: Any, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        result = run(guard_of(), Scripted(output), "draw a boat")
    assert (result.output, result.decision.action) == (None, Action.BLOCK)
    assert result.decision.status is Status.ERROR
    [attempt] = result.attempts
    assert attempt.problem is not None
    assert attempt.problem.startswith(problem)
    assert attempt.error is (output if isinstance(output, Exception) else None)
    assert SECRET not in caplog.text + repr(result)


def test_the_words_of_an_error_of_the_generators_own_are_not_repeated(run: Run) -> None:
    result = run(guard_of(), Scripted(DeadlineError(SECRET)), "draw a boat")
    assert result.attempts[0].problem == "the generator raised DeadlineError"


def test_a_generator_may_even_raise_what_ends_iterations(run: Run) -> None:
    result = run(
        guard_of(), Scripted(StopIteration()), "draw a boat", budget=Budget(total_s=LONG_S)
    )
    assert result.attempts[0].problem in (
        "the generator raised StopIteration",
        "the generator raised RuntimeError",  # what Python makes of it in a coroutine
    )


def test_on_failure_may_have_it_generated_again(run: Run) -> None:
    guard = guard_of(replace(POLICY, on_failure="regenerate"))
    result = run(guard, Scripted(ValueError(), None, "a boat"), "draw a boat")
    assert (result.output, len(result.attempts)) == ("a boat", 3)
    result = run(guard, Scripted(ValueError()), "draw a boat")
    assert (result.output, len(result.attempts)) == (None, 3)
    assert result.decision.action is Action.BLOCK


def test_where_nothing_was_generated_allow_means_block(run: Run) -> None:
    guard = guard_of(replace(POLICY, on_failure="allow", on_timeout="allow"))
    assert run(guard, Scripted(ValueError()), "draw a boat").decision.action is Action.BLOCK


def test_a_hanging_generator_is_left_behind_in_time(run: Run) -> None:
    release = threading.Event()

    def hang(prompt: str, guidance: Guidance | None = None) -> str:
        release.wait(LONG_S)
        return "late"

    started = time.monotonic()
    result = run(guard_of(), hang, "draw a boat", budget=SOON)
    assert time.monotonic() - started < LONG_S / 2
    release.set()
    assert (result.output, result.decision.action) == (None, Action.BLOCK)
    [attempt] = result.attempts
    assert attempt.problem is not None
    assert "no answer within" in attempt.problem


def test_a_call_that_is_late_may_be_made_again_while_there_is_time(run: Run) -> None:
    release, calls = threading.Event(), []

    def slow_once(prompt: str, guidance: Guidance | None = None) -> str:
        calls.append(prompt)
        if len(calls) == 1:
            release.wait(LONG_S)
        return "a boat"

    guard = guard_of(replace(POLICY, on_timeout="regenerate"))
    result = run(guard, slow_once, "draw a boat", budget=Budget(attempt_s=0.05, total_s=LONG_S))
    release.set()
    assert (result.output, len(result.attempts)) == ("a boat", 2)


def test_nothing_is_generated_again_once_the_time_is_over(run: Run) -> None:
    release = threading.Event()

    def slow(prompt: str, guidance: Guidance | None = None) -> str:
        release.wait(0.05)
        return "an idiot boat"

    result = run(guard_of(), slow, "draw a boat", budget=Budget(regenerations=16, total_s=0.3))
    assert len(result.attempts) <= 0.3 / 0.05 + 1
    assert result.decision.action is Action.BLOCK


def test_the_total_holds_for_a_generator_that_hangs(run: Run) -> None:
    release = threading.Event()

    def hang(prompt: str, guidance: Guidance | None = None) -> str:
        release.wait(LONG_S)
        return "late"

    started = time.monotonic()
    result = run(guard_of(), hang, "draw a boat", budget=Budget(total_s=0.2))
    took_s = time.monotonic() - started
    release.set()
    assert took_s < LONG_S / 2
    assert result.decision.action is Action.BLOCK


def test_without_a_prompt_stage_and_time_there_is_still_a_decision() -> None:
    guard = guard_of(Policy("out", output_text=OUTPUT))
    result = guard.run(Scripted("a boat"), "a boat", budget=Budget(total_s=1e-9))
    assert (result.attempts, result.decision.action) == ((), Action.BLOCK)


# --- async --------------------------------------------------------------------------------------------


def test_a_coroutine_function_is_awaited() -> None:
    async def generate(prompt: str, guidance: Guidance | None = None) -> str:
        await asyncio.sleep(0)
        return "an idiot boat" if guidance is None else "a boat"

    assert run_async(guard_of(), generate, "draw a boat").output == "a boat"


def test_a_callable_that_gives_a_coroutine_is_awaited_too() -> None:
    async def later() -> str:
        return "a boat"

    assert run_async(guard_of(), lambda _: later(), "draw a boat").output == "a boat"


def test_a_coroutine_that_refuses_to_be_cancelled_does_not_hold_anyone() -> None:
    async def main() -> RunResult:
        release = asyncio.Event()

        async def stubborn(prompt: str) -> str:
            while not release.is_set():
                try:
                    await asyncio.wait_for(release.wait(), LONG_S)
                except asyncio.CancelledError:
                    continue
            return "late"

        result = await guard_of().arun(stubborn, "draw a boat", budget=SOON)
        release.set()
        return result

    result = asyncio.run(asyncio.wait_for(main(), LONG_S))
    assert (result.output, result.decision.action) == (None, Action.BLOCK)


def test_a_caller_that_is_cancelled_cancels_its_generator() -> None:
    cancelled, begun = list[str](), asyncio.Event()

    async def generate(prompt: str) -> str:
        begun.set()
        try:
            await asyncio.sleep(LONG_S)
        except asyncio.CancelledError:
            cancelled.append(prompt)
            raise
        return "late"

    async def main() -> None:
        task = asyncio.ensure_future(guard_of().arun(generate, "draw a boat"))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)

    asyncio.run(main())
    assert cancelled == ["draw a boat"]


def test_many_runs_go_on_at_once() -> None:
    async def main() -> list[RunResult]:
        guard = guard_of()
        waiting = 0
        all_here = asyncio.Event()

        async def generate(prompt: str) -> str:
            nonlocal waiting
            waiting += 1
            if waiting == 100:
                all_here.set()
            await all_here.wait()
            return prompt

        return await asyncio.gather(*(guard.arun(generate, f"boat {n}") for n in range(100)))

    results = asyncio.run(asyncio.wait_for(main(), LONG_S))
    assert [result.output for result in results] == [f"boat {n}" for n in range(100)]


# --- batches ------------------------------------------------------------------------------------------


def test_a_batch_asks_again_for_what_is_not_settled() -> None:
    rounds: list[list[str]] = []

    def generate(prompts: list[str], guidance: list[Guidance | None]) -> list[str]:
        rounds.append(prompts)
        return [
            "an idiot" if told is None and "b" in p else p
            for p, told in zip(prompts, guidance, strict=True)
        ]

    prompts = ["a", "b", "kill", "bb", "c"]
    results = guard_of().run_batch(generate, prompts)
    assert rounds == [["a", "b", "bb", "c"], ["b", "bb"]]
    assert [result.output for result in results] == ["a", "b", None, "bb", "c"]
    again = asyncio.run(guard_of().arun_batch(generate, prompts))
    assert [result.output for result in again] == ["a", "b", None, "bb", "c"]


def test_a_batch_of_none_is_none() -> None:
    assert guard_of().run_batch(lambda _: [], []) == []


@pytest.mark.parametrize(
    ("outputs", "problem"),
    [
        pytest.param(["a"], "the generator gave 1 outputs for 2 prompts", id="too-few"),
        pytest.param("ab", "the generator gave str. Expected a list", id="no-list"),
        pytest.param(None, "the generator gave NoneType. Expected a list", id="none"),
    ],
)
def test_a_batch_of_another_length_is_of_no_use(outputs: Any, problem: str) -> None:
    results = guard_of().run_batch(lambda _: outputs, ["a", "b"])
    for result in results:
        assert result.output is None
        assert result.attempts[0].problem is not None
        assert result.attempts[0].problem.startswith(problem)


# --- images -------------------------------------------------------------------------------------------


def test_images_are_driven_alike(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUARDKIT_MODELS", str(build_tiny_images(tmp_path / "models")))
    rules = (rule("sexual", Action.REGENERATE), rule("gore", Action.BLOCK))
    policy = Policy("pictures", output_image=StagePolicy(scorers=("image-safety",), rules=rules))
    guard = Guard(policy)
    generate = Scripted(encoded(plain(RED)), plain(BLUE))
    result = guard.run(generate, "draw a boat")
    assert result.output is not None
    assert result.output.shape == (64, 64, 3)
    seen: list[str | None] = []

    class Spy(Guard):
        def check_output(self, *, prompt: str | None = None, **output: Any) -> Decision:
            seen.append(prompt)
            return super().check_output(prompt=prompt, **output)

    Spy(policy).run(lambda _: plain(BLUE), "draw a boat")
    assert seen == ["draw a boat"]  # a scorer of images may want to know what it was made of
    blind = guard.run(lambda _: plain(RED), "draw a boat")
    assert blind.attempts[1].guidance is None  # nothing told it
    assert blind.decision.reasons[-1].endswith(
        "without guidance, for the generator takes none: block"
    )
    told = generate.asked[1][1]
    assert told is not None
    assert told.negative_prompt == "nudity, sexual content"
    assert told.revised_prompt is None  # a picture's prompt must not name it
    for wrong in ({"no": "image"}, 3, "a text"):
        result = guard.run(Scripted(wrong), "draw a boat")
        assert (result.output, result.decision.action) == (None, Action.BLOCK)
        assert result.attempts[0].problem is not None


# --- what is refused before anything is generated -----------------------------------------------------


def test_what_cannot_be_run_is_refused() -> None:
    guard = guard_of()

    async def later(prompt: str) -> str:
        return prompt

    def two(prompt: str, size: int) -> Iterator[str]:
        raise AssertionError

    for generate, message in (
        (None, "generate is NoneType"),
        (later, "Use arun"),
        (two, "cannot be called with a prompt alone"),
        (lambda: "", "cannot be called with a prompt alone"),
    ):
        with pytest.raises(InputError, match=message):
            guard.run(generate, "a boat")  # type: ignore[arg-type]

    def secretive(prompt: str, size: int, key: str = SECRET) -> str:
        raise AssertionError

    with pytest.raises(InputError, match=r"generate\(prompt, size, key\) cannot") as caught:
        guard.run(secretive, "a boat")
    assert SECRET not in str(caught.value)
    with pytest.raises(InputError, match="prompt is bytes"):
        guard.run(str.upper, b"a boat")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no output stage"):
        guard_of(Policy("in", prompt=PROMPT)).run(str.upper, "a boat")


@pytest.mark.parametrize(
    "options",
    [{"regenerations": -1}, {"regenerations": 17}, {"total_s": 0}, {"attempt_s": float("inf")}],
    ids=str,
)
def test_a_budget_out_of_range_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="Expected"):
        Budget(**options)


# --- a generator that judges itself -------------------------------------------------------------------


def gave_up(action: Action) -> Decision:
    steer = Guidance({"gore": 0.8}) if action is Action.REGENERATE else None
    return Decision(action=action, stage="output-text", scores=Scores(), guidance=steer)  # type: ignore[arg-type]


def test_a_generation_that_the_generator_gave_up_is_asked_for_again(run: Run) -> None:
    generate = Scripted(gave_up(Action.REGENERATE), "a boat")
    result = run(guard_of(), generate, "draw a boat")
    assert result.output == "a boat"
    assert [one.decision.action for one in result.attempts] == [Action.REGENERATE, Action.ALLOW]
    told = generate.asked[1][1]
    assert told is not None
    assert (dict(told.categories), told.negative_prompt) == ({"gore": 0.8}, "gore, blood")


def test_a_generation_that_the_generator_blocks_is_blocked(run: Run) -> None:
    result = run(guard_of(), Scripted(gave_up(Action.BLOCK)), "draw a boat")
    assert (result.output, result.decision.action, len(result.attempts)) == (None, Action.BLOCK, 1)


@pytest.mark.parametrize("action", [Action.ALLOW, Action.EDIT])
def test_a_decision_to_use_something_is_no_output(run: Run, action: Action) -> None:
    result = run(guard_of(), Scripted(gave_up(action)), "draw a boat")
    assert (result.output, result.decision.action) == (None, Action.BLOCK)
    assert "gave a Decision to use something" in str(result.attempts[-1].problem)
