"""Which texts two policies decide otherwise, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from guardkit.decision import Decision
from guardkit.errors import InputError
from guardkit.guard import Guard
from guardkit.taxonomy import Stage
from guardkit.types import Action, Fired


@dataclass(frozen=True, slots=True)
class Change:
    """One text that two policies decide otherwise. Its repr holds no text."""

    row: int
    """Of the texts, from 0."""
    before: Action
    after: Action
    why: tuple[str, ...]
    """A sentence for each rule that fires under one of them alone, or else what differs."""
    text: str = field(repr=False)

    @property
    def is_stricter(self) -> bool:
        """Whether the second policy is the stricter one here."""
        return self.after > self.before


def changes(
    before: Guard, after: Guard, texts: Sequence[str], *, stage: Stage = Stage.PROMPT
) -> list[Change]:
    """The texts whose action differs, or what is to be used of them.

    A policy in shadow mode counts with what it would do.

    Args:
        before: One policy.
        after: The other.
        texts: Any texts.
        stage: `prompt` or `output-text`; both policies have it.

    Raises:
        InputError: A policy has no such stage, or a text is no str.
    """
    pairs = zip(_decided(before, texts, stage), _decided(after, texts, stage), strict=True)
    found = (_change(row, texts[row], *pair) for row, pair in enumerate(pairs))
    return [change for change in found if change is not None]


def compared(before: Decision, after: Decision) -> tuple[str, ...]:
    """Why two decisions on one text differ, in sentences; nothing when they do not."""
    if _effective(before) is _effective(after) and before.text == after.text:
        return ()
    return tuple(_reasons(before, after)) or ("nothing that fired differs; see both reasons",)


def _decided(guard: Guard, texts: Sequence[str], stage: Stage) -> list[Decision]:
    if stage is Stage.PROMPT:
        return guard.check_prompts(texts)
    if stage is Stage.OUTPUT_TEXT:
        return [guard.check_output(text=text) for text in texts]
    raise InputError(f"stage is {stage}. Expected prompt or output-text.")


def _change(row: int, text: str, before: Decision, after: Decision) -> Change | None:
    why = compared(before, after)
    return Change(row, _effective(before), _effective(after), why, text) if why else None


def _effective(decision: Decision) -> Action:
    return decision.shadow or decision.action


def _reasons(before: Decision, after: Decision) -> Iterator[str]:
    first = {one.rule: one for one in before.fired}
    second = {one.rule: one for one in after.fired}
    for name, one in first.items():
        if name not in second:
            yield f"{_told(one)}, fires in the first alone"
    for name, one in second.items():
        if name not in first:
            yield f"{_told(one)}, fires in the second alone"
        elif (was := first[name]).action is not one.action or was.using != one.using:
            yield f"{name}: {_answer(was)} in the first, {_answer(one)} in the second"
    if before.status is not after.status:
        yield f"status: {before.status} in the first, {after.status} in the second"
    if before.edits and after.edits and before.text != after.text:
        yield "both edit it, to different texts"


def _told(one: Fired) -> str:
    return f"{one.rule}: {one.category} scored {one.score:.2f}, at least {one.threshold:.2f}: {_answer(one)}"


def _answer(one: Fired) -> str:
    return f"{one.action.value} with {one.using}" if one.using else one.action.value
