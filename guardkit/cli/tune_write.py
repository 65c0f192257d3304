"""What `guardkit policy tune` writes: a policy and its cases, proven before they are put in place."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from guardkit.decision import Decision
from guardkit.errors import InputError, PolicyError
from guardkit.guard import Guard
from guardkit.policy.cases import Case, CaseResult, Check, cases_file, load_cases, run_cases
from guardkit.policy.load import load_policy
from guardkit.policy.rules import Policy
from guardkit.policy.tree import Node, read_tree
from guardkit.policy.tune import edit_thresholds
from guardkit.policy.tune_cases import edit_cases, new_cases, write_cases
from guardkit.taxonomy import Stage
from guardkit.types import Context


@dataclass(frozen=True, slots=True)
class Source:
    """The policy to tune."""

    file: Path
    text: str
    tree: Node
    policy: Policy


def read_source(file: Path) -> Source:
    """Read a policy, and the file it stands in.

    Raises:
        PolicyError: It has faults.
    """
    policy = load_policy(file)
    return Source(file, _text_of(file), read_tree(file, []), policy)


def _text_of(file: Path) -> str:
    return file.read_bytes().decode("utf-8")  # bytes: line ends stay as they are


@dataclass(frozen=True, slots=True)
class Cases:
    """The cases file to write."""

    text: str
    dropped: tuple[CaseResult, ...]
    """Cases that held before and do not hold now."""
    added: tuple[Case, ...]


def plan_cases(source: Source, tuned: Policy, categories: Collection[str]) -> Cases:
    """The cases of a tuned policy: those that hold, and new ones for the new thresholds.

    Raises:
        PolicyError: The cases beside the policy have faults, or one fails before tuning.
    """
    file = cases_file(source.file)
    cases = load_cases(file) if file.exists() else ()
    tree = read_tree(file, []) if cases else None
    if tree:
        _must_hold(source.policy, cases, tree)
    results = _run(tuned, cases)
    dropped = [index for index, result in enumerate(results) if result.problem]
    kept = [result.case for result in results if not result.problem]
    added = new_cases(tuned, categories, kept)
    text = edit_cases(_text_of(file), tree, dropped, added) if tree else None
    if text is None:
        text = write_cases(tuned.policy, [*kept, *added])
    return Cases(text, tuple(results[index] for index in dropped), tuple(added))


def _must_hold(policy: Policy, cases: Sequence[Case], tree: Node) -> None:
    """What fails before tuning has nothing to do with it, and must be mended first."""
    faults = [
        tree.at(("cases", index)).fault(
            f"cases[{index}]",
            f"'{result.case.name}' fails before tuning: {result.problem}. Mend the case first.",
        )
        for index, result in enumerate(_run(policy, cases))
        if result.problem
    ]
    if faults:
        raise PolicyError(faults)


def _run(policy: Policy, cases: Sequence[Case]) -> list[CaseResult]:
    """One result a case; a busy machine must not make a case with text fail."""
    patient = msgspec.structs.replace(policy, timeout_ms=None)
    check = text_check(Guard(patient)) if any(case.scores is None for case in cases) else None
    return list(run_cases(policy, cases, check=check))


def text_check(guard: Guard) -> Check:
    """A function that checks the text of a case."""

    def check(stage: Stage, text: str, context: Context) -> Decision:
        if stage is Stage.PROMPT:
            return guard.check_prompt(text, context)
        return guard.check_output(text=text, context=context)

    return check


def write_tuned(source: Source, target: Path, tuned: Policy, cases: Cases) -> None:
    """Write both files beside their places, prove them there, and only then put them in.

    Raises:
        PolicyError: What would be written cannot be read as a policy, for example far from its lists.
        InputError: A file cannot be written, or what was written is not what was planned.
    """
    text = edit_thresholds(source.text, source.tree, source.policy, tuned)
    is_moved = target.parent.resolve() != source.file.parent.resolve()
    draft = target.with_name(f".{target.stem}.draft.yaml")
    try:
        draft.write_bytes(text.encode())
        cases_file(draft).write_bytes(cases.text.encode())
        _prove(draft, target, tuned, is_moved=is_moved)
        if target.exists():
            draft.chmod(target.stat().st_mode)
        cases_file(draft).replace(cases_file(target))
        draft.replace(target)
    except OSError as e:
        raise InputError(f"{target}: cannot be written ({e.strerror}).") from e
    finally:
        draft.unlink(missing_ok=True)
        cases_file(draft).unlink(missing_ok=True)


def _prove(draft: Path, target: Path, tuned: Policy, *, is_moved: bool) -> None:
    """The draft says what was planned, and its cases hold."""
    try:
        policy = load_policy(draft)
        results = _run(policy, load_cases(cases_file(draft)))
    except PolicyError as e:
        hint = " Paths are meant from the file: choose an --out beside POLICY." if is_moved else ""
        raise PolicyError(
            dataclasses.replace(
                fault,
                file=fault.file.replace(str(draft), str(target)),
                problem=fault.problem + hint,
            )
            for fault in e.faults
        ) from e
    wrong = [f"case '{result.case.name}': {result.problem}" for result in results if result.problem]
    if policy.stages != tuned.stages:
        wrong.append("the thresholds read back are not those that were written")
    if wrong:
        raise InputError(f"{target}: not written. {'; '.join(wrong)}.")
