"""Undo disguises: one canonical text for every scorer, with a map back to the original.

Three passes, each skipped by one regular expression when the text gives no cause for it:

1. characters   NFKC, invisible characters dropped, look-alike letters folded (Cyrillic "o" -> "o")
2. spaced       "i d i o t", "i-d-i-o-t" -> "idiot"
3. disguised    leetspeak and stretched letters: "1d10t", "idiooot" -> "idiot"

Passes 2 and 3 read a set of known `words` (the tokenizer's vocabulary and the policy's lists): a
disguise is undone when what lies under it is a word, so "mp3", "covid19" and "R2D2" stay as they are.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Container, Iterator, Sequence
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from guardkit.text.letters import fold_characters, fold_look_alikes, marked_letters, without_accents

_LEET = {"0": "o", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i", "+": "t", "6": "g", "8": "b", "9": "g"}  # fmt: skip
_SIGNS = r"01345-9@$!|+"
_GLYPH = rf"A-Za-z{_SIGNS}"
_GAP_SIGNS = r"[ \t.\-_*,/~·]"
_GAP = r"[ \t]{1,3}|[ \t]?[.\-_*,/~·]{1,3}[ \t]?"

_PLAIN = re.compile(r"[\t\n\r -~]*\Z")
_SPACED = re.compile(
    rf"(?<![A-Za-z0-9])[{_GLYPH}](?P<gap>{_GAP})[{_GLYPH}](?:(?P=gap)[{_GLYPH}])+(?![A-Za-z0-9])"
)
_RUN = re.compile(r"([A-Za-z])\1+", re.IGNORECASE)
_STRETCHED = re.compile(r"([A-Za-z])\1{2,}", re.IGNORECASE)
_DISGUISED = re.compile(
    rf"([A-Za-z])\1\1|[{_SIGNS}][A-Za-z]|[A-Za-z]!*[{_SIGNS.replace('!', '')}]", re.IGNORECASE
)
# The look-behind keeps a long run of digits from being tried from each of its digits on.
# Finds whatever the two above may find, in one scan: most texts end here.
_SUSPECT = re.compile(
    rf"[0-9@$!|+]|([A-Za-z])\1\1|(?<![A-Za-z])[A-Za-z]{_GAP_SIGNS}{{1,5}}[A-Za-z]{_GAP_SIGNS}",
    re.IGNORECASE,
)
_TOKEN = re.compile(rf"(?<![{_GLYPH}])[{_GLYPH}]*[A-Za-z][{_GLYPH}]*")
_ACCENTED = re.compile(
    rf"[{_GLYPH}\u00c0-\u024f\u1e00-\u1eff]*[\u00c0-\u024f\u1e00-\u1eff][{_GLYPH}\u00c0-\u024f\u1e00-\u1eff]*"
)
_MEASURE = re.compile(r"[$+]?\d+[A-Za-z]{1,2}", re.ASCII)  # "100k", "60th", "800m"
_ENDINGS = ("s", "es", "ed", "er", "ers", "ing", "y", "ly")

_SMALLEST_SPACED_WORD = 3  # letters; "U.K." and "a b" are left alone
_LONGEST_WORD = 30  # letters; longer tokens are only squeezed
_MOST_DOUBLED = 2  # letters that a stretched word may have twice ("buffoon")
_MOST_SPELLINGS = 120  # of one token; bounds what a text made to be slow costs
_MOST_AMBIGUOUS = 3  # ones and bars read as i or l one by one; with more, all alike
_LEAST_ACCENTS = 2
_ROUNDS = 4  # each round only shortens the text or turns a digit into a letter


class Prompt(Struct, frozen=True):
    """A normalised text and the way back to the characters the user typed."""

    original: str
    """The text as given."""
    text: str
    """What scorers read."""
    starts: Sequence[int] | None = None
    """Per character of `text`, where it starts in `original`; None when the two are equal."""
    ends: Sequence[int] | None = None
    """Per character of `text`, where it ends in `original` (exclusive); None as above."""
    invisible: int = 0
    """Invisible characters that were dropped."""
    context: str = ""
    """The situation it stands in, in words (`context.describe`); "" for none."""

    def to_original(self, start: int, end: int) -> tuple[int, int]:
        """Map a half-open range of `text` to the half-open range of `original` it came from.

        >>> normalize("an i.d.i.o.t!", words={"idiot"}).to_original(3, 8)
        (3, 12)
        """
        if self.starts is None or self.ends is None:
            return start, end
        if start >= end:
            at = self.starts[start] if start < len(self.starts) else len(self.original)
            return at, at
        return self.starts[start], self.ends[end - 1]


def normalize(text: str, *, words: Container[str] = frozenset()) -> Prompt:
    """Turn a text into the canonical form that scorers read.

    Args:
        text: Anything a user can type; lone surrogates become U+FFFD, NUL is dropped.
        words: Known words in lower case; leetspeak and spelled-out words are undone towards these.

    Returns:
        The prompt; `normalize(prompt.text)` changes nothing more.

    >>> normalize("You 1d10t", words={"idiot"}).text
    'You idiot'
    """
    prompt = Prompt(text, text)
    is_plain = text.isascii() and (text.isprintable() or _PLAIN.match(text) is not None)
    if not is_plain:
        prompt = _fold(prompt, words)
    for _ in range(_ROUNDS):
        before = prompt.text
        if not is_plain and not before.isascii():
            prompt = _rewrite(prompt, _ACCENTED, partial(_bare, prompt=prompt, words=words))
        if not _SUSPECT.search(prompt.text):
            break
        if _SPACED.search(prompt.text):
            prompt = _rewrite(prompt, _SPACED, lambda match: _join_spaced(match, words))
        if _DISGUISED.search(prompt.text):
            prompt = _rewrite(prompt, _TOKEN, lambda match: _undisguise(match, words))
        if prompt.text == before:
            break
    return prompt


def drop(prompt: Prompt, pattern: re.Pattern[str]) -> Prompt:
    """Take every match out of the text; positions still map to the original.

    >>> drop(normalize("a fat cat"), re.compile("fat ")).text
    'a cat'
    """
    return _rewrite(prompt, pattern, lambda _: [])


def _fold(prompt: Prompt, words: Container[str]) -> Prompt:
    """Pass 1: plain characters."""
    text, starts, ends, invisible = fold_characters(prompt.original)
    text = fold_look_alikes(text, lambda word: _hides_known(word, words))
    return replace(prompt, text=text, starts=starts, ends=ends, invisible=invisible)


# A piece of new text: (start and end in the old text, new character).
_Piece = tuple[int, int, str]
# Stretches of one letter, as half-open ranges.
_Runs = Sequence[tuple[int, int]]


def _rewrite(
    prompt: Prompt, pattern: re.Pattern[str], change: Callable[[re.Match[str]], list[_Piece] | None]
) -> Prompt:
    """Apply `change` to every match; it returns the pieces to put there, or None to leave it."""
    pieces: list[_Piece] = []
    at = 0
    for match in pattern.finditer(prompt.text):
        changed = change(match)
        if changed is not None:
            pieces += _kept(prompt.text, at, match.start())
            pieces += changed
            at = match.end()
    if at == 0:
        return prompt
    pieces += _kept(prompt.text, at, len(prompt.text))
    starts = prompt.starts if prompt.starts is not None else range(len(prompt.text))
    ends = prompt.ends if prompt.ends is not None else range(1, len(prompt.text) + 1)
    return replace(
        prompt,
        text="".join(character for _, _, character in pieces),
        starts=[starts[start] for start, _, _ in pieces],
        ends=[ends[end - 1] for _, end, _ in pieces],
    )


def _kept(text: str, start: int, end: int) -> Iterator[_Piece]:
    return ((offset, offset + 1, text[offset]) for offset in range(start, end))


# --- accents ------------------------------------------------------------------------------------


def _bare(match: re.Match[str], prompt: Prompt, words: Container[str]) -> list[_Piece] | None:
    """Take the accents off where they hide a known word.

    One accented letter may be another language's word ("año", "schwül"), so it takes two, counted
    in what the user typed.
    """
    token = match.group()
    start, end = prompt.to_original(*match.span())
    if token.isascii() or marked_letters(prompt.original[start:end]) < _LEAST_ACCENTS:
        return None
    bare = without_accents(token)
    if not (bare.isascii() and _hides_known(bare, words)):
        return None
    return [(at, at + 1, character) for at, character in enumerate(bare, match.start())]


# --- pass 2: spaced letters ---------------------------------------------------------------------


def _join_spaced(match: re.Match[str], words: Container[str]) -> list[_Piece] | None:
    """Join letters spelled out one by one; a gap between two known words stays, as a space."""
    step = len(match["gap"]) + 1
    offsets = range(match.start(), match.end(), step)
    letters = match.group()[::step]
    plain = _plain_letters(letters)
    breaks = _word_breaks(plain, words)
    is_word = (
        plain in words and len(plain) > _SMALLEST_SPACED_WORD and any(map(str.isalpha, letters))
    )
    if not (is_word or _is_spelled(letters)):
        return None
    longest = len(plain) if is_word else _longest_between(breaks, len(plain))
    if step > 2 and longest <= _SMALLEST_SPACED_WORD:  # "A, B, C" is a list
        return None
    pieces: list[_Piece] = []
    for index, (offset, letter) in enumerate(zip(offsets, letters, strict=True)):
        if index in breaks:
            pieces.append((offset - 1, offset, " "))
        pieces.append((offset, offset + 1, letter))
    return pieces


def _is_spelled(letters: str) -> bool:
    alphabetic = sum(map(str.isalpha, letters))
    return alphabetic >= _SMALLEST_SPACED_WORD and alphabetic * 2 >= len(letters)


def _longest_between(breaks: Collection[int], end: int) -> int:
    """The length of the longest of the words that the breaks make; 0 without breaks."""
    edges = [0, *sorted(breaks), end]
    return max(right - left for left, right in itertools.pairwise(edges)) if breaks else 0


def _plain_letters(word: str) -> str:
    return "".join("i" if one in "1|" else _LEET.get(one, one) for one in word.lower())


def _word_breaks(letters: str, words: Container[str]) -> set[int]:
    """Where to cut a run of letters into the fewest, longest known words; nowhere if it cannot be."""
    # Per prefix: (words used, minus the sum of their squared lengths, start of the last).
    best: list[tuple[int, int, int] | None] = [(0, 0, 0)]
    for end in range(1, len(letters) + 1):
        options = [
            (before[0] + 1, before[1] - (end - start) ** 2, start)
            for start in range(max(0, end - 20), end)
            if (before := best[start]) is not None and _stands_alone(letters[start:end], words)
        ]
        best.append(min(options, default=None))
    breaks: set[int] = set()
    at = len(letters)
    while (step := best[at]) is not None and at > 0:
        at = step[2]
        breaks.add(at)
    return breaks - {0}


def _stands_alone(word: str, words: Container[str]) -> bool:
    return word in ("a", "i") or (len(word) > 1 and word in words)


# --- pass 3: leetspeak and stretched letters -----------------------------------------------------


def _undisguise(match: re.Match[str], words: Container[str]) -> list[_Piece] | None:
    token = match.group()
    if not _DISGUISED.search(token) or _is_known(token.lower(), words):
        return None
    pieces = _find_known(token, words)
    if pieces is None and _STRETCHED.search(token):
        pieces = _squeeze(token, [match.span() for match in _STRETCHED.finditer(token)], ())
    if pieces is None:
        return None
    at = match.start()
    return [(at + start, at + end, character) for start, end, character in pieces]


def _hides_known(token: str, words: Container[str]) -> bool:
    is_word = _is_known(token.lower().rstrip("!"), words)
    return is_word or _find_known(token, words) is not None


def _find_known(token: str, words: Container[str]) -> list[_Piece] | None:
    """The first spelling of a token that is a known word; "!" at its end may be a letter or not."""
    if _MEASURE.fullmatch(token):
        return None
    for core in dict.fromkeys((token, token.rstrip("!"))):
        for reading, runs, doubled in itertools.islice(_spellings(core), _MOST_SPELLINGS):
            word = _squeezed(reading, runs, doubled)
            if word != core and _is_plausible(core, word) and _is_known(word.lower(), words):
                pieces = _squeeze(reading, runs, doubled)
                return [*pieces, *_kept(token, len(core), len(token))]
    return None


def _spellings(token: str) -> Iterator[tuple[str, _Runs, _Runs]]:
    """Every reading of a token: leet glyphs as letters, each long run as two or one letters.

    Runs of two are kept at first; when that gives no word, they count as stretched.

    Yields:
        The letters, the runs to cut, and those of them to cut to two.
    """
    for reading in filter(str.isalpha, _readings(token)):
        runs = tuple(match.span() for match in _RUN.finditer(reading))
        if len(reading) - sum(end - start - 1 for start, end in runs) > _LONGEST_WORD:
            continue
        long_runs = tuple((start, end) for start, end in runs if end - start > 2)
        yield from _choices(reading, long_runs)
        if runs != long_runs and (long_runs or reading != token):
            yield from _choices(reading, runs)


def _choices(reading: str, runs: _Runs) -> Iterator[tuple[str, _Runs, _Runs]]:
    for count in range(min(_MOST_DOUBLED, len(runs)), -1, -1):
        for doubled in itertools.combinations(runs, count):
            yield reading, runs, doubled


def _readings(token: str) -> Iterator[str]:
    """The token as it is, and with its leet glyphs as letters."""
    yield token
    ambiguous = sum(character in "1|" for character in token)
    if ambiguous > _MOST_AMBIGUOUS:
        choices = [("i",) * ambiguous, ("l",) * ambiguous]
    else:
        choices = list(itertools.product("il", repeat=ambiguous))
    for choice in choices:
        ones = iter(choice)
        yield "".join(next(ones) if one in "1|" else _LEET.get(one, one) for one in token)


def _squeezed(word: str, runs: _Runs, doubled: _Runs) -> str:
    """What `_squeeze` spells."""
    parts: list[str] = []
    at = 0
    for start, end in runs:
        parts.append(word[at : start + 1 + ((start, end) in doubled)])
        at = end
    return "".join(parts) + word[at:]


def _squeeze(word: str, runs: _Runs, doubled: _Runs) -> list[_Piece]:
    """Cut runs of equal letters to one, or to two where `doubled` says so.

    The last letter of a run stands for all that were cut, so that a finding covers them.
    """
    pieces: list[_Piece] = []
    at = 0
    for start, end in (*runs, (len(word), len(word))):
        pieces += _kept(word, at, start)
        first = start + ((start, end) in doubled)
        if start < end:
            pieces += _kept(word, start, first)
            pieces.append((first, end, word[first]))
        at = end
    return pieces


def _is_known(word: str, words: Container[str]) -> bool:
    if word in words:
        return True
    return any(
        word.endswith(ending) and len(word) - len(ending) >= 4 and word[: -len(ending)] in words
        for ending in _ENDINGS
    )


def _is_plausible(token: str, word: str) -> bool:
    """Keep "4th", "3d", "h1" and "b1" apart from "k1ll": short words need their glyph inside."""
    if not word.isalpha():
        return False
    return len(word) >= 4 or (len(word) == 3 and token[0].isalpha() and token[-1].isalpha())
