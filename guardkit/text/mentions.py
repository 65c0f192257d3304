"""Noun phrases about somebody: where they begin, what is said in them, and whether it is a person at all.

No parser: a noun that `people.txt` knows, and what stands to the left of it up to an article, a preposition or the
like. What looks like somebody and is none (a chef's knife, a nurse shark, a toy soldier, no people) is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from guardkit.text.people_words import Mark, Marks
from guardkit.text.units import Unit


@dataclass(frozen=True, slots=True)
class Mention:
    """A noun phrase about somebody; numbers are places in the list of units."""

    head: int
    """The noun."""
    first: int
    """Where the phrase begins, "a group of" included."""
    determiner: int | None
    """The article, number or pronoun straight before the noun's own phrase."""
    insert: int
    """Where an attribute goes: before the noun and the nouns that belong to it ("brain surgeon")."""
    marks: Marks
    """All that the phrase says."""


def find_mentions(units: Sequence[Unit]) -> Iterator[Mention]:
    """Every noun phrase about a person, in order."""
    for at, unit in enumerate(units):
        if Mark.PERSON in unit.marks and _is_head(units, at):
            mention = _phrase(units, at)
            if _is_somebody(units, mention):
                yield mention


def is_next(units: Sequence[Unit], at: int) -> bool:
    """Whether unit `at` is followed by another one with nothing but space between."""
    return at + 1 < len(units) and units[at].segment == units[at + 1].segment


# --- the noun ----------------------------------------------------------------------------------------


def _is_head(units: Sequence[Unit], at: int) -> bool:
    """Whether a noun is what its phrase is about, not a part of the next noun."""
    unit = units[at]
    if unit.is_possessive or unit.is_glued:
        return False
    if not is_next(units, at):
        return True
    after = units[at + 1]
    if Mark.GROUP in unit.marks and after.words == "of":
        return False  # "a family of farmers"
    if after.words == "and" and at + 2 < len(units) and Mark.PERSON in units[at + 2].marks:
        return is_next(units, at + 1) and _is_head(units, at + 2)  # "a bride and groom figurine"
    if _is_compound(units, at):
        return False
    is_verb = is_next(units, at + 1) and Mark.DETERMINER in units[at + 2].marks  # "signs a paper"
    if is_verb and Mark.THING in after.marks and after.words.endswith("s"):
        return True
    return not after.has(Mark.PERSON, Mark.HUMAN, Mark.THING, Mark.UNREAL, Mark.FIGURE)


def _is_compound(units: Sequence[Unit], at: int) -> bool:
    """Whether an unknown noun follows one that is singular ("a detective story"): a verb would end in s."""
    after = units[at + 1]
    if after.marks or after.is_capital or at == 0 or Mark.PLURAL in units[at].marks:
        return False
    is_bare = after.words.isalpha() and not after.words.endswith(_NO_NOUN)
    is_bare = is_bare and after.words not in _PAST
    has_article = Mark.DETERMINER in units[at - 1].marks and is_next(units, at - 1)
    ends = not is_next(units, at + 1) or units[at + 2].has(Mark.STOP, Mark.BE, Mark.FOR)
    return is_bare and has_article and ends


_NO_NOUN = ("s", "ing", "ed", "en", "ly", "ward")  # verbs, participles, adverbs
_PAST = frozenset(
    [
        "sat",
        "stood",
        "lay",
        "ran",
        "rode",
        "swam",
        "sang",
        "drank",
        "ate",
        "drove",
        "wrote",
        "read",
        "went",
        "came",
        "took",
        "gave",
        "held",
        "led",
        "lit",
        "sit",
        "put",
        "set",
        "hit",
        "cut",
        "shot",
        "slept",
        "kept",
        "felt",
        "left",
        "bent",
        "wept",
        "knelt",
        "leapt",
        "stuck",
        "caught",
        "taught",
        "brought",
        "thought",
        "bought",
        "built",
        "made",
        "wore",
    ]
)


# --- what stands before it ---------------------------------------------------------------------------

_MODIFIES = (Mark.ADJECTIVE, Mark.WORD, Mark.NEGATIVE)
_BELONGS = (Mark.PERSON, Mark.UNREAL, Mark.FIGURE, Mark.HUMAN)
_ENDS = (Mark.STOP, Mark.BE, Mark.ROLE, Mark.FOR, Mark.PLACE, Mark.HISTORIC, Mark.SKIP)
_UNKNOWN = 2  # words in a row that nobody knows may belong to a noun: "a brain surgeon"


def _phrase(units: Sequence[Unit], head: int) -> Mention:
    taken, determiner = _left_of(units, head)
    insert = head
    while insert - 1 in taken and not units[insert - 1].has(*_MODIFIES):
        insert -= 1
    marks = units[head].marks.union(*(_said(units[at]) for at in taken))
    first = min([head, *taken, *([] if determiner is None else [determiner])])
    first, outer = _group_before(units, first)
    return Mention(head, first, determiner, insert, marks | outer)


def _said(unit: Unit) -> Marks:
    """What a word before the noun adds; that the one noun is plural says nothing of the other."""
    return unit.marks - {Mark.PLURAL, Mark.GENERIC, Mark.SHAKY, Mark.GROUP}


def _left_of(units: Sequence[Unit], head: int) -> tuple[list[int], int | None]:
    """The words before a noun that belong to it, and its determiner.

    Unknown words count only where a determiner shows that they belong: in "oil painting doctor" they do not.
    """
    sure: list[int] = []
    maybe: list[int] = []
    at = head - 1
    while at >= 0 and _touches(units, at):
        unit = units[at]
        if unit.has(Mark.DETERMINER):
            return sure + maybe, at
        if unit.is_possessive:
            return sure + maybe, None
        if unit.has(Mark.HINT) and not unit.words[0].isdigit():
            break  # "in her forties" is said of who stands before it; "25-year-old" of who follows
        if unit.has(*_MODIFIES):
            (maybe if maybe else sure).append(at)
        elif unit.has(*_BELONGS) and not maybe:
            sure.append(at)
        elif unit.words in ("and", "but") and _joins(units, at):
            pass
        elif unit.has(*_ENDS, *_BELONGS) or len(maybe) >= _UNKNOWN:
            break
        else:
            maybe.append(at)
        at -= 1
    return sure, None


def _touches(units: Sequence[Unit], at: int) -> bool:
    """Whether a unit belongs with the next: only space between, or a comma between two adjectives."""
    if units[at].sentence != units[at + 1].sentence:
        return False
    is_comma = units[at].segment + 1 == units[at + 1].segment
    return is_next(units, at) or (
        is_comma and units[at].has(*_MODIFIES) and units[at + 1].has(*_MODIFIES)
    )


def _joins(units: Sequence[Unit], at: int) -> bool:
    return at > 0 and units[at - 1].has(*_MODIFIES) and units[at + 1].has(*_MODIFIES)


def _group_before(units: Sequence[Unit], first: int) -> tuple[int, Marks]:
    """The beginning of "a diverse group of" before a phrase, and what it says."""
    of = first - 1
    if of < 1 or units[of].words != "of" or not units[of - 1].has(Mark.GROUP):
        return first, frozenset()
    taken, determiner = _left_of(units, of - 1)
    said = frozenset[Mark]().union(*(_said(units[at]) for at in taken))
    return min([of - 1, *taken, *([] if determiner is None else [determiner])]), said


# --- whether it is somebody --------------------------------------------------------------------------


def _is_somebody(units: Sequence[Unit], mention: Mention) -> bool:
    if Mark.UNREAL in mention.marks or Mark.FIGURE in mention.marks:
        return False
    determiner = None if mention.determiner is None else units[mention.determiner]
    if Mark.SHAKY in units[mention.head].marks and determiner is None:
        return False
    first = units[mention.first]
    if (determiner and determiner.has(Mark.NOT)) or first.has(Mark.NOT):
        return False
    before = _before(units, mention.first)
    if before is None:
        return True
    if units[before].has(Mark.NOT, Mark.FOR, Mark.ROLE) or _is_addressed(units, before):
        return False
    return not (units[before].words == "of" and before > 0 and _depicts(units, before - 1))


def _is_addressed(units: Sequence[Unit], before: int) -> bool:
    """Whether it says what those who speak or are spoken to are: "we are four people", "you clown"."""
    if units[before].has(Mark.BE) and before > 0:
        before -= 1
    return units[before].words in ("i", "we", "you")


def _depicts(units: Sequence[Unit], at: int) -> bool:
    """Whether "... of a soldier" is a thing: a statue, a doll."""
    return units[at].has(Mark.FIGURE)


def _before(units: Sequence[Unit], first: int) -> int | None:
    """The unit before a phrase, in its segment."""
    return first - 1 if first > 0 and is_next(units, first - 1) else None
