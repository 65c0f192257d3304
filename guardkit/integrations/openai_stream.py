"""A completion that is checked while it streams: chunks in, chunks out, with the text that was allowed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any, Protocol, Self

from guardkit.errors import InputError
from guardkit.guard import Guard
from guardkit.integrations.openai_calls import (
    changed,
    fields_of,
    unchecked_error,
    unchecked_in,
    without_tokens,
)
from guardkit.loop.held import StreamEnd
from guardkit.types import Context

_FILTERED = "content_filter"  # the finish_reason of the API itself for what it withholds


class Carrying(Protocol):
    """What takes a stream apart and puts it together again."""

    def text_of(self, chunk: Any) -> str:
        """Keep what came; its text."""
        ...

    def carry(self, text: str) -> list[Any]:
        """What goes out with a checked text."""
        ...

    def last(self, end: StreamEnd | None) -> list[Any]:
        """What goes out after all text."""
        ...


class Chunks:
    """What came from the client, apart: text to be checked, and the chunks that carry what came of it."""

    def __init__(self, *, pass_unchecked: bool) -> None:
        self._pass_unchecked = pass_unchecked
        self._first: Any = None
        self._carrier: Any = None
        self._rest: list[Any] = []

    def text_of(self, chunk: Any) -> str:
        """Keep a chunk; its text.

        Raises:
            InputError: It is no chunk, has several choices, or holds what nothing checks.
        """
        choices = fields_of(chunk).get("choices")
        if not isinstance(choices, list | tuple) or len(choices) > 1:
            raise InputError(
                f"the stream gave {type(chunk).__name__}. Expected chunks of at most one choice."
            )
        if not choices:  # how many tokens were used
            self._rest.append(chunk)
            return ""
        (choice,) = choices
        unchecked = unchecked_in(choice.delta)
        if unchecked and not self._pass_unchecked:
            raise unchecked_error(f"choices[0].delta.{unchecked[0]}")
        delta = fields_of(choice.delta)
        text = f"{delta.get('content') or ''}{delta.get('refusal') or ''}"
        if unchecked or choice.finish_reason is not None:
            self._rest.append(_carrying(chunk, None, finish=choice.finish_reason))
        if self._first is None:
            self._first = chunk
        self._carrier = chunk
        return text

    def carry(self, text: str) -> list[Any]:
        """A chunk with checked text; the first one says whose it is."""
        chunk, self._first = self._first or self._carrier, False
        return [_carrying(chunk, text, finish=None, is_plain=True)]

    def last(self, end: StreamEnd | None) -> list[Any]:
        """What comes after the text: why it ended, and what was used."""
        if end is None or end.is_complete or self._carrier is None:
            return self._rest
        used = [chunk for chunk in self._rest if not chunk.choices]
        stopped = _carrying(self._carrier, None, finish=_FILTERED, is_plain=True)
        return [stopped, *used]


class GuardedStream(Iterator[Any]):
    """Chunks of checked text, then why it ended; `end` is the `StreamEnd` with the decision."""

    def __init__(
        self, guard: Guard, source: Any, chunks: Carrying, *, context: Context | None
    ) -> None:
        self._source = source
        self._chunks = chunks
        self._stream = guard.stream(map(self._chunks.text_of, source), context=context)
        self._made = self._make()

    @property
    def end(self) -> StreamEnd | None:
        """The last event; None until it came."""
        return self._stream.end

    def __next__(self) -> Any:
        return next(self._made)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back."""
        self._made.close()
        self._close_source()

    def _close_source(self) -> None:
        if hasattr(self._source, "close"):
            self._source.close()

    def _make(self) -> Generator[Any, None, None]:
        try:
            for piece in self._stream:
                yield from self._chunks.carry(piece)
        finally:
            self._close_source()  # it may have been left in the middle
        yield from self._chunks.last(self.end)


class AsyncGuardedStream(AsyncIterator[Any]):
    """`GuardedStream` without blocking the event loop."""

    def __init__(
        self, guard: Guard, source: Any, chunks: Carrying, *, context: Context | None
    ) -> None:
        self._source = source
        self._chunks = chunks
        self._stream = guard.astream(self._texts(), context=context)
        self._made = self._make()

    @property
    def end(self) -> StreamEnd | None:
        """The last event; None until it came."""
        return self._stream.end

    async def __anext__(self) -> Any:
        return await anext(self._made)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Give the connection back."""
        if hasattr(self._source, "close"):
            await self._source.close()

    async def _texts(self) -> AsyncIterator[str]:
        async for chunk in self._source:
            yield self._chunks.text_of(chunk)

    async def _make(self) -> AsyncIterator[Any]:
        try:
            async for piece in self._stream:
                for chunk in self._chunks.carry(piece):
                    yield chunk
        finally:
            await self.close()
        for chunk in self._chunks.last(self.end):
            yield chunk


def _carrying(chunk: Any, text: str | None, *, finish: str | None, is_plain: bool = False) -> Any:
    """A copy of a chunk with other text; a plain one without what else its delta holds."""
    (choice,) = chunk.choices
    emptied: dict[str, Any] = dict.fromkeys(unchecked_in(choice.delta)) if is_plain else {}
    if fields_of(choice.delta).get("refusal"):
        emptied["refusal"] = None  # it comes as text, once it was checked
    delta = changed(choice.delta, **{**emptied, "content": text})
    carried = changed(choice, delta=delta, finish_reason=finish)
    return changed(chunk, choices=[without_tokens(carried)])
