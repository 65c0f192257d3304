"""Which language a text is in: certain enough to refuse a score, or not at all.

1. The script of most letters: kana is Japanese, Hangul Korean, Ge'ez Amharic, ... (Unicode blocks)
2. Latin letters: English when most words are words of the English model, else what py3langid says
   (after langid.py, Lui and Baldwin 2012); Cyrillic, Arabic and Devanagari: what py3langid says.

A text too short to tell counts as English, whose model then scores it. Without py3langid (extra
`languages`) what cannot be told from the script is `UNNAMED`: some language, but nobody knows which.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Container, Sequence
from importlib.util import find_spec

ENGLISH = "en"
UNNAMED = "und"
"""ISO 639-2 for a language that was not determined."""

Namer = Callable[[str], tuple[str, float]]
"""A text to an ISO 639-1 code and a probability."""

# Script -> the one language we take it for; "" where several share it. Chosen: among the languages
# of `text-safety-multi` and their neighbours, by half-open ranges of Unicode blocks.
_SCRIPTS: tuple[tuple[int, int, str], ...] = (
    (0x0370, 0x0400, "el"), (0x0400, 0x0530, ""), (0x0530, 0x0590, "hy"), (0x0590, 0x0600, "he"), (0x0600, 0x0700, ""),
    (0x0900, 0x0980, ""), (0x0980, 0x0A00, "bn"), (0x0A00, 0x0A80, "pa"), (0x0A80, 0x0B00, "gu"), (0x0B80, 0x0C00, "ta"),
    (0x0C00, 0x0C80, "te"), (0x0C80, 0x0D00, "kn"), (0x0D00, 0x0D80, "ml"), (0x0D80, 0x0E00, "si"), (0x0E00, 0x0E80, "th"),
    (0x0E80, 0x0F00, "lo"), (0x0F00, 0x1000, "bo"), (0x1000, 0x10A0, "my"), (0x10A0, 0x1100, "ka"), (0x1100, 0x1200, "ko"),
    (0x1200, 0x1400, "am"), (0x1780, 0x1800, "km"), (0x3040, 0x3100, "ja"), (0x3100, 0x3130, "zh"), (0x3400, 0xA000, "zh"),
    (0xAC00, 0xD7B0, "ko"), (0xF900, 0xFB00, "zh"), (0x20000, 0x32000, "zh"),
)  # fmt: skip
TOLD_BY_SCRIPT = frozenset(code for _, _, code in _SCRIPTS if code) | {ENGLISH, "hi-Latn"}
"""Languages that are told without py3langid: by their script, or by a list of words."""
_JAPANESE_SHARE = 0.1  # of the letters: kana beside Chinese characters
_NAMED = (
    "en", "de", "fr", "es", "pt", "it", "nl", "sv", "da", "no", "fi", "pl", "cs", "sk", "sl", "hr", "ro", "hu", "tr",
    "id", "ms", "vi", "tl", "sw", "et", "lv", "lt", "sq", "az", "uz", "af", "ca", "ru", "uk", "be", "bg", "mk", "sr",
    "kk", "ky", "tt", "mn", "ar", "fa", "ur", "ps", "hi", "mr", "ne",
)  # fmt: skip
"""What py3langid may answer. Chosen: with all 140 it takes one English text in a hundred for a creole."""
# No library knows Hindi in Latin letters; these words are no others' and in most of its sentences.
_ROMANISED_HINDI = frozenset(
    [
        "hai",
        "hain",
        "nahi",
        "nahin",
        "nhi",
        "nehi",
        "ki",
        "ka",
        "ke",
        "ko",
        "kya",
        "kyu",
        "kyun",
        "kyon",
        "kyo",
        "mein",
        "tum",
        "tumhe",
        "tumhari",
        "tumhare",
        "tujhe",
        "aap",
        "aapko",
        "aapka",
        "aapki",
        "aapke",
        "aur",
        "bhi",
        "mera",
        "meri",
        "mujhe",
        "tera",
        "teri",
        "tere",
        "apna",
        "apne",
        "apni",
        "kar",
        "karo",
        "karna",
        "karne",
        "karte",
        "karta",
        "karti",
        "karke",
        "krte",
        "krne",
        "krta",
        "raha",
        "rahe",
        "rahi",
        "rha",
        "rhe",
        "rhi",
        "tha",
        "thi",
        "wala",
        "wale",
        "wali",
        "koi",
        "kuch",
        "kuchh",
        "sab",
        "sabse",
        "sabko",
        "bahut",
        "yeh",
        "ye",
        "woh",
        "wo",
        "abhi",
        "ab",
        "kaise",
        "kaisa",
        "kaun",
        "kab",
        "kahan",
        "kaha",
        "kitna",
        "kitne",
        "itna",
        "itne",
        "jaise",
        "jab",
        "jis",
        "tabhi",
        "isliye",
        "lekin",
        "agar",
        "magar",
        "phir",
        "fir",
        "bhai",
        "yaar",
        "isko",
        "iska",
        "iske",
        "isse",
        "isme",
        "usko",
        "uska",
        "uski",
        "uske",
        "usse",
        "inko",
        "unko",
        "unka",
        "unki",
        "unke",
        "hum",
        "hame",
        "hamara",
        "hamari",
        "hamare",
        "kisi",
        "chahiye",
        "toh",
        "hota",
        "hoti",
        "hote",
        "hoga",
        "hogi",
        "honge",
        "hona",
        "hue",
        "hua",
        "hui",
        "diya",
        "dete",
        "deta",
        "dena",
        "denge",
        "dega",
        "liya",
        "liye",
        "lena",
        "lete",
        "gaya",
        "gayi",
        "gaye",
        "gya",
        "jata",
        "jati",
        "jate",
        "jana",
        "jao",
        "jayega",
        "jayegi",
        "kiya",
        "kia",
        "kaam",
        "aaj",
        "kal",
        "baat",
        "dekh",
        "dekho",
        "dekha",
        "dekhna",
        "bolo",
        "bola",
        "bolte",
        "ek",
        "sirf",
        "sath",
        "saath",
        "sahi",
        "accha",
        "acha",
        "achha",
        "bilkul",
        "pehle",
        "pahle",
        "baad",
        "andar",
        "bahar",
        "ghar",
        "logon",
        "paisa",
        "paise",
        "zyada",
        "jyada",
        "thoda",
        "bana",
        "banaya",
        "milega",
        "lagta",
        "raho",
        "karenge",
        "sakta",
        "sakte",
        "sakti",
        "samajh",
        "khud",
    ]
)
_ROMANISED_SHARE = 0.15
_LEAST_ROMANISED = 2
_WORD = re.compile(r"[^\W\d_]{2,}")
_FEW_WORDS = 4  # fewer prove nothing
_LONGEST_LOOK = 2000  # characters; more say nothing new
# Chosen so that English is hardly ever refused: of 12,937 English validation rows 13 are taken for
# another language (some rightly), while 88 to 99 % of German, Spanish, French and Italian rows and
# 78 % of Portuguese tweets are found (the card of text-safety-multi).
_ENGLISH_SHARE = 0.75
_LEAST_CERTAIN = 0.7
_UNNAMED_SHARE = 0.4  # without py3langid words must be stranger
_UNNAMED_WORDS = 6


def identify(
    text: str, english: Container[str], *, namer: Callable[[], Namer | None] = lambda: None
) -> str:
    """Tell the language of a normalised text.

    Args:
        text: Normalised; only its first 2,000 characters are read.
        english: Words of English in lower case.
        namer: Gives what names a language among those of one script, or None when nobody does;
            called for texts that need it alone.

    Returns:
        ISO 639-1 code, `hi-Latn` for romanised Hindi, or `und`.

    >>> identify("what a lovely day", {"what", "a", "lovely", "day"})
    'en'
    >>> identify("コーヒーを飲みます", ())
    'ja'
    """
    text = text[:_LONGEST_LOOK]
    if not text.isascii():
        script = _script(text)
        if script is not None:
            return script or _named(text, namer())
    words = _WORD.findall(text.lower())
    if _is_romanised_hindi(words):
        return "hi-Latn"
    if len(words) < _FEW_WORDS:
        return ENGLISH
    known, enough = 0, _ENGLISH_SHARE * len(words)
    for word in words:
        known += word in english
        if known >= enough:  # the rest of an English text need not be looked up
            return ENGLISH
    name = namer()
    if name is None:
        is_strange = len(words) >= _UNNAMED_WORDS and known < _UNNAMED_SHARE * len(words)
        return UNNAMED if is_strange else ENGLISH
    code, probability = name(text)
    if probability < _LEAST_CERTAIN:
        return ENGLISH
    return "hi-Latn" if code == "hi" else code


def _is_romanised_hindi(words: Sequence[str]) -> bool:
    found = sum(word in _ROMANISED_HINDI for word in words)
    return found >= max(_LEAST_ROMANISED, _ROMANISED_SHARE * len(words))


def _script(text: str) -> str | None:
    """The language of the script of most letters, "" when several share it; None for Latin."""
    letters = Counter(_language_of(ord(one)) for one in text if one.isalpha())
    total = sum(letters.values())
    if not total or letters[None] * 2 >= total:
        return None
    del letters[None]
    if letters["ja"] >= _JAPANESE_SHARE * total:
        return "ja"
    return letters.most_common(1)[0][0]


@functools.lru_cache(maxsize=4096)
def _language_of(code: int) -> str | None:
    """The language of a letter's script; None for Latin and what we do not list."""
    return next((language for start, end, language in _SCRIPTS if start <= code < end), None)


def _named(text: str, name: Namer | None) -> str:
    return UNNAMED if name is None else name(text)[0]


@functools.cache
def load_namer() -> Namer | None:
    """py3langid, or None where it is not installed; the first call takes half a second."""
    if find_spec("py3langid") is None:
        return None
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # an optional package

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(_NAMED)

    def name(text: str) -> tuple[str, float]:
        code, probability = identifier.classify(text)
        return str(code), float(probability)

    return name
