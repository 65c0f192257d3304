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
import unicodedata
from collections.abc import Callable, Container, Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

# Latin letters that other scripts draw the same way. Chosen: letters alike in common sans-serif
# fonts; the full Unicode TR39 table also holds pairs that only look alike to a program.
_LOOK_ALIKES = str.maketrans(
    "аеорсухіѕјһԁԛԝѵӏкАВЕКМНОРСТУХІЅЈԀԚԜαονικρυχΑΒΕΖΗΙΚΜΝΟΡΤΥΧıɑɡօѡ",
    "aeopcyxisjhdqwvlkABEKMHOPCTYXISJDQWaovikpuxABEZHIKMNOPTYXiagow",
)
# Letters Unicode has no compatibility mapping for, yet everybody reads: small capitals.
_SMALL_CAPITALS = str.maketrans("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnoprstuvwyz")
_LEET = {"0": "o", "1": "il", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i", "|": "il", "+": "t"}  # fmt: skip
_GLYPH = r"A-Za-z013457@$!|+"

_PLAIN = re.compile(r"[\t\n\r -~]*\Z")
# A stretch that may not stay as it is, with the plain character before it, which a mark may join.
_FOREIGN = re.compile(r"[\t\n\r -~]?[^\t\n\r -~]+")
_WORD = re.compile(r"\w+")
_SPACED = re.compile(
    rf"(?<![A-Za-z0-9])[{_GLYPH}](?P<gap>[ \t]|[.\-_*,/~·])[{_GLYPH}](?:(?P=gap)[{_GLYPH}])+(?![A-Za-z0-9])"
)
_STRETCHED = re.compile(r"([A-Za-z])\1{2,}", re.IGNORECASE)
_DISGUISED = re.compile(
    r"([A-Za-z])\1\1|[013457@$!|+][A-Za-z]|[A-Za-z]!*[013457@$|+]", re.IGNORECASE
)
# The look-behind keeps a long run of digits from being tried from each of its digits on.
# Finds whatever the two above may find, in one scan: most texts end here.
_SUSPECT = re.compile(
    r"[0-9@$!|+]|([A-Za-z])\1\1|(?<![A-Za-z])[A-Za-z]([ \t.\-_*,/~·])[A-Za-z]\2", re.IGNORECASE
)
_TOKEN = re.compile(rf"(?<![{_GLYPH}])[{_GLYPH}]*[A-Za-z][{_GLYPH}]*")
_ENDINGS = ("s", "es", "ed", "er", "ers", "ing", "y", "ly")

_SMALLEST_SPACED_WORD = 3  # letters; "U.K." and "a b" are left alone
_MOST_STRETCHES = 3  # runs of one letter tried one by one in a word; further ones are squeezed
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
        prompt = _fold_look_alikes(_fold_characters(prompt))
    for _ in range(_ROUNDS):
        before = prompt.text
        if not _SUSPECT.search(before):
            break
        if _SPACED.search(before):
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


# A piece of new text: (offset in the old text, new character).
_Piece = tuple[int, str]


def _rewrite(
    prompt: Prompt, pattern: re.Pattern[str], change: Callable[[re.Match[str]], list[_Piece] | None]
) -> Prompt:
    """Apply `change` to every match; it returns the characters to keep, or None to leave it."""
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
        text="".join(character for _, character in pieces),
        starts=[starts[offset] for offset, _ in pieces],
        ends=[ends[offset] for offset, _ in pieces],
    )


def _kept(text: str, start: int, end: int) -> Iterator[_Piece]:
    return ((offset, text[offset]) for offset in range(start, end))


# --- pass 1: characters -------------------------------------------------------------------------


def _fold_characters(prompt: Prompt) -> Prompt:
    """NFKC, cluster by cluster so that every output character knows where it came from."""
    text = prompt.original
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    at = invisible = 0
    for match in _FOREIGN.finditer(text):
        # Plain stretches are copied whole: one accent must not make a long text slow.
        pieces.append(text[at : match.start()])
        starts += range(at, match.start())
        ends += range(at + 1, match.start() + 1)
        for start, end, cluster in _clusters(text, *match.span()):
            folded = _fold_cluster(cluster)
            pieces.append(folded)
            starts += [start] * len(folded)
            ends += [end] * len(folded)
        invisible += sum(not _reveal(character) for character in match.group())
        at = match.end()
    pieces.append(text[at:])
    starts += range(at, len(text))
    ends += range(at + 1, len(text) + 1)
    return replace(prompt, text="".join(pieces), starts=starts, ends=ends, invisible=invisible)


def _clusters(text: str, first: int, last: int) -> Iterator[tuple[int, int, str]]:
    """Cut `text[first:last]` where Unicode composition cannot reach across.

    Yields:
        Start, end, and the visible characters between them.
    """
    start, end, cluster = first, first, ""
    for offset in range(first, last):
        # Dropped here, not after NFKC: an invisible character must not keep two marks apart.
        if not (visible := _reveal(text[offset])):
            continue
        if cluster and not _joins_previous(visible):
            yield start, end, cluster
            cluster = ""
        if not cluster:
            start = offset
        cluster += visible
        end = offset + 1
    if cluster:
        yield start, end, cluster


def _reveal(character: str) -> str:
    """The visible form of one character; "" when there is none."""
    code = ord(character)
    if 0xE0020 <= code <= 0xE007E:  # tag characters smuggle ASCII past a reader: read them
        return chr(code - 0xE0000)
    if 0xD800 <= code <= 0xDFFF:
        return "\N{REPLACEMENT CHARACTER}"
    if character in "\t\n\r":
        return character
    if unicodedata.category(character) in ("Cc", "Cf", "Cs") or code in _BLANKS:
        return ""
    return character


_BLANKS = {
    0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0,
    *range(0xFE00, 0xFE10), *range(0x180B, 0x1810), *range(0xE0100, 0xE01F0), 0xE0001,
}  # fmt: skip


def _joins_previous(character: str) -> bool:
    """Whether NFKC may compose this character with the one before it."""
    if unicodedata.category(character) in ("Mn", "Mc", "Me"):
        return True
    first = unicodedata.normalize("NFKD", character)[0]
    return unicodedata.combining(first) != 0 or "\u1161" <= first <= "\u11ff"


def _fold_cluster(cluster: str) -> str:
    folded = unicodedata.normalize("NFKC", cluster).translate(_SMALL_CAPITALS)
    if len(folded) > 1:
        folded = "".join(_without_piled_marks(folded))
    return "".join(visible for c in folded if (visible := _reveal(c)))


def _without_piled_marks(folded: str) -> Iterator[str]:
    """Marks on a Latin letter that no alphabet writes, or on its twin, are decoration, not spelling."""
    is_latin = False
    for character in folded:
        if unicodedata.combining(character) and is_latin:
            continue
        if not unicodedata.category(character).startswith("M"):
            is_latin = "LATIN" in unicodedata.name(character.translate(_LOOK_ALIKES), "")
        yield character


def _fold_look_alikes(prompt: Prompt) -> Prompt:
    """Fold look-alike letters in words that mix scripts, or when the whole text is in disguise.

    A Russian or Greek sentence holds letters with no Latin twin, so its words stay as they are.
    """
    folded = prompt.text.translate(_LOOK_ALIKES)
    if folded == prompt.text:
        return prompt
    if any("\u0370" <= character <= "\u058f" for character in folded):
        folded = _WORD.sub(_fold_mixed_word, prompt.text)
    return replace(prompt, text=folded)


def _fold_mixed_word(match: re.Match[str]) -> str:
    word = match.group()
    has_latin = any(character.isascii() and character.isalpha() for character in word)
    return word.translate(_LOOK_ALIKES) if has_latin else word


# --- pass 2: spaced letters ---------------------------------------------------------------------


def _join_spaced(match: re.Match[str], words: Container[str]) -> list[_Piece] | None:
    """Join letters spelled out one by one; a gap between two known words stays, as a space."""
    offsets = range(match.start(), match.end(), 2)
    letters = match.group()[::2]
    plain = _plain_letters(letters)
    alphabetic = sum(map(str.isalpha, letters))
    is_spelled = alphabetic >= _SMALLEST_SPACED_WORD and alphabetic * 2 >= len(letters)
    if not is_spelled and not (alphabetic and len(plain) > 3 and plain in words):
        return None
    breaks = _word_breaks(plain, words)
    pieces: list[_Piece] = []
    for index, (offset, letter) in enumerate(zip(offsets, letters, strict=True)):
        if index in breaks:
            pieces.append((offset - 1, " "))
        pieces.append((offset, letter))
    return pieces


def _plain_letters(word: str) -> str:
    return "".join(_LEET.get(character, character)[0] for character in word.lower())


def _word_breaks(letters: str, words: Container[str]) -> set[int]:
    """Where to cut a run of letters into the fewest known words; nowhere when it cannot be."""
    best: list[tuple[int, int] | None] = [(0, 0)]  # per prefix: (words used, start of the last)
    for end in range(1, len(letters) + 1):
        options = [
            (before[0] + 1, start)
            for start in range(max(0, end - 20), end)
            if (before := best[start]) is not None and _stands_alone(letters[start:end], words)
        ]
        best.append(min(options, default=None))
    breaks: set[int] = set()
    at = len(letters)
    while (step := best[at]) is not None and at > 0:
        at = step[1]
        breaks.add(at)
    return breaks - {0}


def _stands_alone(word: str, words: Container[str]) -> bool:
    return word in ("a", "i") or (len(word) > 1 and word in words)


# --- pass 3: leetspeak and stretched letters -----------------------------------------------------


def _undisguise(match: re.Match[str], words: Container[str]) -> list[_Piece] | None:
    token = match.group()
    if not _DISGUISED.search(token) or _is_known(token.lower(), words):
        return None
    for spelling in _spellings(token):
        squeezed = "".join(character for _, character in spelling)
        if (
            squeezed != token
            and _is_plausible(token, squeezed)
            and _is_known(squeezed.lower(), words)
        ):
            return [(match.start() + offset, character) for offset, character in spelling]
    if not _STRETCHED.search(token):
        return None
    return [(match.start() + offset, character) for offset, character in _squeeze(token, ())]


def _spellings(token: str) -> Iterator[list[_Piece]]:
    """Every reading of a token: each leet glyph as a letter, each long run as two or one letters."""
    stretches = [match.start() for match in _STRETCHED.finditer(token)][:_MOST_STRETCHES]
    for ones in ("i", "l"):
        decoded = "".join(
            (ones if "l" in letters else letters)
            if (letters := _LEET.get(character))
            else character
            for character in token
        )
        for reading in (token, decoded):
            for doubled in itertools.product((True, False), repeat=len(stretches)):
                yield _squeeze(
                    reading, [s for s, two in zip(stretches, doubled, strict=True) if two]
                )


def _squeeze(word: str, doubled: Sequence[int]) -> list[_Piece]:
    """Cut every run of three or more equal letters to one, or to two where it starts in `doubled`."""
    dropped: set[int] = set()
    for match in _STRETCHED.finditer(word):
        keep = 2 if match.start() in doubled else 1
        dropped.update(range(match.start() + keep, match.end()))
    return [(offset, character) for offset, character in enumerate(word) if offset not in dropped]


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
