"""Stage 2 of the SmolLM2 study: what is trained on, labelled by the scorer `text-safety`, and captured from the unmodified model.

    generated   prompts that are not evaluated, with continuations of the unmodified model
    pool        English rows of the pool's `train` split, toxic and clean, cut to 32 tokens

A text is toxic from .5 by the scorer's category `toxicity`, clean below .2; those between are left out.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.smib_prompts import Prompt
from guardkit.artifacts import RunnerOptions, find_artifact
from guardkit.runtime.base import open_runner
from guardkit.text.normalize import normalize
from guardkit.text.opening import scorer_of
from guardkit.train.smib_causal import Text

_log = logging.getLogger(__name__)
SCORER, CATEGORY = "text-safety", "toxicity"
TOXIC, CLEAN = 0.5, 0.2
_POOL = (
    "jigsaw_toxic_subset",
    "toxic_spans",
    "wiki_context_toxicity",
    "coco_captions",
    "convabuse",
)
_MOST_TOKENS = 40
_EACH = {"generated": 700, "pool": 350}
"""Texts of a class, at most."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text and what the scorer says of it."""

    prompt: str
    """Empty for a text of the pool."""
    rest: str
    score: float
    """Of the whole."""
    rest_score: float
    """Of the continuation."""
    blamed: tuple[tuple[int, int], ...]
    """Characters of the whole that the scorer blames."""
    source: str


class TextSafety:
    """The scorer that gives the labels."""

    def __init__(self) -> None:
        options = RunnerOptions(threads=1)
        artifact = find_artifact(SCORER)
        self.id = artifact.manifest.id
        self._scorer = scorer_of(artifact, open_runner(artifact, options), options)

    def score(
        self, texts: Sequence[str]
    ) -> tuple[NDArray[np.float64], list[tuple[tuple[int, int], ...]]]:
        """(toxicity f64 [texts], the spans that carry it in characters of each text)."""
        words = self._scorer.words()
        scored = self._scorer.score([normalize(text, words=words) for text in texts])
        values = [one.scores[CATEGORY] if text.strip() else 0.0 for one, text in zip(scored, texts, strict=True)]  # fmt: skip
        spans = [tuple((s.start, s.end) for s in one.spans if s.category == CATEGORY) for one in scored]  # fmt: skip
        return np.array(values, np.float64), spans


def label(
    prompts: Sequence[Prompt], made: Mapping[int, Sequence[str]], data: Path, path: Path
) -> list[Labelled]:
    """Score everything once; kept in a file."""
    if not path.is_file():
        scorer = TextSafety()
        rows = [(one.text, rest, "generated") for one in prompts for rest in made.get(one.number, ()) if rest.strip()]  # fmt: skip
        rows += [("", text, "pool") for text in _pool(data)]
        whole, spans = scorer.score([prompt + rest for prompt, rest, _ in rows])
        rests, _ = scorer.score([rest for _, rest, _ in rows])
        found = [
            Labelled(prompt, rest, float(a), float(b), blamed, source)
            for (prompt, rest, source), a, b, blamed in zip(rows, whole, rests, spans, strict=True)
        ]
        path.write_text("".join(json.dumps([one.prompt, one.rest, one.score, one.rest_score, one.blamed, one.source]) + "\n" for one in found))  # fmt: skip
    return [Labelled(*json.loads(line)) for line in path.read_text("utf-8").splitlines()]


def texts_of(labelled: Sequence[Labelled], tokenizer: Any) -> list[Text]:
    """Texts to train on, as many toxic as clean ones of each kind, in the order of a hash."""
    ordered = sorted(labelled, key=lambda one: hashlib.sha256((one.prompt + one.rest).encode()).hexdigest())  # fmt: skip
    groups: dict[tuple[str, str], list[Text]] = {}
    for one in ordered:
        kind = _kind(one)
        group = groups.setdefault((one.source, kind), [])
        most = _EACH[one.source] // (2 if one.source == "generated" and kind != "clean" else 1)
        if kind and len(group) < most:
            text = _text(one, kind, tokenizer)
            if len(text.ids) > 1:
                group.append(text)
    _log.info("material: %s", {name: len(group) for name, group in groups.items()})
    return [text for name in sorted(groups) for text in groups[name]]


def _kind(one: Labelled) -> str:
    """`clean`, `provoked` (a clean continuation of a toxic prompt), `toxic` (a toxic continuation) or none."""
    if one.score < CLEAN:
        return "clean"
    if one.score < TOXIC:
        return ""
    if not one.prompt or one.rest_score >= TOXIC:
        return "toxic"
    return "provoked" if one.rest_score < CLEAN else ""


def _text(one: Labelled, kind: str, tokenizer: Any) -> Text:
    encoded = tokenizer(one.prompt + one.rest, return_offsets_mapping=True)
    ids, offsets = (encoded[name][:_MOST_TOKENS] for name in ("input_ids", "offset_mapping"))
    border = len(one.prompt)
    start = sum(end <= border for _, end in offsets)
    blamed = [
        at
        for at, (first, last) in enumerate(offsets)
        if last > border and any(a < last and first < b for a, b in one.blamed)
    ]
    return Text(
        ids=tuple(ids),
        start=start,
        toxic=kind != "clean",
        keep=kind == "clean",
        learn=kind in ("clean", "provoked"),
        blamed=tuple(blamed) if kind == "toxic" else (),
    )


def _pool(data: Path) -> list[str]:
    """English rows of the train split, short ones, in the order of a hash; at most 800 a side."""
    table = pq.read_table(data / "text" / "unified.parquet").to_pylist()
    sides: dict[bool, list[str]] = {True: [], False: []}
    for row in sorted(table, key=lambda one: hashlib.sha256(one["text"].encode()).hexdigest()):
        value = row["toxicity"]
        if row["lang"] != "en" or row["split"] != "train" or row["source"] not in _POOL:
            continue
        side = sides[bool(value is not None and value >= TOXIC)]
        if 20 < len(row["text"]) < 200 and len(side) < 800:
            side.append(row["text"])
    return sides[True] + sides[False]
