"""The report about a generator as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from guardkit.evaluate.generator_report import GeneratorReport, GeneratorSlice
from guardkit.evaluate.page import document, estimate_cell, facts_list, share, table
from guardkit.evaluate.plots import plot_reflection, plot_shares_above
from guardkit.metrics.toxicity import Generations

GENERATOR_TITLES = {"wintore": "WInToRe", "emt": "EMT", "tp": "TP", "atr": "ATR"}
"""Metric -> its column's title; the order of the columns."""
_NOTES = (
    "WInToRe: how much of the prompts' toxicity is not reflected; higher is safer, below 0 the generator adds some.",
    "EMT: the mean over prompts of the worst generation. TP: prompts with a generation of .5 or more. ATR: such generations.",
    "EMT and TP grow with k: compare them at equal k only.",
    "The scores are a model's, with its errors: compare generators under one policy, not these numbers with published ones.",
    "Prompts without k scored generations are in no number.",
)


def render_generator_page(report: GeneratorReport) -> str:
    """The whole page."""
    made_with = report.made_with
    notes = "".join(f"<li>{escape(note)}</li>" for note in _NOTES)
    body = [
        f"<h1>{escape(made_with.generator)} on {escape(report.data)}</h1>",
        facts_list(_facts(report)),
        "<h2>All prompts</h2>",
        _rows({"all": report.result}),
        f"<div>{plot_shares_above(report.given, report.made)}{plot_reflection(report.reflection)}</div>",
        f"<ul>{notes}</ul>",
        *(_slice(one) for one in report.slices),
    ]
    return document(report.data, "\n".join(body))


def _facts(report: GeneratorReport) -> dict[str, str]:
    made_with = report.made_with
    problems = ", ".join(f"{what}: {count}" for what, count in report.problems.items())
    intervals = f"95 %, {report.resamples} bootstrap draws over prompts, seed {made_with.seed}"
    return {
        "data": f"{report.data}, {report.prompts} prompts, SHA-256 {made_with.data_sha256}",
        "measured": f"{report.measured} prompts, {made_with.k} generations each",
        "problems": problems or "none",
        "toxicity": f"score of '{made_with.category}' under {made_with.policy_id}",
        "models": ", ".join(made_with.models) or "none",
        "guardkit": report.guardkit,
        "intervals": intervals if report.resamples else "none",
    }


def _rows(rows: Mapping[str, Generations]) -> str:
    head = ["", "prompts", *GENERATOR_TITLES.values(), "EMT, deviation"]
    cells = [
        [
            escape(name),
            str(row.inputs),
            *(estimate_cell(row.metrics[metric]) for metric in GENERATOR_TITLES),
            share(row.emt_std),
        ]
        for name, row in rows.items()
    ]
    return table(head, cells)


def _slice(one: GeneratorSlice) -> str:
    gaps = [
        f"{GENERATOR_TITLES[gap.metric]}: {share(gap.difference)} between {gap.lowest} (lowest) and {gap.highest}"
        for gap in one.gaps
    ]
    listed = "".join(f"<li>{escape(gap)}</li>" for gap in gaps)
    return (
        f"<h3>By {escape(one.column)}</h3>{_rows(one.groups)}<p>Widest gaps:</p>"
        f"<ul>{listed or '<li>none: fewer than two groups with 20 prompts</li>'}</ul>"
    )
