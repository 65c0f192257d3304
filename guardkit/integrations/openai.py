"""A guard around an OpenAI-style client: chat, responses, their streams, and pictures, as the client itself answers.

    client = guarded(OpenAI(), Guard.from_preset("chat"))
    client.chat.completions.create(model="...", messages=[{"role": "user", "content": "Hello"}])
    client.responses.create(model="...", input="Hello")

The package `openai` is not imported: any client of that shape will do, whatever server it talks to.

    messages  every message of the user's is checked and edited; the last one is the prompt that may be revised
    answer    the client's own object, a copy where its text or picture was edited
    block     `Blocked`, which carries the decision; in a stream, the finish reason `content_filter`, or the event
              `response.incomplete` with that reason
    error     what the client raises, as it raises it

A guarded client has the methods that are guarded, and nothing else: what is not checked has to be asked of the client
itself. The user's earlier messages are checked again at each call, for nobody else remembers them; those that the
server remembers (`previous_response_id`) were checked when they were sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from guardkit.guard import Guard
from guardkit.integrations.openai_ask import Asker, Talk, Terms, arun, asaid, no_stream, run, said
from guardkit.integrations.openai_calls import ChatCall, ImageCall, read_conversation
from guardkit.integrations.openai_responses import ResponseCall, ResponseEvents, read_input
from guardkit.integrations.openai_stream import Chunks

__all__ = ["GuardedClient", "Terms", "aguarded", "guarded"]

_TERMS = Terms()


@dataclass(frozen=True, slots=True)
class Chat:
    """The place of `completions`."""

    completions: Completions | AsyncCompletions


@dataclass(frozen=True, slots=True)
class GuardedClient:
    """What is guarded of a client."""

    chat: Chat
    responses: Responses | AsyncResponses
    images: Images | AsyncImages


def guarded(client: Any, guard: Guard, terms: Terms = _TERMS) -> GuardedClient:
    """A client whose prompts and answers a guard checks.

    Args:
        client: Has `chat.completions.create`, `responses.create` or `images.generate`, as `openai.OpenAI` has.
        guard: Its policy has an output stage for what is asked of the client.
        terms: How it is used.

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
    asker = Asker(client, guard, terms)
    return GuardedClient(Chat(Completions(asker)), Responses(asker), Images(asker))


def aguarded(client: Any, guard: Guard, terms: Terms = _TERMS) -> GuardedClient:
    """`guarded` for a client whose methods are awaited, as those of `openai.AsyncOpenAI`."""
    asker = Asker(client, guard, terms)
    return GuardedClient(Chat(AsyncCompletions(asker)), AsyncResponses(asker), AsyncImages(asker))


_CHAT = Talk(ChatCall, Chunks)
_RESPONSE = Talk(ResponseCall, ResponseEvents)


class Completions:
    """`chat.completions`, guarded."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    def create(self, *, messages: Iterable[Any], stream: bool = False, **arguments: Any) -> Any:
        """As the client's own; the other arguments are the client's."""
        read = read_conversation(messages, pass_unchecked=self._asker.terms.pass_unchecked)
        create = self._asker.client.chat.completions.create
        return said(self._asker, create, _CHAT, read, arguments, stream=stream)


class Responses:
    """`responses`, guarded."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    def create(self, *, input: Any, stream: bool = False, **arguments: Any) -> Any:  # noqa: A002  the API's name
        """As the client's own; the other arguments are the client's."""
        read = read_input(input, pass_unchecked=self._asker.terms.pass_unchecked)
        create = self._asker.client.responses.create
        return said(self._asker, create, _RESPONSE, read, arguments, stream=stream)


class Images:
    """`images`, guarded."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    def generate(self, *, prompt: str, **arguments: Any) -> Any:
        """As the client's own; the picture has to come in the answer, in base64."""
        no_stream(arguments)
        call = ImageCall(arguments, pass_unchecked=self._asker.terms.pass_unchecked)
        return run(self._asker, self._asker.client.images.generate, call, prompt)


class AsyncCompletions:
    """`Completions` without blocking the event loop."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    async def create(
        self, *, messages: Iterable[Any], stream: bool = False, **arguments: Any
    ) -> Any:
        """As the client's own; the other arguments are the client's."""
        read = read_conversation(messages, pass_unchecked=self._asker.terms.pass_unchecked)
        create = self._asker.client.chat.completions.create
        return await asaid(self._asker, create, _CHAT, read, arguments, stream=stream)


class AsyncResponses:
    """`Responses` without blocking the event loop."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    async def create(self, *, input: Any, stream: bool = False, **arguments: Any) -> Any:  # noqa: A002  likewise
        """As the client's own; the other arguments are the client's."""
        read = read_input(input, pass_unchecked=self._asker.terms.pass_unchecked)
        create = self._asker.client.responses.create
        return await asaid(self._asker, create, _RESPONSE, read, arguments, stream=stream)


class AsyncImages:
    """`Images` without blocking the event loop."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    async def generate(self, *, prompt: str, **arguments: Any) -> Any:
        """As the client's own; the picture has to come in the answer, in base64."""
        no_stream(arguments)
        call = ImageCall(arguments, pass_unchecked=self._asker.terms.pass_unchecked)
        return await arun(self._asker, self._asker.client.images.generate, call, prompt)
