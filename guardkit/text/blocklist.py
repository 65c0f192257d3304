"""Word lists: a topic scores 1 when one of its entries stands in the text.

Matching is on whole words of the normalised text, so disguises are undone first and "Scunthorpe"
stays Scunthorpe. An entry also matches with its letters stretched or doubled, and in its regular
plural.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence

from guardkit.policy.rules import WordList
from guardkit.steps import BLOCKLIST
from guardkit.text.normalize import Prompt, drop
from guardkit.types import Scored, Scores, Span

_LEET_CLASS = {"a": "a4@", "e": "e3", "i": "i1!|", "l": "l1|", "o": "o0", "s": "s5$", "t": "t7+"}
# Chosen: what `normalize` leaves of a stretch is shorter. Without a bound, "k1111..." is tried in
# every split between the letters of "kill" that a 1 may stand for: minutes at 2,000 characters.
_MOST_REPEATS = 8
# "es" only where English spells a plural so: "rat" must not find "rates", nor "cap" "capes".
_PLURAL = r"(?:'?s|(?:(?<=[sxzo5$0])|(?<=[cs]h))es)?"


class Blocklist:
    """The `blocklist` scorer: one score a list, 1.0 when an entry is found and 0.0 when not."""

    name = BLOCKLIST

    def __init__(self, lists: Mapping[str, WordList]) -> None:
        self._patterns = {
            topic: _compile(entries.block) for topic, entries in lists.items() if entries.block
        }
        self.categories = tuple(self._patterns)

    def score(self, prompts: Sequence[Prompt]) -> list[Scored]:
        """Look every text up; spans are in characters of the original."""
        return [self._score(prompt) for prompt in prompts]

    def _score(self, prompt: Prompt) -> Scored:
        scores: dict[str, float | None] = dict.fromkeys(self.categories, 0.0)
        spans: list[Span] = []
        for topic, pattern in self._patterns.items():
            for match in pattern.finditer(prompt.text):
                start, end = prompt.to_original(*match.span())
                spans.append(Span(start, end, topic, 1.0, BLOCKLIST))
                scores[topic] = 1.0
        return Scored(Scores(scores), tuple(spans))


class Allowlist:
    """Takes phrases that the policy allows out of what scorers read."""

    def __init__(self, lists: Mapping[str, WordList]) -> None:
        entries = tuple(entry for one in lists.values() for entry in one.allow)
        self._pattern = _compile(entries) if entries else None

    def apply(self, prompt: Prompt) -> Prompt:
        """The prompt without its allowed phrases; positions still map to the original."""
        return prompt if self._pattern is None else drop(prompt, self._pattern)


def list_words(lists: Mapping[str, WordList]) -> frozenset[str]:
    """The single words of all lists, for `normalize` to undo disguises towards."""
    return frozenset(
        word
        for one in lists.values()
        for entry in (*one.block, *one.allow)
        for word in entry.lower().split()
        if word.isalpha()
    )


def _compile(entries: Sequence[str]) -> re.Pattern[str]:
    # Longest first: of two entries that start alike the longer one is the finding.
    alternatives = "|".join(_entry_pattern(e) for e in sorted(set(entries), key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{alternatives}){_PLURAL}(?!\w)", re.IGNORECASE)


def _entry_pattern(entry: str) -> str:
    """Letters may be stretched or in leetspeak; words may be parted by spaces, hyphens or nothing."""
    words = [
        "".join(
            _run_pattern(character, len(list(run))) for character, run in itertools.groupby(word)
        )
        for word in entry.lower().split()
    ]
    return r"[\s_-]*".join(words)


def _run_pattern(character: str, count: int) -> str:
    """A run of one character in an entry: that often or, for a letter, more often."""
    if glyphs := _LEET_CLASS.get(character):
        return f"[{re.escape(glyphs)}]{{{count},{count + _MOST_REPEATS}}}"
    more = "," if character.isalpha() else ""
    return f"{re.escape(character)}{{{count}{more}}}"
