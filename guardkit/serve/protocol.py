"""What the served model `guard` is asked and answers: text or image, context and stage in, a Decision as JSON out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from guardkit.decision import Decision
from guardkit.errors import InputError
from guardkit.guard import Guard
from guardkit.taxonomy import Stage
from guardkit.types import Context, Turn

_STAGES = (Stage.PROMPT, Stage.OUTPUT_TEXT, Stage.OUTPUT_IMAGE)


class _Situation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A context in JSON: the fields of `Context`, turns as {"role": ..., "text": ...}."""

    language: str | None = None
    audience: str | None = None
    speaker: str | None = None
    listener: str | None = None
    situation: str | None = None
    turns: tuple[Turn, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """One text or image of a request."""

    text: str
    """What to check, or the prompt that an image was made of."""
    context: Context | None = None
    stage: Stage = Stage.PROMPT
    image: bytes = field(default=b"", repr=False)
    """The bytes of a file; b"": it is a text."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What is said of one."""

    decision: bytes
    """JSON, with the text to use next."""
    image: bytes = b""
    """A PNG to use instead of the image; b"": no editor made one."""


def read_asked(
    text: bytes,
    context: bytes = b"",
    stage: bytes = b"",
    image: bytes = b"",
    *,
    stages: Collection[Stage] = _STAGES,
) -> Asked:
    """One element of a request's tensors, UTF-8; "" stands for no context, no image, and for `prompt`.

    Args:
        text: What to check; of an image the prompt it was made of, or "".
        context: JSON with the fields of `Context`.
        stage: One of `stages`; "" stands for `output-image` where there is an image.
        image: The bytes of a file.
        stages: Those that the policy has.

    Raises:
        InputError: It cannot be read; the message quotes nothing of it.

    >>> read_asked(b"hello", b'{"audience": "children"}').context.audience
    'children'
    """
    try:
        words, named = text.decode("utf-8"), stage.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError("text: not UTF-8. Expected a UTF-8 string.") from None
    named = named or (Stage.OUTPUT_IMAGE if image else Stage.PROMPT).value
    allowed = [one.value for one in _STAGES if one in stages]
    if named not in allowed:
        raise InputError(f"stage: none that the policy has. Expected one of {', '.join(allowed)}.")
    if bool(image) != (named == Stage.OUTPUT_IMAGE):
        raise InputError("image: expected with the stage output-image, and with no other.")
    return Asked(words, _context(context), Stage(named), image)


def _context(content: bytes) -> Context | None:
    if not content:
        return None
    try:
        told = msgspec.json.decode(content, type=_Situation)
    except msgspec.DecodeError as e:
        # msgspec names the field and the type, never the value.
        raise InputError(f"context: {e}. Expected JSON with the fields of Context.") from None
    return Context(**{name: getattr(told, name) for name in told.__struct_fields__})


def answer(guard: Guard, asked: Sequence[Asked]) -> list[Answered]:
    """Check texts and images; prompts of one context share runs of the models.

    Raises:
        InputError: The policy has no such stage.
    """
    groups: dict[Context | None, list[int]] = {}
    decisions: dict[int, Decision] = {}
    for row, one in enumerate(asked):
        if one.stage is Stage.PROMPT:
            groups.setdefault(one.context, []).append(row)
        elif one.stage is Stage.OUTPUT_IMAGE:
            decisions[row] = guard.check_output(
                image=one.image, prompt=one.text or None, context=one.context
            )
        else:
            decisions[row] = guard.check_output(text=one.text, context=one.context)
    for context, rows in groups.items():
        texts = [asked[row].text for row in rows]
        decisions |= zip(rows, guard.check_prompts(texts, context), strict=True)
    return [_answered(decisions[row]) for row in range(len(asked))]


def _answered(decision: Decision) -> Answered:
    encoded = msgspec.json.encode(decision.to_dict(include_text=True))
    if not isinstance(decision.image, np.ndarray):  # what was handed in, or nothing
        return Answered(encoded)
    from guardkit.image.write import as_png  # Pillow: an optional package

    return Answered(encoded, as_png(decision.image))


def rows_of(count: int, *columns: Sequence[bytes] | None) -> list[tuple[Any, ...]]:
    """Tensors of a request, flattened, as one tuple a text; an absent one gives b"".

    Raises:
        InputError: They are of different sizes.

    >>> rows_of(2, [b"a", b"b"], None)
    [(b'a', b''), (b'b', b'')]
    """
    full = [[b""] * count if column is None else list(column) for column in columns]
    if any(len(column) != count for column in full):
        sizes = ", ".join(str(len(column)) for column in full)
        raise InputError(
            f"text, context, stage and image have {sizes} elements. Expected {count} each."
        )
    return list(zip(*full, strict=True))
