"""A call of an OpenAI-style client put through a guard: what is checked before it, around it, and after it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from guardkit.decision import Decision
from guardkit.errors import InputError
from guardkit.guard import Guard
from guardkit.integrations.openai_calls import Call, Conversation
from guardkit.integrations.openai_stream import AsyncGuardedStream, Carrying, GuardedStream
from guardkit.loop.budget import Budget
from guardkit.loop.guidance import guidance
from guardkit.types import Action, Context, Guidance, RunResult

_BUDGET = Budget()


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a client is used."""

    context: Context | None = None
    """The situation, as in `Guard.check_prompt`."""
    budget: Budget = _BUDGET
    """How often and how long the client is asked, as in `Guard.run`; a stream has the client's own limits."""
    on_result: Callable[[RunResult], None] | None = None
    """Gets the record of every call that does not stream, blocked ones among them, before it is answered."""
    pass_unchecked: bool = False
    """Let through what no stage checks (pictures that a user sends, tool calls and the like), instead of refusing it."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Whom is asked, and who checks."""

    client: Any
    guard: Guard
    terms: Terms


@dataclass(frozen=True, slots=True)
class Talk:
    """One of the two ways to talk: what makes a call of it, and what takes its streams apart."""

    call: Callable[..., Call]
    chunks: Callable[..., Carrying]


def said(
    asker: Asker,
    create: Callable[..., Any],
    talk: Talk,
    read: Conversation,
    arguments: dict[str, Any],
    *,
    stream: bool,
) -> Any:
    """What the client says to a conversation, or a stream of it."""
    guard, terms = asker.guard, asker.terms
    checked = read.texts if stream else read.texts[:-1]
    decisions = guard.check_prompts(checked, terms.context) if _asks(guard) else []
    read = _allowed(guard, read, decisions)
    if not stream:
        call = talk.call(read, arguments, pass_unchecked=terms.pass_unchecked)
        return run(asker, create, call, read.texts[-1])
    source = _now(create(**_streamed(asker, talk, read, decisions, arguments)))
    chunks = talk.chunks(pass_unchecked=terms.pass_unchecked)
    return GuardedStream(guard, source, chunks, context=terms.context)


async def asaid(
    asker: Asker,
    create: Callable[..., Any],
    talk: Talk,
    read: Conversation,
    arguments: dict[str, Any],
    *,
    stream: bool,
) -> Any:
    """`said` without blocking the event loop."""
    guard, terms = asker.guard, asker.terms
    checked = read.texts if stream else read.texts[:-1]
    decisions = await guard.acheck_prompts(checked, terms.context) if _asks(guard) else []
    read = _allowed(guard, read, decisions)
    if not stream:
        call = talk.call(read, arguments, pass_unchecked=terms.pass_unchecked)
        return await arun(asker, create, call, read.texts[-1])
    source = await _soon(create(**_streamed(asker, talk, read, decisions, arguments)))
    chunks = talk.chunks(pass_unchecked=terms.pass_unchecked)
    return AsyncGuardedStream(guard, source, chunks, context=terms.context)


def run(asker: Asker, create: Callable[..., Any], call: Call, prompt: str) -> Any:
    """The answer of one call, through `Guard.run`."""

    def generate(prompt: str, guidance: Guidance | None) -> Any:
        return call.took(guidance, _now(create(**call.asked(prompt, guidance))))

    terms = asker.terms
    result = asker.guard.run(generate, prompt, context=terms.context, budget=terms.budget)
    return call.answer(_settled(asker, result))


async def arun(asker: Asker, create: Callable[..., Any], call: Call, prompt: str) -> Any:
    """`run` without blocking the event loop."""

    async def generate(prompt: str, guidance: Guidance | None) -> Any:
        return call.took(guidance, await _soon(create(**call.asked(prompt, guidance))))

    terms = asker.terms
    result = await asker.guard.arun(generate, prompt, context=terms.context, budget=terms.budget)
    return call.answer(_settled(asker, result))


def _settled(asker: Asker, result: RunResult) -> RunResult:
    """Hand on the record; raise what the client raised, or what the policy says."""
    if asker.terms.on_result is not None:
        asker.terms.on_result(result)
    error = result.attempts[-1].error if result.attempts else None
    if error is not None:
        raise error
    asker.guard.enforce(result.decision)
    return result


def _asks(guard: Guard) -> bool:
    return guard.policy.prompt is not None


def _allowed(guard: Guard, read: Conversation, decisions: Sequence[Decision]) -> Conversation:
    """The conversation with the user's texts as they may be used; `Blocked` where one may not."""
    texts = [guard.enforce(decision).text or "" for decision in decisions]
    return read.saying([*texts, *read.texts[len(texts) :]])


def _streamed(
    asker: Asker,
    talk: Talk,
    read: Conversation,
    decisions: Sequence[Decision],
    arguments: dict[str, Any],
) -> dict[str, Any]:
    """What the client is asked for a stream, with guidance where the prompt itself asks for it."""
    guard, pass_unchecked = asker.guard, asker.terms.pass_unchecked
    if guard.policy.output_text is None:
        name = guard.policy.policy
        raise InputError(f"stream: policy '{name}' has no stage output-text. Add one to it.")
    call = talk.call(read, arguments, pass_unchecked=pass_unchecked)
    told, prompt = None, read.texts[-1]
    if decisions and decisions[-1].action is Action.REGENERATE and decisions[-1].guidance:
        strengths = decisions[-1].guidance.categories
        told = guidance(prompt, strengths, seed=None, is_text=True)
    return {**call.asked(prompt, told), "stream": True}


def no_stream(arguments: dict[str, Any]) -> None:
    """Refuse a stream of pictures."""
    if arguments.get("stream"):
        raise InputError(
            "stream: pictures are checked whole. Leave it out; what is shown before is not checked."
        )


def _now(response: Any) -> Any:
    if inspect.iscoroutine(response):
        response.close()  # Python would warn that nobody waited for it
        raise InputError("the client gave a coroutine. Use aguarded.")
    return response


async def _soon(response: Any) -> Any:
    if not inspect.isawaitable(response):
        raise InputError(f"the client gave {type(response).__name__}, not awaitable. Use guarded.")
    return await response
