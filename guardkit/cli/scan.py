"""`guardkit scan`: every text and image under a folder, checked against a policy."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from guardkit.cli.progress import Progress
from guardkit.cli.shared import Verbs, add_verb, print_json, read_policy
from guardkit.decision import Decision
from guardkit.errors import InputError
from guardkit.guard import Guard
from guardkit.policy.rules import Policy
from guardkit.taxonomy import Stage
from guardkit.types import Action, Status
from guardkit.walk import ENDINGS, Found, Kind, walk

_MOST_BYTES = 16 * 2**20  # of a text; chosen: far above any text that a policy lets through
_TEXT_PRESET, _IMAGE_PRESET = "chat", "generated-images"
_CLEAN, _FIRED, _ERROR = 0, 1, 2


def add(verbs: Verbs) -> None:
    """Add the verb."""
    scan = add_verb(
        verbs,
        "scan",
        text="check every text and image under a folder, as outputs; its own output holds no content",
        example="guardkit scan outputs/ --fail-on regenerate --json > decisions.jsonl",
    )
    scan.add_argument(
        "folder",
        type=Path,
        help=f"texts ({' '.join(ENDINGS[Kind.TEXT])}, one a file) and images "
        f"({' '.join(ENDINGS[Kind.IMAGE])}), in folders below it too; links are not followed",
    )
    scan.add_argument(
        "--policy",
        default=_TEXT_PRESET,
        help=f"of texts: preset or YAML file (default: {_TEXT_PRESET})",
    )
    scan.add_argument(
        "--image-policy", default=_IMAGE_PRESET, help=f"of images (default: {_IMAGE_PRESET})"
    )
    scan.add_argument("--stage", choices=("prompt", "output-text"), default="output-text")
    scan.add_argument("--only", choices=("text", "image"), help="check only these")
    scan.add_argument(
        "--fail-on",
        choices=[action.value for action in Action if action is not Action.ALLOW],
        default="block",
        help="exit with 1 when a decision is at least this strict (default: block); with 2 when "
        "something could not be read, whatever was decided",
    )
    scan.add_argument(
        "--json", action="store_true", help="one JSON document a file, and one of counts at the end"
    )
    scan.set_defaults(run=run_scan)


@dataclass(frozen=True, slots=True)
class Checked:
    """A file and what came of it."""

    name: str
    kind: Kind
    decision: Decision | None
    """None: it could not be read."""
    problem: str = ""
    """Why not."""


@dataclass(slots=True)
class Counts:
    """What a scan has seen so far."""

    checked: int = 0
    failed: int = 0
    """Decisions at or above --fail-on."""
    not_measured: int = 0
    """Decisions whose status is not ok: `on_failure` took part in them."""
    unreadable: int = 0
    others: int = 0
    """Files that are neither text nor image."""
    links: int = 0
    actions: Counter[str] = field(default_factory=Counter)

    def to_dict(self) -> dict[str, object]:
        """As plain JSON values."""
        actions = {action.value: self.actions[action.value] for action in Action}
        names = ("checked", "failed", "not_measured", "unreadable", "others", "links")
        return {**{name: getattr(self, name) for name in names}, "actions": actions}


class Checks:
    """A guard for each kind of file, opened when the first file of the kind comes."""

    def __init__(self, policies: dict[Kind, Policy], stage: Stage) -> None:
        self._policies, self._stage = policies, stage
        self._guards: dict[Kind, Guard] = {}

    def check(self, found: Found, name: str) -> Checked:
        """Check one file; one that cannot be read has no decision."""
        try:
            decision = self._decide(found)
        except InputError as e:
            # The path itself is said already, and may hold what a terminal should not get.
            problem = str(e).removeprefix(f"{found.path}: ")
            return Checked(name, found.kind, None, problem)
        return Checked(name, found.kind, decision)

    def _decide(self, found: Found) -> Decision:
        guard = self._guard(found.kind)
        if found.kind is Kind.IMAGE:
            return guard.check_output(image=found.path)
        text = read_text(found.path)
        if self._stage is Stage.PROMPT:
            return guard.check_prompt(text)
        return guard.check_output(text=text)

    def _guard(self, kind: Kind) -> Guard:
        if kind not in self._guards:
            self._guards[kind] = Guard(self._policies[kind])
        return self._guards[kind]


def run_scan(args: argparse.Namespace) -> int:
    """Check every file; 2 when one could not be read, 1 when one is at least as strict as --fail-on."""
    if not args.folder.is_dir():
        found = "a file" if args.folder.exists() else "no such folder"
        raise InputError(f"{args.folder}: {found}. Expected a folder; for a file: guardkit check.")
    kinds = [kind for kind in (Kind.TEXT, Kind.IMAGE) if args.only in (None, kind.value)]
    checks = Checks(_policies(args, kinds), Stage(args.stage))
    failing, counts = Action(args.fail_on), Counts()
    total = sum(one.kind in kinds for one in walk(args.folder)) if sys.stderr.isatty() else 0
    progress = Progress(sys.stderr, total)
    for one in _checked(args.folder, kinds, checks, counts):
        _count(one, counts, failing)
        if args.json:
            progress.clear()
            print_json(_told(one))
        elif one.decision is None or one.decision.action is not Action.ALLOW:
            progress.clear()
            print(_line(one))
        progress.show(counts.checked + counts.unreadable, f"{counts.failed} at {failing.value}")
    progress.clear()
    print_json({"counts": counts.to_dict()}) if args.json else print(_summary(counts, failing))
    return _ERROR if counts.unreadable else _FIRED if counts.failed else _CLEAN


def _policies(args: argparse.Namespace, kinds: list[Kind]) -> dict[Kind, Policy]:
    """The policy of each kind; refused before the first file when it has nothing to say about it."""
    named = {
        Kind.TEXT: ("--policy", args.policy, Stage(args.stage)),
        Kind.IMAGE: ("--image-policy", args.image_policy, Stage.OUTPUT_IMAGE),
    }
    policies = {}
    for kind in kinds:
        option, name, stage = named[kind]
        policies[kind] = policy = read_policy(name)
        if policy.stage(stage) is None:
            raise InputError(
                f"{option} {name}: has no stage {stage.value}. Found {', '.join(policy.stages)}. "
                "Name a policy that has it, or leave this kind out with --only."
            )
    return policies


def _checked(folder: Path, kinds: list[Kind], checks: Checks, counts: Counts) -> Iterator[Checked]:
    """The answer on every file that counts; the rest is counted only."""
    for found in walk(folder):
        name = shown(found.path.relative_to(folder).as_posix())
        if found.kind is Kind.UNREADABLE:
            yield Checked(name, found.kind, None, found.problem)
        elif found.kind in kinds:
            yield checks.check(found, name)
        elif found.kind is Kind.LINK:
            counts.links += 1
        else:
            counts.others += 1


def read_text(path: Path) -> str:
    """A text file.

    Raises:
        InputError: It cannot be read, is too large, or is not UTF-8; the message does not quote it.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror}).") from e
    if len(content) > _MOST_BYTES:
        raise InputError(f"{path}: more than {_MOST_BYTES} bytes. Split it.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        problem = f"{path}: byte {e.start} is not UTF-8. Save the file as UTF-8."
        raise InputError(problem) from None  # the cause holds the whole text


def shown(name: str) -> str:
    r"""A file's name with escapes for what a terminal or UTF-8 cannot take.

    >>> print(shown("a\nb\udc80.txt"))
    a\nb\udc80.txt
    """
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in name
    )


def _count(one: Checked, counts: Counts, failing: Action) -> None:
    if one.decision is None:
        counts.unreadable += 1
        return
    counts.checked += 1
    counts.actions[one.decision.action.value] += 1
    counts.failed += one.decision.action >= failing
    counts.not_measured += one.decision.status is not Status.OK


def _told(one: Checked) -> dict[str, object]:
    """One file for scripts; never its content."""
    if one.decision is None:
        return {"file": one.name, "kind": one.kind.value, "error": one.problem}
    return {"file": one.name, "kind": one.kind.value, **one.decision.to_dict()}


def _line(one: Checked) -> str:
    """One file for people; never its content."""
    if one.decision is None:
        return f"{'unreadable':10}  {one.name}\n            {one.problem}"
    reasons = "".join(f"\n            {reason}" for reason in one.decision.reasons)
    return f"{one.decision.action.value:10}  {one.name}{reasons}"


def _summary(counts: Counts, failing: Action) -> str:
    parts = [
        f"{counts.checked} checked",
        f"{counts.failed} at {failing.value} or above",
        f"{counts.not_measured} not fully measured",
        f"{counts.unreadable} unreadable",
        f"{counts.others} neither text nor image (or left out)",
        f"{counts.links} links not followed",
    ]
    return ", ".join(parts)
