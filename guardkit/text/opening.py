"""The scorers that a policy names, opened: artifacts, those that need no model, and the caller's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from guardkit.artifacts import Artifact, RunnerOptions, find_artifact
from guardkit.errors import ManifestError
from guardkit.policy.rules import Policy
from guardkit.runtime.base import OpenRunner, Runner
from guardkit.steps import (
    BLOCKLIST,
    IDENTIFIERS,
    PII_TAGGER,
    PUBLIC_FIGURES,
    REWRITER,
    REWRITER_DECODER,
)
from guardkit.text.blocklist import Blocklist
from guardkit.text.concepts import ConceptMap, ConceptRewriter
from guardkit.text.identifiers import Identifiers
from guardkit.text.public_figures import PublicFigures
from guardkit.text.rewrite import ModelRewriter, Rewriter, check_pair, past_of
from guardkit.text.score import Scorer, TextScorer
from guardkit.text.tagger import Tagger

_SHIPPED: dict[str, Callable[[], Scorer]] = {
    IDENTIFIERS: Identifiers,
    PUBLIC_FIGURES: PublicFigures,
}


def open_scorers(
    policy: Policy, given: Mapping[str, Scorer], open_runner: OpenRunner
) -> dict[str, Scorer]:
    """One scorer a name, whichever stages of texts use it."""
    return {name: _open_scorer(name, policy, given, open_runner) for name in policy.text_scorers}


def _open_scorer(
    name: str, policy: Policy, given: Mapping[str, Scorer], open_runner: OpenRunner
) -> Scorer:
    if name in given:
        return given[name]
    if name == BLOCKLIST:
        return Blocklist(policy.lists)
    if name in _SHIPPED:
        return _SHIPPED[name]()
    return open_model(name, policy.models.get(name, RunnerOptions()), open_runner)


def open_tagger(policy: Policy, open_runner: OpenRunner) -> Tagger:
    """The tagger of personal data that ships with guardkit.

    Raises:
        ArtifactError: It is missing, changed, malformed, or no tagger.
        BackendError: It cannot be run here.
    """
    opened = open_model(PII_TAGGER, policy.models.get(PII_TAGGER, RunnerOptions()), open_runner)
    if not isinstance(opened, Tagger):
        raise ManifestError(f"artifact '{PII_TAGGER}': has no kinds. Install guardkit again.")
    return opened


def open_rewriter(policy: Policy, given: Rewriter | None, open_runner: OpenRunner) -> Rewriter:
    """The caller's rewriter, or else the one that ships with guardkit, behind the policy's concepts.

    Raises:
        ArtifactError: One of its two artifacts is missing, changed, malformed, or not made for the other.
        BackendError: It cannot be run here.
    """
    rewriter = given if given is not None else _open_model_rewriter(policy, open_runner)
    return ConceptRewriter(rewriter, ConceptMap(policy.concepts)) if policy.concepts else rewriter


def _open_model_rewriter(policy: Policy, open_runner: OpenRunner) -> ModelRewriter:
    options = policy.models.get(REWRITER, RunnerOptions())
    path = Path(options.path) if options.path else None
    beside = path.with_name(REWRITER_DECODER) if path else None  # both halves lie in one folder
    encoder, decoder = (
        find_artifact(REWRITER, path=path),
        find_artifact(REWRITER_DECODER, path=beside),
    )
    check_pair(encoder, decoder)
    runners = open_runner(encoder, options), open_runner(decoder, options)
    return ModelRewriter(encoder, *runners, past=past_of(decoder))


def open_model(name: str, options: RunnerOptions, open_runner: OpenRunner) -> TextScorer:
    """The scorer of an artifact, as its manifest says what it does.

    Raises:
        ArtifactError: It is missing, changed, malformed, or no text model.
        BackendError: It cannot be run here.
    """
    artifact = find_artifact(name, path=Path(options.path) if options.path else None)
    return scorer_of(artifact, open_runner(artifact, options), options)


def scorer_of(artifact: Artifact, runner: Runner, options: RunnerOptions) -> TextScorer:
    """What reads an opened text artifact.

    Raises:
        ManifestError: It is no text model.
    """
    if artifact.manifest.kinds:
        return Tagger(artifact, runner, kinds=options.kinds)
    return TextScorer(artifact, runner, languages=options.languages)
