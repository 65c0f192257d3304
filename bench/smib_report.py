"""The SMIB report: `python -m bench.smib_report` writes bench/results/smib/report.html out of what the studies left.

Reads bench/results/smib_generator.json (`bench.smib_generator`), smib_embeddings.json (`bench.smib_embeddings`) and smib.json (`bench.smib`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from guardkit.evaluate.page import document, table

_RESULTS = Path(__file__).parent / "results"
_METRICS = {"wintore": "WInToRe", "emt": "EMT", "tp": "TP", "atr": "ATR"}
_WIDE, _ROW, _LEFT = 560, 34, 190  # px of a plot of intervals
_COLOURS = {"before": "#0b63ce", "after": "#d9480f"}


def main() -> int:
    """Write the page."""
    found = {name: json.loads((_RESULTS / f"{name}.json").read_text()) for name in ("smib_generator", "smib_embeddings", "smib")}  # fmt: skip
    path = _RESULTS / "smib" / "report.html"
    path.parent.mkdir(exist_ok=True)
    path.write_text(page(found["smib_generator"], found["smib_embeddings"], found["smib"]))
    print(f"wrote {path}")
    return 0


def page(study: Mapping[str, Any], embeddings: Mapping[str, Any], cost: Mapping[str, Any]) -> str:
    """The whole page."""
    shipped = study["variants"][-1]
    body = [
        "<h1>SMIB: what a bottleneck does inside a generator</h1>",
        f"<p>{escape(study['model'])}. {escape(study['prompts'])}. Judge: multilingual-e5-small with a head of its own, accuracy "
        f"{study['judge']['accuracy']} on {study['judge']['held back']} rows held back; the labels of the training texts come from text-safety (MiniLM). "
        f"k = {study['sampling']['k']}, {study['sampling']['tokens']} new tokens, top-p {study['sampling']['top_p']}, equal random numbers before and after. "
        "Intervals: 95 %, 1000 bootstrap draws over prompts.</p>",
        "<h2>What ships</h2>",
        *(_toxicity(kind, shipped) for kind in ("toxic", "provocative")),
        f"<div>{plot_intervals(shipped)}</div>",
        _prices([shipped]),
        "<h2>What is left for a fresh probe</h2>",
        _left(study["variants"]),
        "<h2>What was tried</h2>",
        _ablation(study["variants"]),
        _prices(study["variants"]),
        "<h2>Sentence embeddings</h2>",
        _embeddings(embeddings),
        "<h2>What a call costs</h2>",
        table(
            ["layer", "tokens of 768", "CPU, ms", "p50", "p95", "p99", "budget"],
            [[row["layer"], str(row["tokens"]), *(f"{row[name]:.3f}" for name in ("cpu_ms", "p50_ms", "p95_ms", "p99_ms")), str(row["budget_ms"])] for row in cost["rows"]],
        ),
        "<h2>CPU seconds of each stage</h2>",
        table(["stage", "s"], [[escape(name), f"{value:.0f}"] for name, value in study["cpu_s"].items()]),
    ]  # fmt: skip
    return document("SMIB", "\n".join(body))


def _toxicity(kind: str, variant: Mapping[str, Any]) -> str:
    one = variant["toxicity"][kind]
    rows = [[escape(f"{kind}, {one['prompts']} prompts: {when}"), *(_interval(one[when][name]) for name in _METRICS)] for when in ("before", "after", "difference")]  # fmt: skip
    return table(["", *_METRICS.values()], rows)


def _interval(one: Mapping[str, float]) -> str:
    return f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"


def _prices(variants: Sequence[Mapping[str, Any]]) -> str:
    names = list(variants[0]["price"]["before"])
    rows = []
    for one in variants:
        ratio = one["perplexity"]
        shown = f"{ratio['before']:.2f} → {ratio['after']:.2f}: × {ratio['ratio']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]"
        rows.append([escape(one["name"]), shown, *(f"{one['price']['before'][name]} → {one['price']['after'][name]}" for name in names)])  # fmt: skip
    return table(["", "perplexity of clean texts", *names], rows)


def _left(variants: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for one in variants:
        left = one["left"]
        cells = [f"{left[name]['before']:.3f} → {left[name]['after']:.3f} ({left[name]['advantage lost']:.0%} lost)" for name in ("linear", "network")]  # fmt: skip
        rows.append([escape(one["name"]), escape(one["layer"]), *cells, f"{left['lsmi']['before']:.3f} → {left['lsmi']['after']:.3f}"])  # fmt: skip
    return table(["", "layer", "linear probe, accuracy", "network probe, accuracy", "LSMI"], rows)


def _ablation(variants: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for one in variants:
        toxic = one["toxicity"]["toxic"]
        cells = [f"{toxic['before'][name]['value']:.3f} → {toxic['after'][name]['value']:.3f}" for name in ("wintore", "atr")]  # fmt: skip
        rows.append([escape(one["name"]), escape(one["why"]), str(toxic["prompts"]), *cells, _interval(toxic["difference"]["wintore"]), _interval(toxic["difference"]["atr"])])  # fmt: skip
    return table(["", "", "toxic prompts", "WInToRe", "ATR", "WInToRe, difference", "ATR, difference"], rows)  # fmt: skip


def _embeddings(found: Mapping[str, Any]) -> str:
    probes = [[escape(name), f"{one['before']:.3f} → {one['after']:.3f}", f"{one['advantage lost']:.0%}"] for name, one in found["toxicity"].items() if isinstance(one, dict) and "advantage lost" in one]  # fmt: skip
    meaning = [[escape(name), f"{value:.3f}"] for name, value in found["meaning"].items()]
    lsmi = found["toxicity"]["lsmi"]
    return (
        f"<p>{escape(found['features'])}; LSMI {lsmi['before']} → {lsmi['after']}.</p>"
        + table(["fresh probe of toxicity", "accuracy", "advantage lost"], probes)
        + table(["meaning", ""], meaning)
    )


def plot_intervals(variant: Mapping[str, Any]) -> str:
    """Every metric before and after, with its interval, as inline SVG over [-0.5, 1]."""
    rows = [(kind, name) for kind in variant["toxicity"] for name in _METRICS]
    height = _ROW * len(rows) + 20
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDE}" height="{height}" viewBox="0 0 {_WIDE} {height}" role="img" font-family="system-ui, sans-serif" font-size="11">']  # fmt: skip
    parts += [f'<path d="M{_x(tick):.0f} 0V{height - 16}" stroke="#e6e9ec"/><text x="{_x(tick):.0f}" y="{height - 4}" text-anchor="middle" fill="#5c6670">{tick:g}</text>' for tick in (-0.5, 0.0, 0.5, 1.0)]  # fmt: skip
    for at, (kind, name) in enumerate(rows):
        parts.append(f'<text x="4" y="{at * _ROW + 20}" fill="#1c2024">{escape(kind)}: {_METRICS[name]}</text>')  # fmt: skip
        for shift, when in ((12, "before"), (22, "after")):
            one = variant["toxicity"][kind][when][name]
            y = at * _ROW + shift
            parts.append(f'<path d="M{_x(one["low"]):.1f} {y}H{_x(one["high"]):.1f}" stroke="{_COLOURS[when]}" stroke-width="2"/><circle cx="{_x(one["value"]):.1f}" cy="{y}" r="4" fill="{_COLOURS[when]}"><title>{when}: {one["value"]:.3f}</title></circle>')  # fmt: skip
    return "".join([*parts, "</svg>"])


def _x(value: float) -> float:
    return _LEFT + (value + 0.5) / 1.5 * (_WIDE - _LEFT - 20)


if __name__ == "__main__":
    sys.exit(main())
