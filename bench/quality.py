"""Measure the shipped text models on held-out proxies: `make bench-quality`.

    python -m bench.quality --data ../shared/data --out bench/results/quality.json

Nothing here is trained, calibrated or tuned on: `bench/proxies` was written by other hands than `data/written`,
`deepset_prompt_injections` is a source of attacks that training never reads, and the captions and comments are
validation rows. Public benchmarks are not in this repository; each table says which one it stands in for.
Intervals are 95 %: bootstrap over rows for areas, Wilson for shares.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml
from msgspec.structs import replace
from numpy.typing import NDArray

from bench.tables import rendered
from guardkit import Action, Guard
from guardkit.export.card import Measured, bootstrap, lowest_threshold, wilson
from guardkit.metrics.ranking import auprc, recall_at_fpr, roc_auc
from guardkit.policy.load import load_preset
from guardkit.policy.rules import Policy
from guardkit.train.data import CATEGORIES, ENGLISH, load_pool
from guardkit.train.vary import SLOTS, fill
from guardkit.train.written import parse_categories, read_lines, split_of
from guardkit.types import Context

_PROXIES = Path(__file__).parent / "proxies"
_POLICIES = ("text-to-image", "chat")
_SEED = 20261124
_GROUPS_A_TEMPLATE = 7
_CAPTIONS = 1000
_FEW = 10  # positives below which a category gets no row

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts with labels; NaN where arguable."""

    texts: list[str]
    labels: Floats
    """f64 [texts, categories], 0 or 1 or NaN."""

    @property
    def any(self) -> Bools:
        """Bool [texts]: some category holds."""
        return (self.labels == 1).any(axis=1)

    @property
    def clear(self) -> Bools:
        """Bool [texts]: harmful, or harmless beyond argument."""
        return self.any | ~np.isnan(self.labels).any(axis=1)


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="shared data, for attacks, captions and comments")
    parser.add_argument("--out", type=Path, default=Path("bench/results/quality.json"))
    arguments = parser.parse_args()
    guards = {name: Guard(harms_alone(load_preset(name))) for name in _POLICIES}
    found = measure(guards, arguments.data)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(rendered(found))
    return 0


def harms_alone(policy: Policy) -> Policy:
    """The policy without its rules on who is named, and without its editors: what is measured here is what harm is found."""
    assert policy.prompt is not None  # noqa: S101  a preset
    rules = tuple(
        replace(rule, action=Action.BLOCK, using=None)
        for rule in policy.prompt.rules
        if rule.when.category in CATEGORIES
    )
    topics = ("blocklist",) if any(rule.when.topic for rule in rules) else ()
    prompt = replace(policy.prompt, scorers=(*topics, "text-safety"), editors=(), rules=rules)
    return replace(policy, prompt=prompt)


def measure(guards: dict[str, Guard], data: Path | None) -> dict[str, Any]:
    """Every table, as JSON."""
    guard = guards["chat"]
    models = [f"{info.name}@{info.version} {info.precision}" for info in guard.info()]
    tables: dict[str, Any] = {
        "models": models,
        "moderation": _moderation(guard),
        "hate functions": _hate(guard),
        "twins": _twins(guards),
        "risky image prompts": _risky(guards),
    }
    if data is not None:
        tables["attacks"] = _attacks(guard, data)
        tables["harmless"] = _harmless(guards, data)
        tables["comments"] = _comments(guard, data)
    return tables


# --- the tables -----------------------------------------------------------------------------------


def _moderation(guard: Guard) -> list[dict[str, Any]]:
    """Long inputs of many kinds; stands in for the OpenAI moderation set."""
    rows: list[dict[str, Any]] = []
    for name in ("stories", "chat_turns"):
        texts = read_texts(_PROXIES / f"{name}.txt")
        scores = _scores(guard, texts.texts)
        kept = texts.clear
        rows.append(ranked(f"{name}: any", texts.any[kept], scores[kept].max(axis=1)))
        for column, category in enumerate(CATEGORIES):
            known = ~np.isnan(texts.labels[:, column])
            truth = texts.labels[known, column] == 1
            if truth.sum() >= _FEW:
                rows.append(ranked(f"{name}: {category}", truth, scores[known, column]))
    return rows


def _hate(guard: Guard) -> list[dict[str, Any]]:
    """Functional templates; stands in for HateCheck."""
    bar = lowest_threshold(guard.policy, "hate")
    rng = np.random.default_rng(_SEED)
    functions = yaml.safe_load((_PROXIES / "hate_functions.yaml").read_text(encoding="utf8"))
    rows, all_right = [], {True: [], False: []}
    for function in functions:
        texts = [text for template in function["templates"] for text in _filled(template, rng)]
        fired = _scores(guard, texts)[:, CATEGORIES.index("hate")] >= bar
        right = fired if function["hateful"] else ~fired
        all_right[function["hateful"]] += right.tolist()
        kind = "hateful" if function["hateful"] else "not hateful"
        rows.append({"what": f"{function['function']} ({kind})", "right": share(right)})
    totals = {"hateful": all_right[True], "not hateful": all_right[False]}
    totals["all"] = all_right[True] + all_right[False]
    always = len(all_right[True]) / len(totals["all"])
    for what, right in totals.items():
        rows.append({"what": what, "right": share(right), "hate at least": bar})
    return [*rows, {"what": "always hateful", "right": f"{always:.3f}"}]


def _twins(guards: dict[str, Guard]) -> list[dict[str, Any]]:
    """Harmful prompts and harmless ones that look alike; stands in for XSTest."""
    texts = read_texts(_PROXIES / "twins.txt")
    harmful = texts.any
    rows = []
    for name, guard in guards.items():
        flagged = np.array([guard.check_prompt(text).flagged for text in texts.texts])
        rows.append(
            {
                "what": name,
                "harmful flagged": share(flagged[harmful]),
                "harmless flagged": share(flagged[~harmful]),
            }
        )
    return rows


def _attacks(guard: Guard, data: Path) -> list[dict[str, Any]]:
    """A source of attacks that training never saw, against its own harmless prompts and ours."""
    path = data / "multilingual" / "deepset_prompt_injections" / "dev.csv.gz"
    with gzip.open(path, "rt", encoding="utf8", newline="") as file:
        held_back = [(row["text"], row["label"] == "1") for row in csv.DictReader(file)]
    prompts = [row["text"] for row in _csv(data, "jailbreak_prompts")]
    unseen = [text for text in prompts if split_of(text) == "valid"]
    benign = _valid_texts(data, ("benign_prompts", "diffusiondb_benign"))
    column = CATEGORIES.index("jailbreak")
    rows = []
    for what, positive, negative in (
        (
            "deepset (held back whole)",
            [t for t, y in held_back if y],
            [t for t, y in held_back if not y],
        ),
        ("deepset against harmless prompts", [t for t, y in held_back if y], benign),
        ("in-the-wild prompts (validation tenth) against harmless prompts", unseen, benign),
    ):
        truth = np.array([True] * len(positive) + [False] * len(negative))
        scores = _scores(guard, [*positive, *negative])[:, column]
        rows.append(
            {**ranked(what, truth, scores), "recall at 1 % FPR": _at_one_percent(truth, scores)}
        )
    return rows


def _risky(guards: dict[str, Guard]) -> list[dict[str, Any]]:
    """Image prompts of two hands that somebody should look at, and harmless ones of the same two."""
    rows = []
    for name in ("", "_second"):
        lines = (_PROXIES / f"image_risks{name}.txt").read_text().splitlines()
        risky = [line.split(" | ", 1)[1] for line in lines]
        harmless = (_PROXIES / f"image_harmless{name}.txt").read_text().splitlines()
        for what, texts in ((f"image_risks{name}", risky), (f"image_harmless{name}", harmless)):
            found = {f"flagged by {policy}": share([guard.check_prompt(text).flagged for text in texts]) for policy, guard in guards.items()}  # fmt: skip
            rows.append({"what": what, **found})
    return rows


def _harmless(guards: dict[str, Guard], data: Path) -> list[dict[str, Any]]:
    """Captions and prompts nobody objects to."""
    sources = {
        "coco captions outside the pool": _captions(data),
        "coco captions, validation rows": _valid_texts(data, ("coco_captions",)),
        "diffusiondb prompts, validation rows": _valid_texts(data, ("diffusiondb_benign",)),
        "benign prompts, validation rows": _valid_texts(data, ("benign_prompts",)),
    }
    sources["all image prompts"] = [text for name in list(sources)[:3] for text in sources[name]]
    rows = []
    for what, texts in sources.items():
        row: dict[str, Any] = {"what": what}
        for name, guard in guards.items():
            row[f"flagged by {name}"] = share([guard.check_prompt(t).flagged for t in texts])
        rows.append(row)
    return rows


def _comments(guard: Guard, data: Path) -> list[dict[str, Any]]:
    """Validation rows of the Jigsaw slice."""
    pool = load_pool(data / "text", split="valid")
    column = CATEGORIES.index("toxicity")
    kept = np.flatnonzero(pool.sources == "jigsaw_toxic_subset")
    kept = kept[pool.weights[kept, column] >= 1]
    truth = pool.labels[kept, column] >= 0.5
    scores = _scores(guard, [pool.texts[row] for row in kept])[:, column]
    return [ranked("jigsaw, validation rows: toxicity", truth, scores)]


# --- reading and scoring ----------------------------------------------------------------------------


def read_texts(path: Path) -> Texts:
    """The texts of a file in the form of `data/written`."""
    rng = np.random.default_rng(_SEED)
    texts, labels = [], []
    for number, categories, _, text in read_lines(path):
        values, weights = parse_categories(categories, where=f"{path}:{number}")
        texts.append(fill(text, rng))
        labels.append(np.where(weights > 0, values, np.nan))
    return Texts(texts, np.array(labels, np.float64))


def _filled(template: str, rng: np.random.Generator) -> Iterator[str]:
    copies = _GROUPS_A_TEMPLATE if any("{" + slot + "}" in template for slot in SLOTS) else 1
    for _ in range(copies):
        text = fill(template, rng)
        yield text[:1].upper() + text[1:]


def _scores(guard: Guard, texts: Sequence[str]) -> Floats:
    """F64 [texts, categories], every text taken for English (deepset's source holds some German).

    A category that was not measured raises.
    """
    decisions = (guard.check_prompt(text, Context(language=ENGLISH)) for text in texts)
    rows = [[decision.scores[name] for name in CATEGORIES] for decision in decisions]
    if any(score is None for row in rows for score in row):
        raise SystemExit("some category was not measured: the numbers would flatter")
    return np.array(rows, np.float64)


def _valid_texts(data: Path, sources: Iterable[str]) -> list[str]:
    pool = load_pool(data / "text", split="valid")
    return [t for t, s in zip(pool.texts, pool.sources, strict=True) if s in set(sources)]


def _captions(data: Path) -> list[str]:
    """Captions of the source that the pool, and so training, left out."""
    used = {t for split in ("train", "valid") for t in load_pool(data / "text", split=split).texts}
    every = pq.read_table(data / "text" / "coco_captions" / "train.parquet")["text"].to_pylist()
    unused = sorted(set(every) - used)
    rows = np.random.default_rng(_SEED).permutation(len(unused))[:_CAPTIONS]
    return [unused[row] for row in rows]


def _csv(data: Path, name: str) -> list[dict[str, str]]:
    path = data / "multilingual" / name / "dev.csv.gz"
    with gzip.open(path, "rt", encoding="utf8", newline="") as file:
        return list(csv.DictReader(file))


# --- numbers --------------------------------------------------------------------------------------


def ranked(what: str, truth: Bools, scores: Floats) -> dict[str, Any]:
    """A row of a table: how well the scores rank."""
    return {
        "what": what,
        "positive": f"{int(truth.sum())} / {len(truth)}",
        "AUPRC": str(bootstrap(lambda t, v: auprc(t, v) or 0.0, truth, scores)),
        "ROC AUC": str(bootstrap(lambda t, v: roc_auc(t, v) or 0.0, truth, scores)),
    }


def _at_one_percent(truth: Bools, scores: Floats) -> str:
    return str(bootstrap(lambda t, v: recall_at_fpr(t, v, 0.01) or 0.0, truth, scores))


def share(hits: Sequence[bool] | Bools) -> str:
    """A share with its interval, as text."""
    measured: Measured | None = wilson(int(np.sum(hits)), len(hits))
    return f"{measured} of {len(hits)}"


if __name__ == "__main__":
    sys.exit(main())
