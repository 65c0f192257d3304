"""Two models for one: a fast tier clears what is plainly harmless, the full model scores the rest.

The fast tier (artifact `text-safety-fast`) reads the tokens made for the full model, so a text is
tokenized once. It never flags. Its bounds hold for one full model and for thresholds at or above
those it was fitted for; beside another model, or under a stricter policy, there is no cascade.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence

from msgspec.structs import replace

from guardkit.artifacts import Artifact, Manifest, RunnerOptions, find_artifact
from guardkit.errors import DeadlineError, GuardkitError, MissingArtifactError
from guardkit.policy.rules import EditorEntry, Policy, StagePolicy, When
from guardkit.runtime.base import Runner, checked_output, open_runner
from guardkit.runtime.clock import Stop
from guardkit.text.encode import Windows
from guardkit.text.normalize import Prompt
from guardkit.text.score import Scorer, TextScorer, calibrate
from guardkit.types import Scored, Scores, Tier

_log = logging.getLogger(__name__)

FULL = "text-safety"
FAST = "text-safety-fast"
_MOST_WINDOWS = 16  # a text of more is rare, and seldom clear in all of them


class Cascade:
    """A fast tier before a full model; scores like the latter. Safe to share between threads."""

    def __init__(
        self, full: TextScorer, manifest: Manifest, runner: Runner, *, bars: Mapping[str, float]
    ) -> None:
        """Put a fast tier before a full model.

        Args:
            full: What answers for every text that is not cleared.
            manifest: The fast tier's; its categories are those of `full`.
            runner: The fast tier, opened.
            bars: Category -> a text is cleared only when its fast score is below.
        """
        self.full = full
        self.name = full.name
        self.categories = full.categories
        self.runner = runner
        self._manifest = manifest
        self._bars = bars
        self._calibration = [manifest.calibration[name] for name in manifest.categories]

    def score(self, prompts: Sequence[Prompt], *, stop: Stop | None = None) -> list[Scored]:
        """Score normalised texts: with the fast tier where it clears them, else with the full model.

        Raises:
            RunError: The full model failed.
            DeadlineError: `stop` fired.
        """
        windows = [self.full.encode(prompt) for prompt in prompts]
        scored = [self._clear(*one, stop) for one in zip(prompts, windows, strict=True)]
        rest = [row for row, one in enumerate(scored) if one is None]
        full = self.full.score_windows(
            [prompts[row] for row in rest], [windows[row] for row in rest], stop=stop
        )
        answers = iter(full)
        return [next(answers) if one is None else one for one in scored]

    def _clear(self, prompt: Prompt, windows: Windows, stop: Stop | None) -> Scored | None:
        """The fast tier's answer where it clears a text; None for the full model's to come."""
        if prompt.context or len(windows.texts) > _MOST_WINDOWS:
            return None
        scores = self._try(windows, stop)
        if scores is None or not self._is_clear(scores):
            return None
        return Scored(scores, tier=Tier.FAST)

    def _try(self, windows: Windows, stop: Stop | None) -> Scores | None:
        """The fast tier's scores; None when it failed, which the full model then makes good."""
        try:
            return self._fast_scores(windows, stop)
        except DeadlineError:
            raise  # no time is left for the full model either
        except Exception as e:  # noqa: BLE001  a shortcut that fails must not fail the check
            _log.warning("the fast tier failed: %s", type(e).__name__)
            return None

    def _fast_scores(self, windows: Windows, stop: Stop | None) -> Scores:
        """Calibrated scores; the maximum over windows, as in the full model."""
        count = len(self._calibration)
        outputs = self.runner.run(windows.inputs, stop=stop)
        shape = (len(windows.texts), count)
        _, logits = checked_output(outputs, "logits", shape=shape, manifest=self._manifest)
        highest = (max(logits[column::count]) for column in range(count))
        values = map(calibrate, highest, self._calibration)
        return Scores(dict(zip(self._manifest.categories, values, strict=True)))

    def _is_clear(self, scores: Scores) -> bool:
        values = dict(scores.items())
        # A score that is missing clears nothing.
        return all(
            (score := values[name]) is not None and score < bar for name, bar in self._bars.items()
        )


def open_cascade(policy: Policy, scorers: Mapping[str, Scorer]) -> Cascade | None:
    """The cascade of a policy's `text-safety`, or None.

    None when the policy switches it off or does not use the model, when there is no fast tier, when
    it was fitted for another model or for higher thresholds, or when it cannot be opened.
    """
    full = scorers.get(FULL)
    options = policy.models.get(FULL, RunnerOptions())
    if not isinstance(full, TextScorer) or not options.cascade:
        return None
    try:
        artifact = find_artifact(FAST)
        if not suits(artifact.manifest, full.manifest, policy):
            return None
        return _opened(full, artifact, policy, _beside(options))
    except MissingArtifactError:
        return None
    except GuardkitError as e:
        _log.warning("the fast tier cannot be used: %s", e)
        return None


def _beside(options: RunnerOptions) -> RunnerOptions:
    """How the fast tier runs: here and on the CPU, for a call to a server or a GPU takes longer than it."""
    return replace(options, path=None, backend="onnx", triton=None, provider="cpu")


def suits(fast: Manifest, full: Manifest, policy: Policy) -> bool:
    """Whether a fast tier's bounds hold beside a full model under every rule of a policy."""
    fitted = fast.fitted
    if fitted is None or set(fast.categories) != set(full.categories):
        return False
    if fitted.scores_digest != full.scores_digest:
        _log.info("%s was fitted for another model than %s", fast.id, full.id)
        return False
    thresholds = fitted.thresholds
    return all(
        category in thresholds and at_least >= thresholds[category]
        for category, at_least in rule_thresholds(policy, full.languages)
        if category in fast.categories
    )


def rule_thresholds(policy: Policy, languages: Collection[str]) -> Iterator[tuple[str, float]]:
    """(category, threshold) of every rule that may fire on a text in some languages.

    Args:
        policy: Its rules of every stage count, whatever else of a context they ask for.
        languages: Those of the full model; a rule for others never meets its scores. Empty: any.
    """
    for stage_policy in policy.stages.values():
        for rule in stage_policy.rules:
            asked = _languages_asked(rule.when, policy)
            if asked is None or not languages or not asked.isdisjoint(languages):
                yield rule.when.category, rule.when.at_least


def _languages_asked(when: When, policy: Policy) -> frozenset[str] | None:
    """The languages that a rule is for; None: all."""
    if when.language is not None:
        return frozenset([when.language])
    if when.language_tier is not None:
        return frozenset(policy.languages.tiers.get(when.language_tier, ()))
    return None


def may_clear(stage_policy: StagePolicy) -> bool:
    """Whether a stage can do with scores alone; an editor that always runs needs the spans."""
    return not any(
        isinstance(entry, EditorEntry) and entry.when == "always" for entry in stage_policy.editors
    )


def runners_of(
    scorers: Mapping[str, Scorer], cascade: Cascade | None
) -> dict[Tier, tuple[Runner, ...]]:
    """The opened models that take part in a decision of each tier."""
    models = [one for one in scorers.values() if isinstance(one, TextScorer)]
    quick = [cascade if cascade is not None and one is cascade.full else one for one in models]
    return {
        Tier.FULL: tuple(one.runner for one in models),
        Tier.FAST: tuple(one.runner for one in quick),
    }


def _opened(
    full: TextScorer, artifact: Artifact, policy: Policy, options: RunnerOptions
) -> Cascade:
    bars = dict(artifact.manifest.clears)
    for category, at_least in rule_thresholds(policy, full.manifest.languages):
        if category in bars:
            bars[category] = min(bars[category], at_least)
    return Cascade(full, artifact.manifest, open_runner(artifact, options), bars=bars)
