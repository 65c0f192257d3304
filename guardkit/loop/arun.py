"""The async twin of the loop: the same courses, without blocking the event loop.

Apart from `run.py`, for asyncio takes 30 ms to import, which a synchronous caller need not pay.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from guardkit.decision import Decision
from guardkit.errors import DeadlineError, InputError
from guardkit.loop.generator import NAME, Answer, Ask, Generator, failed
from guardkit.loop.run import Checks, Course, Plan, Rounds, no_image
from guardkit.runtime.deadline import DeadlineRunner
from guardkit.types import RunResult

_Outcome = tuple[Any, Exception | None]


async def arun_all(
    guard: Checks, generator: Generator, prompts: Sequence[str], plan: Plan, threads: DeadlineRunner
) -> list[RunResult]:
    """`run_all` without blocking the event loop."""
    rounds = Rounds(guard.policy, prompts, plan)
    if guard.policy.prompt is None:
        rounds.begin([None] * len(prompts))
    elif len(prompts) == 1:
        rounds.begin([await guard.acheck_prompt(prompts[0], plan.context)])
    else:
        rounds.begin(await guard.acheck_prompts(prompts, plan.context))
    while courses := rounds.unsettled():
        asks = [course.ask for course in courses]
        answers = await ask(generator, asks, threads, timeout_s=rounds.limit_s())
        for course, answer in zip(courses, answers, strict=True):
            course.take(*await _ajudged(guard, course, answer))
    return rounds.results()


async def ask(
    generator: Generator, asks: Sequence[Ask], threads: DeadlineRunner, *, timeout_s: float | None
) -> list[Answer]:
    """`Generator.ask` without blocking the event loop; a generator that is late is cancelled, and not waited for."""
    started = time.perf_counter()
    task = asyncio.ensure_future(_called(generator, asks, threads))
    task.add_done_callback(_error_of)  # what a task leaves behind, asyncio would complain of
    try:
        await asyncio.wait({task}, timeout=timeout_s)
    finally:
        is_done = task.done()
        task.cancel()
    if not is_done:
        late = DeadlineError(f"{NAME}: no answer within {(timeout_s or 0) * 1000:.0f} ms.")
        return generator.told(failed(late), asks, started)
    if (error := _error_of(task)) is not None:
        return generator.told(failed(error), asks, started)
    return generator.told(generator.answers(task.result(), len(asks)), asks, started)


async def _called(generator: Generator, asks: Sequence[Ask], threads: DeadlineRunner) -> Any:
    call = generator.call(asks)
    if generator.is_async:
        return await call()
    value, error = await _in_thread(call, threads)
    if error is not None:
        raise error
    return await value if inspect.isawaitable(value) else value


async def _ajudged(guard: Checks, course: Course, answer: Answer) -> tuple[Answer, Decision]:
    answer = course.vetted(answer)
    if isinstance(answer.output, Decision):
        return answer, answer.output
    if answer.problem is None:
        try:
            return answer, await guard.acheck_output(**course.output_of(answer))
        except InputError:
            answer = no_image(answer)
    return answer, course.refusal(answer)


def _error_of(task: asyncio.Future[Any]) -> Exception | None:
    if task.cancelled():
        return DeadlineError(f"{NAME}: was cancelled.")
    error = task.exception()
    if error is not None and not isinstance(error, Exception):
        raise error
    return error


def _in_thread(call: Callable[[], Any], threads: DeadlineRunner) -> Awaitable[_Outcome]:
    """Make a call on a thread that can be left behind; its outcome, as a future of this event loop."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_Outcome] = loop.create_future()

    def settle(outcome: _Outcome) -> None:
        if not future.done():
            future.set_result(outcome)  # an error too: a future takes no StopIteration as one

    def work() -> None:
        try:
            outcome: _Outcome = call(), None
        except Exception as e:  # noqa: BLE001  handed to the event loop, which raises it
            outcome = None, e
        loop.call_soon_threadsafe(settle, outcome)

    threads.start(work, name=NAME)
    return future
