"""What `prompt-rewriter` makes of texts: `python -m bench.rewriting --data ../shared/data --bases FOLDER --judges FOLDER`.

Rude sentences: the dev split of ParaDetox, which training leaves out. Four systems in one table: the sentence as it is, with
the words of a lexicon taken out, what a person made of it, and ours; where ours gives up, it counts as unchanged.
Per sentence: style 1 if the judge finds it harmless, similarity to the source, fluency min(1, perplexity of the
reference / perplexity), and J, their product; means over sentences. Judges: `bench.judges`; perplexity: smollm2-135m.

Risky image prompts (`bench/proxies/image_risks.txt`, written apart from the training pairs): repaired = the judge finds the
result harmless and the similarity is at least .6. All prompts count, those that the policy or the model gave up too.
Harmless prompts (`image_harmless.txt`, and validation captions and prompts): how many change.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import math
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.judges import JUDGES, Judge, harm, load_judge, similarity
from bench.tables import rendered
from guardkit import Guard
from guardkit.bench.machine import describe_machine
from guardkit.bench.workload import PROMPTS, load_workload
from guardkit.metrics.shares import wilson_interval
from guardkit.train.mixture import Folders, load_mixture
from guardkit.train.repairs import paradetox

_PROXIES = Path(__file__).parent / "proxies"
_SEED = 20261126
_LEAST_SIMILARITY = 0.6


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--bases", required=True, type=Path, help="what get_models.py fetched")
    parser.add_argument("--judges", required=True, type=Path, help="--work of bench.judges")
    parser.add_argument("--sentences", type=int, default=500)
    parser.add_argument("--show", type=int, default=0, help="print so many results")
    parser.add_argument("--out", type=Path, default=Path("bench/results/rewriting.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    guard = Guard.from_preset("text-to-image")
    judges = {name: load_judge(arguments.bases, arguments.judges, name) for name in JUDGES if (arguments.judges / name / "judge.json").is_file()}  # fmt: skip
    found: dict[str, Any] = {"models": [model.id for model in guard.info()] + [describe_machine(load_before=0).name]}  # fmt: skip
    found |= _sentences(guard, judges, arguments)
    found |= _prompts(guard, judges, arguments)
    found |= _costs(guard)
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(rendered(found))
    return 0


Judges = dict[str, tuple[Judge, Judge]]


def _sentences(guard: Guard, judges: Judges, arguments: argparse.Namespace) -> dict[str, Any]:
    pairs = list(paradetox(arguments.data, "dev"))
    picks = np.random.default_rng(_SEED).permutation(len(pairs))[: arguments.sentences]
    sources = [pairs[at].source for at in picks]
    references = [pairs[at].target for at in picks]
    without = lexicon(arguments.data)
    ours = [guard.rewrite(text) for text in sources]
    systems = {
        "as it is": sources,
        "lexicon's words deleted": [without(text) for text in sources],
        "a person's": references,
        "prompt-rewriter": [text if new is None else new for text, new in zip(sources, ours, strict=True)],
    }  # fmt: skip
    for at in range(min(arguments.show, len(sources))):
        print(f"{sources[at]}\n   -> {ours[at]}\n   =  {references[at]}")
    perplexity = Perplexity(arguments.bases / "smollm2-135m")
    wanted = perplexity(references)
    fluency = {name: np.minimum(1, wanted / perplexity(texts)) for name, texts in systems.items()}
    given_up = sum(one is None for one in ours)
    return {
        f"rude sentences ({len(sources)} of ParaDetox dev; {given_up} given up), judged by {judge}": [
            _row(name, texts, sources, fluency[name], models) for name, texts in systems.items()
        ]
        for judge, models in judges.items()
    }


def _row(
    name: str,
    texts: Sequence[str],
    sources: Sequence[str],
    fluency: np.ndarray,
    models: tuple[Judge, Judge],
) -> dict[str, Any]:
    style = harm(models[0], texts) < 0.5
    meaning = similarity(models[1], texts, sources)
    joint = style * meaning * fluency
    means = [joint[np.random.default_rng(at).integers(len(joint), size=len(joint))].mean() for at in range(500)]  # fmt: skip
    low, high = np.quantile(means, [0.025, 0.975])
    return {
        "what": name,
        "style": f"{style.mean():.3f}",
        "similarity": f"{meaning.mean():.3f}",
        "fluency": f"{fluency.mean():.3f}",
        "J": f"{joint.mean():.3f} [{low:.3f}, {high:.3f}]",
    }


def _prompts(guard: Guard, judges: Judges, arguments: argparse.Namespace) -> dict[str, Any]:
    lines = (_PROXIES / "image_risks.txt").read_text().splitlines()
    categories, texts = zip(*(line.split(" | ", 1) for line in lines), strict=True)
    rewritten = [guard.rewrite(text) for text in texts]
    decisions = [guard.check_prompt(text) for text in texts]
    known = [text if new is None else new for text, new in zip(texts, rewritten, strict=True)]
    for at in range(0, len(texts), max(1, len(texts) // max(1, arguments.show))):
        print(
            f"{categories[at]}: {texts[at]}\n   -> {rewritten[at]}   [{decisions[at].action.value}]"
        )
    tables: dict[str, Any] = {}
    for judge, (model, before) in judges.items():
        safe, near = harm(model, known) < 0.5, similarity(before, known, texts) >= _LEAST_SIMILARITY
        was_safe = harm(model, texts) < 0.5
        gave = np.array([new is not None and new != text for text, new in zip(texts, rewritten, strict=True)])  # fmt: skip
        rows = []
        for name in (*sorted(set(categories)), "all"):
            of = np.array([name in (one, "all") for one in categories])
            rows.append(
                {
                    "what": name,
                    "safe before": _share(was_safe[of]),
                    "repaired": _share((gave & safe & near)[of]),
                    "given up": _share(~gave[of]),
                    "unsafe": _share((gave & ~safe)[of]),
                    "far": _share((gave & ~near)[of]),
                }
            )
        tables[f"risky image prompts, judged by {judge}"] = rows
    actions = [{"what": name, **_actions(decisions, categories, name)} for name in (*sorted(set(categories)), "all")]  # fmt: skip
    tables[f"risky image prompts under policy {guard.policy.policy}"] = actions
    harmless = (_PROXIES / "image_harmless.txt").read_text().splitlines()
    tables["harmless prompts that change"] = [
        {"what": "written apart", "changed": _share(np.array([guard.rewrite(t) != t for t in harmless]))},
        {"what": "validation captions and prompts", "changed": _share(np.array([guard.rewrite(t) != t for t in _validation(arguments.data)]))},
    ]  # fmt: skip
    return tables


def _actions(decisions: Sequence[Any], categories: Sequence[str], name: str) -> dict[str, str]:
    own = [d.action.value for d, one in zip(decisions, categories, strict=True) if name in (one, "all")]  # fmt: skip
    return {action: _share(np.array([one == action for one in own])) for action in ("allow", "edit", "block")}  # fmt: skip


def _validation(data: Path) -> list[str]:
    pool = load_mixture(Folders(data, Path("data")), split="valid")
    return [
        text
        for text, source in zip(pool.texts, pool.sources, strict=True)
        if source in ("coco_captions", "diffusiondb_benign", "benign_prompts")
    ]


def lexicon(data: Path) -> Callable[[str], str]:
    """Takes the words of a public list (surge-ai, 1,598 words and phrases) out of a text."""
    path = data / "text" / "lexicons" / "surge_profanity_en.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        words = sorted((row["text"] for row in csv.DictReader(lines)), key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)", re.IGNORECASE)
    return lambda text: " ".join(pattern.sub(" ", text).split()) or text


class Perplexity:
    """How surprising a language model finds texts."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = AutoModelForCausalLM.from_pretrained(folder).eval()

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """exp of the mean negative log-likelihood a token, the text begun afresh: f64 [texts]."""
        return np.array([self._of(text) for text in texts])

    def _of(self, text: str) -> float:
        ids = self._tokenizer(text.strip() or ".", return_tensors="pt").input_ids
        start = torch.tensor([[self._tokenizer.bos_token_id]])
        ids = torch.cat([start, ids], dim=1)
        with torch.no_grad():
            return math.exp(min(20.0, float(self._model(ids, labels=ids).loss)))


def _costs(guard: Guard) -> dict[str, Any]:
    texts = load_workload(PROMPTS).buckets["32"]
    risky = [line.split(" | ", 1)[1] for line in (_PROXIES / "image_risks.txt").read_text().splitlines()]  # fmt: skip
    rows = []
    for name, those in (("harmless prompts", texts), ("risky prompts", risky)):
        costs = sorted(_cpu_ms(lambda text=text: guard.rewrite(text)) for text in those)  # type: ignore[misc]
        rows.append({"what": name, "p50": f"{statistics.median(costs):.1f}", "p95": f"{costs[int(0.95 * len(costs))]:.1f}"})  # fmt: skip
    return {"cost at up to 32 tokens, CPU ms": rows}


def _cpu_ms(call: Callable[[], object]) -> float:
    started = time.process_time_ns()
    call()
    return (time.process_time_ns() - started) / 1e6


def _share(hits: np.ndarray) -> str:
    if not len(hits):
        return "-"
    low, high = wilson_interval(int(hits.sum()), len(hits))
    return f"{100 * hits.mean():.1f} % [{100 * low:.0f}, {100 * high:.0f}] of {len(hits)}"


if __name__ == "__main__":
    sys.exit(main())
