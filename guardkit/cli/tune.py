"""`guardkit policy tune`: a policy's thresholds, and their cases, from a team's own labelled texts."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from guardkit.cli.shared import Verbs, add_verb, policy_file, print_json
from guardkit.cli.tune_write import Cases, Source, plan_cases, read_source, write_tuned
from guardkit.errors import InputError, PolicyError
from guardkit.evaluate.read import Labelled, read_labelled
from guardkit.guard import Guard
from guardkit.policy.cases import cases_file
from guardkit.policy.rules import Policy
from guardkit.policy.shape import nearest
from guardkit.policy.tune import (
    Share,
    Tuned,
    inherited,
    lowest_threshold,
    measure_at,
    measuring_stage,
    move_rules,
    rules_on,
)
from guardkit.types import Scores

_FEW_POSITIVES = 20  # one text moves recall by more than 5 points
_RULE_OF_THREE = 3  # none of 3/p negatives firing says, at 95 %, that fewer than p would


def add(actions: Verbs) -> None:
    """Add the sub-verb."""
    parser = add_verb(
        actions,
        "tune",
        text="write thresholds, and their cases, from your own labelled texts",
        example="guardkit policy tune chat --data labelled.csv --max-fpr 0.01 --out tuned.yaml",
    )
    parser.add_argument("policy", metavar="POLICY", help="preset or YAML file")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="FILE",
        help="CSV, JSONL or parquet: a column of texts, and a column of 0 and 1 a category",
    )
    parser.add_argument(
        "--max-fpr",
        type=float,
        required=True,
        metavar="SHARE",
        help="share of the negatives of a category that may reach its threshold, in (0, 1)",
    )
    parser.add_argument(
        "--category",
        action="append",
        default=[],
        metavar="NAME",
        help="tune this one (repeatable); left out: all that have a column and a rule",
    )
    parser.add_argument("--text-column", default="text", metavar="NAME")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--out", type=Path, metavar="FILE", help="a new policy file")
    target.add_argument("--in-place", action="store_true", help="overwrite POLICY and its cases")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=run_tune)


def run_tune(args: argparse.Namespace) -> int:
    """Tune, write, prove what was written, report."""
    if not 0 < args.max_fpr < 1:
        raise InputError(f"--max-fpr: found {args.max_fpr:g}. Expected a share in (0, 1): 0.01.")
    source = read_source(policy_file(args.policy))
    target = source.file.resolve() if args.in_place else _new_file(args.out)
    labelled = read_labelled(
        args.data, categories=_ruled(source.policy), text_column=args.text_column
    )
    job = _Job(source, labelled, args.max_fpr, is_asked=bool(args.category))
    plan = _plan(job, _wanted(args, job))
    cases = plan_cases(source, plan.policy, [one.category for one in plan.tuned])
    write_tuned(source, target, plan.policy, cases)
    _report(args, target, plan, cases)
    return 0


# --- what goes in ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Job:
    """What to tune, on what."""

    source: Source
    labelled: Labelled
    max_fpr: float
    is_asked: bool
    """Categories were named: one that cannot be tuned is an error, not a warning."""


def _new_file(out: Path) -> Path:
    if out.suffix != ".yaml" or out.name.endswith(".cases.yaml"):
        raise InputError(f"--out: found '{out}'. Expected a policy file: a name in .yaml.")
    for path in (out, cases_file(out)):
        if path.exists():
            raise InputError(
                f"{path}: exists already. Choose another --out, remove it, or use --in-place."
            )
    return out


def _ruled(policy: Policy) -> list[str]:
    """The categories that rules can be tuned on, in the policy's order."""
    named = [rule.when.category for stage in policy.stages.values() for rule in stage.rules]
    return [category for category in dict.fromkeys(named) if rules_on(policy, category)]


def _wanted(args: argparse.Namespace, job: _Job) -> list[str]:
    ruled, columns = _ruled(job.source.policy), job.labelled.labels
    for name in args.category:
        if name not in ruled:
            raise InputError(
                f"{job.source.file}: --category {name}: no rule on it. "
                f"Found rules on {', '.join(ruled) or 'nothing'}.{nearest(name, ruled)}"
            )
        if name not in columns:
            raise InputError(
                f"{args.data}: --category {name}: no column of that name. Found columns for "
                f"{', '.join(columns) or 'no category'}. Add the column, or leave the category out."
            )
    wanted = [category for category in ruled if category in (args.category or columns)]
    if not wanted:
        raise InputError(
            f"{args.data}: no column is named like a category with a rule in {job.source.file}. "
            f"Expected one of {', '.join(ruled) or 'none: the policy has no rule to tune'}."
        )
    return wanted


# --- thresholds -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Plan:
    """The tuned policy, and how it came about."""

    policy: Policy
    tuned: tuple[Tuned, ...]
    left: tuple[str, ...]
    """Categories with rules whose thresholds stay."""
    warnings: tuple[str, ...]


def _plan(job: _Job, wanted: Sequence[str]) -> _Plan:
    policy, warnings = job.source.policy, list[str]()
    scores = _score(job, wanted)
    tuned: list[Tuned] = []
    for category in wanted:
        try:
            one = _tune(job, category, scores, warnings)
        except (InputError, PolicyError) as e:
            if job.is_asked:
                raise
            warnings.append(f"{category}: left as it is. {e}")
            continue
        tuned.append(one)
        policy = move_rules(policy, category, one.after.threshold)
        warnings += _doubts(job, one)
    if not tuned:
        raise InputError("\n".join(["no threshold could be tuned.", *warnings]))
    done = [one.category for one in tuned]
    left = tuple(category for category in _ruled(policy) if category not in done)
    return _Plan(policy, tuple(tuned), left, tuple(warnings))


def _score(job: _Job, wanted: Sequence[str]) -> Mapping[int, Scores]:
    """Row -> scores, of the rows with a label in a wanted category; nothing hurries this."""
    policy = job.source.policy
    patient = msgspec.structs.replace(policy, prompt=measuring_stage(policy), timeout_ms=None)
    guard = Guard(patient)
    labels = [job.labelled.labels[category].known for category in wanted]
    rows = [row for row in range(len(job.labelled.texts)) if any(known[row] for known in labels)]
    texts = [job.labelled.texts[row] for row in rows]
    return dict(zip(rows, guard.score_prompts(texts), strict=True))


def _tune(job: _Job, category: str, scores: Mapping[int, Scores], warnings: list[str]) -> Tuned:
    policy = job.source.policy
    if faults := inherited(policy, job.source.tree, category):
        raise PolicyError(faults)
    negatives, positives, unmeasured = _split(job.labelled, category, scores)
    where = f"{job.labelled.file}: column '{category}'"
    if unmeasured:
        warnings.append(f"{category}: {unmeasured} texts could not be scored and do not count.")
    if not negatives:
        raise InputError(f"{where}: no negatives. Label harmless texts with 0.")
    threshold = lowest_threshold(negatives, job.max_fpr)
    if threshold is None:
        ones = sum(score == 1 for score in negatives)
        raise InputError(
            f"{where}: {ones} of {len(negatives)} negatives score 1, so no threshold keeps to "
            f"--max-fpr {job.max_fpr:g}. Check their labels and the policy's word lists."
        )
    lowest = min(rule.when.at_least for _, rule in rules_on(policy, category))
    return Tuned(
        category,
        len(negatives),
        len(positives),
        before=measure_at(lowest, negatives, positives),
        after=measure_at(threshold, negatives, positives),
    )


def _split(
    labelled: Labelled, category: str, scores: Mapping[int, Scores]
) -> tuple[list[float], list[float], int]:
    """Scores of the negatives and of the positives, and how many known texts have none."""
    labels = labelled.labels[category]
    negatives: list[float] = []
    positives: list[float] = []
    known = [row for row in scores if labels.known[row]]
    for row in known:
        score = scores[row].get(category)
        if score is not None:
            (positives if labels.truth[row] else negatives).append(score)
    return negatives, positives, len(known) - len(negatives) - len(positives)


def _doubts(job: _Job, one: Tuned) -> Iterator[str]:
    policy = job.source.policy
    enough = math.ceil(round(_RULE_OF_THREE / job.max_fpr, 6))
    if one.negatives < enough:
        yield (
            f"{one.category}: {one.negatives} negatives, fewer than {enough} (3 / max-fpr): "
            "the true false-positive rate may be above the limit."
        )
    if one.positives < _FEW_POSITIVES:
        yield (
            f"{one.category}: {one.positives} positives, fewer than {_FEW_POSITIVES}: "
            "the recall says little."
        )
    measured = {(stage, rule.name) for stage, rule in rules_on(policy, one.category)}
    measuring = measuring_stage(policy)
    for stage, stage_policy in policy.stages.items():
        rules = [rule for rule in stage_policy.rules if rule.when.category == one.category]
        if rules and (stage, rules[0].name) not in measured:
            yield f"{one.category}: the rules of {stage.value} stay: it has other scorers."
        elif rules and measuring and set(stage_policy.scorers) != set(measuring.scorers):
            yield f"{one.category}: {stage.value} is tuned too, and only some scorers are the same."


# --- what comes out -------------------------------------------------------------------------------


def _report(args: argparse.Namespace, target: Path, plan: _Plan, cases: Cases) -> None:
    lost = [
        f"case '{result.case.name}' is dropped: {result.problem}. Its text is judged otherwise now."
        for result in cases.dropped
        if result.case.text is not None
    ]
    warnings = [*plan.warnings, *lost]
    if args.json:
        print_json(_document(args, target, plan, cases) | {"warnings": warnings})
        return
    print("\n".join(table(plan.tuned)))
    if plan.left:
        print(f"left as they are: {', '.join(plan.left)}")
    print(f"wrote {target}")
    count = f"{len(cases.dropped)} cases dropped, {len(cases.added)} added"
    print(f"wrote {cases_file(target)}: {count}; all hold")
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def _document(
    args: argparse.Namespace, target: Path, plan: _Plan, cases: Cases
) -> dict[str, object]:
    return {
        "policy": args.policy,
        "data": {"file": str(args.data), "max_fpr": args.max_fpr},
        "out": str(target),
        "cases": str(cases_file(target)),
        "categories": [
            asdict(one)
            | {
                "rules": [
                    {"stage": stage.value, "rule": rule.name, "at_least": rule.when.at_least}
                    for stage, rule in rules_on(plan.policy, one.category)
                ]
            }
            for one in plan.tuned
        ],
        "left": list(plan.left),
        "cases_dropped": [result.case.name for result in cases.dropped],
        "cases_added": [case.name for case in cases.added],
    }


def table(tuned: Sequence[Tuned]) -> Iterator[str]:
    """A row a category, for people."""
    yield (
        f"{'category':14} {'negatives':>9} {'positives':>9} {'before':>6} {'after':>6}  "
        f"{'FPR, % [95 %]':22} {'recall, % [95 %]'}"
    )
    for one in tuned:
        yield (
            f"{one.category:14} {one.negatives:9} {one.positives:9} "
            f"{one.before.threshold:6.2f} {one.after.threshold:6.2f}  "
            f"{_shown(one.after.fpr):22} {_shown(one.after.recall)}"
        )


def _shown(share: Share | None) -> str:
    if share is None:
        return "-"
    return f"{100 * share.value:.1f} [{100 * share.low:.1f}, {100 * share.high:.1f}]"
