"""Anybody's generator, asked within time: an output, or what went wrong."""

from __future__ import annotations

import contextvars
import functools
import inspect
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from guardkit.errors import DeadlineError, InputError
from guardkit.runtime.deadline import DeadlineRunner
from guardkit.types import Guidance

_log = logging.getLogger(__name__)
NAME = "the generator"
Generate = Callable[..., Any]
"""A prompt (or a list of them), and `guidance` where it takes that, to an output (or a list)."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a generator is asked."""

    prompt: str
    guidance: Guidance | None
    """None the first time, unless the prompt itself asked for it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a generator gave."""

    output: Any = field(default=None, repr=False)
    problem: str | None = None
    """Why there is no output, without any of its content; None: there is one."""
    error: Exception | None = field(default=None, repr=False)
    """What the generator raised. Its message may hold content: it is for whoever runs the generator."""
    is_late: bool = False
    took_ms: float = 0.0
    guidance: Guidance | None = None
    """What the generator was told, itself or in its prompt; None where it could not be."""


class Generator:
    """A callable that makes an output of a prompt, or outputs of a list of them.

    A parameter named `guidance` gets the guidance. A callable without one is told in the prompt, where the
    guidance has a revised one.
    """

    def __init__(self, generate: Generate, *, is_batch: bool, may_await: bool) -> None:
        """Look at a callable.

        Args:
            generate: Takes one prompt, or with `is_batch` a list of them.
            is_batch: Whether it makes a list of outputs of a list of prompts.
            may_await: Whether its caller can wait for a coroutine.

        Raises:
            InputError: It cannot be called so, or is a coroutine function and nobody can wait for it.
        """
        if not callable(generate):
            raise InputError(f"generate is {type(generate).__name__}. Expected a callable.")
        self.is_async = inspect.iscoroutinefunction(generate) or inspect.iscoroutinefunction(
            type(generate).__call__
        )
        if self.is_async and not may_await:
            raise InputError("generate is a coroutine function. Use arun, or arun_batch.")
        self._generate = generate
        self._is_batch = is_batch
        self._takes_guidance = _takes_guidance(generate)

    def ask(
        self, asks: Sequence[Ask], threads: DeadlineRunner, *, timeout_s: float | None
    ) -> list[Answer]:
        """One call; an answer for each that is asked, whatever happens."""
        started = time.perf_counter()
        call = self.call(asks)
        try:
            value = call() if timeout_s is None else threads.call(call, timeout_s=timeout_s, name=NAME)  # fmt: skip
        except Exception as e:  # noqa: BLE001  a failure boundary: a generator is anybody's code
            return self.told(failed(e), asks, started)
        return self.told(self.answers(value, len(asks)), asks, started)

    def call(self, asks: Sequence[Ask]) -> Callable[[], Any]:
        """The call, to be made in the caller's context, on whatever thread."""
        prompts: Any = [self._prompt_of(ask) for ask in asks]
        guidance: Any = [ask.guidance for ask in asks]
        if not self._is_batch:
            (prompts,), (guidance,) = prompts, guidance
        arguments = {"guidance": guidance} if self._takes_guidance else {}
        return functools.partial(
            contextvars.copy_context().run, self._generate, prompts, **arguments
        )

    def _prompt_of(self, ask: Ask) -> str:
        if self._takes_guidance or ask.guidance is None:
            return ask.prompt
        return ask.guidance.revised_prompt or ask.prompt

    def _told(self, ask: Ask) -> Guidance | None:
        is_told = self._takes_guidance or self._prompt_of(ask) != ask.prompt
        return ask.guidance if is_told else None

    def answers(self, value: Any, count: int) -> list[Answer]:
        """What a call gave, as an answer for each that was asked."""
        if not self._is_batch:
            return [_answer(value)]
        if not isinstance(value, list | tuple):
            return [_problem(f"gave {_kind(value)}. Expected a list of outputs")] * count
        if len(value) != count:
            return [_problem(f"gave {len(value)} outputs for {count} prompts")] * count
        return [_answer(one) for one in value]

    def told(self, answers: list[Answer], asks: Sequence[Ask], started: float) -> list[Answer]:
        """An answer each, with the time the call took, and what it was told."""
        took_ms = round((time.perf_counter() - started) * 1000, 3)
        each = answers if len(answers) == len(asks) else answers * len(asks)
        return [
            replace(one, took_ms=took_ms, guidance=self._told(ask))
            for one, ask in zip(each, asks, strict=True)
        ]


def without_output(answer: Answer, what: str) -> Answer:
    """The answer of a generator whose output nobody can use; what is wrong with it."""
    return replace(answer, output=None, problem=f"{NAME} {what}")


def _takes_guidance(generate: Generate) -> bool:
    try:
        signature = inspect.signature(generate)
    except (TypeError, ValueError):
        return False  # written in C: there is nothing to look at
    takes = "guidance" in signature.parameters
    try:
        signature.bind("", **({"guidance": None} if takes else {}))
    except TypeError as e:
        names = ", ".join(signature.parameters)  # no defaults: one may be a secret
        raise InputError(
            f"generate({names}) cannot be called with a prompt alone. Expected (prompt) or "
            "(prompt, guidance); use functools.partial for the rest."
        ) from e
    return takes


def _answer(value: Any) -> Answer:
    if inspect.iscoroutine(value):
        value.close()  # Python would warn that nobody waited for it
        return _problem("gave a coroutine. Use arun, or arun_batch")
    if value is None:
        return _problem("gave nothing (None)")
    if isinstance(value, Iterator):
        return _problem(f"gave {_kind(value)}. Expected a whole output; for tokens use stream")
    return Answer(value)


def failed(error: Exception) -> list[Answer]:
    """One answer that stands for all that were asked."""
    _log.warning("the generator failed: %s", type(error).__name__)
    is_late, words = isinstance(error, DeadlineError), str(error)
    if is_late and words.startswith(NAME):  # ours; the words of any other error may hold content
        return [Answer(problem=words.rstrip("."), error=error, is_late=True)]
    return [replace(_problem(f"raised {type(error).__name__}", error), is_late=is_late)]


def _problem(what: str, error: Exception | None = None) -> Answer:
    return Answer(problem=f"{NAME} {what}", error=error)


def _kind(value: object) -> str:
    return type(value).__name__
