"""A guard around an OpenAI-style client: chat, streamed chat and pictures, as the client itself answers.

    client = guarded(OpenAI(), Guard.from_preset("chat"))
    client.chat.completions.create(model="...", messages=[{"role": "user", "content": "Hello"}])

The package `openai` is not imported: any client of that shape will do, whatever server it talks to.

    messages  every message of the user's is checked and edited; the last one is the prompt that may be revised
    answer    the client's own object, a copy where its text or picture was edited
    block     `Blocked`, which carries the decision; in a stream, the finish reason `content_filter`
    error     what the client raises, as it raises it

A guarded client has the two methods that are guarded, and nothing else: what is not checked has to be asked of the
client itself. The user's earlier messages are checked again at each call, for nobody else remembers them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from guardkit.decision import Decision
from guardkit.errors import InputError
from guardkit.guard import Guard
from guardkit.integrations.openai_calls import (
    Call,
    ChatCall,
    Conversation,
    ImageCall,
    one_at_a_time,
    read_conversation,
)
from guardkit.integrations.openai_stream import AsyncGuardedStream, GuardedStream
from guardkit.loop.budget import Budget
from guardkit.loop.guidance import guidance
from guardkit.types import Action, Context, Guidance, RunResult

_BUDGET = Budget()


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a client is used."""

    guard: Guard
    context: Context | None = None
    budget: Budget = _BUDGET
    on_result: Callable[[RunResult], None] | None = None
    """Gets the record of every call that does not stream, blocked ones among them, before it is answered."""
    pass_unchecked: bool = False
    """Let through what no stage checks, instead of refusing it."""


@dataclass(frozen=True, slots=True)
class Chat:
    """The place of `completions`."""

    completions: Completions | AsyncCompletions


@dataclass(frozen=True, slots=True)
class GuardedClient:
    """What is guarded of a client."""

    chat: Chat
    images: Images | AsyncImages


def guarded(
    client: Any,
    guard: Guard,
    *,
    context: Context | None = None,
    budget: Budget = _BUDGET,
    on_result: Callable[[RunResult], None] | None = None,
    pass_unchecked: bool = False,
) -> GuardedClient:
    """A client whose prompts and answers a guard checks.

    Args:
        client: Has `chat.completions.create` and, for pictures, `images.generate`, as `openai.OpenAI` has.
        guard: Its policy has an output stage for what is asked of the client.
        context: The situation, as in `Guard.check_prompt`.
        budget: How often and how long the client is asked, as in `Guard.run`; a stream has the client's own limits.
        on_result: Gets the `RunResult` of each call.
        pass_unchecked: Let pictures that a user sends, tool calls and the like pass unchecked.

    Raises:
        Blocked: By a call: the policy does not allow the prompt, or any answer.
        InputError: By a call: it holds what cannot be checked.

    >>> from types import SimpleNamespace as Shape
    >>> answer = Shape(choices=[Shape(message=Shape(role="assistant", content="Hello."))])
    >>> completions = Shape(create=lambda **asked: answer)
    >>> client = guarded(Shape(chat=Shape(completions=completions)), Guard.from_preset("chat"))
    >>> said = client.chat.completions.create(messages=[{"role": "user", "content": "Hi"}])
    >>> said.choices[0].message.content
    'Hello.'
    """
    terms = Terms(guard, context, budget, on_result, pass_unchecked)
    return GuardedClient(Chat(Completions(client, terms)), Images(client, terms))


def aguarded(
    client: Any,
    guard: Guard,
    *,
    context: Context | None = None,
    budget: Budget = _BUDGET,
    on_result: Callable[[RunResult], None] | None = None,
    pass_unchecked: bool = False,
) -> GuardedClient:
    """`guarded` for a client whose methods are awaited, as those of `openai.AsyncOpenAI`."""
    terms = Terms(guard, context, budget, on_result, pass_unchecked)
    return GuardedClient(Chat(AsyncCompletions(client, terms)), AsyncImages(client, terms))


class Completions:
    """`chat.completions`, guarded."""

    def __init__(self, client: Any, terms: Terms) -> None:
        self._client = client
        self._terms = terms

    def create(self, *, messages: Iterable[Any], stream: bool = False, **arguments: Any) -> Any:
        """As the client's own; the other arguments are the client's."""
        terms, create = self._terms, self._client.chat.completions.create
        read = read_conversation(messages, pass_unchecked=terms.pass_unchecked)
        checked = read.texts if stream else read.texts[:-1]
        decisions = terms.guard.check_prompts(checked, terms.context) if _asks(terms) else []
        read = _allowed(terms.guard, read, decisions)
        if stream:
            asked = _streamed(terms, read, decisions, arguments)
            source = _now(create(**asked))
            return GuardedStream(
                terms.guard, source, context=terms.context, pass_unchecked=terms.pass_unchecked
            )
        call = ChatCall(read, arguments, pass_unchecked=terms.pass_unchecked)
        return _run(terms, create, call, read.texts[-1])


class Images:
    """`images`, guarded."""

    def __init__(self, client: Any, terms: Terms) -> None:
        self._client = client
        self._terms = terms

    def generate(self, *, prompt: str, **arguments: Any) -> Any:
        """As the client's own; the picture has to come in the answer, in base64."""
        _no_stream(arguments)
        call = ImageCall(arguments, pass_unchecked=self._terms.pass_unchecked)
        return _run(self._terms, self._client.images.generate, call, prompt)


class AsyncCompletions:
    """`Completions` without blocking the event loop."""

    def __init__(self, client: Any, terms: Terms) -> None:
        self._client = client
        self._terms = terms

    async def create(
        self, *, messages: Iterable[Any], stream: bool = False, **arguments: Any
    ) -> Any:
        """As the client's own; the other arguments are the client's."""
        terms, create = self._terms, self._client.chat.completions.create
        read = read_conversation(messages, pass_unchecked=terms.pass_unchecked)
        checked = read.texts if stream else read.texts[:-1]
        decisions = await terms.guard.acheck_prompts(checked, terms.context) if _asks(terms) else []
        read = _allowed(terms.guard, read, decisions)
        if stream:
            source = await _soon(create(**_streamed(terms, read, decisions, arguments)))
            return AsyncGuardedStream(
                terms.guard, source, context=terms.context, pass_unchecked=terms.pass_unchecked
            )
        call = ChatCall(read, arguments, pass_unchecked=terms.pass_unchecked)
        return await _arun(terms, create, call, read.texts[-1])


class AsyncImages:
    """`Images` without blocking the event loop."""

    def __init__(self, client: Any, terms: Terms) -> None:
        self._client = client
        self._terms = terms

    async def generate(self, *, prompt: str, **arguments: Any) -> Any:
        """As the client's own; the picture has to come in the answer, in base64."""
        _no_stream(arguments)
        call = ImageCall(arguments, pass_unchecked=self._terms.pass_unchecked)
        return await _arun(self._terms, self._client.images.generate, call, prompt)


def _run(terms: Terms, create: Callable[..., Any], call: Call, prompt: str) -> Any:
    def generate(prompt: str, guidance: Guidance | None) -> Any:
        return call.took(guidance, _now(create(**call.asked(prompt, guidance))))

    result = terms.guard.run(generate, prompt, context=terms.context, budget=terms.budget)
    return call.answer(_settled(terms, result))


async def _arun(terms: Terms, create: Callable[..., Any], call: Call, prompt: str) -> Any:
    async def generate(prompt: str, guidance: Guidance | None) -> Any:
        return call.took(guidance, await _soon(create(**call.asked(prompt, guidance))))

    result = await terms.guard.arun(generate, prompt, context=terms.context, budget=terms.budget)
    return call.answer(_settled(terms, result))


def _settled(terms: Terms, result: RunResult) -> RunResult:
    """Hand on the record; raise what the client raised, or what the policy says."""
    if terms.on_result is not None:
        terms.on_result(result)
    error = result.attempts[-1].error if result.attempts else None
    if error is not None:
        raise error
    terms.guard.enforce(result.decision)
    return result


def _asks(terms: Terms) -> bool:
    return terms.guard.policy.prompt is not None


def _allowed(guard: Guard, read: Conversation, decisions: Sequence[Decision]) -> Conversation:
    """The conversation with the user's texts as they may be used; `Blocked` where one may not."""
    texts = [guard.enforce(decision).text or "" for decision in decisions]
    return read.saying([*texts, *read.texts[len(texts) :]])


def _streamed(
    terms: Terms, read: Conversation, decisions: Sequence[Decision], arguments: dict[str, Any]
) -> dict[str, Any]:
    """What the client is asked for a stream, with guidance where the prompt itself asks for it."""
    if terms.guard.policy.output_text is None:
        name = terms.guard.policy.policy
        raise InputError(f"stream: policy '{name}' has no stage output-text. Add one to it.")
    one_at_a_time(arguments)
    call = ChatCall(read, arguments, pass_unchecked=True)  # the stream looks at what comes
    told, prompt = None, read.texts[-1]
    if decisions and decisions[-1].action is Action.REGENERATE and decisions[-1].guidance:
        strengths = decisions[-1].guidance.categories
        told = guidance(prompt, strengths, seed=None, is_text=True)
    return {**call.asked(prompt, told), "stream": True}


def _no_stream(arguments: dict[str, Any]) -> None:
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
