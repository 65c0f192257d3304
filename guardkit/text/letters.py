"""The first pass of `normalize`: characters become the plain letters that people read in them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

# Latin letters that other scripts draw the same way. Chosen: letters alike in common sans-serif
# fonts; the full Unicode TR39 table also holds pairs that only look alike to a program.
_LOOK_ALIKES = str.maketrans(
    "аеорсухіѕјһԁԛԝѵӏкАВЕКМНОРСТУХІЅЈԀԚԜαονικρυχΑΒΕΖΗΙΚΜΝΟΡΤΥΧıɑɡօѡ",
    "aeopcyxisjhdqwvlkABEKMHOPCTYXISJDQWaovikpuxABEZHIKMNOPTYXiagow",
)
# Less alike: folded only beside Latin letters in one word, and only when that makes a known word.
_LOOSE_LOOK_ALIKES = _LOOK_ALIKES | str.maketrans(
    "вьЬςҽєεքƒցԍհнϳǀмոпηиσգզгятτսцաωшγүΣͿИՕЯՏՍШҮ",
    "bbbceeeffgghhjlmnnnnoqqrrttuuwwwyyCJNORSUWY",
)
_SHORTEST_LOOSE = 3  # letters; "ωt" is a formula
# Letters Unicode has no compatibility mapping for, or one in brackets, yet everybody reads.
_FANCY = str.maketrans("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnoprstuvwyz") | {
    first + at: chr(letter + at)
    # parenthesised small and capital, black circles, black squares
    for first, letter in ((0x249C, 97), (0x1F110, 65), (0x1F150, 65), (0x1F170, 65))
    for at in range(26)
}
_STROKED = str.maketrans("øłđħŧØŁĐĦŦ", "oldhtOLDHT")  # Unicode does not take these apart

# A stretch that may not stay as it is, with the plain character before it, which a mark may join.
_FOREIGN = re.compile(r"[\t\n\r -~]?[^\t\n\r -~]+")
_WORD = re.compile(r"\w+")


class Folded(NamedTuple):
    """A text in plain characters; `starts` and `ends` as in `Prompt`."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]
    invisible: int


def fold_characters(text: str) -> Folded:
    """NFKC, cluster by cluster so that every output character knows where it came from."""
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
    return Folded("".join(pieces), starts, ends, invisible)


def fold_look_alikes(text: str, is_known: Callable[[str], bool]) -> str:
    """Fold look-alike letters in words that mix scripts, or when the whole text is in disguise.

    A Russian or Greek sentence holds letters with no Latin twin, so its words stay as they are.

    Returns:
        A text of the same length.
    """
    if text.translate(_LOOSE_LOOK_ALIKES) == text:
        return text
    mixed = _WORD.sub(lambda match: _fold_mixed_word(match.group(), is_known), text)
    folded = mixed.translate(_LOOK_ALIKES)
    has_foreign = any("\u0370" <= character <= "\u058f" for character in folded)
    return mixed if has_foreign else folded


def _fold_mixed_word(word: str, is_known: Callable[[str], bool]) -> str:
    if word.isascii() or not any(one.isascii() and one.isalpha() for one in word):
        return word
    folded = word.translate(_LOOK_ALIKES)
    if len(word) < _SHORTEST_LOOSE or folded.isascii():
        return folded
    if is_known(loose := word.translate(_LOOSE_LOOK_ALIKES)):
        return loose
    return folded


def without_accents(word: str) -> str:
    """The word with its letters bare; a word of the same length.

    >>> without_accents("Ångström")
    'Angstrom'
    """
    return "".join(
        unicodedata.normalize("NFD", character)[0] for character in word.translate(_STROKED)
    )


def marked_letters(word: str) -> int:
    """How many letters carry marks, composed or not.

    >>> marked_letters("Ångström")
    2
    """
    taken_apart = unicodedata.normalize("NFD", word)
    marks = [unicodedata.combining(character) != 0 for character in taken_apart]
    stroked = sum(ord(character) in _STROKED for character in word)
    return stroked + sum(
        is_mark and not before for before, is_mark in zip([True, *marks], marks, strict=False)
    )


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
    folded = unicodedata.normalize("NFKC", cluster.translate(_FANCY)).translate(_FANCY)
    if len(folded) > 1:
        folded = "".join(_without_piled_marks(folded))
    return "".join(visible for c in folded if (visible := _reveal(c)))


def _without_piled_marks(folded: str) -> Iterator[str]:
    """Marks on a Latin letter that no alphabet writes, or on its twin, are decoration, not spelling."""
    is_latin = False
    for character in folded:
        category = unicodedata.category(character)
        if category in ("Mn", "Me") and is_latin:
            continue
        if not category.startswith("M"):
            is_latin = "LATIN" in unicodedata.name(character.translate(_LOOK_ALIKES), "")
        yield character
