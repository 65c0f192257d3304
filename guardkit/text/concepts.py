"""Concepts and what takes their place: the policy's own word on how a text is rewritten."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from guardkit.policy.rules import Concept
from guardkit.steps import REWRITE
from guardkit.text.edit import shift
from guardkit.text.rewrite import Rewriter
from guardkit.text.spelling import article_is_known, takes_an
from guardkit.types import Edit, Span

_ARTICLE = re.compile(r"\b(an?)(\s+)\Z", re.IGNORECASE)


class ConceptMap:
    """Replaces concepts in a text; immutable.

    >>> ConceptMap({"zombie": Concept("owl", ("undead",))}).replace("A zombie")[0]
    'An owl'
    """

    def __init__(self, concepts: Mapping[str, str | Concept]) -> None:
        """Take a policy's `concepts`, which `check_meaning` has found in order."""
        self._replacements: dict[str, str] = {}
        for name, entry in concepts.items():
            concept = Concept(entry) if isinstance(entry, str) else entry
            for phrase in (name, *concept.examples):
                self._replacements[_key(phrase)] = concept.replacement
        longest_first = sorted(self._replacements, key=len, reverse=True)
        phrases = (r"\s+".join(map(re.escape, phrase.split())) for phrase in longest_first)
        self._pattern = re.compile(rf"(?<!\w)(?:{'|'.join(phrases)})(?!\w)", re.IGNORECASE)

    def replace(self, text: str) -> tuple[str, tuple[Edit, ...]]:
        """Put the replacement for every concept, in the case of what it replaces.

        Returns:
            The text, and the edits in order, each where it stands in the text that was given.
        """
        edits = list[Edit]()
        for match in self._pattern.finditer(text) if self._replacements else ():
            replacement = self._replacements[_key(match[0])]
            if article := _wrong_article(text[: match.start()], replacement):
                edits.append(article)
            edits.append(Edit(REWRITE, *match.span(), _cased(replacement, match[0])))
        for edit in reversed(edits):
            text = text[: edit.start] + edit.replacement + text[edit.end :]
        return text, tuple(edits)


class ConceptRewriter:
    """A rewriter that is given a text with the policy's concepts replaced already."""

    def __init__(self, rewriter: Rewriter, concepts: ConceptMap) -> None:
        self._rewriter, self._concepts = rewriter, concepts

    def rewrite(self, text: str, spans: Sequence[Span] = ()) -> str | None:
        """As `Rewriter.rewrite`; what a concept's replacement took away is blamed no longer.

        A text that nobody blames, and that the rewriter leaves as it is, keeps its concepts.
        """
        replaced, edits = self._concepts.replace(text)
        if edits and not spans and self._rewriter.rewrite(text) == text:
            return text
        return self._rewriter.rewrite(replaced, shift(spans, edits))


def _key(phrase: str) -> str:
    return " ".join(phrase.lower().split())


def _cased(replacement: str, original: str) -> str:
    if len(original) > 1 and original.isupper():
        return replacement.upper()
    return replacement[0].upper() + replacement[1:] if original[0].isupper() else replacement


def _wrong_article(before: str, replacement: str) -> Edit | None:
    """The edit of an "a" before a vowel, or an "an" before none, where letters tell."""
    match = _ARTICLE.search(before)
    if match is None or not article_is_known(replacement):
        return None
    if (len(match[1]) == 2) is takes_an(replacement):
        return None
    article = match[1][0] + ("" if len(match[1]) == 2 else "n")
    return Edit(REWRITE, match.start(1), match.end(1), article)
