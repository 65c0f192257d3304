"""`guardkit policy init | validate | test | explain | tune | diff | schema`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from guardkit.cli import policy_diff, tune
from guardkit.cli.shared import Verbs, add_verb, policy_file, print_json, read_policy
from guardkit.cli.tune_write import text_check
from guardkit.errors import GuardkitError, InputError, PolicyError
from guardkit.guard import Guard
from guardkit.policy.cases import Check, cases_file, load_cases, run_cases, uncovered
from guardkit.policy.load import find_policy, load_policy
from guardkit.policy.rules import Policy, When, json_schema
from guardkit.taxonomy import TAXONOMY

_STARTER = """\
# yaml-language-server: $schema=policy.schema.json
policy: {name}
version: 1
extends: {preset}

# Rules below replace the preset's rules of the same name; new names are added.
prompt:
  rules: []
"""
_STARTER_CASES = """\
# What this policy must do. Run: guardkit policy test {name}.yaml
cases:
  - name: a harmless prompt is allowed
    stage: prompt
    text: a quiet harbour at dawn, watercolour
    expect: {{action: allow, fired: []}}
"""


def add(verbs: Verbs) -> None:
    """Add the verb and its sub-verbs."""
    parser = add_verb(
        verbs,
        "policy",
        text="write, check, test and explain policies",
        example="guardkit policy validate my.yaml",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    init = add_verb(
        actions,
        "init",
        text="write a policy that extends a preset, and its cases",
        example="guardkit policy init storefront --preset text-to-image",
    )
    init.add_argument("name", help="kebab-case name; <name>.yaml and <name>.cases.yaml are written")
    init.add_argument("--preset", default="text-to-image")
    init.set_defaults(run=run_init)
    for name, text, run in (
        ("validate", "check policies; every fault at once", run_validate),
        ("test", "run the cases beside policies, and name rules without cases", run_test),
        ("explain", "say in sentences what a policy does", run_explain),
    ):
        sub = add_verb(actions, name, text=text, example=f"guardkit policy {name} text-to-image")
        sub.add_argument("policies", nargs="+", metavar="POLICY", help="preset or YAML file")
        sub.add_argument("--json", action="store_true")
        sub.set_defaults(run=run)
    tune.add(actions)
    policy_diff.add(actions)
    schema = add_verb(
        actions,
        "schema",
        text="print the JSON Schema of policy files, for editors",
        example="guardkit policy schema > policy.schema.json",
    )
    schema.set_defaults(run=run_schema)


def run_init(args: argparse.Namespace) -> int:
    """Write a starter policy; an existing file is never overwritten."""
    find_policy(args.preset)
    files = {
        Path(f"{args.name}.yaml"): _STARTER.format(name=args.name, preset=args.preset),
        Path(f"{args.name}.cases.yaml"): _STARTER_CASES.format(name=args.name),
    }
    for path in files:
        if path.exists():
            raise InputError(f"{path}: exists already. Choose another name or remove it.")
    for path, content in files.items():
        path.write_text(content)
        print(f"wrote {path}")
    load_policy(f"{args.name}.yaml")
    return 0


def run_validate(args: argparse.Namespace) -> int:
    """Validate policies; 2 when one has faults."""
    results = {name: _faults(name) for name in args.policies}
    if args.json:
        print_json(results)
    else:
        for name, faults in results.items():
            print(
                "\n".join(faults) if faults else f"{name}: valid",
                file=sys.stderr if faults else None,
            )
    return 2 if any(results.values()) else 0


def _faults(name: str) -> list[str]:
    try:
        read_policy(name)
    except PolicyError as e:
        return [str(fault) for fault in e.faults]
    return []


def run_test(args: argparse.Namespace) -> int:
    """Run cases; 1 when one fails or a rule is unproven."""
    reports = [
        _test(policy_file(name)) for name in args.policies if not name.endswith(".cases.yaml")
    ]
    if args.json:
        print_json([asdict(report) for report in reports])
    else:
        for report in reports:
            print(f"{report.policy}: {report.passed} cases hold")
            for problem in (*report.failed, *report.uncovered, *report.left_out):
                print(f"  {problem}")
    return int(any(report.failed or report.uncovered for report in reports))


@dataclass(frozen=True, slots=True)
class Report:
    """What the cases of one policy showed."""

    policy: str
    passed: int
    failed: list[str]
    uncovered: list[str]
    """Rules without a case below, at or above their threshold, or without a look-alike."""
    left_out: list[str]
    """Cases with text, where no model can be run."""


def _test(file: Path) -> Report:
    policy = load_policy(file)
    cases = load_cases(cases_file(file)) if policy.stages or cases_file(file).exists() else ()
    check, missing = _checker(policy)
    results = list(run_cases(policy, cases, check=check))
    left_out = [f"left out: {case.name} ({missing})" for case in cases if case.text and not check]
    return Report(
        policy=str(file),
        passed=sum(result.problem is None for result in results),
        failed=[f"failed: {r.case.name}: {r.problem}" for r in results if r.problem],
        uncovered=list(uncovered(policy, cases)),
        left_out=left_out,
    )


def _checker(policy: Policy) -> tuple[Check | None, str]:
    """A function that checks text; None on a machine that cannot run models, and why."""
    try:
        guard = Guard(policy)
    except GuardkitError as e:
        return None, str(e)
    return text_check(guard), ""


def run_explain(args: argparse.Namespace) -> int:
    """Explain policies in sentences."""
    explained = {name: list(explain(read_policy(name))) for name in args.policies}
    if args.json:
        print_json(explained)
    else:
        print("\n\n".join("\n".join(lines) for lines in explained.values()))
    return 0


def explain(policy: Policy) -> list[str]:
    """What a policy does, one sentence a line."""
    lines = [f"{policy.id}: {policy.description or 'no description'}"]
    for stage, stage_policy in policy.stages.items():
        lines.append(
            f"At stage {stage}, measured by {', '.join(stage_policy.scorers) or 'nothing'}:"
        )
        for rule in sorted(stage_policy.rules, key=lambda rule: rule.action, reverse=True):
            using = f" with {rule.using}" if rule.using else ""
            lines.append(f"  {rule.action.value}{using} when {_condition(rule.when)} ({rule.name})")
        if stage_policy.editors:
            lines.append(f"  edited and still not allowed: {stage_policy.after_edit}")
    limits = policy.limits
    lines.append(f"Texts over {limits.max_characters} characters: {limits.too_long}.")
    lines.append(f"What cannot be measured: {policy.on_failure}.")
    if policy.timeout_ms:
        late = policy.on_timeout or policy.on_failure
        lines.append(f"Not answered within {policy.timeout_ms} ms: {late}.")
    for tier, codes in policy.languages.tiers.items():
        lines.append(f"Language tier {tier}: {', '.join(codes)}.")
    foreign = policy.languages.low_evidence or policy.on_failure
    lines.append(f"In a language that no scorer knows: {foreign}.")
    if policy.mode == "shadow":
        lines.append("Shadow mode: decisions are recorded, everything passes.")
    return lines


def _condition(when: When) -> str:
    row = TAXONOMY.get(when.category)
    meaning = f" ({row.definition})" if row else ""
    context = "".join(
        f", {name} is {value}"
        for name in ("language", "language_tier", "audience", "speaker", "listener", "situation")
        if (value := getattr(when, name))
    ).replace("language_tier is", "language tier is")
    beside = f" and a word of the list {when.topic} is there" if when.topic else ""
    return f"{when.category} is at least {when.at_least:.2f}{beside}{context}{meaning}"


def run_schema(_args: argparse.Namespace) -> int:
    """Print the JSON Schema."""
    print(json.dumps(json_schema(), indent=1))
    return 0
