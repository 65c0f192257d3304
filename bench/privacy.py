"""What `identifiers`, `public-figures` and `pii-tagger` find: `python -m bench.privacy --data ../shared/data`.

Labelled sentences of presidio-research and generated image prompts (`pii/` of the shared data). Nothing is trained on them, but
the patterns were written with these texts at hand: take the numbers as optimistic. A piece counts as found when a finding of its
kind overlaps it, and a finding as right when it overlaps any labelled piece. The names of public figures in the prompts come from the very lists that the
scorer was made of: its recall says what the omission of common names costs, no more.

Names are counted strictly: a span is right when it begins and ends where the label does. They are measured on the image
prompts of templates that `pii-tagger` was not trained on, and on three sets written by other hands than its training texts
(`bench/proxies/names_*.txt`): the first was looked at once, and guided a second training; the harmless texts of the second were looked at before a
third; the third set was not. Public figures are none of its business, and should stay.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.tables import rendered
from guardkit.artifacts import RunnerOptions, find_artifact
from guardkit.bench.machine import describe_machine
from guardkit.bench.workload import PROMPTS, load_workload
from guardkit.metrics.shares import wilson_interval
from guardkit.runtime.base import open_runner
from guardkit.text.anonymize import Mode, anonymize
from guardkit.text.identifiers import Found, apart, find
from guardkit.text.normalize import normalize
from guardkit.text.public_figures import PublicFigures
from guardkit.text.tagger import Tagger
from guardkit.train.people import is_held_back
from guardkit.vault import Vault

KINDS = {
    "CREDIT_CARD": "CARD",
    "DOMAIN_NAME": "URL",
    "EMAIL": "EMAIL",
    "EMAIL_ADDRESS": "EMAIL",
    "IBAN_CODE": "IBAN",
    "IP_ADDRESS": "IP",
    "PHONE": "PHONE",
    "PHONE_NUMBER": "PHONE",
    "US_SSN": "NATIONAL_ID",
    "DATE": "BIRTH_DATE",
    "ADDRESS": "ADDRESS",
    "STREET_ADDRESS": "ADDRESS",
}
"""The data's word -> ours; DATE is a date of birth in the prompts alone."""
Piece = tuple[str, int, int]


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, type=Path, help="folder with pii/")
    parser.add_argument("--out", type=Path, default=Path("bench/results/privacy.json"))
    arguments = parser.parse_args()
    found = measure(arguments.data / "pii")
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(rendered(found))
    return 0


def measure(folder: Path) -> dict[str, Any]:
    """Every table."""
    prompts = list(_rows(folder / "t2i_person_prompts" / "train.csv.gz"))
    sentences = [
        (row["full_text"], [(one["entity_type"], one["start_position"], one["end_position"]) for one in json.loads(row["spans"])])
        for name in ("synth_v2", "generated_large")
        for row in _rows(folder / "presidio_research" / f"{name}.csv.gz")
    ]  # fmt: skip
    labelled = [
        (row["prompt"], [(one["type"], one["start"], one["end"]) for one in json.loads(row["entities"] or "[]")])
        for row in prompts
    ]  # fmt: skip
    return {
        "models": [describe_machine(load_before=0).name],
        "presidio-research sentences, by kind": _by_kind(sentences),
        "image prompts, by kind": _by_kind(labelled),
        "public figures in image prompts": _figures(prompts),
        **tagged(prompts),
        "cost at up to 32 tokens, CPU ms, median": _costs(),
    }


def _by_kind(texts: list[tuple[str, list[Piece]]]) -> list[dict[str, Any]]:
    hits, total, right, findings = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for text, pieces in texts:
        ours = find(text)
        for label, start, end in pieces:
            if (kind := KINDS.get(label)) is not None:
                total[kind] += 1
                hits[kind] += any(one.kind == kind and _overlaps(one, start, end) for one in ours)
        for one in ours:
            findings[one.kind] += 1
            right[one.kind] += any(_overlaps(one, start, end) for _, start, end in pieces)
    return [
        {
            "what": kind,
            "recall": _share(hits[kind], total[kind]),
            "precision": _share(right[kind], findings[kind]),
        }
        for kind in sorted(total | findings)
    ]


def _overlaps(one: Found, start: int, end: int) -> bool:
    return one.start < end and start < one.end


def _figures(prompts: list[dict[str, str]]) -> list[dict[str, Any]]:
    scorer = PublicFigures()
    flagged, total = Counter[str](), Counter[str]()
    for row in prompts:
        (scored,) = scorer.score([normalize(row["prompt"])])
        total[row["label"]] += 1
        flagged[row["label"]] += bool(scored.spans)
    return [
        {"what": label, "prompts with a name of the list": _share(flagged[label], total[label])}
        for label in ("public_figure", "private_person", "pii", "no_person")
    ]


# --- names ---------------------------------------------------------------------------------------------

_PROXIES = Path(__file__).parent / "proxies"
_SETS = ("first", "second", "third")
Labelled = tuple[str, set[tuple[int, int]]]
"""A text, and where the names of private people stand in it."""


@dataclass(frozen=True, slots=True)
class Written:
    """One set of texts written apart: `bench/proxies/names_*.txt`."""

    named: list[Labelled]
    addresses: list[tuple[str, tuple[int, int]]]
    plain: list[str]
    """Nobody is named; half of them hold words that are names elsewhere."""


def tagged(prompts: list[dict[str, str]]) -> dict[str, Any]:
    """What the tagger finds, and what anonymizing with it changes."""
    artifact = find_artifact("pii-tagger")
    tagger = Tagger(artifact, open_runner(artifact, RunnerOptions()))
    held = [row for row in prompts if is_held_back(row["template"])]
    private = [_labelled(row) for row in held if row["label"] in ("private_person", "pii")]
    written = {name: _read(name) for name in _SETS}
    named = {"image prompts of held-back templates": private}
    named |= {f"{name} set written apart": own.named for name, own in written.items()}
    unnamed = {
        f"held-back templates, {label}": [row["prompt"] for row in held if row["label"] == label]
        for label in ("no_person", "public_figure")
    }
    unnamed |= {f"{name} set written apart": own.plain for name, own in written.items()}
    for name in ("image_harmless", "image_harmless_second"):
        lines = (_PROXIES / f"{name}.txt").read_text().splitlines()
        unnamed[f"harmless image prompts, {name}"] = lines
    every = [text for texts in named.values() for text, _ in texts]
    every += [text for own in written.values() for text, _ in own.addresses]
    return {
        "names of private people, strict spans": [
            {"what": f"{what}{case}", **_strict(tagger, cased)}
            for what, texts in named.items()
            for case, cased in (("", texts), (", lower case", _lower(texts)))
        ],
        "addresses written apart": [
            {"what": f"{name} set", **_addresses(tagger, own.addresses)}
            for name, own in written.items()
        ],
        "prompts without a private person that anonymizing changes": [
            {"what": what, "changed": _share(sum(bool(_all(tagger, one)) for one in texts), len(texts))}
            for what, texts in unnamed.items()
        ],
        "restored exactly": _restored(tagger, every),
    }  # fmt: skip


def _read(name: str) -> Written:
    text = (_PROXIES / f"names_{name}.txt").read_text()
    lines = [(line.removesuffix(" |") + " | ").split(" | ")[:3] for line in text.splitlines()]
    return Written(
        named=[(text, _ranges(text, names)) for _, text, names in _of(lines, "person")],
        addresses=[(text, _range(text, one)) for _, text, one in _of(lines, "address")],
        plain=[text for _, text, _ in _of(lines, "none")],
    )


def _of(lines: list[list[str]], kind: str) -> list[list[str]]:
    return [line for line in lines if line[0] == kind]


def _range(text: str, part: str) -> tuple[int, int]:
    return text.index(part), text.index(part) + len(part)


def _ranges(text: str, names: str) -> set[tuple[int, int]]:
    """Where each of the names stands that semicolons divide; a longer one before a part of it."""
    taken = set[tuple[int, int]]()
    for name in sorted(names.split(";"), key=len, reverse=True):
        places = (match.span() for match in re.finditer(re.escape(name.strip()), text))
        taken.add(next(p for p in places if not any(p[0] < b and a < p[1] for a, b in taken)))
    return taken


def _labelled(row: dict[str, str]) -> Labelled:
    pieces = json.loads(row["entities"] or "[]")
    return row["prompt"], {(one["start"], one["end"]) for one in pieces if one["type"] == "PERSON"}


def _lower(texts: list[Labelled]) -> list[Labelled]:
    return [(text.lower(), names) for text, names in texts if len(text.lower()) == len(text)]


def _all(tagger: Tagger, text: str) -> list[Found]:
    return apart([*find(text), *tagger.find(text)])


def _strict(tagger: Tagger, texts: list[Labelled]) -> dict[str, str]:
    right = found = labelled = 0
    for text, names in texts:
        ours = {(one.start, one.end) for one in tagger.find(text) if one.kind == "PERSON"}
        right, found, labelled = right + len(ours & names), found + len(ours), labelled + len(names)
    precision, recall = right / max(1, found), right / max(1, labelled)
    both = 2 * precision * recall / max(1e-9, precision + recall)
    return {
        "precision": _share(right, found),
        "recall": _share(right, labelled),
        "F1": f"{both:.3f}",
        "texts": str(len(texts)),
    }


def _addresses(tagger: Tagger, texts: list[tuple[str, tuple[int, int]]]) -> dict[str, str]:
    """How much of each address goes: all of it, or a part."""
    whole = part = 0
    for text, (start, end) in texts:
        ours = [one for one in _all(tagger, text) if one.kind == "ADDRESS"]
        whole += any(one.start <= start and end <= one.end for one in ours)
        part += any(_overlaps(one, start, end) for one in ours)
    return {"whole": _share(whole, len(texts)), "at least a part": _share(part, len(texts))}  # fmt: skip


def _restored(tagger: Tagger, texts: list[str]) -> list[dict[str, str]]:
    rows = []
    for mode in (Mode.PLACEHOLDER, Mode.SURROGATE):
        exact = 0
        for text in texts:
            edited, _, originals = anonymize(text, _all(tagger, text), mode)
            exact += Vault(originals).restore(edited) == text
        rows.append({"what": mode.value, "exact": _share(exact, len(texts))})
    return rows


def _costs() -> list[dict[str, Any]]:
    texts = load_workload(PROMPTS).buckets["32"] * 5
    scorer = PublicFigures()
    prompts = [normalize(text) for text in texts]
    patterns = [_cpu_ms(lambda text=text: find(text)) for text in texts]  # type: ignore[misc]
    names = [_cpu_ms(lambda prompt=prompt: scorer.score([prompt])) for prompt in prompts]  # type: ignore[misc]
    artifact = find_artifact("pii-tagger")
    tagger = Tagger(artifact, open_runner(artifact, RunnerOptions()))
    tags = [_cpu_ms(lambda prompt=prompt: tagger.score([prompt])) for prompt in prompts]  # type: ignore[misc]
    return [
        {"what": "pii-tagger", "ms": f"{statistics.median(tags):.3f}"},
        {"what": "identifiers", "ms": f"{statistics.median(patterns):.3f}"},
        {"what": "public-figures", "ms": f"{statistics.median(names):.3f}"},
    ]


def _cpu_ms(call: Any) -> float:
    started = time.process_time_ns()
    call()
    return (time.process_time_ns() - started) / 1e6


def _share(hits: int, count: int) -> str:
    if not count:
        return "-"
    low, high = wilson_interval(hits, count)
    return f"{hits / count:.3f} [{low:.3f}, {high:.3f}] of {count}"


def _rows(file: Path) -> Iterator[dict[str, str]]:
    with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)


if __name__ == "__main__":
    sys.exit(main())
