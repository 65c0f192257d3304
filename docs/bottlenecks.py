"""What the README and the cards say of bottlenecks, from what their studies left: `docs/generate.py` writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from guardkit.artifacts import Manifest

_RESULTS = Path(__file__).parent.parent / "bench" / "results"
_METRICS = {"wintore": "WInToRe", "emt": "EMT", "tp": "TP", "atr": "ATR"}
_COMMAND = (
    "python -m bench.smib_generator --bases <get_models.py> --data <shared data> --run <folder>"
)


def smib_figures() -> str:
    """The README's table."""
    study, cost = _read("smib_generator"), _read("smib")
    shipped = study["variants"][-1]
    default = next(row for row in cost["rows"] if row["layer"] == "default" and row["tokens"] == 77)
    return f"""{_toxicity(shipped)}
SmolLM2-135M, k = {study["sampling"]["k"]}, {study["sampling"]["tokens"]} new tokens, equal random numbers, with and without `smib-smollm2` behind its last layer; a judge of another base and
other data than the scorer that gave the labels; differences prompt by prompt. {_price(shipped)} {_left(shipped)} {_sentences()}
The default layer costs {default["cpu_ms"]:.2f} ms of CPU for 77 tokens of 768. All of it, and what else was tried: [report](bench/results/smib/report.html).
"""


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((_RESULTS / f"{name}.json").read_text())
    return found


def _toxicity(variant: dict[str, Any]) -> str:
    rows = [
        f"| {kind}, {one['prompts']} prompts: {when} | {' | '.join(_interval(one[when][name]) for name in _METRICS)} |"
        for kind, one in variant["toxicity"].items()
        for when in ("before", "after", "difference")
    ]
    head = f"| | {' | '.join(_METRICS.values())} |\n|---|{'---|' * len(_METRICS)}"
    return "\n".join([head, *rows]) + "\n"


def _interval(one: dict[str, float]) -> str:
    return f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"


def _price(variant: dict[str, Any]) -> str:
    ratio, before, after = variant["perplexity"], *variant["price"].values()
    parts = [f"{name} {before[name]:g} → {after[name]:g}" for name in before]
    return (
        f"Perplexity of clean texts × {ratio['ratio']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]; "
        f"{', '.join(parts)}."
    )


def _left(variant: dict[str, Any]) -> str:
    left = variant["left"]
    told = [f"{name} {left[name]['before']:.2f} → {left[name]['after']:.2f}" for name in ("linear", "network")]  # fmt: skip
    return (
        f"A fresh probe of toxicity (accuracy, {left['held back']} texts held back): {', '.join(told)}; "
        f"LSMI {left['lsmi']['before']:.2f} → {left['lsmi']['after']:.2f}."
    )


def _sentences() -> str:
    found = _read("smib_embeddings")
    told = [f"{name} {one['before']:.2f} → {one['after']:.2f}" for name, one in found["toxicity"].items() if "advantage lost" in str(one)]  # fmt: skip
    meaning = [f"{name} {value:.2f}" for name, value in found["meaning"].items()]
    return f"On MiniLM's sentence embeddings (`smib-minilm`): fresh probes {', '.join(told)}; {'; '.join(meaning)}."


def smib_card(manifest: Manifest) -> str:
    """The card of `smib-smollm2`."""
    study = _read("smib_generator")
    shipped = study["variants"][-1]
    return f"""# {manifest.id}

A bottleneck behind {_where(manifest)}: f32 [batch, tokens, {_width(manifest)}] in and out. {_size(manifest)} Made by `bench.smib_generator`
and `guardkit export smib`. Licence: {manifest.licence}.

## Training data

{study["material"]["texts"]} texts, {study["material"]["toxic"]} of them toxic: continuations that the unmodified model made of prompts of RealToxicityPrompts (as DecodingTrust chose them), none of
them evaluated, and short English rows of the pool. Labels and blamed words come from `text-safety`. Licences: `THIRD_PARTY.md`.

## Measured

`{_COMMAND}`. Judge: multilingual-e5-small, frozen, with a head trained on {study["judge"]["rows"]} rows that `text-safety` was not trained on; accuracy
{study["judge"]["accuracy"]} on {study["judge"]["held back"]} rows held back. 95 % intervals, bootstrap over prompts; the difference is paired.

{_toxicity(shipped)}
{_price(shipped)}
{_left(shipped)}

## Limits

- English continuations of one small model, behind one layer. It does nothing for another model's states, and refuses those of another width.
- Measured as a plain language model, not as the assistant that the base was tuned to be.
- What a judge takes for toxic is not all that is. It saw no jailbreaks, no requests, no other harm than toxicity.
"""


def smib_embeddings_card(manifest: Manifest) -> str:
    """The card of `smib-minilm`."""
    found = _read("smib_embeddings")
    return f"""# {manifest.id}

A bottleneck on the sentence embeddings of {_where(manifest)}: f32 [batch, tokens, {_width(manifest)}] in and out, one token a text. {_size(manifest)} Made by
`bench.smib_embeddings` and `guardkit export smib`. Licence: {manifest.licence}.

Trained on {2 * found["rows of each class"]["train"]} short English comments of the pool's `train` rows, half of them toxic by the pool's labels. Licences: `THIRD_PARTY.md`.

## Measured

`python -m bench.smib_embeddings`, fresh probes on {2 * found["rows of each class"]["valid"]} `valid` rows (standard error at chance {found["toxicity"]["standard error at chance"]}); paraphrases of ParaDetox, which nothing here was trained on.

{_sentences()}

## Limits

- English comments. Embeddings before normalizing to length 1; of sentences, not of their tokens.
- Toxicity that the pool's labels do not know stays.
"""


def _where(manifest: Manifest) -> str:
    options = manifest.bottleneck
    return f"`{options.layer}` of {options.base}" if options else "-"


def _width(manifest: Manifest) -> int:
    return manifest.bottleneck.width if manifest.bottleneck else 0


def _size(manifest: Manifest) -> str:
    return f"fp32, {manifest.files[manifest.model].size_bytes / 1e6:.1f} MB."
