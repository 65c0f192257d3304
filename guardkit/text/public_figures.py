"""Public figures by name: a list of people known the world over, matched whole, whatever case and accents.

The list (`data/make_public_figures.py` makes it) leaves out names that private people have as well. A last name alone is no
match, and neither is a name that only says in whose manner something is painted or written: "in the style of Frida Kahlo".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files

from guardkit.steps import PUBLIC_FIGURES
from guardkit.taxonomy import Category
from guardkit.text.normalize import Prompt
from guardkit.types import Scored, Scores, Span

_WORD = re.compile(r"[^\W_]+")
_MANNER = re.compile(
    r"(?:\b(?:style|manner|spirit|works?) of|\b(?:works?|art|artwork|paintings?|drawings?|photos?|photography|portraits?|poems?|novels?) by|\b(?:inspired|painted|drawn|directed|written|composed|photographed|illustrated|influenced) by|,\s*(?:art |artwork )?by|\ba la|\bhomage to)\s+(?:[\w.-]+ [\w.-]+ and )?\Z",
    re.IGNORECASE,
)
_LONGEST_MANNER = 60  # characters before a name that tell whether it is somebody's manner
Names = Mapping[str, Sequence[tuple[str, ...]]]
"""First word -> the names that begin with it, as words, longest first."""


class PublicFigures:
    """The `public-figures` scorer: public-figure is 1 when a name of the list stands in the text, else 0."""

    name = PUBLIC_FIGURES
    categories = (Category.PUBLIC_FIGURE.value,)

    def __init__(self, names: Names | None = None) -> None:
        """Know these names; None: the shipped list."""
        self._names = load_names() if names is None else names

    def score(self, prompts: Sequence[Prompt]) -> list[Scored]:
        """Look every text through; spans are in characters of the original."""
        return [self._score(prompt) for prompt in prompts]

    def _score(self, prompt: Prompt) -> Scored:
        (category,) = self.categories
        named = _matches(prompt.text, self._names)
        found = [prompt.to_original(*one) for one in named if not _is_manner(prompt.text, one[0])]
        spans = tuple(Span(start, end, category, 1.0, self.name, "PERSON") for start, end in found)
        return Scored(Scores({category: 1.0 if spans else 0.0}), spans)


def words_of(name: str) -> tuple[str, ...]:
    """The words of a name or a text without case, accents and signs.

    >>> words_of("Beyoncé Knowles-Carter")
    ('beyonce', 'knowles', 'carter')
    """
    return tuple(_plain(word) for word in _WORD.findall(name))


@cache
def load_names() -> Names:
    """The shipped list."""
    lines = (files("guardkit.text") / "public_figures.txt").read_text("utf-8").splitlines()
    return names_of(lines)


def names_of(lines: Sequence[str]) -> Names:
    """Names by their first word.

    >>> names_of(["ada lovelace", "ada"])
    {'ada': [('ada', 'lovelace'), ('ada',)]}
    """
    names: dict[str, list[tuple[str, ...]]] = {}
    for line in lines:
        if words := words_of(line):
            names.setdefault(words[0], []).append(words)
    return {first: sorted(those, key=len, reverse=True) for first, those in names.items()}


def figures_in(text: str, names: Names | None = None) -> Iterator[tuple[int, int]]:
    """Where names of the list, or of another, stand in a text: half-open ranges of characters."""
    return _matches(text, load_names() if names is None else names)


def _matches(text: str, names: Names) -> Iterator[tuple[int, int]]:
    found = list(_WORD.finditer(text))
    words = [_plain(match.group()) for match in found]
    at = 0
    while at < len(words):
        fits = (
            name for name in names.get(words[at], ()) if tuple(words[at : at + len(name)]) == name
        )
        length = len(next(fits, ()))
        if length > 1 or (length == 1 and not _goes_on(text, found[at].end())):
            yield found[at].start(), found[at + length - 1].end()
        at += length or 1


def _is_manner(text: str, start: int) -> bool:
    """Whether a name that begins here only says whose manner is meant."""
    return _MANNER.search(text[max(0, start - _LONGEST_MANNER) : start]) is not None


def _goes_on(text: str, end: int) -> bool:
    """Whether a capitalised word follows: "Thales Gomes" is somebody else."""
    return text[end : end + 1] == " " and text[end + 1 : end + 2].isupper()


def _plain(word: str) -> str:
    if word.isascii():
        return word.lower()
    parts = unicodedata.normalize("NFKD", word.casefold())
    return "".join(one for one in parts if not unicodedata.combining(one))
