"""The vocabulary: small frozen values that every room shares."""

from __future__ import annotations

import functools
from collections.abc import ItemsView, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from guardkit.errors import InputError

if TYPE_CHECKING:
    from guardkit.decision import Decision


@functools.total_ordering
class Action(Enum):
    """What to do with the content; ordered by strictness, ALLOW < EDIT < REGENERATE < BLOCK.

    >>> max(Action.EDIT, Action.BLOCK)
    <Action.BLOCK: 'block'>
    """

    ALLOW = "allow"
    EDIT = "edit"
    REGENERATE = "regenerate"
    BLOCK = "block"

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Action):
            return NotImplemented
        return _STRICTNESS[self] < _STRICTNESS[other]


_STRICTNESS = {action: rank for rank, action in enumerate(Action)}


class Status(StrEnum):
    """How much of what the policy asks for was measured."""

    OK = "ok"
    DEGRADED = "degraded"
    """Some scorer failed or was late; the others answered."""
    ERROR = "error"
    """Nothing could be measured."""


class Tier(StrEnum):
    """Which model answered."""

    FAST = "fast"
    FULL = "full"


class Scores(Mapping[str, float | None]):
    """Probability of harm per category, in [0, 1], higher is worse; immutable.

    A category that nothing scores is absent. None means that its scorer failed.

    >>> Scores({"insult": 0.9, "threat": 0.1}).worst
    ('insult', 0.9)
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, float | None] | None = None) -> None:
        self._values: dict[str, float | None] = {}
        for category, score in (values or {}).items():
            # NaN fails this comparison too: it must never pass for a low score.
            if score is not None and not 0.0 <= score <= 1.0:
                raise InputError(
                    f"scores: '{category}' is {score}. Expected a probability in [0, 1], or None."
                )
            # float: a numpy number would not survive JSON.
            self._values[category] = None if score is None else float(score)

    def __getitem__(self, category: str) -> float | None:
        return self._values[category]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, category: object) -> bool:
        return category in self._values

    def items(self) -> ItemsView[str, float | None]:
        """Categories and scores; the dict's own view, for the one Mapping makes is slow."""
        return self._values.items()

    def __reduce__(self) -> tuple[type[Scores], tuple[dict[str, float | None]]]:
        return Scores, (dict(self._values),)

    def __repr__(self) -> str:
        inside = ", ".join(
            f"{name}: {'None' if score is None else f'{score:.3f}'}"
            for name, score in self._values.items()
        )
        return f"Scores({{{inside}}})"

    @property
    def worst(self) -> tuple[str, float] | None:
        """The category with the highest measured score; None when nothing was measured."""
        known = [(name, score) for name, score in self._values.items() if score is not None]
        return max(known, key=lambda pair: pair[1], default=None)

    def merged(self, other: Mapping[str, float | None]) -> Scores:
        """Both sets of scores; where both have a number the higher counts, and a number beats None."""
        if not self._values and isinstance(other, Scores):
            return other
        values = dict(self._values)
        for category, score in other.items():
            mine = values.get(category)
            values[category] = (
                score if mine is None else mine if score is None else max(mine, score)
            )
        return Scores(values)


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A range of the ORIGINAL text that carried a score."""

    start: int
    """First character, 0-based."""
    end: int
    """One past the last character."""
    category: str
    """Kebab-case name."""
    score: float
    """Probability of harm of this range, in [0, 1]."""
    source: str
    """The scorer that found it."""
    kind: str = ""
    """What personal data it is, for example `EMAIL` or `PERSON`; "" for any other span."""


@dataclass(frozen=True, slots=True, order=True)
class Region:
    """A box of an image that carried a score, in pixels of the upright image."""

    left: int
    """First column, 0-based."""
    top: int
    """First row."""
    right: int
    """One past the last column."""
    bottom: int
    """One past the last row."""
    category: str
    """Kebab-case name."""
    score: float
    """How sure it is that this is what it is taken for, in [0, 1]; of a region that was found by what hiding it
    changes, the score of the image."""
    source: str
    """The scorer that found it."""
    kind: str = ""
    """`FACE`; "" for any other region."""
    editor: str = ""
    """What changed it; "": nothing did."""


class Scored(Struct, frozen=True):
    """What one scorer measured on one text, or on one image."""

    scores: Scores
    spans: tuple[Span, ...] = ()
    tier: Tier = Tier.FULL
    regions: tuple[Region, ...] = ()


@dataclass(frozen=True, slots=True)
class Edit:
    """One change an editor made."""

    editor: str
    start: int
    """First character of the range that was replaced, in the text the editor was given."""
    end: int
    """One past its last character."""
    replacement: str = field(repr=False)
    """What stands there now. Content: left out of `Decision.to_dict` unless asked for."""


@dataclass(frozen=True, slots=True)
class Fired:
    """A rule that was true, with the numbers that made it so."""

    rule: str
    """The rule's name in the policy."""
    category: str
    score: float
    """In [0, 1]; `score >= threshold` holds."""
    threshold: float
    action: Action
    using: str | None = None
    """The editor the rule names; None unless the action is `edit`."""


@dataclass(frozen=True, slots=True)
class Guidance:
    """What a generator should be told when it is asked to generate again."""

    categories: Mapping[str, float]
    """The categories to steer away from, and how strongly: their scores in [0, 1]."""
    negative_prompt: str | None = None
    """What to avoid, in words; None when no step wrote one."""
    revised_prompt: str | None = field(default=None, repr=False)
    """A prompt to use instead; None when no step wrote one."""
    seed: int | None = None
    """A new random seed; None when the caller chooses."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call of a generator, and what was decided about what it gave."""

    decision: Decision
    guidance: Guidance | None = None
    """What the generator was told. None the first time, unless the prompt itself asked for it, and where a
    generator takes no guidance and there is none to put into its prompt."""
    took_ms: float = 0.0
    """Wall time of the call, in milliseconds; that of the check is in its decision."""
    problem: str | None = None
    """Why there was no output to check, without content: it raised, was late, gave nothing usable."""
    error: Exception | None = field(default=None, repr=False)
    """What the generator raised. Its message may hold content: never log it unread."""

    def to_dict(self) -> dict[str, Any]:
        """The attempt as plain JSON values, without content."""
        told = self.guidance
        return {
            "decision": self.decision.to_dict(),
            "guidance": None if told is None else dict(told.categories),
            "seed": None if told is None else told.seed,
            "took_ms": self.took_ms,
            "problem": self.problem,
        }


@dataclass(frozen=True, slots=True)
class RunResult:
    """What came of driving a generator under a guard."""

    output: Any = field(repr=False)
    """The output to use; None when no attempt was allowed."""
    decision: Decision
    """The last one: on the prompt when that was blocked, else on the last attempt. BLOCK where the budget ended on
    `regenerate`."""
    attempts: tuple[Attempt, ...]
    """Every call of the generator, in order."""
    prompt: Decision | None = None
    """On the prompt; None when the policy has no prompt stage."""

    def to_dict(self) -> dict[str, Any]:
        """The record as plain JSON values, without content."""
        return {
            "decision": self.decision.to_dict(),
            "prompt": None if self.prompt is None else self.prompt.to_dict(),
            "attempts": [attempt.to_dict() for attempt in self.attempts],
        }


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation."""

    role: str
    """`user`, `assistant`, `system` or a name of the caller's."""
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Context:
    """What is known about the situation a text stands in; every field is optional.

    A rule may ask for a value (`when: {category: profanity, at_least: 0.3, audience: children}`);
    it then fires only where the context says so.
    """

    language: str | None = None
    """ISO 639-1 code of the text."""
    audience: str | None = None
    """Who will read or see it, in the words of the policy, for example `children`."""
    speaker: str | None = field(default=None, repr=False)
    """Who says it."""
    listener: str | None = field(default=None, repr=False)
    """Whom it is said to."""
    situation: str | None = field(default=None, repr=False)
    """Where and why it is said."""
    turns: tuple[Turn, ...] = ()
    """What was said before, oldest first."""
