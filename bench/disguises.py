"""Words in disguise, inside harmless sentences: what `bench/robustness.py` counts.

The tables were written from how people disguise words (Unicode TR39 confusables, the fonts of "fancy text" sites,
leetspeak), not from what `guardkit.text.normalize` folds. `DISGUISES` are those that guardkit promises to undo;
`GAPS` are measured and not promised. Everything is drawn from one seed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

WORDS_FILE = Path(__file__).parent.parent / "policies" / "lists" / "mild-insults.txt"
INNOCENT_FILE = Path(__file__).parent / "innocent_words.txt"
# Short words that ordinary ones contain; a list may hold them ("class", "Scunthorpe": innocent_words.txt).
SHORT_WORDS = (
    "ape", "arse", "ass", "bum", "cad", "cock", "cow", "crap", "cunt", "damn", "dick", "git", "hag", "ham", "hell",
    "hoe", "lame", "nit", "pig", "rat", "sap", "slag", "sod", "tit", "turd",
)  # fmt: skip
SEED = 20250101
VARIANTS = 4  # of each word in each disguise

CARRIERS = (
    "you are such a {} sometimes",
    "{}",
    "what a {}!",
    "Stop being {}, please.",
    'she said "{}" and left',
    "I think I met a {} I know",
    "They called him ({}) in 2019.",
    "my neighbour, a {}, has 3 dogs",
    "{}? That is what he wrote.",
    "A {} is not who we need here",
)
LEET = {
    "a": "4@",
    "b": "8",
    "e": "3",
    "g": "96",
    "i": "1!|",
    "l": "1|",
    "o": "0",
    "s": "5$",
    "t": "7+",
}
LOOK_ALIKES = {
    "a": "аαɑ", "b": "Ьь", "c": "сϲ", "d": "ԁ", "e": "еҽ", "f": "ք", "g": "ɡց", "h": "һհ", "i": "іιı", "j": "јϳ",
    "k": "кκ", "l": "ӏǀ", "m": "м", "n": "ոп", "o": "оοσօ", "p": "рρ", "q": "ԛզ", "r": "г", "s": "ѕ", "t": "тτ",
    "u": "υս", "v": "νѵ", "w": "ѡԝա", "x": "хχ", "y": "уγү",
    "A": "АΑ", "B": "ВΒ", "C": "СϹ", "E": "ЕΕ", "H": "НΗ", "I": "ІΙ", "J": "ЈͿ", "K": "КΚ", "M": "МΜ", "N": "Ν",
    "O": "ОΟՕ", "P": "РΡ", "S": "ЅՏ", "T": "ТΤ", "U": "Ս", "X": "ХΧ", "Y": "ΥҮ", "Z": "Ζ",
}  # fmt: skip
ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u2061\u2063\u180e\u034f\ufe0f"
SEPARATORS = (".", "-", "_", "*", "/", "~", ",", "·", "--", "..", " - ", ". ", " . ")
SPACES = (" ", " ", "  ", "\t", "\u00a0", "\u2009", "\u3000")
# Where the alphabets of "fancy text" sites begin in Unicode: (capital A, small a); None: has no such case.
ALPHABETS = (
    (0xFF21, 0xFF41), (0x1D400, 0x1D41A), (0x1D468, 0x1D482), (0x1D4D0, 0x1D4EA), (0x1D56C, 0x1D586),
    (0x1D5A0, 0x1D5BA), (0x1D5D4, 0x1D5EE), (0x1D608, 0x1D622), (0x1D670, 0x1D68A), (0x24B6, 0x24D0),
    (0x1F130, None), (0x1F150, None), (0x1F170, None), (None, 0x249C),
)  # fmt: skip
MARKS = [chr(code) for code in (*range(0x0300, 0x0345), *range(0x0346, 0x034F), 0x20D2, 0x20DD)]
ACCENTS = "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030c\u0323\u0328"
TURNED = str.maketrans("abcdefghijklmnopqrtuvwy", "ɐqɔpǝɟƃɥᴉɾʞlɯuodbɹʇnʌʍʎ")

Rng = np.random.Generator
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Case:
    """One disguised word in one sentence."""

    disguise: str
    word: str
    text: str
    start: int
    """Where the disguised word stands in `text`, in characters; half-open with `end`."""
    end: int


def listed_words(file: Path = WORDS_FILE) -> tuple[str, ...]:
    """The words of a list; of the shipped one, which the disguises are made of."""
    lines = file.read_text("utf-8").splitlines()
    return tuple(word for line in lines if (word := line.split("#")[0].strip()))


def innocent_words() -> tuple[str, ...]:
    """Ordinary words that contain a listed word or one of `SHORT_WORDS`."""
    return listed_words(INNOCENT_FILE)


def cases(
    words: Sequence[str],
    disguises: Mapping[str, Disguise],
    *,
    seed: int = SEED,
    variants: int = VARIANTS,
) -> list[Case]:
    """Every word in every disguise, `variants` times each; the same seed gives the same cases."""
    rng = np.random.default_rng(seed)
    return [
        _case(name, word, rng, disguise)
        for name, disguise in disguises.items()
        for word in words
        for _ in range(variants)
    ]


def _case(name: str, word: str, rng: Rng, disguise: Disguise) -> Case:
    before, after = _pick(CARRIERS, rng).split("{}")
    written = _pick((str.lower, str.lower, str.capitalize, str.upper), rng)(word)
    disguised = disguise(written, rng)
    text = before + disguised + after
    return Case(name, word, text, len(before), len(before) + len(disguised))


# --- what is promised ----------------------------------------------------------------------------------


def leetspeak(word: str, rng: Rng) -> str:
    """Digits and signs for letters: "1d10t"."""
    return _replaced(word, {**LEET, **{key.upper(): value for key, value in LEET.items()}}, rng)


def spaced(word: str, rng: Rng) -> str:
    """One kind of white space between all letters."""
    return _pick(SPACES, rng).join(word)


def separated(word: str, rng: Rng) -> str:
    """One kind of dot, dash or the like between all letters."""
    return _pick(SEPARATORS, rng).join(word)


def stretched(word: str, rng: Rng) -> str:
    """Some letters two to eight times."""
    at = _some(range(len(word)), rng)
    return "".join(c * int(rng.integers(2, 9)) if i in at else c for i, c in enumerate(word))


def look_alike(word: str, rng: Rng) -> str:
    """Letters of other scripts that look the same; one Latin letter stays."""
    folded = _replaced(word[1:], LOOK_ALIKES, rng)
    return word[0] + folded


def zero_width(word: str, rng: Rng) -> str:
    """Characters nobody sees between some letters."""
    at = _some(range(len(word) - 1), rng)
    return "".join(c + _pick(ZERO_WIDTH, rng) if i in at else c for i, c in enumerate(word))


def fancy_alphabet(word: str, rng: Rng) -> str:
    """Full-width, mathematical, circled or squared letters."""
    capital, small = _pick(ALPHABETS, rng)
    if capital is None or small is None:
        word = word.upper() if small is None else word.lower()
    bases = {True: capital, False: small}
    return "".join(_offset(bases[c.isupper()] or 0, c) for c in word)


def combining_marks(word: str, rng: Rng) -> str:
    """One to four marks on every letter."""
    return "".join(c + "".join(_pick(MARKS, rng) for _ in range(rng.integers(1, 5))) for c in word)


def leetspeak_and_stretched(word: str, rng: Rng) -> str:
    """Both: "1d10000t"."""
    return stretched(leetspeak(word, rng), rng)


def accented(word: str, rng: Rng) -> str:
    """Accents on two letters or more; one may be another language's spelling ("año")."""
    at = _some(range(len(word)), rng, least=2)
    marked = (c + _pick(ACCENTS, rng) if i in at else c for i, c in enumerate(word))
    return unicodedata.normalize("NFC", "".join(marked))


# --- what is measured and not promised -----------------------------------------------------------------


def one_accent(word: str, rng: Rng) -> str:
    """An accent on one letter."""
    at = int(rng.integers(len(word)))
    return unicodedata.normalize("NFC", word[: at + 1] + _pick(ACCENTS, rng) + word[at + 1 :])


def separated_unevenly(word: str, rng: Rng) -> str:
    """Dots and dashes between all letters, not the same ones."""
    return "".join(c + _pick(".-_*", rng) for c in word[:-1]) + word[-1]


def cut_in_two(word: str, rng: Rng) -> str:
    """One separator somewhere: "idi.ot"."""
    at = int(rng.integers(1, len(word)))
    return word[:at] + _pick(".-_* ", rng) + word[at:]


def starred(word: str, rng: Rng) -> str:
    """One letter hidden: "id*ot"."""
    at = int(rng.integers(1, len(word)))
    return word[:at] + _pick("*#_-", rng) + word[at + 1 :]


def misspelled(word: str, rng: Rng) -> str:
    """Two neighbouring letters swapped."""
    at = int(rng.integers(len(word) - 1))
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def upside_down(word: str, rng: Rng) -> str:  # noqa: ARG001  one signature for all
    """Turned letters, last first."""
    return word.lower().translate(TURNED)[::-1]


Disguise = Callable[[str, Rng], str]
DISGUISES: dict[str, Disguise] = {
    "leetspeak": leetspeak,
    "spaced": spaced,
    "separated": separated,
    "stretched": stretched,
    "look-alike": look_alike,
    "zero-width": zero_width,
    "fancy-alphabet": fancy_alphabet,
    "combining-marks": combining_marks,
    "leetspeak-and-stretched": leetspeak_and_stretched,
    "accented": accented,
}
GAPS: dict[str, Disguise] = {
    "one-accent": one_accent,
    "separated-unevenly": separated_unevenly,
    "cut-in-two": cut_in_two,
    "starred": starred,
    "misspelled": misspelled,
    "upside-down": upside_down,
}


def _pick(options: Sequence[T], rng: Rng) -> T:
    return options[int(rng.integers(len(options)))]


def _some(places: Sequence[int], rng: Rng, *, least: int = 1) -> set[int]:
    """A random choice of places, `least` or more."""
    count = int(rng.integers(min(least, len(places)), len(places) + 1))
    return set(rng.permutation(np.array(places))[:count].tolist())


def _replaced(word: str, table: Mapping[str, str], rng: Rng) -> str:
    """Some of the letters that the table knows, one at least, for one of their glyphs."""
    places = [at for at, character in enumerate(word) if character in table]
    chosen = _some(places, rng) if places else set()
    return "".join(_pick(table[c], rng) if i in chosen else c for i, c in enumerate(word))


def _offset(base: int, letter: str) -> str:
    return chr(base + ord(letter.lower()) - ord("a"))
