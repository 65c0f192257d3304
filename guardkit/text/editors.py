"""The editors of a policy: which of them run, what they make of a text, and what answers when they cannot."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from guardkit.decision import Decision
from guardkit.errors import InputError
from guardkit.policy.rules import Policy, StagePolicy
from guardkit.runtime.clock import Clock
from guardkit.steps import ANONYMIZE, GROUND, REWRITE
from guardkit.taxonomy import Category
from guardkit.text.anonymize import Mode, editor_of, vault_of
from guardkit.text.edit import EDITORS, Editor, shift
from guardkit.text.ground import Grounder
from guardkit.text.rewrite import Rewriter
from guardkit.text.rewrite import editor_of as rewriting
from guardkit.types import Action, Edit, Guidance, Span
from guardkit.vault import Vault


@dataclass(frozen=True, slots=True)
class Edited:
    """What editors made of a text."""

    text: str
    edits: tuple[Edit, ...]
    """None: nothing was found to change."""
    vault: Vault | None
    """Leads back from what `anonymize` put there."""


class Editors:
    """The shipped editors and the caller's own; immutable, safe to share between threads."""

    def __init__(
        self, policy: Policy, own: Mapping[str, Editor], rewriter: Rewriter | None = None
    ) -> None:
        self._options = policy.anonymize
        self._mode = Mode(policy.anonymize.mode)
        rewrite = {} if rewriter is None else {REWRITE: rewriting(rewriter)}
        self._editors: dict[str, Editor] = {
            **EDITORS,
            ANONYMIZE: editor_of(self._mode),
            GROUND: Grounder(policy.ground),
            **rewrite,
            **own,
        }

    def run(
        self, runs: Sequence[EditorRun], text: str, spans: Sequence[Span], clock: Clock
    ) -> Edited:
        """Run editors one after the other, each on the text and those of its spans that the last one left.

        Args:
            runs: What to run, in order.
            text: The text.
            spans: All that the scorers found in it, whether a rule fired or not.
            clock: Times each of them.

        Raises:
            InputError: An editor gave something that is no text.
        """
        edits, vault = tuple[Edit, ...](), None
        for run in runs:
            targets = [span for span in spans if run.takes(span)]
            editor = functools.partial(self._editors[run.name], text, targets)
            edited, made = clock.timed(run.name, editor)
            if run.name == ANONYMIZE and made:
                vault = self._vault(text, made)
            text, spans, edits = edited, shift(spans, made), edits + made
        if not isinstance(text, str):
            raise InputError(f"an editor gave {type(text).__name__}. Expected str.")
        return Edited(text, edits, vault)

    def _vault(self, text: str, made: Sequence[Edit]) -> Vault:
        originals = {edit.replacement: text[edit.start : edit.end] for edit in made}
        return vault_of(originals, self._mode, lifetime_s=self._options.vault_s)


@dataclass(frozen=True, slots=True)
class EditorRun:
    """An editor that is to run, and the categories whose spans it gets."""

    name: str
    categories: frozenset[str]

    def takes(self, span: Span) -> bool:
        """Whether a span is for this editor: its to change, or, for `ground`, the name of somebody."""
        if self.name == GROUND:
            return span.kind == _PERSON or span.category in _NAMES
        return span.category in self.categories


_PERSON = "PERSON"
_NAMES = frozenset({Category.PRIVACY.value, Category.PUBLIC_FIGURE.value})


def editors_to_run(decision: Decision, stage_policy: StagePolicy) -> list[EditorRun]:
    """The editors that a fired rule names or that always run, in the policy's order.

    One that always runs, and that no rule named, gets the spans of every fired rule.
    """
    runs: list[EditorRun] = []
    all_fired = frozenset(fired.category for fired in decision.fired)
    for entry in stage_policy.editors:
        name, when = (entry, "fired") if isinstance(entry, str) else (entry.name, entry.when)
        named = frozenset(fired.category for fired in decision.fired if fired.using == name)
        if named or when == "always":
            runs.append(EditorRun(name, named or all_fired))
    return runs


def undo(before: Decision, edited: Decision, stage_policy: StagePolicy, why: str) -> Decision:
    """What answers when an edited text cannot be used: `after_edit`, but for a text that was fine before grounding.

    Grounding repairs nothing, so a text that was allowed is used as it was.
    """
    if before.action is Action.ALLOW and all(edit.editor == GROUND for edit in edited.edits):
        reasons = (*before.reasons, f"after edit, {why}: used as it was")
        return replace(before, status=edited.status, reasons=reasons)
    return after_edit(edited, stage_policy, why)


def after_edit(decision: Decision, stage_policy: StagePolicy, why: str) -> Decision:
    """An edit that was asked for and could not be had is answered by `after_edit`."""
    if decision.action is not Action.EDIT:
        return decision
    action = Action(stage_policy.after_edit)
    steer = Guidance({fired.category: fired.score for fired in decision.fired})
    return replace(
        decision,
        action=action,
        edits=(),
        vault=None,
        reasons=(*decision.reasons, f"after edit, {why}: {action.value}"),
        guidance=steer if action is Action.REGENERATE else None,
    )
