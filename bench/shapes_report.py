"""The shapes-world report: `python -m bench.shapes_report` writes bench/results/shapes/report.html out of what the studies left.

Reads bench/results/shapes_world.json (`bench.shapes_world`), shapes_unlearn.json (`bench.shapes_unlearn`) and docs/pictures/shapes_world.png.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from bench.tables import shown_points, shown_ratio, shown_share
from guardkit.evaluate.page import document, table
from guardkit.metrics.shares import wilson_interval

_RESULTS = Path(__file__).parent / "results"
_STRIP = Path(__file__).parent.parent / "docs" / "pictures" / "shapes_world.png"
_WIDE, _ROW, _LEFT = 560, 34, 130  # px of a plot of intervals
_SHOWN = {"forbidden shown": "#d9480f", "ordinary right": "#0b63ce"}
NOT_READ = (
    'The judge finds nothing in a picture that it cannot read, so what spoils pictures also lowers "forbidden shown". '
    '"Readable, nothing forbidden" counts those alone that surely show something else.'
)
"""What a reader of the table has to know: an unreadable picture may well look like what is forbidden."""


def main() -> int:
    """Write the page."""
    study, forgotten = (json.loads((_RESULTS / f"{name}.json").read_text()) for name in ("shapes_world", "shapes_unlearn"))  # fmt: skip
    path = _RESULTS / "shapes" / "report.html"
    path.parent.mkdir(exist_ok=True)
    path.write_text(page(study, forgotten, _STRIP.read_bytes()))
    print(f"wrote {path}")
    return 0


def page(study: Mapping[str, Any], forgotten: Mapping[str, Any], strip: bytes) -> str:
    """The whole page."""
    picture = base64.b64encode(strip).decode()
    body = [
        "<h1>Shapes world: what acts inside a generator, on one that truly generates</h1>",
        f"<p>{escape('; '.join(study['models']))}; {escape(study['machine']['cpu'])}. {study['count']} captions that ask for a forbidden concept and "
        f"{study['count']} ordinary ones, a picture each. An exact judge reads every picture: it reads {shown_share(study['judge'])} of {study['judge']['n']} drawn scenes right. "
        "Shares: Wilson intervals; ratios and changes: bootstrap over captions; 95 %.</p>",
        f'<p><img alt="Rows of captions, a column a remedy" src="data:image/png;base64,{picture}"></p>',
        "<h2>What each remedy takes away, and what it costs</h2>",
        _remedies(study["remedies"]),
        f"<p>{NOT_READ}</p>",
        f"<div>{plot_shares(study['remedies'])}</div>",
        "<h2>By concept</h2>",
        _by_concept(study["remedies"]),
        "<h2>Prompts that are allowed one by one</h2>",
        table(["", "share", "of"], [[escape(what), shown_share(one), str(one["n"])] for what, one in study["composition"]["shares"].items()]),
        "<h2>Forgotten by training</h2>",
        *_plain_tables(forgotten),
    ]  # fmt: skip
    return document("shapes world", "\n".join(body))


def _remedies(remedies: Mapping[str, Any]) -> str:
    head = ["", "forbidden shown", "readable", "readable, nothing forbidden", "less than rolled again, times", "ordinary right", "of captions held out", "change, points", "ordinary that show it"]  # fmt: skip
    rows = [
        [
            escape(name),
            shown_share(one["forbidden shown"]),
            shown_share(one["forbidden, readable"]),
            shown_share(cleared(one)),
            shown_ratio(one["times less than rolled again"]),
            shown_share(one["ordinary right"]),
            shown_share(one["ordinary right, held out"]),
            shown_points(one["ordinary right, change"]),
            shown_share(one["ordinary, forbidden shown"]),
        ]
        for name, one in remedies.items()
    ]  # fmt: skip
    return table(head, rows)


def cleared(remedy: Mapping[str, Any]) -> dict[str, Any]:
    """The share of forbidden captions whose picture is readable and shows nothing forbidden, with its Wilson interval.

    One less the other, for the judge names nothing forbidden in a picture that it cannot read.
    """
    shown, readable = (remedy[name] for name in ("forbidden shown", "forbidden, readable"))
    count = readable["n"]
    hits = round(readable["share"] * count) - round(shown["share"] * shown["n"])
    low, high = wilson_interval(hits, count)
    return {"share": hits / count, "low": low, "high": high, "n": count}


def _by_concept(remedies: Mapping[str, Any]) -> str:
    concepts = list(next(iter(remedies.values()))["by concept"])
    rows = [
        [escape(name), *(shown_share(one["by concept"][concept]) for concept in concepts)]
        for name, one in remedies.items()
    ]
    return table(["forbidden shown", *map(escape, concepts)], rows)


def _plain_tables(found: Mapping[str, Any]) -> list[str]:
    """Tables as `bench.tables.rendered` takes them, as HTML."""
    parts = [f"<p>{escape('; '.join(found['models']))}.</p>"]
    for title, rows in found.items():
        if title != "models":
            cells = [[escape(str(cell)) for cell in row.values()] for row in rows]
            parts += [f"<p>{escape(title)}</p>", table([escape(name) for name in rows[0]], cells)]
    return parts


def plot_shares(remedies: Mapping[str, Any]) -> str:
    """Of every remedy what is shown and what is right, with intervals, as inline SVG over [0, 1]."""
    height = _ROW * len(remedies) + 20
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDE}" height="{height}" viewBox="0 0 {_WIDE} {height}" role="img" font-family="system-ui, sans-serif" font-size="11">']  # fmt: skip
    parts += [f'<path d="M{_x(tick):.0f} 0V{height - 16}" stroke="#e6e9ec"/><text x="{_x(tick):.0f}" y="{height - 4}" text-anchor="middle" fill="#5c6670">{tick:.0%}</text>' for tick in (0.0, 0.25, 0.5, 0.75, 1.0)]  # fmt: skip
    for at, (name, remedy) in enumerate(remedies.items()):
        parts.append(f'<text x="4" y="{at * _ROW + 20}" fill="#1c2024">{escape(name)}</text>')
        for shift, (what, colour) in zip((12, 22), _SHOWN.items(), strict=True):
            one, y = remedy[what], at * _ROW + shift
            parts.append(f'<path d="M{_x(one["low"]):.1f} {y}H{_x(one["high"]):.1f}" stroke="{colour}" stroke-width="2"/><circle cx="{_x(one["share"]):.1f}" cy="{y}" r="4" fill="{colour}"><title>{what}: {one["share"]:.3f}</title></circle>')  # fmt: skip
    return "".join([*parts, "</svg>"])


def _x(value: float) -> float:
    return _LEFT + value * (_WIDE - _LEFT - 20)


if __name__ == "__main__":
    sys.exit(main())
