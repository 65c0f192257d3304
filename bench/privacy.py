"""What `identifiers` and `public-figures` find: `python -m bench.privacy --data ../shared/data`.

Labelled sentences of presidio-research and generated image prompts (`pii/` of the shared data). Nothing is trained on them, but
the patterns were written with these texts at hand: take the numbers as optimistic. A piece counts as found when a finding of its
kind overlaps it, and a finding as right when it overlaps any labelled piece. Names and other things without a form
are not looked for, and not counted. The names of public figures in the prompts come from the very lists that the
scorer was made of: its recall says what the omission of common names costs, no more.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.tables import rendered
from guardkit.bench.machine import describe_machine
from guardkit.bench.workload import PROMPTS, load_workload
from guardkit.metrics.shares import wilson_interval
from guardkit.text.identifiers import Found, find
from guardkit.text.normalize import normalize
from guardkit.text.public_figures import PublicFigures

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


def _costs() -> list[dict[str, Any]]:
    texts = load_workload(PROMPTS).buckets["32"] * 5
    scorer = PublicFigures()
    prompts = [normalize(text) for text in texts]
    patterns = [_cpu_ms(lambda text=text: find(text)) for text in texts]  # type: ignore[misc]
    names = [_cpu_ms(lambda prompt=prompt: scorer.score([prompt])) for prompt in prompts]  # type: ignore[misc]
    return [
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
