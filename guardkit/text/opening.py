"""The scorers that a policy names, opened: artifacts, those that need no model, and the caller's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from guardkit.artifacts import RunnerOptions, find_artifact
from guardkit.policy.rules import Policy
from guardkit.runtime.base import OpenRunner
from guardkit.steps import BLOCKLIST, IDENTIFIERS, PUBLIC_FIGURES
from guardkit.text.blocklist import Blocklist
from guardkit.text.identifiers import Identifiers
from guardkit.text.public_figures import PublicFigures
from guardkit.text.score import Scorer, TextScorer

_SHIPPED: dict[str, Callable[[], Scorer]] = {
    IDENTIFIERS: Identifiers,
    PUBLIC_FIGURES: PublicFigures,
}


def open_scorers(
    policy: Policy, given: Mapping[str, Scorer], open_runner: OpenRunner
) -> dict[str, Scorer]:
    """One scorer a name, whichever stages use it."""
    return {name: _open_scorer(name, policy, given, open_runner) for name in policy.scorers}


def _open_scorer(
    name: str, policy: Policy, given: Mapping[str, Scorer], open_runner: OpenRunner
) -> Scorer:
    if name in given:
        return given[name]
    if name == BLOCKLIST:
        return Blocklist(policy.lists)
    if name in _SHIPPED:
        return _SHIPPED[name]()
    options = policy.models.get(name, RunnerOptions())
    artifact = find_artifact(name, path=Path(options.path) if options.path else None)
    return TextScorer(artifact, open_runner(artifact, options), languages=options.languages)
