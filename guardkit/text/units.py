"""A prompt as units: the words and phrases that `people_words` knows, and every other word, with their places."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

from msgspec import Struct

from guardkit.text.people_words import Mark, Marks, Words


class Unit(Struct, frozen=True):
    """A word, or a phrase that is known as one."""

    start: int
    end: int
    words: str
    """In lower case, one space between words."""
    marks: Marks
    segment: int
    """Counts what commas, brackets and the like part."""
    sentence: int
    is_capital: bool
    is_possessive: bool
    """Followed by 's."""
    is_glued: bool
    """A part of the next word, or of something that is no word: "doctor-themed", "<PERSON_1>"."""

    def has(self, *marks: Mark) -> bool:
        """Whether it has any of these marks."""
        return not self.marks.isdisjoint(marks)


def read(text: str, words: Words, *, this_year: int) -> list[Unit]:
    """Every unit of a text, in order; none where no word is about a person.

    Years before `this_year` are marked as history.
    """
    matches = list(_WORD.finditer(text))
    if words.people.isdisjoint(match[1].lower() for match in matches):
        return []
    return list(_units(text, words, matches, this_year))


_Piece = tuple[int, int, Marks]

# What is said in numbers. Ages: "25-year-old", "aged 40", "in her late forties". Decades are no age.
_TENS = r"teens|twenties|thirties|forties|fifties|sixties|seventies|eighties|nineties|[1-9]0'?s"
_AGE = (
    r"\d{1,3}[\s-]*(?:years?|yrs?|months?|weeks?|y)[\s-]*(?:olds?|o)\b|\d{1,2}\s?y/?o\b|\bage[sd]?:? \d{1,3}\b"
    rf"|\bin (?:(?:his|her|their|the) )?(?:(?:early|mid|late)[\s-]+)?(?:{_TENS})\b"
    rf"|\b(?:early|mid|late)[\s-]+(?:{_TENS})\b"
)
_HISTORY = r"\b1[0-9][0-9]0'?s\b|\b20[0-2]0'?s\b|(?<!\d)'?[1-9]0'?s\b|\b\d{1,2}(?:st|nd|rd|th)[\s-]century\b|\bad \d{2,4}\b"
_YEAR = r"(?:\b(?:in|of|from|since|circa|year|summer|winter|spring|autumn) (?P<since>20\d\d)\b)|(?<![\d.,x$€£/])\b(?P<year>1[0-9]{3})\b(?![\d.,]*(?:\s?[x×:/%]|[.,]\d|\s?(?:px|pixels|mm|k\b|p\b|hz|iso)))"
_VARIED = r"\b(?:of|with|from) (?:(?:all|different|various|diverse|mixed|many|every|varied|multiple) (?:(?:genders?|sex(?:es)?|ethnicit(?:y|ies)|races?|ages?|backgrounds|skin tones|nationalities|cultures|,|and|or|different|various)[\s,]*)+)"
_SAID = re.compile(
    rf"(?P<varied>{_VARIED})|(?P<history>{_HISTORY})|(?P<age>{_AGE})|{_YEAR}", re.IGNORECASE
)
_WORD = re.compile(r"([^\W_]+)(?:(['’]s?)(?!\w))?")
_OWNER = re.compile(r"['’]s?$")
_OWNING = ("'", "’")
_GLUE, _GLUE_BEFORE = tuple("-_/"), tuple("<_#@")
_ENDS_SENTENCE = re.compile(r"[.!?;\n|]")
_PARTS = re.compile(r"[^\w\s/&'’-]|\s[-–—]\s")
_GENDERS = {"his": Mark.MAN, "her": Mark.WOMAN}
_NAMED_KINDS = (
    (re.compile(r"gender|sex", re.IGNORECASE), Mark.GENDER),
    (
        re.compile(r"ethnic|race|background|skin|nationalit|culture", re.IGNORECASE),
        Mark.ETHNICITY,
    ),
    (re.compile(r"\bages?\b", re.IGNORECASE), Mark.AGE),
)
_TELLING = frozenset(
    f"all different various diverse mixed many every varied multiple {_TENS.replace('|', ' ')}".split()
)
_NUMBER = re.compile(
    r"\d{1,4}(?:s|st|nd|rd|th|y|yo|yrs?|years?)?", re.IGNORECASE
)  # no "35mm", no "8k"
_BEFORE, _AFTER = 24, 64  # characters around a telling word: all that one of the patterns needs


def _said(text: str, matches: Sequence[re.Match[str]], this_year: int) -> list[_Piece]:
    """Ranges that say something by their form; looked for around numbers and the words of `_TELLING`."""
    found: list[_Piece] = []
    last = 0
    for word in matches:
        if word.start() < last or not (_NUMBER.fullmatch(word[1]) or word[1].lower() in _TELLING):
            continue
        start, end = max(last, word.start() - _BEFORE), word.end() + _AFTER
        for match in _SAID.finditer(text, start, end):
            if match.end() <= word.start():
                continue
            if match.start() > word.start():
                break  # the next telling word's, and may be cut off by the window
            if marks := _marks_of(match, text, this_year):
                last = match.start() + len(match.group().rstrip(" ,"))
                found.append((match.start(), last, marks))
    return found


def _marks_of(match: re.Match[str], text: str, this_year: int) -> Marks:
    if match["varied"]:
        kinds = {mark for pattern, mark in _NAMED_KINDS if pattern.search(match.group())}
        return frozenset({Mark.WORD, Mark.HINT, *kinds}) if kinds else frozenset()
    if match["age"]:
        told = {
            gender for word, gender in _GENDERS.items() if word in match.group().lower().split()
        }
        return frozenset({Mark.AGE, Mark.WORD, Mark.HINT, *told})
    year = match["since"] or match["year"]
    if match["history"] or (year and int(year) < this_year and not _counts(match, text)):
        return frozenset({Mark.HISTORIC})
    return frozenset()


def _counts(match: re.Match[str], text: str) -> bool:
    """Whether a number says how many: "1000 people"."""
    follows = _WORD.match(text, match.end() + 1)
    return bool(match["year"] and follows and follows[1].lower().endswith(("s", "people", "men")))


def _units(text: str, words: Words, matches: list[re.Match[str]], this_year: int) -> Iterator[Unit]:
    said = _said(text, matches, this_year)
    if said:
        matches = [
            one
            for one in matches
            if not any(start < one.end() and one.start() < end for start, end, _ in said)
        ]
    plain = [match[1].lower() for match in matches]
    at, pieces = 0, list(said)
    while at < len(matches):
        length, marks = words.longest(plain, at)
        while length > 1 and not _runs_on(text, matches[at : at + length]):
            length, marks = 1, words.longest(plain[at : at + 1], 0)[1]
        if plain[at].isdigit():
            marks = frozenset({Mark.DETERMINER})
        pieces.append((matches[at].start(), matches[at + length - 1].end(), marks))
        at += length
    yield from _placed(text, sorted(pieces, key=lambda one: one[0]))


def _runs_on(text: str, matches: list[re.Match[str]]) -> bool:
    """Whether only a space or a hyphen parts the words."""
    return all(
        text[one.end() : two.start()] in (" ", "-", "  ")
        for one, two in itertools.pairwise(matches)
    )


def _placed(text: str, pieces: list[_Piece]) -> Iterator[Unit]:
    segment = sentence = last = 0
    for start, end, marks in pieces:
        gap = text[last:start]
        if gap != " ":
            sentence += "\n" in gap or bool(_ENDS_SENTENCE.search(gap))
            segment += "\n" in gap or bool(_PARTS.search(gap))
        last = end
        raw = text[start:end]
        owner = _OWNER.search(raw) if raw[-1] in _OWNING or raw[-2:-1] in _OWNING else None
        bare = raw[: owner.start()] if owner else raw
        before, after = text[start - 1 : start], text[end : end + 1]
        yield Unit(
            start,
            start + len(bare),
            bare.lower() if bare.isalnum() else " ".join(bare.lower().replace("-", " ").split()),
            marks,
            segment,
            sentence,
            is_capital=bare[0].isupper(),
            is_possessive=owner is not None,
            is_glued=before in _GLUE_BEFORE
            or (after in _GLUE and text[end + 1 : end + 2].isalnum()),
        )
