"""SMIB inside a real generator: `python -m bench.smib_generator --bases FOLDER --data ../shared/data --run FOLDER`.

SmolLM2-135M continues prompts with and without a bottleneck behind one of its 30 layers; a judge of another base and other data than the scorer
that labelled the training material says how toxic the continuations are (`bench.smib_judge`).

    1  sample    continuations of prompts that are not evaluated                    864 x 4 x 20 tokens
    2  label     by text-safety; capture states and likeliest tokens                2,100 texts
    3  train     2 losses x 3 layers, then the one that ships                       fresh probes, LSMI on texts held back
    4  generate  the evaluated prompts, k = 5, 20 tokens, equal random numbers      a third of them for the ablation
    5  measure   WInToRe, EMT, TP, ATR, paired; perplexity and the rest of the price

Every stage keeps files in --run and goes on from them; `--only VARIANT` runs stages 3 to 5 of one, so several can run side by side. The results hold
the CPU seconds of each stage that was run under this command, on a processor with bfloat16. Writes bench/results/smib_generator.json.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.smib_judge import Judge, open_judge
from bench.smib_material import label, texts_of
from bench.smib_measure import (  # fmt: skip
    clean_texts,
    compared,
    log_likelihoods,
    perplexity_ratio,
    price,
    scored,
)
from bench.smib_prompts import EVALUATED, Prompt, read_prompts
from bench.smib_sampling import Sampling
from bench.smib_study import (  # fmt: skip
    Variant,
    ablation,
    captured_of,
    final,
    layer_name,
    others,
    train_variant,
    what_is_left,
)
from bench.smib_texts import read_texts, write_texts
from guardkit.integrations.bottleneck import attach
from guardkit.train.smib_causal import Captured, Text
from guardkit.train.smib_model import Bottleneck

_BASE, _MATERIAL = "smollm2-135m", 864  # the shortest prompts that are not evaluated
_SAMPLED, _EVALUATED = Sampling(k=4, seed=1, prompts=40), Sampling(prompts=54)
_REALLY_RAN_S = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Study:
    """What every stage needs."""

    model: Any
    tokenizer: Any
    evaluated: list[Prompt]
    material: list[Prompt]
    bases: Path
    data: Path
    run: Path

    @classmethod
    def open(cls, bases: Path, data: Path, run: Path) -> Study:
        """Load the model in bfloat16 and choose the prompts."""
        run.mkdir(parents=True, exist_ok=True)
        tokenizer = AutoTokenizer.from_pretrained(bases / _BASE)
        model = AutoModelForCausalLM.from_pretrained(bases / _BASE, dtype=torch.bfloat16).eval()
        evaluated, material = read_prompts(data)
        material.sort(key=lambda one: len(tokenizer(one.text)["input_ids"]))
        return cls(model, tokenizer, evaluated, material[:_MATERIAL], bases, data, run)

    @property
    def third(self) -> list[Prompt]:
        """The prompts of the ablation: a third of each kind."""
        count = EVALUATED // 3 + 1
        return self.evaluated[:count] + self.evaluated[EVALUATED : EVALUATED + count]


def main() -> int:
    """Run what is not there yet, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bases", required=True, type=Path, help="what get_models.py fetched")
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--run", required=True, type=Path, help="files of every stage")
    parser.add_argument("--only", help="one variant; nothing is written but its files")
    parser.add_argument(
        "--finished",
        action="store_true",
        help="run nothing, write the results of the variants that are there, and leave those of the others as they are",
    )
    parser.add_argument("--out", type=Path, default=Path("bench/results/smib_generator.json"))
    arguments = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    torch.set_num_threads(1)
    study = Study.open(arguments.bases, arguments.data, arguments.run)
    texts, captured = _material(study)
    variants = [*((one, study.third) for one in ablation() + others()), *((one, study.evaluated) for one in final())]  # fmt: skip
    if arguments.finished:
        variants = [one for one in variants if _is_finished(one[0], arguments.run)]
    chosen = (
        []
        if arguments.finished
        else [one for one in variants if arguments.only in (None, one[0].name)]
    )
    if not (chosen or arguments.finished):
        parser.error(f"--only {arguments.only}: expected one of {[v.name for v, _ in variants]}")
    if chosen:
        asked = study.third if arguments.only else study.evaluated
        _timed(study, "before", lambda: write_texts(study.model, study.tokenizer, asked, _EVALUATED, study.run / "before.jsonl"))  # fmt: skip
    for variant, prompts in chosen:
        _make(study, variant, prompts, texts, captured)
    if arguments.only is None:
        found = _results(study, variants, texts, captured)
        if arguments.finished and arguments.out.is_file():
            found = _beside(found, json.loads(arguments.out.read_text()))
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")
        print(json.dumps(found))
    return 0


def _is_finished(variant: Variant, run: Path) -> bool:
    """Whether stages 3 and 4 left all of their files."""
    kinds = ("left.json", "jsonl", "likelihoods.json")
    return all((run / f"{variant.name}.{kind}").is_file() for kind in kinds)


def _material(study: Study) -> tuple[list[Text], Captured]:
    """Stages 1 and 2."""
    path = study.run / "material.jsonl"
    made = read_texts(path)
    if len(made) < len(study.material):
        made = _timed(study, "sample", lambda: write_texts(study.model, study.tokenizer, study.material, _SAMPLED, path))  # fmt: skip
    labelled = _timed(study, "label", lambda: label(study.material, made, study.data, study.run / "labelled.jsonl"))  # fmt: skip
    texts = texts_of(labelled, study.tokenizer)
    return texts, _timed(study, "capture", lambda: captured_of(study.model, texts, study.run / "captured.pt"))  # fmt: skip


def _make(study: Study, variant: Variant, prompts: Sequence[Prompt], texts: list[Text], captured: Captured) -> None:  # fmt: skip
    """Stages 3 and 4 of one variant."""
    layer = _timed(study, f"train {variant.name}", lambda: train_variant(variant, study.model, texts, captured, study.run))  # fmt: skip
    what_is_left(variant, layer, texts, captured, study.run / f"{variant.name}.left.json")
    with attach(study.model, layer_name(variant.layer), layer):
        _timed(study, f"generate {variant.name}", lambda: write_texts(study.model, study.tokenizer, prompts, _EVALUATED, study.run / f"{variant.name}.jsonl"))  # fmt: skip
    _likelihoods(study, variant, layer)


def _likelihoods(study: Study, variant: Variant | None, layer: Bottleneck | None) -> list[Any]:
    """Of clean texts; kept in a file."""
    path = study.run / f"{variant.name if variant else 'before'}.likelihoods.json"
    if not path.is_file():
        here = attach(study.model, layer_name(variant.layer), layer) if variant else nullcontext()
        with here:
            found = log_likelihoods(study.model, study.tokenizer, clean_texts(study.data))
        path.write_text(json.dumps(found))
    kept: list[Any] = json.loads(path.read_text())
    return kept


def _results(study: Study, variants: Sequence[tuple[Variant, list[Prompt]]], texts: list[Text], captured: Captured) -> dict[str, Any]:  # fmt: skip
    """Stage 5, and everything there is to report."""
    judge = open_judge(study.bases, study.data, study.run)
    before = scored(judge, study.evaluated, read_texts(study.run / "before.jsonl"), study.run / "before.scores.json")  # fmt: skip
    rows = [_row(study, judge, one, prompts, before, texts, captured) for one, prompts in variants]
    return {
        "model": "SmolLM2-135M-Instruct, as a plain language model, bfloat16",
        "judge": json.loads((study.run / "judge.json").read_text()),
        "prompts": "rtp_decodingtrust: toxic (Perspective >= .5), provocative ([.2, .5))",
        "sampling": asdict(_EVALUATED),
        "material": {"texts": len(texts), "toxic": sum(one.toxic for one in texts)},
        "cpu_s": _times(study),
        "variants": rows,
    }


def _beside(found: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """New results among earlier ones, in the order of the study."""
    rows = {row["name"]: row for row in [*before["variants"], *found["variants"]]}
    order = [one.name for one in [*ablation(), *others(), *final()]]
    cpu_s = dict(sorted((before["cpu_s"] | found["cpu_s"]).items()))
    return found | {"cpu_s": cpu_s, "variants": [rows[name] for name in order if name in rows]}


def _times(study: Study) -> dict[str, float]:
    """Stage -> CPU seconds; one that only read its files, which others made, is left out."""
    kept = {one.name: float(one.read_text()) for one in sorted((study.run / "times").iterdir())}
    return {name: value for name, value in kept.items() if value >= _REALLY_RAN_S}


def _row(study: Study, judge: Judge, variant: Variant, prompts: list[Prompt], before: dict[str, Any], texts: list[Text], captured: Captured) -> dict[str, Any]:  # fmt: skip
    made, old = read_texts(study.run / f"{variant.name}.jsonl"), read_texts(study.run / "before.jsonl")  # fmt: skip
    after = scored(judge, prompts, made, study.run / f"{variant.name}.scores.json")
    numbers = after["prompts"]
    near = [before["near"][before["prompts"].index(number)] for number in numbers]
    layer = train_variant(variant, study.model, texts, captured, study.run)
    return {
        "name": variant.name,
        "layer": layer_name(variant.layer),
        "why": variant.why,
        "settings": asdict(variant.settings),
        "task": asdict(variant.task),
        "left": what_is_left(
            variant, layer, texts, captured, study.run / f"{variant.name}.left.json"
        ),
        "toxicity": compared(prompts, before, after),
        "perplexity": perplexity_ratio(
            _likelihoods(study, None, None), _likelihoods(study, variant, layer)
        ),
        "price": {
            "before": price(old, near, numbers),
            "after": price(made, after["near"], numbers),
        },
    }


def _timed(study: Study, name: str, work: Callable[[], Any]) -> Any:
    """Do something, and keep how many CPU seconds it took; what is there already adds little."""
    path = study.run / "times" / name.replace(" ", "-")
    path.parent.mkdir(exist_ok=True)
    started = time.process_time()
    found = work()
    so_far = float(path.read_text()) if path.is_file() else 0.0
    path.write_text(f"{so_far + time.process_time() - started:.1f}\n")
    return found


if __name__ == "__main__":
    sys.exit(main())
