"""What the served model `guard` is asked and answers: text, context and stage in, a Decision as JSON out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from guardkit.decision import Decision
from guardkit.errors import InputError
from guardkit.guard import Guard
from guardkit.taxonomy import Stage
from guardkit.types import Context, Turn

_STAGES = (Stage.PROMPT, Stage.OUTPUT_TEXT)


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
    """One text of a request."""

    text: str
    context: Context | None = None
    stage: Stage = Stage.PROMPT


def read_asked(
    text: bytes,
    context: bytes = b"",
    stage: bytes = b"",
    *,
    stages: Collection[Stage] = _STAGES,
) -> Asked:
    """One element of a request's tensors, UTF-8; "" stands for no context, and for `prompt`.

    Args:
        text: What to check.
        context: JSON with the fields of `Context`.
        stage: One of `stages`.
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
    named = named or Stage.PROMPT.value
    allowed = [one.value for one in _STAGES if one in stages]
    if named not in allowed:
        raise InputError(f"stage: none that the policy has. Expected one of {', '.join(allowed)}.")
    return Asked(words, _context(context), Stage(named))


def _context(content: bytes) -> Context | None:
    if not content:
        return None
    try:
        told = msgspec.json.decode(content, type=_Situation)
    except msgspec.DecodeError as e:
        # msgspec names the field and the type, never the value.
        raise InputError(f"context: {e}. Expected JSON with the fields of Context.") from None
    return Context(**{name: getattr(told, name) for name in told.__struct_fields__})


def answer(guard: Guard, asked: Sequence[Asked]) -> list[bytes]:
    """Check texts; those of one stage and context share runs of the models.

    Returns:
        Each decision as JSON, with the text to use next.

    Raises:
        InputError: The policy has no such stage.
    """
    groups: dict[tuple[Stage, Context | None], list[int]] = {}
    for row, one in enumerate(asked):
        groups.setdefault((one.stage, one.context), []).append(row)
    answers: dict[int, bytes] = {}
    for (stage, context), rows in groups.items():
        texts = [asked[row].text for row in rows]
        for row, decision in zip(rows, _decisions(guard, stage, texts, context), strict=True):
            answers[row] = msgspec.json.encode(decision.to_dict(include_text=True))
    return [answers[row] for row in range(len(asked))]


def _decisions(
    guard: Guard, stage: Stage, texts: list[str], context: Context | None
) -> list[Decision]:
    if stage is Stage.PROMPT:
        return guard.check_prompts(texts, context)
    return [guard.check_output(text=text, context=context) for text in texts]


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
        raise InputError(f"text, context and stage have {sizes} elements. Expected {count} each.")
    return list(zip(*full, strict=True))
