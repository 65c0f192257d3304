"""What an OpenAI-style client is asked and answers, read by shape: conversations, completions, pictures.

Nothing is altered: an answer whose text changes is a copy. What guardkit does not check (pictures that a user
sends, tool calls, sound) is refused by name, unless the caller lets it pass.
"""

from __future__ import annotations

import base64
import binascii
import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from guardkit.errors import InputError
from guardkit.types import Guidance, RunResult

_CHECKED = ("role", "content", "refusal")
_USER = "user"
_TEXT_PARTS = ("text", "input_text")  # of chat, and of the Responses API


class Call(Protocol):
    """One guarded call: what the client is asked each time, and what it answered."""

    def asked(self, prompt: str, guidance: Guidance | None) -> dict[str, Any]:
        """The arguments of the client's method."""
        ...

    def took(self, guidance: Guidance | None, response: Any) -> Any:
        """Keep a response; the output in it that is to be checked."""
        ...

    def answer(self, result: RunResult) -> Any:
        """The response that was allowed, with the output that is to be used."""
        ...


@dataclass(frozen=True, slots=True)
class Conversation:
    """The messages of a call. Its repr holds no text."""

    messages: tuple[Any, ...] = field(repr=False)
    users: tuple[int, ...]
    """Positions of the user's messages, at least one."""

    @property
    def texts(self) -> list[str]:
        """What the user said, oldest first; the text parts of a message are one text."""
        return ["\n".join(_texts_of(self.messages[at])) for at in self.users]

    def saying(self, texts: Sequence[str]) -> Conversation:
        """The same with other texts of the user's, one a message."""
        changed = list(self.messages)
        for at, before, text in zip(self.users, self.texts, texts, strict=True):
            if text != before:
                changed[at] = _said(changed[at], text)
        return Conversation(tuple(changed), self.users)


def read_conversation(messages: Iterable[Any], *, pass_unchecked: bool) -> Conversation:
    """The messages of a call, looked at.

    Raises:
        InputError: They are no messages, the user says nothing, or a message holds what nothing checks.
    """
    if isinstance(messages, str | Mapping) or not isinstance(messages, Iterable):
        raise InputError(f"messages is {type(messages).__name__}. Expected a list of messages.")
    listed = tuple(messages)
    users = tuple(at for at, message in enumerate(listed) if _role(message, at) == _USER)
    if not users:
        raise InputError(
            f"messages: none of {len(listed)} has the role 'user'. Expected at least one."
        )
    for at in users:
        looked_at(listed[at], f"messages[{at}].content", pass_unchecked=pass_unchecked)
    return Conversation(listed, users)


class ChatCall:
    """A call of `chat.completions.create`."""

    def __init__(
        self, conversation: Conversation, arguments: Mapping[str, Any], *, pass_unchecked: bool
    ) -> None:
        one_at_a_time(arguments)
        self._conversation = conversation
        self._arguments = arguments
        self._pass_unchecked = pass_unchecked
        self._answers: dict[int | None, tuple[str, Any]] = {}

    def asked(self, prompt: str, guidance: Guidance | None) -> dict[str, Any]:
        """The conversation that ends in the prompt, revised where guidance says so; a seed, where there was one."""
        revised = guidance.revised_prompt if guidance else None
        texts = [*self._conversation.texts[:-1], revised or prompt]
        messages = list(self._conversation.saying(texts).messages)
        return {**_with_seed(self._arguments, guidance), "messages": messages}

    def took(self, guidance: Guidance | None, response: Any) -> str | None:
        """Keep a response; its text, None where it has none.

        Raises:
            InputError: It is no completion with one choice, or holds what nothing checks.
        """
        choice = only(response, "choices")
        message = choice.message
        unchecked = unchecked_in(message)
        if unchecked and not self._pass_unchecked:
            raise unchecked_error(f"choices[0].message.{unchecked[0]}")
        text: str | None = getattr(message, _spoken(message))
        if text is None and unchecked:
            text = ""  # a call of a tool says nothing
        if text is not None:
            self._answers[key_of(guidance)] = (text, response)
        return text

    def answer(self, result: RunResult) -> Any:
        """The completion; a copy, where its text was edited."""
        text, response = self._answers[key_of(result.attempts[-1].guidance)]
        if result.output == text:
            return response
        choice = only(response, "choices")
        message = changed(choice.message, **{_spoken(choice.message): result.output})
        return changed(response, choices=[without_tokens(changed(choice, message=message))])


class ImageCall:
    """A call of `images.generate`."""

    def __init__(self, arguments: Mapping[str, Any], *, pass_unchecked: bool) -> None:
        one_at_a_time(arguments)
        self._arguments = arguments
        self._pass_unchecked = pass_unchecked
        self._answers: dict[int | None, tuple[bytes, Any]] = {}

    def asked(self, prompt: str, guidance: Guidance | None) -> dict[str, Any]:
        """The prompt; of guidance, what the caller's `extra_body` has a place for: the API itself has none."""
        arguments = dict(self._arguments)
        body = arguments.get("extra_body")
        if isinstance(body, Mapping):
            arguments["extra_body"] = _guided_body(body, guidance)
        return {**arguments, "prompt": prompt}

    def took(self, guidance: Guidance | None, response: Any) -> bytes:
        """Keep a response; the bytes of its picture.

        Raises:
            InputError: It does not hold one picture in base64.
        """
        encoded = only(response, "data").b64_json
        if not isinstance(encoded, str):
            raise InputError(
                "data[0].b64_json: the picture did not come in the answer. guardkit downloads nothing: "
                "ask for response_format='b64_json'."
            )
        try:
            image = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError) as e:
            raise InputError("data[0].b64_json: is no base64.") from e
        self._answers[key_of(guidance)] = (image, response)
        return image

    def answer(self, result: RunResult) -> Any:
        """The response; a copy, where the picture was edited, or where it tells a prompt that nothing checked."""
        image, response = self._answers[key_of(result.attempts[-1].guidance)]
        datum = only(response, "data")
        told: dict[str, Any] = {}
        if result.output is not image:
            from guardkit.image.write import as_png  # the extra `image`, which edited it

            told["b64_json"] = base64.b64encode(as_png(result.output)).decode()
        if not self._pass_unchecked and "revised_prompt" in fields_of(datum):
            told["revised_prompt"] = None
        return changed(response, data=[changed(datum, **told)]) if told else response


def one_at_a_time(arguments: Mapping[str, Any]) -> None:
    """Refuse a call for several outputs: each is checked, and asked for again, alone."""
    if arguments.get("n") not in (None, 1):
        raise InputError(f"n is {arguments['n']}. Expected 1: call once for each output.")


def only(response: Any, name: str) -> Any:
    """The one choice, or the one picture, of a response."""
    found = fields_of(response).get(name)
    if not isinstance(found, list | tuple) or len(found) != 1:
        held = f"{len(found)} of them" if isinstance(found, list | tuple) else "none"
        raise InputError(f"{type(response).__name__}.{name}: found {held}. Expected one.")
    return found[0]


def fields_of(thing: Any) -> dict[str, Any]:
    """Every field of an answer, those that its type does not declare among them."""
    declared = vars(thing) if hasattr(thing, "__dict__") else {}
    extra = getattr(thing, "model_extra", None)  # pydantic: what a server added of its own
    return {**declared, **(extra or {})}


def unchecked_in(message: Any) -> list[str]:
    """The fields of a message, or of a delta, that hold something besides role and text."""
    return [name for name, value in fields_of(message).items() if value and name not in _CHECKED]


def _spoken(message: Any) -> str:
    """The field that holds the text: a model that refuses may say so in a field of its own."""
    refusal = fields_of(message).get("refusal")
    if refusal and message.content:
        raise unchecked_error("choices[0].message.refusal, beside content")
    return "refusal" if refusal else "content"


def unchecked_error(where: str) -> InputError:
    """What is said of something that nothing checks."""
    return InputError(
        f"{where}: no stage of a policy checks this. Leave it out, or let it pass with pass_unchecked=True."
    )


def changed(thing: Any, **fields: Any) -> Any:
    """A copy with other values."""
    copied = copy.copy(thing)
    for name, value in fields.items():
        setattr(copied, name, value)
    return copied


def without_tokens(choice: Any) -> Any:
    """The choice without the log-probabilities, which spell the text as it was."""
    return changed(choice, logprobs=None) if "logprobs" in fields_of(choice) else choice


def key_of(guidance: Guidance | None) -> int | None:
    """Which attempt it was: every guidance has a seed of its own. A late answer cannot take another's place."""
    return None if guidance is None else guidance.seed


def _with_seed(arguments: Mapping[str, Any], guidance: Guidance | None) -> dict[str, Any]:
    if guidance is None or arguments.get("seed") is None:
        return dict(arguments)
    return {**arguments, "seed": guidance.seed}


def _guided_body(body: Mapping[str, Any], guidance: Guidance | None) -> dict[str, Any]:
    guided = dict(body)
    if guidance is not None and "seed" in body:
        guided["seed"] = guidance.seed
    if guidance is not None and guidance.negative_prompt and "negative_prompt" in body:
        both = (body["negative_prompt"], guidance.negative_prompt)
        guided["negative_prompt"] = ", ".join(filter(None, both))
    return guided


def _role(message: Any, at: int) -> Any:
    fields = message if isinstance(message, Mapping) else fields_of(message)
    if "role" not in fields:
        raise InputError(f"messages[{at}]: {type(message).__name__} has no role. Expected one.")
    return fields["role"]


def looked_at(message: Any, where: str, *, pass_unchecked: bool) -> None:
    """Refuse a message of the user's that holds something besides text, unless it may pass."""
    if not isinstance(message, Mapping):
        raise InputError(f"{where}: is of a {type(message).__name__}. Expected a dict.")
    content = message.get("content")
    if isinstance(content, str):
        return
    if not isinstance(content, list | tuple):
        raise InputError(f"{where} is {type(content).__name__}. Expected str or a list of parts.")
    for at, part in enumerate(content):
        if not _is_text(part) and not pass_unchecked:
            raise unchecked_error(f"{where}[{at}]")


def _is_text(part: Any) -> bool:
    is_named = isinstance(part, Mapping) and part.get("type") in _TEXT_PARTS
    return is_named and isinstance(part.get("text"), str)


def _texts_of(message: Mapping[str, Any]) -> list[str]:
    content = message["content"]
    if isinstance(content, str):
        return [content]
    return [part["text"] for part in content if _is_text(part)]


def _said(message: Mapping[str, Any], text: str) -> dict[str, Any]:
    content: Any = text
    if not isinstance(message["content"], str):
        others = [part for part in message["content"] if not _is_text(part)]
        kinds = [part["type"] for part in message["content"] if _is_text(part)]
        content = [{"type": (kinds or _TEXT_PARTS)[0], "text": text}, *others]
    return {**message, "content": content}
