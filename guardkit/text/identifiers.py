"""Personal data that has a form: where it stands in a text, by pattern and checksum.

Every kind is a row of `KINDS`: a pattern, and what a match has to pass to count (a checksum, a range, a
word beside it). Checksums and phone numbers come from python-stdnum and phonenumbers. Names have no
form and are not found here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module

from guardkit.errors import MissingExtraError
from guardkit.steps import IDENTIFIERS
from guardkit.taxonomy import Category
from guardkit.text.normalize import Prompt
from guardkit.types import Scored, Scores, Span

_ANY_CASE = re.IGNORECASE
_MASK = "\ue000"  # neither letter, digit nor gap


@dataclass(frozen=True, slots=True)
class Found:
    """Personal data of one kind in a text."""

    start: int
    """First character, 0-based."""
    end: int
    """One past the last."""
    kind: str
    """Upper case: `EMAIL`, `PHONE`, ..."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of personal data."""

    name: str
    generic: str
    """What it is, in words that can stand in its place."""
    pattern: re.Pattern[str]
    """Its group `it`, where it has one, is the data; what stands around it is only asked for."""
    accept: Callable[[str], bool] = bool
    """Whether a match counts."""


_WARM_UP = "+1 202-555-0143, 4111 1111 1111 1111, DE89 3704 0044 0532 0130 00, 536-90-4399"


class Identifiers:
    """The `identifiers` scorer: privacy is 1 when there is personal data that has a form, else 0.

    It reads the text as the user typed it: what undoes disguises would change numbers.
    """

    name = IDENTIFIERS
    categories = (Category.PRIVACY.value,)

    def __init__(self) -> None:
        """Load what checks numbers, which a check within a time limit should not wait for.

        Raises:
            MissingExtraError: python-stdnum or phonenumbers is not installed.
        """
        find(_WARM_UP)

    def score(self, prompts: Sequence[Prompt]) -> list[Scored]:
        """Look every text through; spans are in characters of the original."""
        return [self._score(prompt.original) for prompt in prompts]

    def _score(self, text: str) -> Scored:
        (privacy,) = self.categories
        found = find(text)
        spans = tuple(Span(one.start, one.end, privacy, 1.0, self.name, one.kind) for one in found)
        return Scored(Scores({privacy: 1.0 if spans else 0.0}), spans)


def find(text: str) -> list[Found]:
    """Every piece of personal data that has a form, in order; overlaps are resolved.

    Of two that overlap the one whose kind stands first in `KINDS` stays, of one kind the longer.

    Raises:
        MissingExtraError: python-stdnum or phonenumbers is not installed.

    >>> [(one.kind, one.start, one.end) for one in find("write to ada@example.org")]
    [('EMAIL', 9, 24)]
    """
    found: list[Found] = []
    while new := _find_once(text):
        found += new
        for one in new:  # a number beside a number can hide it: look again without
            text = text[: one.start] + _MASK * (one.end - one.start) + text[one.end :]
    return sorted(found, key=lambda one: one.start)


def _find_once(text: str) -> list[Found]:
    candidates = [one for kind in KINDS for one in _matches(kind, text)]
    candidates += [Found(start, end, PHONE) for start, end in _phones(text)]
    return apart(candidates)


def apart(found: Iterable[Found]) -> list[Found]:
    """What of some findings stays so that none is over another, in order; see `RANK`.

    >>> apart([Found(0, 9, "PERSON"), Found(3, 20, "ADDRESS"), Found(3, 9, "ADDRESS")])
    [Found(start=3, end=20, kind='ADDRESS')]
    """
    kept: list[Found] = []
    by_rank = sorted(
        found, key=lambda one: (RANK.get(one.kind, len(RANK)), one.start - one.end, one.start)
    )
    for one in by_rank:
        if not any(one.start < other.end and other.start < one.end for other in kept):
            kept.append(one)
    return sorted(kept, key=lambda one: one.start)


def _matches(kind: Kind, text: str) -> Iterator[Found]:
    for match in kind.pattern.finditer(text):
        group = "it" if "it" in kind.pattern.groupindex else 0
        if kind.accept(match[group]):
            yield Found(*match.span(group), kind.name)


# --- what a match has to pass -----------------------------------------------------------------------


@cache
def _checker(module: str) -> Callable[[str], bool]:
    """`is_valid` of one of python-stdnum's modules."""
    try:
        valid: Callable[[str], bool] = import_module(f"stdnum.{module}").is_valid
    except ImportError as e:
        raise MissingExtraError("finding personal data", "privacy") from e
    return valid


def _passes(*modules: str) -> Callable[[str], bool]:
    return lambda text: any(_checker(module)(text) for module in modules)


_CARDS = (
    "3",
    "4",
    "5",
    "6",
    "22",
    "23",
    "24",
    "25",
    "26",
    "27",
    "2131",
    "1800",
)  # networks' ranges


def _is_card(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    return digits.startswith(_CARDS) and len(set(digits)) > 1 and _checker("luhn")(digits)


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return text.strip(":.") != ""


def _is_place_on_earth(text: str) -> bool:
    first, second = map(float, re.findall(r"[-+]?\d+\.\d+", text))
    return abs(first) <= 90 and abs(second) <= 180


def _has_letter_and_digit(text: str) -> bool:
    return any(map(str.isalpha, text)) and any(map(str.isdigit, text))


# --- phone numbers ------------------------------------------------------------------------------------

PHONE = "PHONE"
_FEWEST_DIGITS, _MOST_DIGITS, _EXTENSION = 7, 15, 6  # E.164
_REGIONS = ("US", "GB")  # of numbers without a country code; those with one are known anyhow
_DIGITS = re.compile(r"\d")
_GOES_ON = re.compile(r"[.,]?\d|\s?%")  # of "5317 5292 99.53 %"


def _has_the_digits_of_a_phone(text: str) -> bool:
    return _FEWEST_DIGITS <= len(_DIGITS.findall(text)) <= _MOST_DIGITS + _EXTENSION


def _phones(text: str) -> Iterator[tuple[int, int]]:
    if len(_DIGITS.findall(text)) < _FEWEST_DIGITS:
        return
    try:
        from phonenumbers import PhoneNumberMatcher  # 20 ms, for texts with digits alone
    except ImportError as e:
        raise MissingExtraError("finding phone numbers", "privacy") from e
    for region in _REGIONS:
        for match in PhoneNumberMatcher(text, region):
            if not _GOES_ON.match(text, match.end):
                yield match.start, match.end


# --- the kinds ------------------------------------------------------------------------------------------


def _kind(
    name: str, generic: str, pattern: str, accept: Callable[[str], bool] = bool, flags: int = 0
) -> Kind:
    return Kind(name, generic, re.compile(pattern, flags), accept)


_NUMBER = r"\+?\(?\d[\d ()./-]{4,20}\d(?: ?(?:x|ext\.?) ?\d{1,6})?(?![\w%])"
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_DATE = rf"(?:\d{{1,2}}[./-]\d{{1,2}}[./-]\d{{2,4}}|\d{{4}}-\d{{2}}-\d{{2}}|\d{{1,2}}(?:st|nd|rd|th)? (?:of )?{_MONTH},? \d{{4}}|{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}})"  # fmt: skip
_STREET = r"street|st|avenue|ave|road|rd|lane|ln|drive|dr|boulevard|blvd|court|ct|place|pl|way|terrace|square|sq|highway|hwy|parkway|pkwy|circle|close|crescent|gardens"  # fmt: skip
# Words that a sentence would put between a number and a street, and a street's name does not hold.
_NO_NAME = r"(?!(?:a|an|and|are|at|by|cars|children|down|for|from|her|his|in|into|is|its|men|my|near|of|off|on|onto|our|over|people|per|the|their|these|this|those|through|to|up|was|were|with|women|your)\b)"  # fmt: skip
_UNIT = r"(?:,? (?:apt|apartment|suite|unit|flat|#)\.? ?#?\w{1,6})?"
# A town that ends in a postal code is one in any case; without it, its capitals tell.
_CODE = r"(?:\d{5}(?:-\d{4})?|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2})"
_TOWN = rf"(?:(?:, ?[^\W\d_][\w'. -]{{1,30}}?)?,? (?:[A-Z]{{2}},? )?{_CODE}|, ?(?-i:[A-Z])[\w'-]+(?: (?-i:[A-Z])[\w'-]+){{0,2}}(?:, (?-i:[A-Z]{{2}})(?!\w))?)?"  # fmt: skip

KINDS: tuple[Kind, ...] = (
    _kind("SECRET", "a secret", r"(?<!\w)(?:AKIA[0-9A-Z]{16}|gh[pousr]_\w{36,}|sk-[\w-]{20,}|xox[abprs]-[\w-]{10,}|AIza[\w-]{35}|glpat-[\w-]{20,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]+?-----END [A-Z ]*PRIVATE KEY-----)"),
    _kind("SECRET", "a secret", r"(?:password|passwort|passwd|api[ _-]?key|secret|token)\s*(?:is|=|:)\s*['\"]?(?P<it>[^\s'\"]{8,})", _has_letter_and_digit, _ANY_CASE),
    _kind("URL", "a web address", r"(?<![\w@.])(?:https?://|www\.)[^\s<>\"']*[^\s<>\"'.,;:!?)\]]", flags=_ANY_CASE),
    _kind("EMAIL", "an e-mail address", r"(?<![\w.+-])\w(?:[\w.+-]*\w)?@(?:[\w-]+\.)+[^\W\d_]{2,24}(?![\w-])"),
    _kind("IBAN", "an account number", r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)", _passes("iban"), _ANY_CASE),
    _kind("CARD", "a card number", r"(?<![\w.])(?<!\d[ -])(?:\d{4}[ -]?\d{4}[ -]?\d{4}(?:[ -]?\d{1,4})?(?:[ -]?\d{3})?|\d{4}[ -]?\d{6}[ -]?\d{4,5})(?![ -]?\d|\w)", _is_card),
    _kind("NATIONAL_ID", "an identity number", r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])", _passes("us.ssn")),
    _kind("NATIONAL_ID", "an identity number", r"(?<![\w-])\d{3}\.\d{3}\.\d{3}-\d{2}(?![\w-])", _passes("br.cpf")),
    _kind("NATIONAL_ID", "an identity number", r"(?<!\w)[A-Z]{6}\d{2}[A-Z]\d{2}[A-Z]\d{3}[A-Z](?!\w)", _passes("it.codicefiscale"), _ANY_CASE),
    _kind("NATIONAL_ID", "an identity number", r"(?<!\w)(?:\d{8}|[XYZ]\d{7})-?[A-Z](?!\w)", _passes("es.dni", "es.nie"), _ANY_CASE),
    _kind("NATIONAL_ID", "an identity number", r"(?<!\w)(?<!\d )\d{4} \d{4} \d{4}(?! ?\d|\w)", _passes("in_.aadhaar")),
    _kind("NATIONAL_ID", "an identity number", r"(?<!\w)[12] ?\d{2} ?(?:0[1-9]|1[0-2]) ?\d[\dAB] ?\d{3} ?\d{3} ?\d{2}(?!\w)", _passes("fr.nir")),
    _kind("NATIONAL_ID", "an identity number", r"(?<!\w)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D](?!\w)", flags=_ANY_CASE),
    _kind("NATIONAL_ID", "an identity number", r"(?:nhs|bsn|idnr|steuer-?id|tax id|sin|national id)\w*\W{0,3}(?:no\.?|number|nr\.?|is|:)*\W{0,3}(?P<it>\d[\d -]{7,14}\d)", _passes("gb.nhs", "nl.bsn", "de.idnr", "ca.sin"), _ANY_CASE),
    _kind("PASSPORT", "a passport number", r"passport\W{0,3}(?:no\.?|number|nr\.?|#)?\W{0,3}(?:is|:)?\W{0,3}(?P<it>[A-Z]{0,2}\d{6,9})(?!\w)", flags=_ANY_CASE),
    _kind("COORDINATES", "a place", r"(?<![\w.])[-+]?\d{1,2}\.\d{3,}°?\s?[NS]?\s*[,;/ ]\s*[-+]?\d{1,3}\.\d{3,}(?![\w.])(?:°?\s?[EW](?!\w))?", _is_place_on_earth),
    _kind("IP", "a network address", r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\w)", _is_ip),
    _kind("IP", "a network address", r"(?<![\w:])(?:[0-9a-f]{1,4}:){1,7}(?::?[0-9a-f]{1,4}){1,7}(?![\w:])", _is_ip, _ANY_CASE),
    # Near one of these words any number is one, and so is one with a + or an area code in brackets; `_phones` finds the others.
    _kind(PHONE, "a phone number", rf"(?<!\w)(?:call|phone|tel|telephone|mobile|cell|fax|whatsapp|dial|sms|reach|answering|receiving messages|my number)\b[^\d+(\n]{{0,20}}\n?[^\d+(\n]{{0,3}}(?P<it>{_NUMBER})", _has_the_digits_of_a_phone, _ANY_CASE),
    _kind(PHONE, "a phone number", rf"(?P<it>{_NUMBER})[ ,\\]{{1,3}}(?:fax|office|mobile|cell|phone)(?!\w)", _has_the_digits_of_a_phone, _ANY_CASE),
    _kind(PHONE, "a phone number", r"(?<!\w)(?:\+\d[\d ()./-]{6,18}\d|\(\d{2,5}\)[ -]?\d{2,4}[ -]\d{2,4}(?:[ -]\d{2,4})?|(?:001[ -])?\d{3}[-.]\d{3}[-.]\d{4}(?:x\d{1,6})?)(?![\w%])", _has_the_digits_of_a_phone),
    _kind("ADDRESS", "an address", rf"(?<![\w.])\d{{1,5}}[A-Z]? (?:{_NO_NAME}[^\W\d_][\w'.-]* ){{1,3}}(?:{_STREET})(?!\w)\.?{_UNIT}{_TOWN}(?!\w)", flags=_ANY_CASE),
    _kind("ADDRESS", "an address", rf"(?<![\w.])\d{{1,5}}[A-Z]? (?:{_NO_NAME}[^\W\d_][\w'.-]* ){{0,3}}{_NO_NAME}[^\W\d_][\w'.-]*,(?: [^\W\d_][\w'.-]*){{1,4}},? (?:[A-Z]{{2,3}},? )?{_CODE}(?!\w)", flags=_ANY_CASE),
    _kind("BIRTH_DATE", "a date of birth", rf"(?:born(?: on)?|date of birth|d\.?o\.?b\.?|birthday)\W{{0,3}}(?:is|on|:)?\W{{0,3}}(?P<it>{_DATE})", flags=_ANY_CASE),
    _kind("LICENCE_PLATE", "a licence plate", r"(?:licen[cs]e|number|registration) plates?\W{0,3}(?:no\.?|number|is|reads|reading|with|:)?\W{0,3}(?P<it>[A-Z0-9]{1,4}[ -]?[A-Z0-9]{2,4}(?:[ -]?[A-Z0-9]{1,3})?)(?!\w)", _has_letter_and_digit, _ANY_CASE),
    _kind("HANDLE", "an account", r"(?<![\w@./])@[^\W\d][\w.]{1,29}(?<!\.)(?!\w)"),
)  # fmt: skip
RANK = {name: at for at, name in enumerate(dict.fromkeys(kind.name for kind in KINDS))}
"""Kind -> its place: of two that overlap the lower one stays."""
GENERIC: dict[str, str] = {kind.name: kind.generic for kind in KINDS}
"""Kind -> words that can stand in its place."""
