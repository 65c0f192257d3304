"""Words that are nobody's name, by a list: what `pii-tagger` reads its text with first, and its spans with after."""

from __future__ import annotations

import gzip
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"[^\W_]+(?:'[^\W\d_]+)?")
_MEASURE = re.compile(r"\d{1,2}k|\d{1,4}(?:mm|s)|[23]d")  # 8k, 35mm, 1920s, 3d: no house number
_STARTS = re.compile(r"(?:\A|[.!?:\n])\W*\Z")  # what stands before the first word of a sentence
LONGEST = 12
"""Letters of a listed word, at most."""
_DTYPE = f"S{LONGEST + 1}"  # one more than is listed, so that a longer word, cut, equals none
_ENDINGS = ("", "s", "'s", "es", "d", "ed", "ing", "ly")


class OrdinaryWords:
    """A list of words, sorted, in about 2 MB; safe to share between threads."""

    def __init__(self, words: NDArray[np.bytes_]) -> None:
        """Take words in lower case, in order: S13 [words]."""
        self._words = words

    @classmethod
    def read(cls, compressed: bytes) -> OrdinaryWords:
        """Read what `packed` wrote."""
        return cls(np.frombuffer(gzip.decompress(compressed), dtype=_DTYPE))

    @staticmethod
    def packed(words: Sequence[str]) -> bytes:
        """Words in order as a file: gzip of 13 bytes a word, which needs no parsing."""
        return gzip.compress(np.array(words, dtype=_DTYPE).tobytes(), mtime=0)

    def cover(self, text: str, start: int = 0, end: int | None = None) -> bool:
        """Whether everything between two places of a text is an ordinary word.

        A number is none, for it may be a house's. A capital inside a sentence is none, for it may be a
        name's, unless no word of the text is in lower case.
        """
        end = len(text) if end is None else end
        inside = [word for word in _WORD.finditer(text, start, end) if not _MEASURE.fullmatch(word[0].lower())]  # fmt: skip
        if not all(word[0].isascii() and not any(map(str.isdigit, word[0])) for word in inside):
            return False
        capitals = (word for word in inside if not word[0].islower() and word[0] != "I")
        if any(not _STARTS.search(text[: word.start()]) for word in capitals) and _tells_case(text):
            return False
        return self._are_listed([word[0].lower() for word in inside])

    def _are_listed(self, words: list[str]) -> bool:
        """Whether every word, or what is left of it without an ending, is in the list."""
        stems = [word.removesuffix(ending) for word in words for ending in _ENDINGS]
        asked = np.array(stems, dtype=_DTYPE).reshape(len(words), len(_ENDINGS))
        places = np.searchsorted(self._words, asked).clip(max=len(self._words) - 1)
        return bool((self._words[places] == asked).any(axis=1).all())


def _tells_case(text: str) -> bool:
    """Whether capitals of a text mean something: some longer word has none."""
    return any(word[0].islower() and len(word[0]) > 3 for word in _WORD.finditer(text))
