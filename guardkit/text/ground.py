"""Grounding: people of whom a prompt leaves gender, ethnicity or age open are given one, evenly over many prompts.

    a doctor                        a Black female doctor in her forties
    an engineer, smiling            a South Asian male engineer in his sixties, smiling
    a young person                  a young White man
    two doctors                     two doctors of different genders, ethnicities and ages
    two people having fun           two people of different genders, ethnicities and ages dining at a restaurant

What one person gets is drawn from a shuffle bag an attribute (`shuffle_bag.py` says what that promises), of the values
drawn by this guard in this process; several people are asked to differ. Text outside the edits stays as it is,
character for character, and a second run changes nothing: by then everything is said.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from guardkit.policy.rules import Ground
from guardkit.steps import GROUND
from guardkit.text.people import Attribute, Person, find_people
from guardkit.text.people_words import Mark, Marks, Words, load_words
from guardkit.text.shuffle_bag import ShuffleBag
from guardkit.types import Edit, Span


class Grounder:
    """The editor `ground`: fills in what a prompt leaves open; safe to share between threads.

    The bags are its only state. A pickled guard and a forked process begin with full ones.
    """

    def __init__(self, options: Ground, *, this_year: int | None = None) -> None:
        """Ground as a policy says.

        Args:
            options: What to fill in.
            this_year: Earlier years make a scene historic; None: by the clock, now.
        """
        self._options = options
        self._year = this_year or datetime.datetime.now(datetime.UTC).year
        self._bags = {
            Attribute(name): self._bag(values, name)
            for name, values in _attributes(options).items()
            if values
        }
        self._specific = tuple(
            (_vague(one.vague), self._bag(dict.fromkeys(one.instead, 1.0), one.vague))
            for one in options.specific
        )

    def __call__(self, text: str, spans: Sequence[Span]) -> tuple[str, tuple[Edit, ...]]:
        """Ground a text; what the spans name is left alone.

        >>> from guardkit.policy.rules import Attributes
        >>> grounder = Grounder(Ground(attributes=Attributes(age={"elderly": 1.0})), this_year=2026)
        >>> grounder("a doctor and a young nurse", [])[0]
        'an elderly doctor and a young nurse'
        """
        named = [(span.start, span.end) for span in spans]
        people = find_people(text, this_year=self._year, named=named, words=self._words)
        edits = tuple(edit for person in people for edit in self._edits(text, person))
        for edit in reversed(edits):  # from the end, so that earlier positions stay valid
            text = text[: edit.start] + edit.replacement + text[edit.end :]
        return text, edits

    @cached_property
    def _words(self) -> Words:
        """The shipped words and the policy's values, which a second run has to know."""
        return load_words().adding(dict(_known_values(self._options)))

    def _bag(self, weights: Mapping[str, float], name: str) -> ShuffleBag:
        seed = self._options.seed
        return ShuffleBag(weights, seed=None if seed is None else f"{seed}/{name}")

    def _edits(self, text: str, person: Person) -> Iterator[Edit]:
        """What is said of one person, or of several, in the order of the text."""
        to_fill = [one for one in Attribute if one in person.open and one in self._bags]
        if person.is_plural:
            if to_fill and not person.is_joined:
                yield _insert(person.after, f" {_varied(to_fill)}")
        elif to_fill:
            drawn = {one: self._bags[one].draw() for one in to_fill}
            yield from _filled(text, person, drawn)
        for vague, bag in self._specific:
            if match := vague.match(text, person.end):
                yield Edit(GROUND, match.start("vague"), match.end("vague"), bag.draw())


# --- several people ----------------------------------------------------------------------------------

_SEVERAL = {
    Attribute.GENDER: "genders",
    Attribute.ETHNICITY: "ethnicities",
    Attribute.AGE: "ages",
}


def _varied(attributes: Sequence[Attribute]) -> str:
    """That several people differ; an "and" before the last.

    >>> _varied([Attribute.GENDER, Attribute.AGE])
    'of different genders and ages'
    """
    *names, last = (_SEVERAL[one] for one in attributes)
    return f"of different {', '.join(names)} and {last}" if names else f"of different {last}"


# --- one person --------------------------------------------------------------------------------------

_NOUN_OF = {"woman": "woman", "man": "man"}
_ADJECTIVE_OF = {"woman": "female", "man": "male"}
_PRONOUN_OF = {"woman": "her", "man": "his"}
_VALUE_OF = {Mark.WOMAN: "woman", Mark.MAN: "man"}
_NO_NOUN = ("someone", "somebody")
_THEIR = re.compile(r"\btheir\b")
_IS_PHRASE = re.compile(r"(?:in|of|at|with|from|aged|over|under)\b", re.IGNORECASE)
_AN = re.compile(r"(?!eu|uni|one\b|once|us[aeiu]|u[kt])[aeiou]|hour|honest|heir", re.IGNORECASE)


def _filled(text: str, person: Person, drawn: Mapping[Attribute, str]) -> Iterator[Edit]:
    """The edits that give one person what was drawn."""
    gender = drawn.get(Attribute.GENDER)
    pronoun = _PRONOUN_OF.get(gender or _VALUE_OF.get(person.gender, ""), "their")  # type: ignore[arg-type]
    age = _THEIR.sub(pronoun, drawn.get(Attribute.AGE, ""))
    behind = f" {age}" if _IS_PHRASE.match(age) else ""
    before = [one for one in ("" if behind else age, drawn.get(Attribute.ETHNICITY)) if one]
    noun = text[person.start : person.end]
    end = person.insert
    is_alone = person.insert == person.start  # no word of a compound before it, which would be lost
    is_bare = is_alone and noun.lower() in _NO_NOUN
    if is_alone and person.is_generic and (gender in _NOUN_OF or is_bare):
        end, noun = person.end, _NOUN_OF.get(gender or "", "person")
        before += [gender] if gender and gender not in _NOUN_OF else []
        before.append(noun)
    elif gender:
        before.append(_ADJECTIVE_OF.get(gender, gender))
    if before:
        yield _put_before(text, person, " ".join(before), end, needs_article=is_bare)
    if behind:
        yield _insert(person.after, behind)


def _put_before(text: str, person: Person, words: str, end: int, *, needs_article: bool) -> Edit:
    """The edit that puts words where they go, up to `end`, with the article they need."""
    gap = " " if end == person.insert else ""
    start, article = person.insert, ""
    is_first = (
        text[person.insert].isupper() and text[person.insert + 1 : person.insert + 2].islower()
    )
    if person.article is not None:
        start, last = person.article
        article = _article(words, text[start:last]) + text[last : person.insert]
        if article == text[start : person.insert]:
            start, article = person.insert, ""
    elif needs_article:
        article = _article(words, "A" if is_first else "a") + " "
    elif is_first:
        words = words[0].upper() + words[1:]
    return Edit(GROUND, start, end, f"{article}{words}{gap}")


def _article(words: str, now: str) -> str:
    """The article of some words, in the case of the one that stands there.

    >>> _article("elderly", "A"), _article("European", "an")
    ('An', 'a')
    """
    article = "an" if _AN.match(words) else "a"
    if now.isupper() and len(now) > 1:
        return article.upper()
    return article.capitalize() if now[:1].isupper() else article


def _insert(at: int, words: str) -> Edit:
    return Edit(GROUND, at, at, words)


# --- what a policy says ------------------------------------------------------------------------------


def _attributes(options: Ground) -> dict[str, Mapping[str, float]]:
    said = options.attributes
    return {"gender": said.gender, "ethnicity": said.ethnicity, "age": said.age}


def _known_values(options: Ground) -> Iterator[tuple[str, Marks]]:
    """Every value of a policy as a phrase that says an attribute."""
    marks = {"gender": Mark.GENDER, "ethnicity": Mark.ETHNICITY, "age": Mark.AGE}
    for name, values in _attributes(options).items():
        for value in values:
            if name == "gender" and value in _NOUN_OF:
                continue  # nouns, and known
            follows = {Mark.HINT} if _IS_PHRASE.match(value) else set()
            for pronoun in ("their", "her", "his"):
                said = _THEIR.sub(pronoun, value)
                yield said, frozenset({marks[name], Mark.WORD, *follows})


def _vague(phrase: str) -> re.Pattern[str]:
    """A vague phrase straight behind somebody, with nothing after it that says more."""
    words = r"\s+".join(re.escape(word) for word in phrase.split())
    return re.compile(
        rf"\s+(?:(?:who )?(?:is |are ))?(?P<vague>{words})\s*(?=[.,;!?]|$)", re.IGNORECASE
    )
