"""The Responses API of an OpenAI-style client, read by shape: what is asked, what is answered, the events of a stream."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from guardkit.errors import InputError
from guardkit.integrations.openai_calls import (
    Conversation,
    changed,
    fields_of,
    key_of,
    looked_at,
    unchecked_error,
)
from guardkit.loop.held import StreamEnd
from guardkit.types import Guidance, RunResult

_USER, _MESSAGE, _REASONING = "user", "message", "reasoning"
_PARTS = {"output_text": "text", "refusal": "refusal"}
"""Type of a part of an answer -> the field that holds its text."""
_DELTAS = ("response.output_text.delta", "response.refusal.delta")
_CLOSING = (
    "response.output_text.done",
    "response.refusal.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
    "response.incomplete",
    "response.failed",
)
_OPENING = (
    "response.created",
    "response.queued",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "error",
)
_FILTERED = "content_filter"  # the reason of the API itself for what it withholds


def read_input(given: Any, *, pass_unchecked: bool) -> Conversation:
    """The input of a call, looked at; items without a role (the results of tools) are nobody's words.

    Raises:
        InputError: It is no input, the user says nothing, or a message holds what nothing checks.
    """
    if isinstance(given, str):
        return Conversation(({"role": _USER, "content": given},), (0,))
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise InputError(f"input is {type(given).__name__}. Expected str, or a list of items.")
    items = tuple(given)
    users = tuple(at for at, one in enumerate(items) if _role(one) == _USER)
    if not users:
        raise InputError(
            f"input: none of {len(items)} items has the role 'user'. Expected at least one."
        )
    for at in users:
        looked_at(items[at], f"input[{at}].content", pass_unchecked=pass_unchecked)
    return Conversation(items, users)


class ResponseCall:
    """A call of `responses.create`."""

    def __init__(
        self, conversation: Conversation, arguments: Mapping[str, Any], *, pass_unchecked: bool
    ) -> None:
        if arguments.get("prompt") is not None and not pass_unchecked:
            raise unchecked_error("prompt")  # a template of the server's, with variables
        self._conversation = conversation
        self._arguments = arguments
        self._pass_unchecked = pass_unchecked
        self._answers: dict[int | None, tuple[str, Any]] = {}

    def asked(self, prompt: str, guidance: Guidance | None) -> dict[str, Any]:
        """The input that ends in the prompt, revised where guidance says so; the API takes no seed."""
        revised = guidance.revised_prompt if guidance else None
        texts = [*self._conversation.texts[:-1], revised or prompt]
        return {**self._arguments, "input": list(self._conversation.saying(texts).messages)}

    def took(self, guidance: Guidance | None, response: Any) -> str | None:
        """Keep a response; its text, None where it has none.

        Raises:
            InputError: It is no response, or holds what nothing checks.
        """
        output = fields_of(response).get("output")
        if not isinstance(output, list | tuple):
            raise InputError(f"{type(response).__name__}: has no output. Expected a response.")
        for at, item in enumerate(output):
            _refuse_unchecked(item, f"output[{at}]", pass_unchecked=self._pass_unchecked)
        found = [text for item in output for text in _texts_of(item)]
        text = "".join(found) if found else None
        if text is None and output and self._pass_unchecked:
            text = ""  # a call of a tool says nothing
        if text is not None:
            self._answers[key_of(guidance)] = (text, response)
        return text

    def answer(self, result: RunResult) -> Any:
        """The response; a copy, where its text was edited."""
        text, response = self._answers[key_of(result.attempts[-1].guidance)]
        if result.output == text:
            return response
        return changed(response, output=_saying(response.output, result.output))


class ResponseEvents:
    """What came from the client: text to be checked, and the events that carry what came of it."""

    def __init__(self, *, pass_unchecked: bool) -> None:
        self._pass_unchecked = pass_unchecked
        self._waiting: list[Any] = []  # events that go before the next text
        self._rest: list[Any] = []  # events that hold the whole text
        self._created: Any = None
        self._carrier: Any = None
        self._received = self._said = ""
        self._sent = 0

    def text_of(self, event: Any) -> str:
        """Keep an event; its text.

        Raises:
            InputError: It is no event, begins a second text, or holds what nothing checks.
        """
        kind = fields_of(event).get("type")
        if not isinstance(kind, str):
            raise InputError(f"the stream gave {type(event).__name__}. Expected events with a type.")  # fmt: skip
        if kind in _DELTAS:
            return self._text(event)
        if kind in _CLOSING:
            self._look_at(event)
            self._rest.append(event)
            return ""
        if kind not in _OPENING and not self._pass_unchecked:
            raise unchecked_error(kind)
        self._look_at(event)
        if kind in _OPENING and _text_in(event):
            raise InputError(f"{kind}: holds a text already. Expected it in deltas, where it is checked.")  # fmt: skip
        if self._created is None and "response" in fields_of(event):
            self._created = event
        self._waiting.append(event)
        return ""

    def carry(self, text: str) -> list[Any]:
        """What came before it, and an event with checked text."""
        self._said += text
        carried = _without_tokens(changed(self._carrier, delta=text))
        return self._numbered([*self._flushed(), carried])

    def last(self, end: StreamEnd | None) -> list[Any]:
        """What comes after the text: the whole of it, as it was allowed; or that it was withheld."""
        if end is None:
            return []
        if end.is_complete:
            return self._numbered([*self._flushed(), *map(self._allowed, self._rest)])
        return self._numbered([*self._flushed(), *self._withheld()])

    def _text(self, event: Any) -> str:
        if self._carrier is not None and _place(event) != _place(self._carrier):
            raise InputError("the stream began a second text. Expected one.")
        self._carrier = event
        self._received += event.delta
        text: str = event.delta
        return text

    def _look_at(self, event: Any) -> None:
        held = fields_of(event)
        items = [held["item"]] if "item" in held else []
        items += fields_of(held["response"]).get("output") or [] if "response" in held else []
        for item in items:
            _refuse_unchecked(item, f"{held['type']}.item", pass_unchecked=self._pass_unchecked)

    def _allowed(self, event: Any) -> Any:
        """An event that holds the whole text, with the one that was allowed."""
        if _text_in(event) in ("", self._received) and self._said == self._received:
            return event
        held = fields_of(event)
        if "response" in held:
            output = _saying(held["response"].output, self._said)
            return changed(event, response=changed(held["response"], output=output))
        if "item" in held:
            (item,) = _saying([held["item"]], self._said)
            return changed(event, item=item)
        if "part" in held:
            return changed(event, part=_part_saying(held["part"], self._said))
        name = "refusal" if "refusal" in held else "text"
        return _without_tokens(changed(event, **{name: self._said}))

    def _withheld(self) -> list[Any]:
        if self._created is None:
            return []
        why = SimpleNamespace(reason=_FILTERED)
        response = changed(self._created.response, status="incomplete", incomplete_details=why)
        return [changed(self._created, type="response.incomplete", response=response)]

    def _flushed(self) -> list[Any]:
        waiting, self._waiting = self._waiting, []
        return waiting

    def _numbered(self, events: Sequence[Any]) -> list[Any]:
        """As the API counts them: there may be fewer than came."""
        numbered = []
        for event in events:
            is_counted = "sequence_number" in fields_of(event)
            numbered.append(changed(event, sequence_number=self._sent) if is_counted else event)
            self._sent += 1
        return numbered


def _refuse_unchecked(item: Any, where: str, *, pass_unchecked: bool) -> None:
    held = fields_of(item)
    kind = held.get("type")
    if pass_unchecked or (kind == _REASONING and not held.get("summary") and not held.get("content")):  # fmt: skip
        return
    if kind != _MESSAGE:
        raise unchecked_error(f"{where} ({kind})")
    for part in held.get("content") or ():
        if fields_of(part).get("type") not in _PARTS or fields_of(part).get("annotations"):
            raise unchecked_error(f"{where}.content")


def _texts_of(item: Any) -> list[str]:
    if fields_of(item).get("type") != _MESSAGE:
        return []
    return [fields_of(part)[_PARTS[part.type]] for part in item.content if part.type in _PARTS]


def _text_in(event: Any) -> str:
    """All the text that an event holds; "": none."""
    held = fields_of(event)
    items = [held["item"]] if "item" in held else []
    items += fields_of(held["response"]).get("output") or [] if "response" in held else []
    texts = [text for item in items for text in _texts_of(item)]
    parts = [*([held["part"]] if "part" in held else []), event]
    texts += [fields_of(one).get(name) or "" for one in parts for name in ("text", "refusal")]
    return "".join(texts)


def _saying(output: Sequence[Any], text: str) -> list[Any]:
    """The items with another text: the first part that has one gets it, the others are left out."""
    made, is_said = [], False
    for item in output:
        if fields_of(item).get("type") != _MESSAGE:
            made.append(item)
            continue
        parts = []
        for part in item.content:
            if part.type not in _PARTS:
                parts.append(part)
            elif not is_said:
                parts.append(_part_saying(part, text))
                is_said = True
        made.append(changed(item, content=parts))
    return made


def _part_saying(part: Any, text: str) -> Any:
    said = _without_tokens(changed(part, **{_PARTS[part.type]: text}))
    return changed(said, annotations=[]) if "annotations" in fields_of(said) else said


def _without_tokens(thing: Any) -> Any:
    return changed(thing, logprobs=[]) if fields_of(thing).get("logprobs") else thing


def _place(event: Any) -> tuple[Any, Any]:
    held = fields_of(event)
    return held.get("output_index"), held.get("content_index")


def _role(item: Any) -> Any:
    return (item if isinstance(item, Mapping) else fields_of(item)).get("role")
