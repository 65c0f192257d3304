"""The people in a prompt, and which of gender, ethnicity and age its words leave open.

Left out, so that nobody gives them a group: who is named or stands beside a name, who stands in for somebody named
before ("the chef smiles"), everybody where the scene is historic or factual, and everybody who does or is something bad
("criminal", "a lazy person"). In doubt an attribute counts as said: a fill that contradicts the prompt is worse
than none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from guardkit.text.mentions import Mention, find_mentions
from guardkit.text.named import Named, names_in
from guardkit.text.people_words import Mark, Marks, Words, load_words
from guardkit.text.units import Unit, read


class Attribute(StrEnum):
    """What can be open about a person."""

    GENDER = "gender"
    ETHNICITY = "ethnicity"
    AGE = "age"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody in a text, or several; positions are characters."""

    start: int
    """First character of the noun."""
    end: int
    """One past its last."""
    insert: int
    """Where a word about them goes."""
    after: int
    """Where a phrase about them goes."""
    article: tuple[int, int] | None
    """An "a" or "an" straight before `insert`."""
    open: frozenset[Attribute]
    gender: Mark | None
    """WOMAN or MAN where the words say so."""
    is_plural: bool
    is_generic: bool
    """Somebody of whom "woman" or "man" says as much."""
    is_joined: bool = False
    """A plural that "and" ties to the next one, whose phrase is for both: "doctors and nurses of different ages"."""


Range = tuple[int, int]


def find_people(
    text: str, *, this_year: int, named: Sequence[Range] = (), words: Words | None = None
) -> list[Person]:
    """Everybody in a text who may be given an attribute, in order.

    Args:
        text: A prompt.
        this_year: Earlier years make a scene historic.
        named: Ranges that name a person.
        words: What to know; None: the shipped words.

    >>> doctor, woman = find_people("a young doctor and two women", this_year=2026)
    >>> sorted(map(str, doctor.open)), sorted(map(str, woman.open))
    (['ethnicity', 'gender'], ['age', 'ethnicity'])
    """
    units = read(text, words or load_words(), this_year=this_year)
    if any(Mark.HISTORIC in unit.marks for unit in units):
        return []
    if named and any(unit.has(Mark.PRONOUN) for unit in units):
        return []  # whom a pronoun means is anybody's guess; a named person's words stay as they are
    mentions = list(find_mentions(units))
    names = names_in(units, named)
    said = _said_elsewhere(units, mentions)
    people = {
        index: _person(text, units, mention, said[index])
        for index, mention in enumerate(mentions)
        if _is_free(units, mentions, index, names) and not _is_bad(units, mentions, index)
    }
    return [
        replace(one, is_joined=True) if _is_joined(units, mentions, people, said, index) else one
        for index, one in people.items()
    ]


def _is_joined(
    units: Sequence[Unit],
    mentions: Sequence[Mention],
    people: Mapping[int, Person],
    said: Sequence[Marks],
    index: int,
) -> bool:
    """Whether "and" ties a person to the next one, and what goes behind that one says it of both, or already does."""
    following = index + 1
    if following == len(mentions) or not are_joined(units, mentions[index], mentions[following]):
        return False
    other = people.get(following)
    is_shared = not said[following].isdisjoint(_TELLS)
    return is_shared or (other is not None and people[index].open == other.open)


def _person(text: str, units: Sequence[Unit], mention: Mention, said: Marks) -> Person:
    head, marks = units[mention.head], mention.marks | said
    insert = units[mention.insert].start
    determiner = None if mention.determiner is None else units[mention.determiner]
    article = None
    if determiner and determiner.words in ("a", "an") and text[determiner.end : insert].isspace():
        article = (determiner.start, determiner.end)
    open_ = frozenset(one for one, closes in _CLOSED_BY.items() if marks.isdisjoint(closes))
    gender = next((one for one in (Mark.WOMAN, Mark.MAN) if one in marks), None)
    if Mark.WOMAN in marks and Mark.MAN in marks:
        gender = None
    return Person(
        start=head.start,
        end=head.end,
        insert=insert,
        after=_after(units, mention.head),
        article=article,
        open=open_,
        gender=gender,
        is_plural=Mark.PLURAL in head.marks,
        is_generic=Mark.GENERIC in head.marks,
    )


_CLOSED_BY = {
    Attribute.GENDER: {Mark.GENDER, Mark.WOMAN, Mark.MAN, Mark.ALL},
    Attribute.ETHNICITY: {Mark.ETHNICITY, Mark.PLACE, Mark.ALL},
    Attribute.AGE: {Mark.AGE, Mark.ALL},
}
_TELLS = frozenset({Mark.GENDER, Mark.WOMAN, Mark.MAN, Mark.ETHNICITY, Mark.AGE, Mark.ALL})


def _after(units: Sequence[Unit], head: int) -> int:
    """Behind the noun; behind "of physics" where that is all that follows it."""
    of, what, then = head + 1, head + 2, head + 3
    if what < len(units) and units[of].words == "of" and _same(units, head, what):
        is_short = not units[what].has(Mark.DETERMINER, Mark.STOP, Mark.WORD, Mark.PERSON)
        ends = then >= len(units) or not _same(units, what, then) or units[then].has(Mark.STOP)
        if is_short and ends:
            return units[what].end
    return units[head].end


def _same(units: Sequence[Unit], one: int, other: int) -> bool:
    return units[one].segment == units[other].segment


# --- who is left out ---------------------------------------------------------------------------------


def _is_free(
    units: Sequence[Unit], mentions: Sequence[Mention], index: int, names: Sequence[Named]
) -> bool:
    """Whether a mention is a person of its own, and nobody in particular."""
    mention, earlier = mentions[index], mentions[:index]
    head = units[mention.head]
    determiner = None if mention.determiner is None else units[mention.determiner]
    is_the = determiner is not None and determiner.words in ("the", "this", "that", "these", "those")  # fmt: skip
    if any(name.touches(units, mention) for name in names):
        return False
    if determiner and (determiner.has(Mark.OWN) or (is_the and Mark.OFFICE in head.marks)):
        return False
    if not earlier:
        return True
    if is_the and (Mark.GENERIC in head.marks or head.words in _nouns(units, earlier)):
        return False
    if Mark.KIN in head.marks and (determiner and determiner.has(Mark.PRONOUN)):
        return False
    if any(Mark.KIN in units[one.head].marks for one in earlier) and _may_be_kin(head):
        return False
    return not (_follows_be(units, mention) or _is_keyword(units, mention))


def _nouns(units: Sequence[Unit], mentions: Sequence[Mention]) -> set[str]:
    return {units[one.head].words for one in mentions}


def _may_be_kin(head: Unit) -> bool:
    return head.has(Mark.KIN, Mark.AGE)


def _follows_be(units: Sequence[Unit], mention: Mention) -> bool:
    """Whether it says what somebody is: "who is a doctor"."""
    before = mention.first - 1
    return before >= 0 and _same(units, before, mention.first) and units[before].has(Mark.BE)


def _is_keyword(units: Sequence[Unit], mention: Mention) -> bool:
    """Whether it stands alone between commas, without an article: "engineer, woman, hard hat"."""
    first, last = mention.first, mention.head
    is_alone = (first == 0 or not _same(units, first - 1, first)) and (
        last + 1 >= len(units) or not _same(units, last, last + 1)
    )
    return is_alone and mention.determiner is None and Mark.PLURAL not in units[last].marks


def _is_bad(units: Sequence[Unit], mentions: Sequence[Mention], index: int) -> bool:
    """Whether something bad is said in a mention, or beside it and in nobody else's phrase."""
    mention = mentions[index]
    if Mark.NEGATIVE in mention.marks or Mark.HUMAN in mention.marks:
        return True
    inside = {at for one in mentions for at in range(one.first, one.head + 1)}
    low = mentions[index - 1].head if index else -1
    high = mentions[index + 1].first if index + 1 < len(mentions) else len(units)
    return any(
        Mark.NEGATIVE in units[at].marks
        and at not in inside
        and units[at].sentence == units[mention.head].sentence
        and not _is_anothers(units, at)
        for at in range(low + 1, high)
    )


def _is_anothers(units: Sequence[Unit], at: int) -> bool:
    """Whether a bad word belongs to somebody who is none of the mentions: "a violent thief"."""
    at += 1
    while at < len(units) and _same(units, at - 1, at) and units[at].has(Mark.NEGATIVE, Mark.ADJECTIVE):  # fmt: skip
        at += 1
    return at < len(units) and _same(units, at - 1, at) and units[at].has(Mark.HUMAN, Mark.PERSON)


# --- what is said outside the phrase -----------------------------------------------------------------


def _said_elsewhere(units: Sequence[Unit], mentions: Sequence[Mention]) -> list[Marks]:
    """What pronouns, keywords, clothes and places add to every mention."""
    said: list[set[Mark]] = [set() for _ in mentions]
    if not mentions:
        return []
    inside = {at: row for row, one in enumerate(mentions) for at in range(one.first, one.head + 1)}
    for at, unit in enumerate(units):
        if Mark.PLACE in unit.marks:
            for one in said:
                one.add(Mark.PLACE)
        if unit.has(Mark.PRONOUN) and unit.has(Mark.WOMAN, Mark.MAN):
            for row in _meant_by(units, mentions, at):
                said[row] |= unit.marks & _TELLS
        elif at in inside:
            row = inside[at]
            if row and _is_keyword(units, mentions[row]):
                said[row - 1] |= mentions[row].marks & _TELLS
        elif _tells(units, at):
            said[_nearest(mentions, at)] |= unit.marks & _TELLS
    _share(units, mentions, said)
    return [frozenset(one) for one in said]


def _share(units: Sequence[Unit], mentions: Sequence[Mention], said: list[set[Mark]]) -> None:
    """Let "men and women of different ages" say it of both."""
    for row in range(len(mentions) - 1, 0, -1):
        if are_joined(units, mentions[row - 1], mentions[row]):
            said[row - 1] |= said[row]


def are_joined(units: Sequence[Unit], one: Mention, other: Mention) -> bool:
    """Whether two plurals stand side by side: "men and women"."""
    between = units[one.head + 1 : other.first]
    return (
        Mark.PLURAL in units[one.head].marks
        and Mark.PLURAL in units[other.head].marks
        and [unit.words for unit in between] == ["and"]
        and _same(units, one.head, other.first)
    )


def _nearest(mentions: Sequence[Mention], at: int) -> int:
    """The last mention before a unit, or the first of all."""
    return max((row for row, one in enumerate(mentions) if one.head < at), default=0)


def _meant_by(units: Sequence[Unit], mentions: Sequence[Mention], at: int) -> list[int]:
    """Whom a pronoun may mean: somebody of its gender before it, else everybody before it, else the next."""
    before = [row for row, one in enumerate(mentions) if one.head < at]
    singular = [row for row in before if Mark.PLURAL not in units[mentions[row].head].marks]
    gender = units[at].marks & {Mark.WOMAN, Mark.MAN}
    fitting = [row for row in singular if mentions[row].marks & gender]
    return [] if fitting else singular or ([] if before else [0])


def _tells(units: Sequence[Unit], at: int) -> bool:
    """Whether a word outside all phrases tells something of somebody."""
    unit = units[at]
    if Mark.HINT in unit.marks:
        return True
    if Mark.WORD not in unit.marks:
        return False
    if Mark.COLOUR in unit.marks:
        return _is_alone(units, at)
    if not unit.has(Mark.ETHNICITY, Mark.AGE) or unit.has(Mark.WOMAN, Mark.MAN):
        return not _before_thing(units, at)
    return _ends_here(units, at)


def _is_alone(units: Sequence[Unit], at: int) -> bool:
    starts = at == 0 or not _same(units, at - 1, at) or units[at - 1].has(Mark.BE)
    return starts and _ends_here(units, at)


def _before_thing(units: Sequence[Unit], at: int) -> bool:
    return at + 1 < len(units) and _same(units, at, at + 1) and units[at + 1].has(Mark.THING, Mark.UNREAL)  # fmt: skip


def _ends_here(units: Sequence[Unit], at: int) -> bool:
    """Whether no noun can follow: the end, a comma, "and", or what says that it is about somebody."""
    if at + 1 >= len(units) or not _same(units, at, at + 1):
        return True
    after = units[at + 1]
    return after.has(Mark.STOP, Mark.BE, Mark.WORD) or after.words in _ABOUT


_ABOUT = frozenset({"descent", "heritage", "origin", "ancestry", "ethnicity", "looking", "features", "skin", "complexion", "appearance"})  # fmt: skip
