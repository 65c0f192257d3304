"""What the README and the cards say of shapes world, from what its studies left: `docs/generate.py` writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.shapes_report import NOT_READ, cleared
from bench.tables import shown_points, shown_ratio, shown_share
from guardkit.artifacts import Manifest

_RESULTS = Path(__file__).parent.parent / "bench" / "results"
_ABOUT = {
    "shapes-world-encoder": "The text encoder: int64 [pictures, 10] words to f32 [pictures, 10, 128] states.",
    "shapes-world-denoiser": "The denoiser: noisy pictures f32 [pictures, 3, 16, 16], their share of signal and the text's states to the noise in them.",
    "shapes-world-classifier": "A classifier of noisy pictures: for each forbidden concept a logit, and the gradient of that logit at the picture.",
    "smib-shapes-world": "A bottleneck on the text encoder's states, ten words one after the other: f32 [pictures, 1, 1280] in and out.",
}
_MADE_BY = {
    "smib-shapes-world": "`python -m bench.shapes_smib`",
}


def shapes_figures() -> str:
    """The README's table."""
    found = _read()
    count = found["count"]
    unread = found["remedies"]["before"]["ordinary right"]["share"]
    return f"""![Rows of captions, columns: before, rolled again, guided, remapped, SMIB](docs/pictures/shapes_world.png)

{remedies_table(found)}
{count} captions that ask for something forbidden and {count} ordinary ones, each drawn once; "less" is against drawing anew with another seed, 95 % intervals. An exact judge
reads the pictures; "readable" are those of forbidden captions in which every figure has a colour and a shape; without anything done, {100 * unread:.0f} % of ordinary captions are drawn right. {NOT_READ}
{_compositions(found)} All of it: [report](bench/results/shapes/report.html).
"""


def remedies_table(found: dict[str, Any]) -> str:
    """A row a remedy."""
    head = "| | forbidden shown | less, times | readable | readable, nothing forbidden | ordinary right | change, points |\n|---|---|---|---|---|---|---|"
    rows = [
        f"| {name} | {shown_share(one['forbidden shown'])} | {shown_ratio(one['times less than rolled again'])} "
        f"| {shown_share(one['forbidden, readable'])} | {shown_share(cleared(one))} | {shown_share(one['ordinary right'])} | {shown_points(one['ordinary right, change'])} |"
        for name, one in found["remedies"].items()
    ]
    return "\n".join([head, *rows]) + "\n"


def shapes_card(manifest: Manifest) -> str:
    """The card of one of its artifacts."""
    found = _read()
    size = manifest.files[manifest.model].size_bytes / 1e6
    made_by = _MADE_BY.get(manifest.name, "`guardkit train shapes-world` and `guardkit export shapes-world`")  # fmt: skip
    return f"""# {manifest.id}

{_ABOUT[manifest.name]} fp32, {size:.1f} MB. Part of shapes world, a tiny text-to-image generator on which
guardkit tests what acts inside a generator. Made by {made_by}. Licence: {manifest.licence}.

It lives in the repository alone: no wheel holds it.

## Training data

Scenes that `guardkit.shapes` draws: coloured shapes under captions of a small grammar. A tenth of the captions of two things were left out. Nothing else was read.

## Measured

`python -m bench.shapes_world --work <folder>`, {found["count"]} captions of either kind; shares with Wilson intervals, ratios and changes with bootstrap intervals.

{remedies_table(found)}
{NOT_READ}

{_compositions(found)}

## Limits

- 16 by 16 pixels, five colours, four shapes, three forbidden concepts. What holds here is a test of the methods' code and of their logic; it says little of how
  much of a concept a large generator keeps.
"""


def _read() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((_RESULTS / "shapes_world.json").read_text())
    return found


def _compositions(found: dict[str, Any]) -> str:
    told = [f"{what} {shown_share(one)} of {one['n']}" for what, one in found["composition"]["shares"].items()]  # fmt: skip
    return f"Prompts that are allowed one by one: {'; '.join(told)}."
