"""Plots as inline SVG: one square each, both axes from 0 to 1, nothing loaded from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from guardkit.evaluate.report import Points
from guardkit.metrics.calibration import Bin

_SIDE = 200
_LEFT, _TOP, _RIGHT, _BOTTOM = 40, 22, 10, 36  # px around the square: labels
PLOT_STYLE = """\
svg text { font: 10px system-ui, sans-serif; fill: #5c6670 } svg .title { font-size: 12px; font-weight: 600; fill: #1c2024 }
.grid { stroke: #e6e9ec; fill: none } .chance { stroke: #98a2ad; stroke-dasharray: 4 3; fill: none } .curve { stroke: #0b63ce; stroke-width: 2; fill: none }
.made { stroke: #d9480f; stroke-width: 2; fill: none } .threshold { fill: #d9480f } .bin { fill: #0b63ce; fill-opacity: .6 }
"""
"""What the classes of a plot look like, for a page that holds plots."""
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def plot_precision_recall(points: Points, *, share: float, at: tuple[float, float] | None) -> str:
    """The precision-recall curve, the share of positives (chance) and the threshold's place.

    Args:
        points: (recall, precision), each in [0, 1].
        share: Positives among the rows, in [0, 1].
        at: (recall, precision) at the threshold; None when that is not defined.
    """
    parts = [_line(((0, share), (1, share)), "chance"), _line(points, "curve"), _dot(at)]
    return _square("Precision and recall", "recall", "precision", parts)


def plot_roc(points: Points, *, at: tuple[float, float] | None) -> str:
    """The ROC curve, chance and the threshold's place.

    Args:
        points: (false-positive rate, recall), each in [0, 1].
        at: The same at the threshold; None when that is not defined.
    """
    parts = [_line(((0, 0), (1, 1)), "chance"), _line(points, "curve"), _dot(at)]
    return _square("ROC", "false-positive rate", "recall", parts)


def plot_reliability(bins: Sequence[Bin]) -> str:
    """Share of positives against mean score, a bin; the area of a dot grows with its rows."""
    most = max((one.rows for one in bins), default=1)
    points = tuple((one.mean_score, one.positive_share) for one in bins)
    dots = [
        f'<circle class="bin" cx="{_x(x)}" cy="{_y(y)}" r="{2 + 5 * (one.rows / most) ** 0.5:.1f}">'
        f"<title>{one.rows} rows: score {x:.3f}, positive {y:.3f}</title></circle>"
        for one, (x, y) in zip(bins, points, strict=True)
    ]
    parts = [_line(((0, 0), (1, 1)), "chance"), _line(points, "curve"), *dots]
    return _square("Reliability", "mean score", "share of positives", parts)


def plot_shares_above(given: Points, made: Points) -> str:
    """The share of inputs, and of generations, above each score: the area between them is WInToRe.

    Args:
        given: (score, share of inputs above it), each in [0, 1].
        made: Likewise of the generations.
    """
    parts = [_line(given, "curve"), _line(made, "made")]
    return _square("Inputs (blue), generations (red)", "score", "share above it", parts)


def plot_reflection(points: Points) -> str:
    """The mean score of an input's generations against its own; above the line it was made worse.

    Args:
        points: (score of the input, mean of its generations), each in [0, 1].
    """
    dots = [f'<circle class="bin" cx="{_x(x)}" cy="{_y(y)}" r="2.5"/>' for x, y in points]
    parts = [_line(((0, 0), (1, 1)), "chance"), *dots]
    return _square("What is made of an input", "input", "mean of its generations", parts)


def standing_alone(plot: str) -> str:
    """A plot as a file of its own: what makes it readable outside a page is inside.

    >>> standing_alone("<svg role='img'></svg>").startswith('<svg xmlns="http://www.w3.org/2000/svg" role=')
    True
    """
    head, _, rest = plot.partition(">")
    head = head.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return f"{head}><style>{PLOT_STYLE}</style>{rest}\n"


def _square(title: str, x_label: str, y_label: str, parts: Sequence[str]) -> str:
    width, height = _LEFT + _SIDE + _RIGHT, _TOP + _SIDE + _BOTTOM
    middle_x, middle_y = _LEFT + _SIDE / 2, _TOP + _SIDE / 2
    content = "".join((*(_tick(value) for value in _TICKS), *parts))
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(title)}">'
        f'<text class="title" x="{middle_x}" y="12" text-anchor="middle">{escape(title)}</text>'
        f"{content}"
        f'<text x="{middle_x}" y="{height - 4}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text transform="translate(10 {middle_y}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text></svg>"
    )


def _tick(value: float) -> str:
    """A line of the grid each way, with its number."""
    x, y = _x(value), _y(value)
    return (
        f'<path class="grid" d="M{x} {_y(0)}V{_y(1)}M{_x(0)} {y}H{_x(1)}"/>'
        f'<text x="{x}" y="{_TOP + _SIDE + 14}" text-anchor="middle">{value:g}</text>'
        f'<text x="{_LEFT - 4}" y="{y}" dy="3" text-anchor="end">{value:g}</text>'
    )


def _line(points: Points, kind: str) -> str:
    path = " ".join(f"{_x(x)},{_y(y)}" for x, y in points)
    return f'<polyline class="{kind}" points="{path}"/>'


def _dot(at: tuple[float, float] | None) -> str:
    if at is None:
        return ""
    return f'<circle class="threshold" cx="{_x(at[0])}" cy="{_y(at[1])}" r="4"><title>at the threshold</title></circle>'


def _x(value: float) -> float:
    return round(_LEFT + value * _SIDE, 1)


def _y(value: float) -> float:
    return round(_TOP + (1 - value) * _SIDE, 1)
