"""What a measurement left as JSON, as text: a list of rows under each title."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def rendered(found: dict[str, Any]) -> str:
    """The tables as text."""
    lines = [", ".join(found["models"])]
    for title, rows in found.items():
        if title == "models":
            continue
        lines += ["", title]
        width = max(len(str(row["what"])) for row in rows)
        for row in rows:
            values = "   ".join(f"{k} {v}" for k, v in row.items() if k != "what")
            lines.append(f"  {row['what']!s:<{width}}   {values}")
    return "\n".join(lines)


def shown_share(of: Mapping[str, float]) -> str:
    """A share with its interval, in percent.

    >>> shown_share({"share": 0.5, "low": 0.25, "high": 0.75})
    '50.0 % [25.0, 75.0]'
    """
    return f"{100 * of['share']:.1f} % [{100 * of['low']:.1f}, {100 * of['high']:.1f}]"


def shown_ratio(of: Mapping[str, float]) -> str:
    """A ratio with its interval."""
    return f"{of['value']:.1f} [{of['low']:.1f}, {of['high']:.1f}]"


def shown_points(of: Mapping[str, float]) -> str:
    """A difference of shares with its interval, in percentage points."""
    return f"{100 * of['value']:+.1f} [{100 * of['low']:+.1f}, {100 * of['high']:+.1f}]"


def cascade_rows(found: dict[str, Any]) -> dict[str, Any]:
    """`bench/results/cascade.json` as tables that `rendered` takes."""
    loss = found["loss"]
    costs = [
        {
            "what": f"{mix}, cascade {state}",
            "cleared": f"{cost[state]['cleared']:.3f}",
            "mean CPU ms": f"{cost[state]['mean_cpu_ms']:.2f}",
            "p50": f"{cost[state]['p50_cpu_ms']:.2f}",
            "of off": f"{cost['mean_ratio'] if state == 'on' else 1:.2f}",
        }
        for mix, cost in found["cost"].items()
        for state in ("on", "off")
    ]
    lost = f"{loss['lost']} of {loss['flagged']}, at most {100 * loss['upper_95']:.2f} %"
    return {
        "models": [*found["models"], found["machine"]["cpu"]],
        "flagged texts the first tier clears (held out of it; one-sided 95 % bound)": [
            {"what": "any category at the lowest threshold of any shipped policy", "lost": lost}
        ],
        f"cost on a mix that is {100 * found['benign_share']:.0f} % benign, policy {found['policy']}": costs,
    }


def robustness_rows(found: dict[str, Any]) -> dict[str, Any]:
    """`bench/results/robustness.json` as tables that `rendered` takes."""

    def share(of: dict[str, Any]) -> str:
        return f"{100 * of['share']:.1f} % [{100 * of['low']:.1f}, {100 * of['high']:.1f}] of {of['total']}"

    return {
        "models": [f"seed {found['seed']}", f"{found['words']} listed words"],
        "disguised words caught by normaliser and list": [
            {"what": f"{row['disguise']} ({row['known']})", "caught": share(row["caught"])}
            for row in found["caught"]
            if row["promised"]
        ],
        "caught, though nothing is promised": [
            {"what": f"{row['disguise']} ({row['known']})", "caught": share(row["caught"])}
            for row in found["caught"]
            if not row["promised"]
        ],
        "innocent words flagged (599 words that hold a listed one, three spellings each)": [
            {"what": known, "flagged": share(of)} for known, of in found["innocent_flagged"].items()
        ],
        f"flagged texts that pass {found['policy']} once one character is changed": [
            {"what": row["change"], "lost": share(row["lost"])} for row in found["lost"]
        ],
    }
