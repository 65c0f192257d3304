"""The words of `people.txt`: what each of them says about people, and how they are looked up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from importlib.resources import files


class Mark(Enum):
    """What a word or a phrase is; a section of `people.txt` gives one or several."""

    __hash__ = (
        object.__hash__
    )  # that of Enum is Python code, and sets of these are asked all the time

    PERSON = auto()
    """A noun for somebody."""
    GENERIC = auto()
    """Of these, one that "woman" or "man" can replace."""
    PLURAL = auto()
    SHAKY = auto()
    """Somebody only with an article or a number before it."""
    KIN = auto()
    OFFICE = auto()
    """With "the" before it, one particular person."""
    HUMAN = auto()
    """Somebody, but never one to be given a group."""
    GROUP = auto()
    """Several of what follows "of"."""
    WOMAN = auto()
    MAN = auto()
    GENDER = auto()
    """Says a gender, or that none is to be said."""
    ETHNICITY = auto()
    COLOUR = auto()
    """Likewise, but also the colour of things."""
    AGE = auto()
    ALL = auto()
    """Says of several people that they differ."""
    WORD = auto()
    """An attribute in a word of its own."""
    HINT = auto()
    """What tells wherever it stands: what somebody wears, "in her forties"."""
    ADJECTIVE = auto()
    NEGATIVE = auto()
    THING = auto()
    UNREAL = auto()
    FIGURE = auto()
    """What may depict somebody and is none: a statue."""
    HISTORIC = auto()
    PLACE = auto()
    DETERMINER = auto()
    PRONOUN = auto()
    OWN = auto()
    NOT = auto()
    FOR = auto()
    ROLE = auto()
    BE = auto()
    STOP = auto()
    """Begins or ends a noun phrase."""
    SKIP = auto()


Marks = frozenset[Mark]
Phrase = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Words:
    """What is known, by first word, longest phrase first."""

    phrases: Mapping[str, tuple[tuple[Phrase, Marks], ...]]
    people: frozenset[str]
    """The last words of all phrases for somebody."""

    def longest(self, words: list[str], at: int) -> tuple[int, Marks]:
        """How many words from `at` on make a known phrase, and its marks; one without marks if none do."""
        for phrase, marks in self.phrases.get(words[at], ()):
            length = len(phrase)
            if length == 1 or tuple(words[at : at + length]) == phrase:
                return length, marks
        return 1, _NO_MARKS

    def adding(self, values: Mapping[str, Marks]) -> Words:
        """These and more; marks of a phrase that is known already add up."""
        entries = {phrase: marks for known in self.phrases.values() for phrase, marks in known}
        for value, marks in values.items():
            phrase = tuple(value.lower().replace("-", " ").split())
            entries[phrase] = entries.get(phrase, _NO_MARKS) | marks
        return _by_first_word(entries)


@cache
def load_words() -> Words:
    """The shipped words."""
    lines = (files("guardkit.text") / "people.txt").read_text("utf-8").splitlines()
    return words_of(lines)


def words_of(lines: Iterable[str]) -> Words:
    """Words from the lines of a file.

    >>> words_of(["[person man]", "fireman"]).longest(["two", "firemen"], 1)[0]
    1
    """
    entries: dict[Phrase, Marks] = {}
    plurals: dict[str, str] = {}
    for section, entry in _entries(lines):
        if section == "plural":
            plural, _, singular = entry.partition(": ")
            plurals[plural] = singular
            continue
        name, marks = entry.removeprefix("~"), _marks(section)
        if name != entry:
            marks |= {Mark.SHAKY}
        _put(entries, name, marks)
        if marks & _NOUNS:
            _put(entries, plural_of(name), marks | {Mark.PLURAL})
    for plural, singular in plurals.items():
        _put(entries, plural, entries[tuple(singular.split())] | {Mark.PLURAL})
    return _by_first_word(entries)


def plural_of(noun: str) -> str:
    """The plural of a noun or a noun phrase, by rule.

    >>> [plural_of(one) for one in ("police officer", "fireman", "secretary", "coach", "boy")]
    ['police officers', 'firemen', 'secretaries', 'coaches', 'boys']
    """
    if noun.endswith("man"):
        return noun[:-3] + "men"
    if noun.endswith("person"):
        return noun[:-6] + "people"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


_NO_MARKS: Marks = frozenset()
_NOUNS = {Mark.PERSON, Mark.HUMAN, Mark.THING, Mark.UNREAL, Mark.FIGURE, Mark.GROUP}


def _entries(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(section, entry) of a file."""
    section = ""
    for line in lines:
        if line.startswith("["):
            section = line.strip("[]")
        elif not line.startswith("#"):
            yield from ((section, entry) for one in line.split(",") if (entry := one.strip()))


def _marks(section: str) -> Marks:
    return frozenset(Mark[name.upper()] for name in section.split())


def _put(entries: dict[Phrase, Marks], name: str, marks: Marks) -> None:
    phrase = tuple(name.split())
    entries[phrase] = entries.get(phrase, _NO_MARKS) | marks


def _by_first_word(entries: Mapping[Phrase, Marks]) -> Words:
    found: dict[str, list[tuple[Phrase, Marks]]] = {}
    for phrase, marks in entries.items():
        found.setdefault(phrase[0], []).append((phrase, marks))
    return Words(
        phrases={
            first: tuple(sorted(those, key=lambda one: -len(one[0])))
            for first, those in found.items()
        },
        people=frozenset(phrase[-1] for phrase, marks in entries.items() if Mark.PERSON in marks),
    )
