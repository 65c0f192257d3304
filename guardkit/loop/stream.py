"""Streams of checked text: what `Guard.stream` gives, and its async twin. What comes out when, `held.py` decides."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from types import AsyncGeneratorType, GeneratorType
from typing import Any, Protocol

from guardkit.decision import Decision
from guardkit.errors import InputError
from guardkit.loop.held import Held, StreamEnd
from guardkit.policy.rules import Policy
from guardkit.types import Context


class ChecksText(Protocol):
    """What a stream asks of a guard."""

    policy: Policy

    def check_output(self, *, text: str | None = None, context: Context | None = None) -> Decision:
        """As `Guard.check_output`."""
        ...

    async def acheck_output(
        self, *, text: str | None = None, context: Context | None = None
    ) -> Decision:
        """As `Guard.acheck_output`."""
        ...


@dataclass(frozen=True, slots=True)
class StreamText:
    """Some more of the checked text."""

    text: str = field(repr=False)


Event = StreamText | StreamEnd


class Stream(Iterator[str]):
    """Checked pieces of a text, from `Guard.stream`; afterwards, `end` says what came of it."""

    def __init__(
        self,
        guard: ChecksText,
        tokens: Iterable[str],
        *,
        context: Context | None,
        hold: int,
        patience: int,
    ) -> None:
        if not isinstance(tokens, Iterable):
            hint = "; use astream" if isinstance(tokens, AsyncIterable) else ""
            kind = type(tokens).__name__
            raise InputError(f"tokens is {kind}. Expected an iterable of str{hint}.")
        self._tokens = tokens
        self._guard = guard
        self._context = context
        self._held = Held(guard.policy, hold, patience)
        self._events = self._made()
        self.end: StreamEnd | None = None
        """The last event; None until it came."""

    def events(self) -> Iterator[Event]:
        """The pieces, each a `StreamText`, and a `StreamEnd` at last."""
        return self._events

    def __next__(self) -> str:
        for event in self._events:
            if isinstance(event, StreamText):
                return event.text
        raise StopIteration

    def _made(self) -> Generator[Event, None, None]:
        held = self._held
        try:
            for token in self._tokens:
                held.add(token)
                while (prefix := held.due()) is not None:
                    yield from _some(held.take(self._check(prefix)))
                if held.is_stopped:
                    break
            if (rest := held.rest()) is not None:
                yield from _some(held.take(self._check(rest), is_last=True))
        except Exception as e:
            self.end = held.broken(e)
            raise
        if isinstance(self._tokens, GeneratorType):
            self._tokens.close()  # it may be holding a connection
        self.end = held.end()
        yield self.end

    def _check(self, text: str) -> Decision:
        return self._guard.check_output(text=text, context=self._context)


class AsyncStream(AsyncIterator[str]):
    """`Stream` without blocking the event loop, from `Guard.astream`."""

    def __init__(
        self,
        guard: ChecksText,
        tokens: AsyncIterable[str] | Iterable[str],
        *,
        context: Context | None,
        hold: int,
        patience: int,
    ) -> None:
        if not isinstance(tokens, Iterable | AsyncIterable):
            kind = type(tokens).__name__
            raise InputError(f"tokens is {kind}. Expected an iterable of str.")
        self._tokens = tokens
        self._guard = guard
        self._context = context
        self._held = Held(guard.policy, hold, patience)
        self._events = self._made()
        self.end: StreamEnd | None = None
        """The last event; None until it came."""

    def events(self) -> AsyncIterator[Event]:
        """The pieces, each a `StreamText`, and a `StreamEnd` at last."""
        return self._events

    async def __anext__(self) -> str:
        async for event in self._events:
            if isinstance(event, StreamText):
                return event.text
        raise StopAsyncIteration

    async def _made(self) -> AsyncIterator[Event]:
        held = self._held
        try:
            async for token in _awaited(self._tokens):
                held.add(token)
                while (prefix := held.due()) is not None:
                    for event in _some(held.take(await self._check(prefix))):
                        yield event
                if held.is_stopped:
                    break
            if (rest := held.rest()) is not None:
                for event in _some(held.take(await self._check(rest), is_last=True)):
                    yield event
        except Exception as e:
            self.end = held.broken(e)
            raise
        if isinstance(self._tokens, AsyncGeneratorType):
            await self._tokens.aclose()
        self.end = held.end()
        yield self.end

    async def _check(self, text: str) -> Decision:
        return await self._guard.acheck_output(text=text, context=self._context)


def _some(text: str) -> list[Event]:
    return [StreamText(text)] if text else []


async def _awaited(tokens: Any) -> AsyncIterator[Any]:
    """The tokens of either kind of source."""
    if isinstance(tokens, AsyncIterable):
        async for token in tokens:
            yield token
    else:
        for token in tokens:
            yield token
