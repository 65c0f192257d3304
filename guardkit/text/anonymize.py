"""Personal data replaced, in one of five ways, and a vault that leads back.

    placeholder   <EMAIL_1>            restores exactly
    surrogate     kim@example.net      restores exactly; made up, in the form of the original
    generic       an e-mail address    one-way; an address goes with the preposition before it
    mask          ***********          one-way
    hash          <EMAIL_5f0c2a9b17>   one-way; equal for equal data under one key

Text outside the replaced ranges stays as it is, character for character. A placeholder or surrogate that the text
holds already is never given out.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import random
import re
import secrets
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum

from guardkit.steps import ANONYMIZE
from guardkit.text.edit import Editor
from guardkit.text.identifiers import GENERIC, Found, apart
from guardkit.types import Edit, Span
from guardkit.vault import Vault


class Mode(StrEnum):
    """What stands in place of personal data."""

    PLACEHOLDER = "placeholder"
    SURROGATE = "surrogate"
    GENERIC = "generic"
    MASK = "mask"
    HASH = "hash"


_RESTORES = (Mode.PLACEHOLDER, Mode.SURROGATE)


def anonymize(
    text: str,
    found: Sequence[Found],
    mode: Mode,
    *,
    before: Mapping[str, str] | None = None,
    key: bytes | None = None,
) -> tuple[str, tuple[Edit, ...], dict[str, str]]:
    """Replace what was found.

    Args:
        text: Any text.
        found: Ranges of it, in order, none over another.
        mode: What to put there.
        before: Replacement -> original of earlier texts of the conversation: the same data gets the same
            replacement again.
        key: For `hash`; None: one of this process, so that hashes mean nothing outside it.

    Returns:
        The new text, one edit a range (positions in `text`), and replacement -> original: all of
        `before` and what is new; empty for the one-way modes.

    >>> anonymize("mail ada@example.org", [Found(5, 20, "EMAIL")], Mode.PLACEHOLDER)[0]
    'mail <EMAIL_1>'
    """
    replace = _Replacements(text, dict(before or {}), key or _PROCESS_KEY)
    edits = tuple(_edit(text, one, mode, replace) for one in found)
    for edit in reversed(edits):  # from the end, so that earlier positions stay valid
        text = text[: edit.start] + edit.replacement + text[edit.end :]
    return text, edits, replace.originals if mode in _RESTORES else {}


def vault_of(
    originals: Mapping[str, str],
    mode: Mode,
    *,
    lifetime_s: float | None = None,
    conversation: str | None = None,
) -> Vault:
    """The vault of an anonymized text; a one-way mode's says so."""
    return Vault(
        originals,
        is_reversible=mode in _RESTORES,
        lifetime_s=lifetime_s,
        conversation=conversation,
    )


def editor_of(mode: Mode) -> Editor:
    """The editor `anonymize`: replaces what the spans point at, as the kind of data they say it is."""

    def edit(text: str, spans: Sequence[Span]) -> tuple[str, tuple[Edit, ...]]:
        found = [Found(span.start, span.end, span.kind or _UNNAMED) for span in spans]
        edited, edits, _ = anonymize(text, apart(found), mode)
        return edited, edits

    return edit


def _edit(text: str, one: Found, mode: Mode, replace: _Replacements) -> Edit:
    start, end = one.start, one.end
    replacement = replace.of(text[start:end], one.kind, mode)
    if mode is Mode.GENERIC:
        for pattern, is_enough in _TAKEN_ALONG.get(one.kind, ()):
            if match := pattern.search(text, 0, start):
                return Edit(ANONYMIZE, match.start("it"), end, "" if is_enough else replacement)
    return Edit(ANONYMIZE, start, end, replacement)


_ROLE = r"aunt|baby|barber|boss|boyfriend|brother|classmate|coach|colleague|cousin|coworker|dad|daughter|dentist|doctor|driver|ex|ex-boyfriend|ex-girlfriend|ex-husband|ex-wife|father|fiance|fiancee|friend|girlfriend|grandfather|grandma|grandmother|grandpa|grandson|husband|kid|landlady|landlord|lawyer|manager|mother|mum|mom|neighbor|neighbour|nephew|niece|nurse|partner|professor|roommate|sister|son|stepmother|stepfather|student|teacher|therapist|tutor|uncle|wife"  # fmt: skip
_TITLE = r"mr|mrs|ms|miss|mx|dr|prof|professor|sir|madam|lady|lord|captain|sergeant|officer|pastor|father|sister|brother|aunt|uncle|grandma|grandpa|granny|judge|coach"  # fmt: skip
# Kind -> words before it that go with it, and whether what is then left is enough: the words that tie an address to
# what stands before it ("John from 12 Elm Street"), a title, a name that only names somebody ("a boy called John").
_TAKEN_ALONG: dict[str, tuple[tuple[re.Pattern[str], bool], ...]] = {
    "ADDRESS": (
        (re.compile(r"(?P<it>(?:,|\s+(?:who )?(?:lives |living |located |residing )?(?:from|of|at|in|on|near))\s+)\Z", re.IGNORECASE), True),
    ),
    "PERSON": (
        (re.compile(rf"\b(?:my|our|your|his|her|their|the|an?)\s+(?:\w+\s+)?(?:{_ROLE})(?P<it>\s+)\Z", re.IGNORECASE), True),
        (re.compile(r"\w(?P<it>\s+(?:called|named)\s+)\Z", re.IGNORECASE), True),
        (re.compile(rf"\b(?P<it>(?:{_TITLE})\.?\s+)\Z", re.IGNORECASE), False),
    ),
}  # fmt: skip
_UNNAMED = "DATA"
_SOMEBODY, _SOMEBODY_ELSE = "a person", "another person"
_GENERIC = {**GENERIC, "PERSON": _SOMEBODY, "PLACE": "a place", _UNNAMED: "private data"}
_PROCESS_KEY = secrets.token_bytes(32)
_HASH_DIGITS = 10
_TRIES = 1000


class _Replacements:
    """What stands for what in one text; never the same for two originals."""

    def __init__(self, text: str, originals: dict[str, str], key: bytes) -> None:
        self.originals = originals
        self._text = text
        self._key = key
        self._first_person = ""
        self._given = {original: replacement for replacement, original in originals.items()}

    def of(self, value: str, kind: str, mode: Mode) -> str:
        """The replacement of a value."""
        return _MAKERS[mode](self, value, kind)

    def placeholder(self, value: str, kind: str) -> str:
        """The one the value has, or the first of its kind that is free."""
        numbered = (f"<{kind}_{n}>" for n in range(1, len(self._text) + len(self.originals) + 2))
        return self._new(value, numbered)

    def surrogate(self, value: str, kind: str) -> str:
        """The one the value has, or one made up in its form."""
        make = _SURROGATES.get(kind, _in_its_form)
        usual = (make(value) for _ in range(_TRIES))
        return self._new(
            value, itertools.chain(usual, (_in_its_form(value * 4) for _ in range(_TRIES)))
        )

    def generic(self, value: str, kind: str) -> str:
        """What it is, in words; the second person of a text is another one."""
        if kind != "PERSON":
            return _GENERIC[kind]
        self._first_person = self._first_person or value
        return _SOMEBODY if value == self._first_person else _SOMEBODY_ELSE

    def mask(self, value: str, _: str) -> str:
        """As many asterisks as characters, gaps kept."""
        return re.sub(r"\S", "*", value)

    def hash(self, value: str, kind: str) -> str:
        """The same for the same value under one key."""
        digest = hmac.new(self._key, f"{kind}\0{value}".encode(), hashlib.sha256).hexdigest()
        return f"<{kind}_{digest[:_HASH_DIGITS]}>"

    def _new(self, value: str, candidates: Iterable[str]) -> str:
        if value in self._given:
            return self._given[value]
        chosen = next(one for one in candidates if self._is_free(one))
        self.originals[chosen], self._given[value] = value, chosen
        return chosen

    def _is_free(self, candidate: str) -> bool:
        """Whether it stands nowhere, and neither holds nor is held by another."""
        return candidate not in self._text and not any(
            candidate in other or other in candidate for other in self.originals
        )


_MAKERS: dict[Mode, Callable[[_Replacements, str, str], str]] = {
    Mode.PLACEHOLDER: _Replacements.placeholder,
    Mode.SURROGATE: _Replacements.surrogate,
    Mode.GENERIC: _Replacements.generic,
    Mode.MASK: _Replacements.mask,
    Mode.HASH: _Replacements.hash,
}

# --- surrogates ---------------------------------------------------------------------------------------

_random = random.SystemRandom()
_GIVEN = ("alex", "kim", "noor", "sam", "lena", "ravi", "mina", "tom", "iris", "juan")
_NAMES = ("Alex", "Amara", "Ben", "Carla", "Dina", "Emil", "Femi", "Greta", "Hana", "Igor", "Jonas", "Kira", "Leo", "Mara", "Nadia", "Omar", "Petra", "Quentin", "Rosa", "Samir", "Tara", "Udo", "Vera", "Wanda", "Yara", "Zeno")  # fmt: skip
_FAMILIES = ("Abara", "Berg", "Castel", "Duval", "Ekholm", "Ferreira", "Grant", "Hale", "Ivarsen", "Jansen", "Keller", "Lindt", "Moreau", "Novak", "Okoye", "Palmer", "Quist", "Rossi", "Sato", "Tanner", "Ulrich", "Vidal", "Weber", "Yilmaz", "Zeller")  # fmt: skip
_STREETS = ("Maple", "Harbour", "Station", "Mill", "Orchard", "Chapel", "Garden", "Bridge")


def _number(low: int, high: int) -> int:
    return _random.randint(low, high)


def _in_its_form(value: str) -> str:
    """Every digit another digit, every letter another letter of its case, the rest as it is."""
    return "".join(
        _random.choice(string.digits)
        if one.isdigit()
        else _random.choice(string.ascii_uppercase if one.isupper() else string.ascii_lowercase)
        if one.isalpha()
        else one
        for one in value
    )


def _email(_: str) -> str:
    return f"{_random.choice(_GIVEN)}{_number(100, 99_999)}@example.net"  # reserved: RFC 2606


def _url(_: str) -> str:
    return f"https://example.net/{_number(1000, 9_999_999)}"


def _phone(_: str) -> str:
    return f"+1 {_number(201, 989)}-555-01{_number(0, 99):02d}"  # reserved for fiction


def _ip(_: str) -> str:
    return f"198.51.100.{_number(1, 254)}"  # reserved: RFC 5737


def _address(_: str) -> str:
    return f"{_number(1, 9999)} {_random.choice(_STREETS)} Street"


def _person(value: str) -> str:
    """A name of as many words, one or two, in the case of the original."""
    name = _random.choice(_NAMES)
    if len(value.split()) > 1:
        name += " " + _random.choice(_FAMILIES)
    return name if value != value.lower() else name.lower()


def _place(_: str) -> str:
    return f"{_random.choice(_STREETS)}ton"


_SURROGATES: dict[str, Callable[[str], str]] = {
    "PERSON": _person,
    "PLACE": _place,
    "EMAIL": _email,
    "URL": _url,
    "PHONE": _phone,
    "IP": _ip,
    "ADDRESS": _address,
}
