"""Texts with people, addresses and places marked in them: what `pii-tagger` learns from.

    templates   `data/written/people`: prompts and messages with slots, filled anew for every row
    captions    COCO captions, as they are and with their "a man", "a woman" called by a name
    claims      sentences about groups and things (ToxiGen and others), which name nobody
    prompts     `pii/t2i_person_prompts`, and DiffusionDB prompts, whose artists are not people to hide
    sentences   `pii/presidio_research`, `broad_twitter_corpus`, `wnut17`

Rare words of a dictionary (web2) take the place of some words in texts and slots: that a word is rare makes it no name.
Names and addresses come from Faker (over 50 countries), US census lists, labelled US addresses and, for their
shapes, the names of public figures. About half of the texts are in lower case, as prompts are.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from english_words import get_english_words_set
from faker import Faker

from guardkit.errors import InputError
from guardkit.text.tagger import ADDRESS, PERSON, PLACE

KINDS = (PERSON, ADDRESS, PLACE)
Rng = np.random.Generator
Marked = tuple[int, int, str]
"""First character, one past the last, kind; "" for what nobody can say."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """A text and what is marked in it."""

    text: str
    marks: tuple[Marked, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """Rows of each source."""

    templates: int = 24_000
    named_captions: int = 6_000
    captions: int = 5_000
    claims: int = 4_000
    diffusion: int = 5_500

    def scaled(self, factor: float) -> Share:
        """The same mixture, smaller or larger; labelled texts stay."""

        def part(number: int) -> int:
            return max(1, round(factor * number))

        return Share(
            part(self.templates),
            part(self.named_captions),
            part(self.captions),
            part(self.claims),
            part(self.diffusion),
        )


def load_people(data: Path, written: Path, *, share: Share, seed: int) -> list[Tagged]:
    """Every training text, shuffled.

    Args:
        data: The shared data: `pii/` and `text/unified.parquet`.
        written: `data/written/people`.
        share: How many of each source.
        seed: Of all that is drawn.

    Raises:
        InputError: A folder holds nothing to read.
    """
    rng = np.random.default_rng(seed)
    fillers = Fillers(data / "pii", written, rng)
    rows = [
        *_from_templates(written, fillers, share.templates),
        *_from_pool(data, fillers, share),
        *(row for row in labelled_prompts(data / "pii", split="train")),
        *labelled_sentences(data / "pii"),
    ]
    rows = [_recased(row, rng) for row in rows]
    return [rows[at] for at in rng.permutation(len(rows))]


# --- what fills a slot --------------------------------------------------------------------------------

LOCALES = ("en_US", "en_US", "en_GB", "en_GB", "en_IN", "en_IN", "en_IE", "en_NZ", "de_DE", "de_AT", "de_CH", "fr_FR", "fr_CA", "fr_CH", "es_ES", "es_MX", "es_CO", "es_AR", "it_IT", "nl_NL", "nl_BE", "pt_BR", "pt_PT", "pl_PL", "cs_CZ", "sk_SK", "sl_SI", "hr_HR", "hu_HU", "ro_RO", "sv_SE", "no_NO", "da_DK", "fi_FI", "et_EE", "lv_LV", "lt_LT", "tr_TR", "az_AZ", "id_ID", "fil_PH", "en_PK", "yo_NG", "ha_NG", "ig_NG", "sw", "tw_GH", "zu_ZA", "vi_VN", "uz_UZ", "en_TH")  # fmt: skip
_OTHER = ("ru_RU", "uk_UA", "bg_BG", "el_GR", "ar_AA", "he_IL", "fa_IR", "hi_IN", "zh_CN", "ja_JP", "ko_KR", "th_TH", "ta_IN", "ka_GE", "hy_AM")  # fmt: skip
_ADDRESSES = ("en_US", "en_US", "en_US", "en_GB", "en_GB", "en_CA", "en_AU", "en_IN", "en_IE", "en_NZ", "de_DE", "de_DE", "de_AT", "de_CH", "fr_FR", "fr_FR", "fr_CA", "fr_CH", "es_ES", "es_MX", "es_CO", "it_IT", "it_IT", "nl_NL", "nl_BE", "pt_BR", "pt_PT", "pl_PL", "cs_CZ", "sk_SK", "sl_SI", "hr_HR", "hu_HU", "ro_RO", "sv_SE", "no_NO", "da_DK", "fi_FI", "tr_TR", "id_ID", "en_PH", "ru_RU", "ja_JP")  # fmt: skip
_RARE_NOUNS = 0.6  # of the slots for a noun
_RARE_TEXTS = 0.3  # of the texts that name nobody
_FAMILY = "all.last"  # of the census: not a given name
_ABROAD = {"ar": "ar_AA", "fa": "fa_IR", "he": "he_IL", "ru": "ru_RU", "uk": "uk_UA", "el": "el_GR", "zh": "zh_CN", "ja": "ja_JP", "ko": "ko_KR", "hi": "hi_IN", "es": "es_ES", "fr": "fr_FR", "de": "de_DE", "it": "it_IT", "nl": "nl_NL", "pl": "pl_PL", "pt": "pt_BR"}  # fmt: skip
_NAMES_MADE = 30_000
_ADDRESSES_MADE = 9_000
_FOREIGN_SCRIPT = 0.06  # of the names


class Fillers:
    """What a slot is filled with; made once, drawn from at random."""

    def __init__(self, pii: Path, written: Path, rng: Rng) -> None:
        self.rng = rng
        self._pii = pii
        self._lists = {
            path.stem.rstrip("s"): path.read_text().split("\n")[:-1]
            for path in written.glob("*.txt")
        }
        self._fakes: dict[str, Faker] = {}
        Faker.seed(int(rng.integers(2**31)))
        self._first, self._last = self._names()
        self._addresses = self._make_addresses()

    def piece(self, slot: str) -> tuple[str, str]:
        """Text for a slot, and its kind; "" for one that is not marked.

        Raises:
            InputError: There is no such slot.
        """
        makers: dict[str, Callable[[], str]] = {
            "person": self.person,
            "first": self.first,
            "last": self.last,
            "address": self.address,
            "city": self.city,
        }
        kinds = {"person": PERSON, "first": PERSON, "last": PERSON, "address": ADDRESS, "city": PLACE}  # fmt: skip
        name, _, country = slot.partition(":")
        if country:
            return self._abroad(name, country), kinds[name]
        if slot in makers:
            return makers[slot](), kinds[slot]
        if slot == "noun" and self.rng.random() < _RARE_NOUNS:
            return self.rare(), ""
        if slot not in self._lists:
            raise InputError(f"{{{slot}}}: unknown slot. Known: {[*makers, *self._lists]}.")
        return self._one(self._lists[slot]), ""

    def _abroad(self, name: str, country: str) -> str:
        """A person or an address of one country."""
        fake = self._fakes.setdefault(country, Faker(_ABROAD[country]))
        if name == "address":
            return self._shortened(fake)
        return f"{fake.first_name()} {fake.last_name()}"

    def rare(self) -> str:
        """A word of the dictionary that is nobody's name, most likely one that nobody has read."""
        return self._one(self._words)

    @cached_property
    def _words(self) -> list[str]:
        names = {given.lower() for given, _ in self._first} | {last.lower() for last in self._last}
        words = sorted(get_english_words_set(["web2"]))  # a set: its order changes from run to run
        fits = (word for word in words if word.isalpha() and word.islower())
        return [word for word in fits if 3 < len(word) < 13 and word not in names]

    def first(self) -> str:
        """A given name."""
        return self._one(self._first)[0]

    def last(self) -> str:
        """A family name."""
        return self._one(self._last)

    def person(self) -> str:
        """A full name, in one of the ways people write theirs."""
        draw = self.rng.random()
        if draw < 0.12:
            return self._one(self._figures)
        given, family = self._one(self._first)
        if draw < 0.3:  # whatever belongs together is not all there is
            family = self.last()
        if draw < 0.42:
            initial = chr(65 + int(self.rng.integers(26)))
            return self._one(
                (
                    f"{given} {initial}. {family}",
                    f"{given[0]}. {family}",
                    f"{given[0]}. {initial}. {family}",
                    f"{given} {self.first()} {family}",
                    f"{given} {family}-{self.last()}",
                    f"{given}-{self.first()} {family}",
                    f"{given} {self._one(('van', 'von', 'de', 'del', 'bin', 'al', 'van der', 'de la', 'ibn', 'da'))} {family}",
                    f"{given} {family} {self._one(('Jr.', 'Sr.', 'III', 'PhD', 'MD'))}",
                )
            )
        if draw < 0.5:
            return given
        return f"{given} {family}".strip()

    def address(self) -> str:
        """A postal address, whole or the parts that people leave of it."""
        return self._one(self._addresses)

    def city(self) -> str:
        """A city of at least 50,000 people."""
        return self._one(self._cities)

    def _one(self, values: Sequence[Any]) -> Any:
        return values[int(self.rng.integers(len(values)))]

    def _names(self) -> tuple[list[tuple[str, str]], list[str]]:
        """(given, family) of one person each, and family names."""
        pairs = list[tuple[str, str]]()
        for locales, count in ((LOCALES, 1 - _FOREIGN_SCRIPT), (_OTHER, _FOREIGN_SCRIPT)):
            each = round(_NAMES_MADE * count / len(locales))
            for locale in locales:
                fake = Faker(locale)
                pairs += [(fake.first_name(), fake.last_name()) for _ in range(each)]
        census = list(_rows(self._pii / "names_places" / "us_census_names.csv.gz"))
        given = [row["name"].title() for row in census if row["kind"] != _FAMILY]
        family = [row["name"].title() for row in census if row["kind"] == _FAMILY]
        pairs += [(self._one(given), self._one(family)) for _ in range(_NAMES_MADE // 5)]
        return pairs, [last for _, last in pairs if last]

    @cached_property
    def _figures(self) -> list[str]:
        rows = list(_rows(self._pii / "public_figures" / "pantheon.csv.gz"))
        return [row["name"] for row in rows if " " in row["name"]]

    @cached_property
    def _cities(self) -> list[str]:
        return [row["name"] for row in _rows(self._pii / "names_places" / "cities.csv.gz")]

    def _make_addresses(self) -> list[str]:
        made = [
            row["text"]
            for row in _rows(self._pii / "usaddress_labeled" / "train.csv.gz")
            if any(map(str.isdigit, row["text"]))
        ] * 2
        made += [
            " ".join(text[start:end].split())
            for text, marks in _presidio(self._pii)
            for start, end, kind in marks
            if kind == ADDRESS
        ] * 2
        for locale in _ADDRESSES:
            fake = Faker(locale)
            for _ in range(_ADDRESSES_MADE // len(_ADDRESSES)):
                made.append(self._shortened(fake))
        return made

    def _shortened(self, fake: Faker) -> str:
        draw = self.rng.random()
        if draw < 0.35:
            return ", ".join(fake.address().split("\n"))
        if draw < 0.45:
            return " ".join(fake.address().split("\n"))
        street = str(fake.street_address()).replace("\n", " ")
        if draw < 0.7:
            return street
        if draw < 0.85:
            return f"{street}, {fake.city()}"
        return f"{street}, {fake.postcode()} {fake.city()}"


# --- sources ---------------------------------------------------------------------------------------------

_SLOT = re.compile(r"\{([\w:]+)\}")
_SOMEBODY = re.compile(
    r"\b(?:an?|the|one) (?:\w+ )?(?:man|woman|boy|girl|person|lady|guy|child|kid|gentleman)\b(?=\s(?:\w+ing|is|with|in|on|at|and|wearing|who|that)\b)",
    re.IGNORECASE,
)
_STYLE = re.compile(
    r"\b(?:by|style of|inspired by|art of|painting of|drawn by|painted by)\s+[^,.;|]+",
    re.IGNORECASE,
)
_CAPITALS = re.compile(r"\b[A-Z][\w'-]+(?:\s+[A-Z][\w'-]+)+")
_CLAIMS = ("toxigen_human", "offensivelang", "catqa", "advbench_behaviors")
_BARE_SHARE = 0.35  # of the captions with a place that get "in CITY"


def _from_templates(written: Path, fillers: Fillers, count: int) -> Iterator[Tagged]:
    path = written / "templates.txt"
    if not path.is_file():
        raise InputError(f"{path}: not there. Expected the templates with slots.")
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    for at in range(count):
        yield _filled(lines[at % len(lines)], fillers)


def _filled(template: str, fillers: Fillers) -> Tagged:
    pieces = [fillers.piece(part) if is_slot else (part, "") for part, is_slot in _parts(template)]
    return _joined(pieces)


def _parts(template: str) -> Iterator[tuple[str, bool]]:
    for at, part in enumerate(_SLOT.split(template)):
        yield part, at % 2 == 1


def _joined(pieces: Iterable[tuple[str, str]]) -> Tagged:
    text, marks = "", list[Marked]()
    for piece, kind in pieces:
        if kind and piece:
            marks.append((len(text), len(text) + len(piece), kind))
        text += piece
    return Tagged(text, tuple(marks))


def _from_pool(data: Path, fillers: Fillers, share: Share) -> Iterator[Tagged]:
    """Captions with and without names, and prompts of DiffusionDB."""
    table = pq.read_table(data / "text" / "unified.parquet", columns=["text", "source", "split"])
    texts: dict[str, list[str]] = {}
    for row in table.to_pylist():
        if row["split"] == "train":
            texts.setdefault(row["source"], []).append(row["text"])
    captions, prompts = _captions(data), texts["diffusiondb_benign"] + texts["benign_prompts"]
    claims = [one for source in _CLAIMS for one in texts[source]]
    with_people = [one for one in captions if _SOMEBODY.search(one)]
    for _ in range(share.named_captions):
        yield _named(with_people[int(fillers.rng.integers(len(with_people)))], fillers)
    for at in fillers.rng.permutation(len(captions))[: share.captions]:
        yield Tagged(_with_rare_words(captions[at], fillers), ())
    for at in fillers.rng.permutation(len(claims))[: share.claims]:
        yield Tagged(claims[at], tuple(_unsure(claims[at])))
    for at in fillers.rng.permutation(len(prompts))[: share.diffusion]:
        yield Tagged(prompts[at], tuple(_unsure(prompts[at])))


_COMMON = re.compile(r"(?<![\w'-])[a-z]{4,}(?![\w'-])")


def _with_rare_words(text: str, fillers: Fillers) -> str:
    """Now and then one or two words of a text replaced by rare ones."""
    if fillers.rng.random() > _RARE_TEXTS:
        return text
    for _ in range(int(fillers.rng.integers(1, 3))):
        words = list(_COMMON.finditer(text))
        if words:
            match = words[int(fillers.rng.integers(len(words)))]
            text = text[: match.start()] + fillers.rare() + text[match.end() :]
    return text


def _captions(data: Path) -> list[str]:
    """All COCO captions of the shared data but those that are the pool's validation rows."""
    table = pq.read_table(data / "text" / "unified.parquet", columns=["text", "source", "split"])
    valid = {row["text"] for row in table.to_pylist() if row["split"] == "valid"}
    every = pq.read_table(data / "text" / "coco_captions" / "train.parquet", columns=["text"])
    return [text for text in every["text"].to_pylist() if text not in valid]


def _named(caption: str, fillers: Fillers) -> Tagged:
    """The caption with its first somebody called by a name, and now and then set in a city."""
    before, after = _SOMEBODY.split(caption, maxsplit=1)
    pieces = [(before, ""), fillers.piece("person"), (after.rstrip(" ."), "")]
    if fillers.rng.random() < _BARE_SHARE / 3:
        pieces += [(" in ", ""), fillers.piece("city")]
    return _joined(pieces)


def _unsure(prompt: str) -> Iterator[Marked]:
    """Capitals in a row may name somebody, unless it is the artist."""
    styles = [match.span() for match in _STYLE.finditer(prompt)]
    for match in _CAPITALS.finditer(prompt):
        start, end = match.span()
        if not any(first <= start and end <= last for first, last in styles):
            yield start, end, ""


def given_names(pii: Path) -> dict[str, int]:
    """Given names of the US census in lower case, and how common each is: 1 is the most common."""
    ranks = dict[str, int]()
    for row in _rows(pii / "names_places" / "us_census_names.csv.gz"):
        if row["kind"] != _FAMILY:
            name = row["name"].lower()
            ranks[name] = min(ranks.get(name, 1 << 30), int(row["rank"]))
    return ranks


def labelled_prompts(pii: Path, *, split: str) -> Iterator[Tagged]:
    """Labelled image prompts; those of a fifth of the templates are the `valid` split."""
    known = {"PERSON": PERSON, "ADDRESS": ADDRESS}
    for row in _rows(pii / "t2i_person_prompts" / "train.csv.gz"):
        if is_held_back(row["template"]) is (split == "valid"):
            marks = [
                (one["start"], one["end"], known[one["type"]])
                for one in json.loads(row["entities"] or "[]")
                if one["type"] in known
            ]
            yield Tagged(row["prompt"], tuple(sorted(marks)))


def is_held_back(template: str) -> bool:
    """Whether training leaves the labelled prompts of a template out."""
    return sum(template.encode()) % 5 == 0


def labelled_sentences(pii: Path) -> Iterator[Tagged]:
    """Sentences of presidio-research and tweets with people and places."""
    for text, marks in _presidio(pii):
        yield Tagged(text, tuple(marks))
    yield from _tweets(pii / "broad_twitter_corpus" / "train.csv.gz", {"PER": PERSON, "LOC": PLACE})
    for name in ("train", "dev"):
        yield from _tweets(pii / "wnut17" / f"{name}.csv.gz", {"person": PERSON, "location": PLACE})


_PRESIDIO = {"PERSON": PERSON, "STREET_ADDRESS": ADDRESS, "ADDRESS": ADDRESS, "GPE": PLACE, "LOCATION": PLACE}  # fmt: skip


def _presidio(pii: Path) -> Iterator[tuple[str, list[Marked]]]:
    for name in ("synth_v2", "generated_large"):
        for row in _rows(pii / "presidio_research" / f"{name}.csv.gz"):
            found = [
                (one["start_position"], one["end_position"], _PRESIDIO[one["entity_type"]])
                for one in json.loads(row["spans"])
                if one["entity_type"] in _PRESIDIO
            ]
            yield row["full_text"], sorted(found)


def _tweets(file: Path, kinds: dict[str, str]) -> Iterator[Tagged]:
    for row in _rows(file):
        text, marks, before = "", list[Marked](), ""
        for token, tag in zip(json.loads(row["tokens"]), json.loads(row["tags"]), strict=True):
            start = len(text) + bool(text)
            text += (" " if text else "") + token
            kind = kinds.get(tag[2:])
            if token.startswith("@") or before == "@":
                kind = ""  # an account, and whose it is stands nowhere
            if kind is not None:
                goes_on = tag.startswith("I-") and marks and marks[-1][2] == kind
                first = marks.pop()[0] if goes_on else start
                marks.append((first, len(text), kind))
            before = token
        yield Tagged(text, tuple(marks))


def _recased(row: Tagged, rng: Rng) -> Tagged:
    """Half of the texts in lower case, a few in capitals; where that keeps every position."""
    draw = rng.random()
    change = str.lower if draw < 0.45 else str.upper if draw < 0.48 else str
    text = change(row.text)
    return Tagged(text, row.marks) if len(text) == len(row.text) else row


def _rows(file: Path) -> Iterator[dict[str, str]]:
    csv.field_size_limit(10**7)
    with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)
