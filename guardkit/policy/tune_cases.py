"""The cases of a policy whose thresholds moved: those that hold stay, the others are made anew."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence

import msgspec

from guardkit.policy.cases import Case, CaseContext, Expect
from guardkit.policy.decide import decide
from guardkit.policy.rules import Policy, Rule
from guardkit.policy.tree import Node
from guardkit.policy.tune import rules_on
from guardkit.taxonomy import Stage
from guardkit.types import Context, Scores

_NEAR = 0.01  # chosen: the shipped cases stand this far below a threshold
_ABOVE = 0.2  # chosen: and this far above
_CONTEXT = ("language", "audience", "speaker", "listener", "situation")
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9.]*([ -]+[A-Za-z0-9.]+)+|[a-z]{3,}")
_TRAPS = frozenset({"yes", "off", "true", "false", "null"})


def new_cases(policy: Policy, categories: Collection[str], kept: Iterable[Case]) -> list[Case]:
    """Cases with scores just below, at and above every threshold of categories that lacks them."""
    cases = list(kept)
    count = len(cases)
    for category in categories:
        for stage, rule in rules_on(policy, category):
            cases += _missing(policy, stage, rule, cases)
    return cases[count:]


def _missing(policy: Policy, stage: Stage, rule: Rule, cases: Sequence[Case]) -> list[Case]:
    at = rule.when.at_least
    there = [
        case.scores[rule.when.category]
        for case in cases
        if case.stage is stage and case.scores and rule.when.category in case.scores
        if (case.context or CaseContext()) == _case_context(policy, rule)
        if rule.when.topic is None or case.scores.get(rule.when.topic)
    ]
    wanted: list[tuple[str, float]] = []
    below = max(0.0, round(at - _NEAR, 4))
    if at > 0 and below not in there:
        wanted.append(("just below", below))
    if at not in there:
        wanted.append(("exactly at", at))
    if at < 1 and not any(score > at for score in there):
        wanted.append(("above", min(1.0, round(at + _ABOVE, 4))))
    return [_case(policy, stage, rule, what=what, score=score) for what, score in wanted]


def _case(policy: Policy, stage: Stage, rule: Rule, *, what: str, score: float) -> Case:
    """What the tuned policy must do; the file that is written from it is then held to this."""
    scores = dict.fromkeys((r.when.category for r in policy.stages[stage].rules), 0.0)
    asked = {rule.when.category: score} | ({rule.when.topic: 1.0} if rule.when.topic else {})
    scores |= asked
    context = _case_context(policy, rule)
    said = Context(**msgspec.structs.asdict(context))
    decision = decide(policy, stage, Scores(scores), context=said)
    return Case(
        name=f"{stage.value} {rule.name} {what} {rule.when.at_least:.2f}",
        stage=stage,
        expect=Expect(decision.action, tuple(one.rule for one in decision.fired)),
        scores=asked,
        context=None if context == CaseContext() else context,
    )


def _case_context(policy: Policy, rule: Rule) -> CaseContext:
    """The context that a rule asks for; of a language tier its first language."""
    context = CaseContext(**{name: getattr(rule.when, name) for name in _CONTEXT})
    codes = policy.languages.tiers.get(rule.when.language_tier or "", ())
    if context.language is None and codes:
        return msgspec.structs.replace(context, language=codes[0])
    return context


def write_cases(policy: str, cases: Iterable[Case]) -> str:
    """A cases file of its own."""
    lines = [f"# What the policy {policy} must do.", "cases:", *(f"  {_line(c)}" for c in cases)]
    return "\n".join(lines) + "\n"


def edit_cases(text: str, tree: Node, dropped: Collection[int], new: Iterable[Case]) -> str | None:
    """Take cases out of a file and add others at its end; every other line stays.

    Returns:
        None when the cases do not each begin a line of their own: then the file must be rewritten.
    """
    items = tree.at(("cases",)).items or []
    lines = text.splitlines(keepends=True)
    starts = [item.line - 1 for item in items]
    dashes = [lines[item.line - 1][: item.column - 1] for item in items]
    if not items or not all(re.fullmatch(r" *- +", dash) for dash in dashes):
        return None
    gone: set[int] = set()
    for index in dropped:
        end = starts[index + 1] if index + 1 < len(starts) else len(lines)
        gone |= set(range(starts[index], _last_line(lines, starts[index], end) + 1))
    kept = "".join(line for number, line in enumerate(lines) if number not in gone)
    newline = "\r\n" if "\r\n" in text else "\n"
    if not kept.endswith(("\n", "\r")):
        kept += newline
    indent = dashes[0].partition("-")[0]
    return kept + "".join(f"{indent}{_line(case)}{newline}" for case in new)


def _last_line(lines: Sequence[str], start: int, end: int) -> int:
    """The last line of a case; comments and empty lines after it belong to the next one."""
    said = (n for n in range(end - 1, start, -1) if not re.match(r"\s*(#|$)", lines[n]))
    return next(said, start)


def _line(case: Case) -> str:
    return f"- {{{', '.join(_fields(case))}}}"


def _fields(case: Case) -> Iterator[str]:
    """A case as YAML on one line."""
    yield f"name: {_quoted(case.name)}"
    yield f"stage: {case.stage.value}"
    if case.scores is not None:
        yield f"scores: {{{', '.join(f'{_quoted(k)}: {_decimal(v)}' for k, v in case.scores.items())}}}"
    if case.text is not None:
        yield f"text: {json.dumps(case.text, ensure_ascii=False)}"
    if case.context is not None:
        said = msgspec.structs.asdict(case.context).items()
        yield f"context: {{{', '.join(f'{k}: {_quoted(v)}' for k, v in said if v is not None)}}}"
    if case.looks_like is not None:
        yield f"looks_like: {_quoted(case.looks_like)}"
    fired = case.expect.fired
    rules = "" if fired is None else f", fired: [{', '.join(map(_quoted, fired))}]"
    yield f"expect: {{action: {case.expect.action.value}{rules}}}"


def _quoted(text: str) -> str:
    """Text as every YAML reader takes it for text; quotes only where they are needed."""
    is_plain = _PLAIN.fullmatch(text) and text not in _TRAPS
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def _decimal(value: float) -> str:
    """A score as plain decimals; a policy's reader takes no exponents."""
    short = repr(value)
    return f"{value:.15f}".rstrip("0") if "e" in short else short
