"""The report as one self-contained HTML page: tables and plots, no scripts, nothing loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from guardkit.evaluate.plots import PLOT_STYLE, plot_precision_recall, plot_reliability, plot_roc
from guardkit.evaluate.report import Report, SliceReport, Target
from guardkit.metrics.bootstrap import Estimate
from guardkit.metrics.slices import FEW, Row

TITLES = {
    "auprc": "AUPRC",
    "roc_auc": "ROC AUC",
    "recall_at_1_percent_fpr": "recall at 1 % FPR",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "fpr": "FPR",
}
"""Metric -> its column's title; the order of the columns."""
THIN = "too few to trust"
FALSE_POSITIVES = "false positives"
_NONE = Estimate(None)
_STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; color: #1c2024; background: #fff; max-width: 76rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.2rem; margin-top: 2.5rem; border-top: 1px solid #d5d9de; padding-top: 1rem } h3 { font-size: 1rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums } .wide { overflow-x: auto }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid #e6e9ec; white-space: nowrap; vertical-align: top }
th:first-child, td:first-child { text-align: left } th { font-weight: 600 }
small { color: #5c6670; display: block } .thin { color: #a33b00 } dt { font-weight: 600; float: left; clear: left; width: 9rem } dd { margin-left: 9.5rem; overflow-wrap: anywhere }
svg { margin-right: 1rem }
"""


def render_page(report: Report) -> str:
    """The whole page."""
    targets = (*report.overall, *report.categories)
    body = "\n".join(
        [
            f"<h1>{escape(report.data)} under {escape(report.policy_id)}</h1>",
            _head(report),
            "<h2>All categories</h2>",
            table(_summary_head(), [_summary_row(target) for target in targets]),
            _notes(report),
            *(_target(target) for target in targets),
        ]
    )
    return document(report.data, body)


def document(data: str, body: str) -> str:
    """A page about some data; the body is HTML already."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>guardkit eval: {escape(data)}</title>\n<style>{_STYLE}{PLOT_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def share(value: float | None) -> str:
    """A number in [-1, 1] with three digits, or a dash for one that is not defined.

    >>> share(None), share(0.25), share(1.0), share(-0.25)
    ('-', '.250', '1.000', '-.250')
    """
    return "-" if value is None else f"{value:.3f}".replace("0.", ".", 1)


def false_positives(row: Row) -> tuple[str, ...]:
    """How many of the negatives were called positive, and how many may be: the Wilson bound of their share.

    >>> from guardkit.metrics.shares import wilson_interval
    >>> false_positives(Row(600, 0, is_thin=True, metrics={}, always_positive_f1=None,
    ...                     false_positives=0, fpr_bounds=wilson_interval(0, 600)))
    ('0 / 600', 'at most .006')
    """
    if row.false_positives is None:
        return ("-",)
    counted = f"{row.false_positives} / {row.rows - row.positives}"
    return (counted, f"at most {share(row.fpr_bounds[1])}") if row.fpr_bounds else (counted,)


def _head(report: Report) -> str:
    facts = {
        "data": f"{report.data}, {report.rows} rows, SHA-256 {report.data_sha256}",
        "policy": report.policy_id,
        "models": ", ".join(report.models) or "none",
        "guardkit": report.guardkit,
        "intervals": f"95 %, {report.resamples} bootstrap draws over rows, seed {report.seed}"
        if report.resamples
        else "none",
        "harmful at all": report.overall_from,
        "fast tier": f"cleared {report.cleared_by_fast_tier} rows",
        "not scored": ", ".join(report.not_scored) or "none",
        "columns ignored": ", ".join(report.ignored_columns) or "none",
    }
    return facts_list(facts)


def facts_list(facts: Mapping[str, str]) -> str:
    """Names and what they are."""
    return (
        f"<dl>{''.join(f'<dt>{escape(k)}</dt><dd>{escape(v)}</dd>' for k, v in facts.items())}</dl>"
    )


def _notes(report: Report) -> str:
    notes = [
        "Rows without a label, and rows that could not be scored, are in no number.",
        "AUPRC depends on the share of positives: compare it with that share, not between rows.",
        "An F1 says little unless it is well above that of calling every row positive.",
        "False positives: of all negatives, at the threshold; 'at most' is the upper end of a 95 % Wilson interval of their share.",
        "With under 100 negatives, recall at 1 % FPR allows no false positive at all.",
        f"Under {FEW} positives: {THIN}.",
    ]
    if report.overall:
        notes.append(
            "any: the highest score of all harm categories. decision: what the policy flags."
        )
    return f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>"


def _summary_head() -> list[str]:
    more = ["positive / rows", "failed", "threshold"]
    return ["", *more, *TITLES.values(), FALSE_POSITIVES, "F1, always positive"]


def _summary_row(target: Target) -> list[str]:
    source = f"{target.threshold:.2f}<small>{escape(target.threshold_from)}</small>"
    return _cells(target.name, target.result, [str(target.failed), source])


def _cells(name: str, row: Row, more: Sequence[str] = ()) -> list[str]:
    thin = f'<small class="thin">{THIN}</small>' if row.is_thin else ""
    return [
        f"{escape(name)}{thin}",
        f"{row.positives} / {row.rows}",
        *more,
        *(estimate_cell(row.metrics.get(metric, _NONE)) for metric in TITLES),
        _counted_of(false_positives(row)),
        share(row.always_positive_f1),
    ]


def _counted_of(parts: Sequence[str]) -> str:
    return "".join([parts[0], *(f"<small>{part}</small>" for part in parts[1:])])


def estimate_cell(one: Estimate) -> str:
    """A number with its interval below, as HTML."""
    if one.low is None:
        return share(one.value)
    return f"{share(one.value)}<small>[{share(one.low)}, {share(one.high)}]</small>"


def _target(target: Target) -> str:
    return "\n".join(
        [
            f"<h2>{escape(target.name)}</h2>",
            f"<p>{_counted(target)}</p>",
            _plots(target),
            *(_slice(one) for one in target.slices),
        ]
    )


def _counted(target: Target) -> str:
    error = share(target.calibration_error)
    return escape(
        f"{target.result.rows} rows measured, {target.unknown} without a label, {target.failed} "
        f"not scored. Threshold {target.threshold:.2f} ({target.threshold_from}). "
        f"Expected calibration error {error}."
    )


def _plots(target: Target) -> str:
    metrics, row = target.result.metrics, target.result
    recall, precision, fpr = (metrics[name].value for name in ("recall", "precision", "fpr"))
    plots: list[str] = []
    if target.curves is not None and recall is not None and fpr is not None:
        on_pr = None if precision is None else (recall, precision)
        positive = row.positives / row.rows
        plots += [
            plot_precision_recall(target.curves.precision_recall, share=positive, at=on_pr),
            plot_roc(target.curves.roc, at=(fpr, recall)),
        ]
    if target.reliability:
        plots.append(plot_reliability(target.reliability))
    return f"<div>{''.join(plots)}</div>"


def _slice(one: SliceReport) -> str:
    head = ["group", "positive / rows", *TITLES.values(), FALSE_POSITIVES, "F1, always positive"]
    gaps = [
        f"{TITLES[gap.metric]}: {share(gap.difference)} between {gap.lowest} (lowest) and "
        f"{gap.highest}{_OVERLAPS[gap.intervals_overlap]}"
        for gap in one.gaps
    ]
    listed = "".join(f"<li>{escape(gap)}</li>" for gap in gaps)
    gap_text = listed or f"<li>none: fewer than two groups with {FEW} rows of a class</li>"
    return (
        f"<h3>By {escape(one.column)}</h3>"
        f"{table(head, [_cells(name, row) for name, row in one.groups.items()])}"
        f"<p>Widest gaps:</p><ul>{gap_text}</ul>"
    )


_OVERLAPS = {
    None: "",
    True: "; the intervals overlap",
    False: "; the intervals do not overlap",
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; the cells are HTML already."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{top}</tr>{body}</table></div>'
