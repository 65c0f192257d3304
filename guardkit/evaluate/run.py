"""Score labelled texts under a policy and measure every category, group and decision."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

import guardkit
from guardkit.errors import InputError
from guardkit.evaluate.read import Labelled, LabelledRows, Labels
from guardkit.evaluate.report import Curves, Points, Report, SliceReport, Target
from guardkit.guard import Guard
from guardkit.metrics.calibration import expected_calibration_error, reliability
from guardkit.metrics.ranking import Bools, Floats, rank
from guardkit.metrics.slices import Plan, gaps, measure, measure_groups
from guardkit.policy.rules import Policy
from guardkit.taxonomy import TAXONOMY, Stage, is_harm
from guardkit.types import Scores, Status, Tier

SEED = 20261124
ANY, DECISION = "any", "decision"
LENGTH = "length in words"
"""The slice that every report has."""
_LENGTHS = ((8, "under 8"), (31, "8 to 30"), (121, "31 to 120"))  # words below which a name holds
_LONGEST = "over 120"
_DEFAULT_THRESHOLD = 0.5  # where no rule of the policy names the category
_MOST_POINTS = 200  # of a curve: more than a plot of this size can show


@dataclass(frozen=True, slots=True)
class Settings:
    """How to measure."""

    thresholds: Mapping[str, float]
    """Category or `any` -> threshold in [0, 1], instead of the policy's."""
    resamples: int = 1000
    seed: int = SEED


@dataclass(frozen=True, slots=True)
class Scored:
    """What a guard said of every row."""

    scores: Mapping[str, Floats]
    """Category -> f64 [rows] in [0, 1]; NaN where it could not be scored."""
    flagged: Floats
    """f64 [rows]: 1 where the policy flags the text, 0 where not, NaN where it cannot say."""
    cleared: int
    """Rows that the fast tier answered for."""


def run_evaluation(labelled: Labelled, guard: Guard, settings: Settings) -> Report:
    """Score every text once and measure.

    Args:
        labelled: The file.
        guard: Its policy has a prompt stage.
        settings: Thresholds and intervals.

    Raises:
        InputError: The policy has no prompt stage, or a threshold is given for a category without
            labels.
    """
    check_thresholds(settings.thresholds, labelled)
    scored = score_rows(guard, labelled.texts)
    slices = {LENGTH: length_groups(labelled.texts), **labelled.slices}
    return make_report(replace(labelled, slices=slices), scored, guard, settings, Stage.PROMPT)


def make_report(
    labelled: LabelledRows, scored: Scored, guard: Guard, settings: Settings, stage: Stage
) -> Report:
    """Measure what a guard said of labelled rows, by the thresholds of one stage of its policy."""
    measured = [category for category in labelled.labels if category in scored.scores]
    one = functools.partial(_target, labelled=labelled, settings=settings)

    def threshold(name: str) -> tuple[float, str]:
        given = settings.thresholds.get(name)
        lowest = lowest_threshold(guard.policy, name, stage=stage)
        return lowest if given is None else (given, "given")

    categories = tuple(
        one(name, labelled.labels[name], scored.scores[name], *threshold(name)) for name in measured
    )
    return Report(
        data=labelled.file,
        data_sha256=labelled.sha256,
        rows=labelled.rows,
        policy_id=guard.policy.id,
        models=tuple(f"{m.name}@{m.version}#{m.digest[:12]}" for m in guard.info()),
        guardkit=guardkit.__version__,
        resamples=settings.resamples,
        seed=settings.seed,
        overall_from=labelled.overall_from,
        overall=_overall(labelled, scored, settings),
        cleared_by_fast_tier=scored.cleared,
        categories=categories,
        not_scored=tuple(name for name in labelled.labels if name not in scored.scores),
        ignored_columns=labelled.ignored,
    )


def label_names(policy: Policy, *, stage: Stage = Stage.PROMPT) -> tuple[str, ...]:
    """The names, in kebab-case, that a column of labels may have: of the stage, and of texts the policy's own."""
    of_stage = [name for name, row in TAXONOMY.items() if stage in row.stages]
    own = () if stage is Stage.OUTPUT_IMAGE else policy.lists
    return tuple(dict.fromkeys([*of_stage, *own]))


def score_rows(guard: Guard, texts: Sequence[str]) -> Scored:
    """Check every text: the scores of `Guard.score_prompts`, and whether the policy flags it.

    The scores of a decision are reused, so that no model runs twice, but for two kinds of text: one
    that the fast tier cleared, whose scores are not those of the full model, and one that is too
    long, which has none.
    """
    rows: list[Scores] = []
    flagged = np.full(len(texts), np.nan)
    cleared = 0
    for row, text in enumerate(texts):
        decision = guard.check_prompt(text)
        if decision.scores and decision.status is Status.OK:
            flagged[row] = decision.flagged
        is_full = bool(decision.scores) and decision.tier is Tier.FULL
        rows.append(decision.scores if is_full else guard.score_prompts([text])[0])
        cleared += decision.tier is Tier.FAST
    names = dict.fromkeys(name for scores in rows for name in scores)
    return Scored(
        {name: np.array([scores.get(name) for scores in rows], np.float64) for name in names},
        flagged,
        cleared,
    )


def length_groups(texts: Sequence[str]) -> tuple[str, ...]:
    """The length of each text, in words separated by spaces.

    >>> length_groups(["one two", "word " * 8])
    ('under 8', '8 to 30')
    """
    counts = [len(text.split()) for text in texts]
    return tuple(
        next((name for below, name in _LENGTHS if count < below), _LONGEST) for count in counts
    )


def lowest_threshold(
    policy: Policy, category: str, *, stage: Stage = Stage.PROMPT
) -> tuple[float, str]:
    """The lowest threshold of a stage's rules for a category, and the rule it is from.

    A rule counts whatever context it asks for; without any rule the threshold is 0.5.
    """
    stage_policy = policy.stage(stage)
    rules = stage_policy.rules if stage_policy else ()
    found = [rule for rule in rules if rule.when.category == category]
    if not found:
        return _DEFAULT_THRESHOLD, "default, no rule"
    lowest = min(found, key=lambda rule: rule.when.at_least)
    return lowest.when.at_least, f"rule {lowest.name}"


def _overall(labelled: LabelledRows, scored: Scored, settings: Settings) -> tuple[Target, ...]:
    """`any`: the highest score of all harm categories; `decision`: what the policy flags."""
    harms = [values for name, values in scored.scores.items() if is_harm(name)]
    if labelled.overall is None or not harms:
        return ()
    one = functools.partial(_target, labelled=labelled, settings=settings)
    given = settings.thresholds.get(ANY)
    source = "default" if given is None else "given"
    threshold = _DEFAULT_THRESHOLD if given is None else given
    highest = np.max(harms, axis=0)  # NaN where any is: what failed might have been the highest
    return (
        one(ANY, labelled.overall, highest, threshold, source),
        one(DECISION, labelled.overall, scored.flagged, 0.5, "the policy's rules"),
    )


def _target(
    name: str,
    labels: Labels,
    scores: Floats,
    threshold: float,
    source: str,
    *,
    labelled: LabelledRows,
    settings: Settings,
) -> Target:
    is_failed = np.isnan(scores)
    usable = labels.known & ~is_failed
    truth, values = labels.truth[usable], scores[usable]
    is_ranked = name != DECISION
    plan = Plan(threshold, settings.resamples, settings.seed, is_ranked=is_ranked)
    bins = reliability(truth, values) if is_ranked else ()
    return Target(
        name=name,
        threshold=threshold,
        threshold_from=source,
        unknown=int(np.count_nonzero(~labels.known)),
        failed=int(np.count_nonzero(labels.known & is_failed)),
        result=measure(truth, values, plan),
        slices=tuple(
            _slice(column, _kept(groups, usable), truth, values, plan)
            for column, groups in labelled.slices.items()
        ),
        reliability=bins,
        calibration_error=expected_calibration_error(bins),
        curves=_curves(truth, values) if is_ranked else None,
    )


def _kept(groups: Sequence[str], rows: Bools) -> list[str]:
    return [groups[row] for row in np.flatnonzero(rows).tolist()]


def _slice(
    column: str, groups: Sequence[str], truth: Bools, scores: Floats, plan: Plan
) -> SliceReport:
    rows = measure_groups(truth, scores, groups, plan)
    return SliceReport(column, rows, gaps(rows))


def _curves(truth: Bools, scores: Floats) -> Curves | None:
    if not 0 < np.count_nonzero(truth) < len(truth):
        return None
    ranking = rank(truth, scores)
    return Curves(_points(*ranking.pr_curve()), _points(*ranking.roc_curve()))


def _points(x: Floats, y: Floats) -> Points:
    """At most `_MOST_POINTS` points of a curve, evenly along its steps, both ends among them."""
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MOST_POINTS)).round().astype(np.int64))
    return tuple(zip(x[kept].round(6).tolist(), y[kept].round(6).tolist(), strict=True))


def check_thresholds(given: Mapping[str, float], labelled: LabelledRows) -> None:
    """Refuse thresholds that nothing would be measured by.

    Raises:
        InputError: One is given for a category without labels.
    """
    allowed = (*labelled.labels, *((ANY,) if labelled.overall else ()))
    for name in given:
        if name not in allowed:
            raise InputError(
                f"--threshold {name}: {labelled.file} has no labels for it. "
                f"Expected one of {', '.join(allowed)}."
            )
