"""Pieces of a rewriting as text: what was copied as it stood, what was written in its manner, and the whole tidied."""

from __future__ import annotations

import re
from collections.abc import Sequence

_CLOSING = frozenset(".,!?;:)]}%'’")
_OPENING = ("(", "[", "{", "'", "’", "-", "/", "#", "$", "@")
_ARTICLE = re.compile(r"\b([aA])(n?)(?=\s+([a-zA-Z]\w*))")
_AT_END = r"(?=\s*(?:[.,;:!?]|\Z))"
_LONE_ARTICLE = re.compile(rf"(\S+)\s+(an?|the){_AT_END}", re.IGNORECASE)
_SPACED_MARK = re.compile(r"(?<=\S)[ \t]+(?=[.,!?;:]+(?:\s|\Z))")
_SPACED_CONTRACTION = re.compile(r"(?<=\w)[ \t]*(['’])[ \t]*(?=(?:t|s|m|re|ve|ll|d)\b)", re.IGNORECASE)  # fmt: skip
_NO_APOSTROPHE = (
    re.compile(r"\b((?:do|does|did|is|are|was|were|has|have|had|would|could|should|ca|wo|ai)n)(t)\b", re.IGNORECASE),
    re.compile(r"\b(you|they)(re|ve|ll)\b", re.IGNORECASE),
    re.compile(r"\b(that|what|where|there|who|he|she)(s)\b", re.IGNORECASE),
    re.compile(r"\b([iI])(m|ve)\b"),
)  # fmt: skip
"""Contractions that are hardly ever another word without their apostrophe; many who rewrite a text put it there (train/LOG.md)."""
_CHAT = {"u": "you", "ur": "your", "dnt": "don't", "kno": "know", "cuz": "because"}
_CHAT_WORD = re.compile(rf"(?<![\w'’.\-])(?:{'|'.join(_CHAT)})(?![\w'’\-]|\.\w)")
_SENTENCE = re.compile(
    r"\b(?:(?-i:I)|me|you|we|us|they|he|she|it|is|are|was|were|do|does|did|has|have|had|will|would|can|could|should|not)\b"
    r"|\w['’](?:t|m|re|ve|ll|d)\b|\b(?:that|there|what|who|here|how)['’]s\b",
    re.IGNORECASE,
)
"""Words that captions and prompts mostly lack: what holds one is a sentence."""
_LONE_I = re.compile(r"(?<![\w'’.\-])i(?=['’\s,!?;]|\.?(?:\s|\Z))")
_SENTENCE_START = re.compile(r"(\A\W*|[.!?]\s+)([a-z])(?=[a-z]*\b)")
_ENDS = (".", "!", "?")
_UNFINISHED = re.compile(r"(?<=[^\W_])(?=\s*\Z)")


def joined(text: str, piece: str) -> str:
    """A text with a WordPiece written behind it.

    >>> joined("a park", "##ed"), joined("a", "dog"), joined("a dog", ",")
    ('a parked', 'a dog', 'a dog,')
    """
    if piece.startswith("##"):
        return text + piece[2:]
    glued = not text or text.endswith((" ", "\n", *_OPENING)) or piece[0] in _CLOSING
    return text + ("" if glued else " ") + piece


def with_articles(text: str, out: str) -> str:
    """`a` or `an` as the next word's first letter asks, where that word is not the one the article had in the text.

    >>> with_articles("a lazy immigrant", "a immigrant")
    'an immigrant'
    """

    def agreeing(match: re.Match[str]) -> str:
        word = match[3]
        if not article_is_known(word) or re.search(rf"\b{match[0]}\s+{word}\b", text):
            return match[0]
        return match[1] + ("n" if takes_an(word) else "")

    return _ARTICLE.sub(agreeing, out)


def without_lone_articles(text: str, out: str) -> str:
    """No article before a mark or the end, as a word that was left out leaves one; what the text had so stays.

    >>> without_lone_articles("a man with an axe, photo", "a man with an, photo")
    'a man with, photo'
    >>> without_lone_articles("vitamin a, idiot", "vitamin a, friend")
    'vitamin a, friend'
    """

    def kept(match: re.Match[str]) -> str:
        had = re.search(rf"{re.escape(match[1])}\s+{match[2]}{_AT_END}", text, re.IGNORECASE)
        return match[0] if had else match[1]

    return _LONE_ARTICLE.sub(kept, out)


def article_is_known(word: str) -> bool:
    """Whether the first letter tells which article a word takes: not in "hour" and "union".

    >>> article_is_known("hour"), article_is_known("apple")
    (False, True)
    """
    return word[:1].lower() not in "hu"


def takes_an(word: str) -> bool:
    """Whether a word begins with a vowel letter.

    >>> takes_an("apple"), takes_an("pear")
    (True, False)
    """
    return word[:1].lower() in "aeiou"


def in_the_manner_of(text: str, out: str) -> str:
    """A capital first where the text had one, and capitals throughout where it had no other letters.

    >>> in_the_manner_of("AN IDIOT", "a person"), in_the_manner_of("An idiot", "a person")
    ('A PERSON', 'A person')
    """
    if text.isupper():
        return out.upper()
    out = out if text[:1].isspace() else out.lstrip()
    if text.lstrip()[:1].isupper() and out[:1].islower():
        return out[0].upper() + out[1:]
    return out


def tidied(text: str) -> str:
    """Tidy a text as people do who rewrite one.

    No space before a mark or inside a contraction, an apostrophe in it, "I" for "i", "you" for "u"; where it is a sentence and
    no caption, a capital at its start and a full stop at its end. Line breaks stay.

    >>> tidied("i don 't know , do you ?"), tidied("dont tell me u saw them")
    ("I don't know, do you?", "Don't tell me you saw them.")
    >>> tidied("a castle , oil painting")
    'a castle, oil painting'
    """
    text = _SPACED_MARK.sub("", text)
    text = _SPACED_CONTRACTION.sub(r"\1", text)
    for pattern in _NO_APOSTROPHE:
        text = pattern.sub(r"\1'\2", text)
    text = _CHAT_WORD.sub(lambda match: _CHAT[match[0]], text)
    text = _LONE_I.sub("I", text)
    if not text.rstrip().endswith(_ENDS) and not _SENTENCE.search(text):
        return text
    text = _SENTENCE_START.sub(lambda match: match[1] + match[2].upper(), text)
    return _UNFINISHED.sub(".", text)


def spelled(text: str, ranges: Sequence[tuple[int, int]], items: Sequence[str | int]) -> str:
    """Written and copied pieces as one text.

    Args:
        text: The source.
        ranges: One a token of the source, its special tokens included: half-open, in characters of `text`.
        items: WordPieces that were written, and places in `ranges` that were copied from.

    >>> spelled("my idiot neighbour", [(0, 0), (0, 2), (3, 8), (9, 18), (0, 0)], [1, "dear", 3])
    'my dear neighbour'
    """
    out, last = "", None
    for item in items:
        if isinstance(item, str):
            out, last = joined(out, item), None
            continue
        start, end = ranges[item]
        if last is not None and item == last + 1:
            out += text[ranges[last][1] : start]
        elif out and (start == 0 or text[start - 1].isspace()) and not out[-1].isspace():
            out += " "
        elif not out and item == 1:
            out += text[:start]
        out, last = out + text[start:end], item
    if last is not None and last == len(ranges) - 2:
        out += text[ranges[last][1] :]
    return in_the_manner_of(text, without_lone_articles(text, with_articles(text, out)))
