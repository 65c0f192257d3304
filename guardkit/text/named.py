"""Which mentions in a prompt are a named person: by spans that scorers found, and by capital letters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from guardkit.text.mentions import Mention
from guardkit.text.people_words import Mark
from guardkit.text.units import Unit

_LEADS_ON = ("as", "the", "a", "an", "dressed", "portrayed", "depicted", "working", "playing", "being", "like", "who")  # fmt: skip
_BEFORE_A_NAME = ("named", "called", "nicknamed", "is", "was", "like")


@dataclass(frozen=True, slots=True)
class Named:
    """The units of a name, [first, end)."""

    first: int
    end: int
    is_sure: bool
    """A scorer says so; otherwise capital letters do."""

    def touches(self, units: Sequence[Unit], mention: Mention) -> bool:
        """Whether a mention is this person: holds the name, or stands straight before or behind it."""
        if self.first <= mention.head and mention.first < self.end:
            return True
        if self.end <= mention.first:
            return self._leads_to(units, mention)
        return self._follows(units, mention)

    def _leads_to(self, units: Sequence[Unit], mention: Mention) -> bool:
        """As in "Jane Roe, a doctor", "Jane Roe is a doctor", "John Doe the plumber", "Jane Roe's doctor"."""
        between = units[self.end : mention.first]
        are_glue = all(unit.has(Mark.BE) or unit.words in _LEADS_ON for unit in between)
        parts = units[mention.first].segment - units[self.end - 1].segment
        near = parts == 0 or (parts == 1 and (self.is_sure or self.first == 0))
        return are_glue and near

    def _follows(self, units: Sequence[Unit], mention: Mention) -> bool:
        """As in "doctor Jane Roe", "the plumber, John Doe", "a doctor named Jane Roe", "the CEO of Apple"."""
        between = units[mention.head + 1 : self.first]
        parts = units[self.first].segment - units[mention.head].segment
        if not between:
            return parts == 0 or (parts == 1 and self.is_sure)
        words = [unit.words for unit in between]
        is_of = words in (["of"], ["of", "the"]) and _has_the(units, mention)
        return parts == 0 and (is_of or (len(words) == 1 and words[0] in _BEFORE_A_NAME))


def names_in(units: Sequence[Unit], spans: Sequence[tuple[int, int]]) -> list[Named]:
    """Every name in a text.

    Args:
        units: The prompt.
        spans: Ranges that a scorer takes for the name of a person.
    """
    names = [
        Named(rows[0], rows[-1] + 1, is_sure=True)
        for start, end in spans
        if (rows := [at for at, one in enumerate(units) if one.start < end and start < one.end])
    ]
    if not _says_nothing_by_capitals(units):
        names += _by_capitals(units)
    return names


def _by_capitals(units: Sequence[Unit]) -> Iterator[Named]:
    """Runs of unknown capitalised words; a single one only inside a sentence."""
    at = 0
    while at < len(units):
        end = at
        while end < len(units) and _is_name(units[end]) and (end == at or units[end].segment == units[at].segment):  # fmt: skip
            end += 1
        begins = at == 0 or units[at - 1].sentence != units[at].sentence
        if end - at > (1 if begins and not _is_surnamed(units, at) else 0):
            yield Named(at, end, is_sure=False)
        at = max(end, at + 1)


def _is_surnamed(units: Sequence[Unit], at: int) -> bool:
    """Whether "the" and a capital follow: "Bob the Builder"."""
    return at + 2 < len(units) and units[at + 1].words == "the" and units[at + 2].is_capital


def _is_name(unit: Unit) -> bool:
    return unit.is_capital and not unit.marks and len(unit.words) > 1


def _says_nothing_by_capitals(units: Sequence[Unit]) -> bool:
    """Whether most words are capitalised: a title, or a text in capitals."""
    long = [unit for unit in units if len(unit.words) > 3]
    return len(long) > 2 and sum(unit.is_capital for unit in long) > 0.7 * len(long)


def _has_the(units: Sequence[Unit], mention: Mention) -> bool:
    return mention.determiner is not None and units[mention.determiner].words == "the"
