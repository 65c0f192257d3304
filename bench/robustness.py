"""How much of what a policy catches survives disguises and typing mistakes.

    python bench/robustness.py --out bench/results/robustness.json
    python bench/robustness.py --texts FILE --policy kids --out FILE

Three counts, each with its 95 % interval (Wilson):

- words of policies/lists/mild-insults.txt found in disguise, by `normalize` and the word list alone (no model).
  `known` says which words `normalize` undoes disguises towards: the list's, or also the model's vocabulary, as in a
  `Guard` with a model. GAPS are disguises that are not promised;
- ordinary words that contain a listed one ("class") and are flagged all the same: no disguise, so each is wrong;
- with --texts, one text a line: of those that the policy flags, how many it no longer flags once one random character
  is swapped, dropped, inserted, replaced or doubled.
"""

from __future__ import annotations

import argparse
import string
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from disguises import (
    CARRIERS,
    DISGUISES,
    GAPS,
    SEED,
    SHORT_WORDS,
    Case,
    Disguise,
    cases,
    innocent_words,
    listed_words,
)

from guardkit import Action, Guard
from guardkit.bench.report import table
from guardkit.metrics.shares import wilson_interval
from guardkit.policy.rules import WordList
from guardkit.text.blocklist import Blocklist, list_words
from guardkit.text.encode import Encoder
from guardkit.text.normalize import normalize

TOKENIZER = (
    Path(__file__).parent.parent / "exported_models" / "text-safety" / "1" / "tokenizer.json"
)
TOPIC = "mild-insults"

Rng = np.random.Generator


class Share(msgspec.Struct, frozen=True):
    """A count out of a count, with the interval that holds the true share 19 times in 20."""

    count: int
    total: int
    share: float | None
    """None when there was nothing to count."""
    low: float
    high: float


class Caught(msgspec.Struct, frozen=True):
    """One disguise."""

    disguise: str
    promised: bool
    known: str
    """What `normalize` knew: `list`, or `list+vocabulary`."""
    caught: Share
    exact: Share
    """Of the caught: how often a span covers the disguised word and nothing else."""


class Lost(msgspec.Struct, frozen=True):
    """Flagged texts that one changed character set free."""

    change: str
    lost: Share


class Report(msgspec.Struct, frozen=True):
    """What the command writes."""

    seed: int
    words: int
    caught: tuple[Caught, ...]
    innocent_flagged: dict[str, Share]
    """By what `normalize` knew, as in `Caught`; each word plain, capitalised and in capitals."""
    policy: str | None = None
    unflagged_before: int | None = None
    """Texts of the file that the policy did not flag as they are; not counted in `lost`."""
    lost: tuple[Lost, ...] = ()


# --- counting ------------------------------------------------------------------------------------------


def wilson(count: int, total: int) -> Share:
    """A share with its Wilson interval."""
    return Share(count, total, count / total if total else None, *wilson_interval(count, total))


class Finder:
    """The word list behind `normalize`, without a model."""

    def __init__(self, words: Sequence[str], *, vocabulary: Container[str] = frozenset()) -> None:
        lists = {TOPIC: WordList(block=tuple(words))}
        self._list = Blocklist(lists)
        self._words, self._vocabulary = list_words(lists), vocabulary

    def __contains__(self, word: object) -> bool:
        return word in self._words or word in self._vocabulary

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where listed words stand in the text as it was given."""
        (scored,) = self._list.score([normalize(text, words=self)])
        return [(span.start, span.end) for span in scored.spans]


def count_caught(found: Sequence[Case], finder: Finder, *, known: str, promised: bool) -> Caught:
    """Look for the disguised word of each case; all are of one disguise."""
    hits = [(one, spans) for one in found if (spans := finder.spans(one.text))]
    exact = sum((one.start, one.end) in spans for one, spans in hits)
    caught = wilson(len(hits), len(found))
    return Caught(found[0].disguise, promised, known, caught, wilson(exact, len(hits)))


def count_innocent(words: Sequence[str], finder: Finder) -> Share:
    """Words flagged although they are no listed word."""
    texts = [
        CARRIERS[at % len(CARRIERS)].format(written)
        for at, word in enumerate(words)
        for written in (word, word.capitalize(), word.upper())
    ]
    return wilson(sum(bool(finder.spans(text)) for text in texts), len(texts))


# --- one changed character -----------------------------------------------------------------------------


def _swap(text: str, at: int, rng: Rng) -> str:  # noqa: ARG001  one signature for all
    return text[:at] + text[at + 1 : at + 2] + text[at] + text[at + 2 :]


def _drop(text: str, at: int, rng: Rng) -> str:  # noqa: ARG001
    return text[:at] + text[at + 1 :]


def _insert(text: str, at: int, rng: Rng) -> str:
    return text[:at] + _letter(rng) + text[at:]


def _replace(text: str, at: int, rng: Rng) -> str:
    return text[:at] + _letter(rng) + text[at + 1 :]


def _double(text: str, at: int, rng: Rng) -> str:  # noqa: ARG001
    return text[: at + 1] + text[at:]


def _letter(rng: Rng) -> str:
    return string.ascii_lowercase[int(rng.integers(26))]


CHANGES: dict[str, Callable[[str, int, Rng], str]] = {
    "swap": _swap,
    "drop": _drop,
    "insert": _insert,
    "replace": _replace,
    "double": _double,
}


def count_lost(texts: Sequence[str], is_flagged: Callable[[str], bool], *, seed: int) -> list[Lost]:
    """Change one character of each flagged text, in every way; what is then flagged no longer is lost."""
    rng = np.random.default_rng(seed)
    lost = [
        Lost(
            name,
            wilson(sum(not is_flagged(_change(change, one, rng)) for one in texts), len(texts)),
        )
        for name, change in CHANGES.items()
    ]
    every = wilson(sum(one.lost.count for one in lost), sum(one.lost.total for one in lost))
    return [*lost, Lost("all", every)]


def _change(change: Callable[[str, int, Rng], str], text: str, rng: Rng) -> str:
    letters = [at for at, character in enumerate(text) if character.isalpha()]
    return change(text, letters[int(rng.integers(len(letters)))], rng) if letters else text


# --- the command ---------------------------------------------------------------------------------------


def measure(seed: int) -> Report:
    """Everything that needs no model run."""
    words = listed_words()
    tokenizer = Encoder(TOKENIZER.read_bytes(), max_tokens=128, overlap=16)
    known: Mapping[str, Container[str]] = {
        "list": frozenset(),
        "list+vocabulary": tokenizer.words(),
    }
    caught: list[Caught] = []
    innocent: dict[str, Share] = {}
    for name, vocabulary in known.items():
        finder = Finder(words, vocabulary=vocabulary)
        for promised, disguises in ((True, DISGUISES), (False, GAPS)):
            for disguise, function in disguises.items():
                one: dict[str, Disguise] = {disguise: function}
                found = cases(words, one, seed=seed)
                caught.append(count_caught(found, finder, known=name, promised=promised))
        both = Finder((*words, *SHORT_WORDS), vocabulary=vocabulary)
        innocent[name] = count_innocent(innocent_words(), both)
    return Report(seed, len(words), tuple(caught), innocent)


def add_texts(report: Report, texts: Sequence[str], policy: str) -> Report:
    """The report with what one changed character costs at the policy's thresholds."""
    guard = Guard.from_file(policy) if policy.endswith(".yaml") else Guard.from_preset(policy)

    def is_flagged(text: str) -> bool:
        return guard.check_prompt(text).action is not Action.ALLOW

    flagged = [text for text in texts if is_flagged(text)]
    lost = tuple(count_lost(flagged, is_flagged, seed=report.seed))
    missed = len(texts) - len(flagged)
    return msgspec.structs.replace(report, policy=policy, unflagged_before=missed, lost=lost)


def print_report(report: Report) -> None:
    """Tables for people."""
    rows = [
        (one.disguise, one.known, "yes" if one.promised else "no", *_cells(one.caught), _percent(one.exact.share))
        for one in report.caught
    ]  # fmt: skip
    print_table(("disguise", "known words", "promised", "caught", "95 %", "exact span"), rows)
    for known, share in report.innocent_flagged.items():
        print(
            f"innocent words flagged, {known}: {share.count} of {share.total} (95 %: at most {share.high:.2%})"
        )
    if report.lost:
        print(
            f"policy {report.policy}: {report.unflagged_before} texts were not flagged to begin with"
        )
        print_table(
            ("change", "lost", "95 %"), [(one.change, *_cells(one.lost)) for one in report.lost]
        )


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """One line a row."""
    print("\n".join(table(header, rows)))


def _cells(share: Share) -> tuple[str, str]:
    return _percent(share.share), f"{share.low:.1%} to {share.high:.1%}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description="Disguised words, innocent words, changed characters."
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--texts", type=Path, help="flagged texts, one a line")
    parser.add_argument("--policy", default="chat", help="a preset or a .yaml file, for --texts")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args(arguments)
    report = measure(options.seed)
    if options.texts is not None:
        lines = [line for line in options.texts.read_text("utf-8").splitlines() if line.strip()]
        report = add_texts(report, lines, options.policy)
    print_report(report)
    if options.out is not None:
        options.out.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


if __name__ == "__main__":
    main()
