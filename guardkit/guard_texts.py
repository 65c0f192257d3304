"""The conductor's half for texts.

check_prompt(text), check_output(text=...)
  1 text.normalize    str -> Prompt          disguises undone, positions kept
  2 scorers           Prompt -> Scores       in the policy's order, within `timeout_ms`
  3 policy.decide     Scores -> Decision     pure
       ALLOW | REGENERATE | BLOCK -> done
       EDIT:
  4 editors           str -> str             those the fired rules name, in the policy's order
  5 1 to 3 once more                         still not allowed -> `rewrite` again, then the policy's `after_edit`

A text that is rewritten anyway is to stay clear of the thresholds: what reaches a share of one (`_AIM`) is blamed too, and of
what is allowed the most harmless text is used. A text that nothing fires on is held to the thresholds alone.
"""

from __future__ import annotations

import dataclasses
import logging
import operator
from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from guardkit.decision import Decision
from guardkit.policy.decide import decide, stricter
from guardkit.policy.rules import Policy, StagePolicy
from guardkit.runtime.clock import Clock
from guardkit.steps import REWRITE
from guardkit.taxonomy import Stage, is_harm
from guardkit.text.cascade import may_clear
from guardkit.text.editors import Edited, EditorRun, Editors, after_edit, editors_to_run, undo
from guardkit.text.measure import Measurer, Prepared
from guardkit.text.rewrite import Rewriter
from guardkit.types import Action, Context, Span, Status

_log = logging.getLogger(__name__)
_REWRITINGS = 3  # by `Guard.rewrite` of one text, at most; each sees what the last one left
_AIM = 0.3
"""Share of each threshold; chosen on sentences that no table holds (train/LOG.md)."""


class Check(Struct, frozen=True):
    """One text on its way through a stage."""

    stage: Stage
    policy: StagePolicy
    text: str
    context: Context
    clock: Clock
    ahead: Prepared | None


class TextChecks:
    """Steps 1 to 5 of one guard; immutable, safe to share between threads."""

    def __init__(self, policy: Policy, measurer: Measurer, editors: Editors) -> None:
        self._policy = policy
        self._measurer = measurer
        self._editors = editors
        self._strict = {stage: stricter(policy, stage, _AIM) for stage in policy.stages}

    def decide_and_edit(self, check: Check) -> Decision:
        """Take a text through the steps; its timings are the caller's to add."""
        quick = may_clear(check.policy)
        decision, spans = self._decide(check, check.text, quick=quick, ahead=check.ahead)
        if decision.fired:
            categories = {fired.category for fired in decision.fired}
            found = tuple(sorted(span for span in spans if span.category in categories))
            decision = replace(decision, spans=found)
        if decision.action > Action.EDIT:
            return decision
        editors = editors_to_run(decision, check.policy)
        if not editors:
            return decision
        if self._policy.limits.edits == 0:
            return after_edit(decision, check.policy, "edits are limited to 0")
        return self._edit(decision, check, editors, spans)

    def _decide(
        self, check: Check, text: str, *, quick: bool, ahead: Prepared | None = None
    ) -> tuple[Decision, list[Span]]:
        measured = self._measurer.measure(
            check.policy, text, check.clock, context=check.context, quick=quick, ahead=ahead
        )
        decision = decide(
            self._policy,
            check.stage,
            measured.scores,
            context=in_language(check.context, measured.language),
            failed=measured.failed,
            late=measured.late,
            foreign=measured.foreign,
        )
        return replace(decision, tier=measured.tier, language=measured.language), measured.spans

    def _edit(
        self,
        before: Decision,
        check: Check,
        editors: Sequence[EditorRun],
        spans: Sequence[Span],
    ) -> Decision:
        """Steps 4 and 5; what `rewrite` left, not allowed or only just, gets further rounds."""
        decision, text = before, check.text
        allowed = list[tuple[float, Decision]]()
        if before.flagged:
            editors = _also_of(editors, self._suspects(check, before))
        why = ""
        for _ in range(self._policy.limits.edits):
            try:
                edited = self._edited(check, text, editors, spans)
            except Exception as e:  # noqa: BLE001  a failure boundary: an editor may be anybody's code
                _log.warning("an editor failed: %s", type(e).__name__)
                if allowed:
                    break
                status = Status.DEGRADED if decision.status is Status.OK else decision.status
                decision = replace(decision, status=status, action=Action.EDIT)
                return after_edit(decision, check.policy, "an editor failed")
            if not edited.edits:
                if decision is before:
                    return after_edit(decision, check.policy, "no editor found anything to change")
                break
            text = edited.text
            decision = replace(
                decision,
                action=Action.EDIT,
                edits=decision.edits + edited.edits,
                text=text,
                vault=edited.vault or decision.vault,
            )
            if len(text) > self._policy.limits.max_characters:
                why = "the edited text is too long"
                break
            again, spans = self._decide(check, text, quick=False)
            if again.status is not Status.OK:
                decision = replace(decision, status=again.status)
            if again.action is Action.ALLOW:
                reasons = (f"after edit, {reason}" for reason in again.reasons)
                done = replace(decision, reasons=(*decision.reasons, *reasons))
                allowed.append((_harm(again), done))
            else:
                why = f"still not allowed ({again.reasons[0]})"
            editors = self._editors_of_next_round(check, decision, again)
            if not editors:
                break
        if allowed:
            return min(allowed, key=operator.itemgetter(0))[1]
        return undo(before, decision, check.policy, why)

    def rewritten(
        self, text: str, rewriter: Rewriter, check_of: Callable[[str], Check]
    ) -> str | None:
        """`Guard.rewrite`: the most harmless text that no rule on harm fires on; None: there is none.

        Args:
            text: What to rewrite.
            rewriter: What rewrites.
            check_of: A text to a check of it, its clock started.
        """
        edited: list[tuple[float, str]] = []
        for round_ in range(_REWRITINGS + 1):
            if len(text) > self._policy.limits.max_characters:
                break
            check = check_of(text)
            decision, spans = self._decide(check, text, quick=False)
            check.clock.end()
            if decision.status is not Status.OK:
                break
            if round_ and not decision.flagged:
                edited.append((_harm(decision), text))
            suspects = self._suspects(check, decision) if round_ or decision.flagged else ()
            if round_ == _REWRITINGS or (round_ and not suspects):
                break
            blamed = [span for span in spans if span.category in suspects]
            rewritten = rewriter.rewrite(text, blamed)
            if rewritten == text and not round_:
                return None if decision.flagged else text
            if rewritten in (None, text) or not rewritten.strip():
                break
            text = rewritten
        return min(edited, key=operator.itemgetter(0))[1] if edited else None

    def _editors_of_next_round(
        self, check: Check, edited: Decision, again: Decision
    ) -> Sequence[EditorRun]:
        """`rewrite`, where it may put right what is not allowed, or only just; else none."""
        suspects = self._suspects(check, again)
        if again.action is Action.ALLOW:
            was_rewritten = any(edit.editor == REWRITE for edit in edited.edits)
            return [EditorRun(REWRITE, suspects)] if was_rewritten and suspects else []
        if again.action is not Action.EDIT:
            return []
        runs = [run for run in editors_to_run(again, check.policy) if run.name == REWRITE]
        return _also_of(runs, suspects)

    def _suspects(self, check: Check, decision: Decision) -> frozenset[str]:
        """The categories of harm that a rewriting should take less of: those scored at `_AIM` of a threshold or more."""
        context = in_language(check.context, decision.language)
        strict = decide(self._strict[check.stage], check.stage, decision.scores, context=context)
        return frozenset(one.category for one in strict.fired if is_harm(one.category))

    def _edited(
        self, check: Check, text: str, editors: Sequence[EditorRun], spans: Sequence[Span]
    ) -> Edited:
        return check.clock.within_limit(
            lambda: self._editors.run(editors, text, spans, check.clock), name="editors"
        )


def _harm(decision: Decision) -> float:
    """The largest score of harm, in [0, 1]; 1 where one could not be measured."""
    scores = (score for category, score in decision.scores.items() if is_harm(category))
    return max((1.0 if score is None else score for score in scores), default=0.0)


def _also_of(runs: Sequence[EditorRun], suspects: frozenset[str]) -> list[EditorRun]:
    """The runs; `rewrite` gets the spans of further categories."""
    return [
        dataclasses.replace(run, categories=run.categories | suspects)
        if run.name == REWRITE
        else run
        for run in runs
    ]


def in_language(context: Context, language: str | None) -> Context:
    """The context with the language the text was found to be in, unless the caller said which."""
    if language is None or context.language is not None:
        return context
    return dataclasses.replace(context, language=language)
