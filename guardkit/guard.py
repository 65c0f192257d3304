"""`Guard`: the only conductor. Read top to bottom, it tells what happens to a text.

check_prompt(text)
  1 text.normalize    str -> Prompt          disguises undone, positions kept
  2 scorers           Prompt -> Scores       in the policy's order, within `timeout_ms`
  3 policy.decide     Scores -> Decision     pure
       ALLOW | REGENERATE | BLOCK -> done
       EDIT:
  4 editors           str -> str             those the fired rules name, in the policy's order
  5 1 to 3 once more                         still not allowed -> the policy's `after_edit`
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import msgspec

from guardkit.artifacts import RunnerOptions, find_artifact
from guardkit.decision import Decision
from guardkit.errors import Blocked, DeadlineError, Fault, InputError, PolicyError
from guardkit.policy.decide import decide
from guardkit.policy.load import load_policy, load_preset
from guardkit.policy.meaning import Known, check_meaning
from guardkit.policy.rules import EditorEntry, Policy, StagePolicy
from guardkit.policy.tree import path_text
from guardkit.runtime.base import RunnerInfo, open_runner
from guardkit.runtime.deadline import DeadlineRunner
from guardkit.steps import BLOCKLIST
from guardkit.taxonomy import Stage
from guardkit.text.blocklist import Allowlist, Blocklist, list_words
from guardkit.text.edit import EDITORS, Editor, shift
from guardkit.text.normalize import Prompt, normalize
from guardkit.text.score import Scorer, TextScorer
from guardkit.types import Action, Context, Edit, Guidance, Scores, Span, Status

_log = logging.getLogger(__name__)
_NO_CONTEXT = Context()
T = TypeVar("T")


class Guard:
    """One policy with its models opened; immutable, and safe to share between threads."""

    def __init__(
        self,
        policy: Policy,
        *,
        scorers: Sequence[Scorer] = (),
        editors: Mapping[str, Editor] | None = None,
    ) -> None:
        """Open every model the policy names.

        Args:
            policy: A validated policy.
            scorers: Scorers of your own that the policy names beside the shipped ones.
            editors: Editors of your own, likewise.

        Raises:
            PolicyError: The policy contradicts itself or names a step that nobody provides.
            ArtifactError: A model is missing, changed or malformed.
            BackendError: A model cannot be run here.
        """
        known = _known(scorers, editors or {})
        faults = list(check_meaning(msgspec.to_builtins(policy), known))
        if faults:
            name = policy.policy
            raise PolicyError([Fault(name, 1, 1, path_text(at), what) for at, what in faults])
        self.policy = policy
        self._editors: Mapping[str, Editor] = {**EDITORS, **(editors or {})}
        self._scorers = _open_scorers(policy, {scorer.name: scorer for scorer in scorers})
        models = [one for one in self._scorers.values() if isinstance(one, TextScorer)]
        self._models = tuple(f"{m.runner.info.name}@{m.runner.info.version}" for m in models)
        self._info = tuple(model.runner.info for model in models)
        self._policy_id = policy.id
        self._allowlist = Allowlist(policy.lists)
        self._words = _Words((list_words(policy.lists), *(model.words() for model in models)))
        self._deadline = DeadlineRunner()
        for model in models:
            model.score(
                [normalize("warm up")]
            )  # the first run plans memory; it also proves the graph

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        *,
        scorers: Sequence[Scorer] = (),
        editors: Mapping[str, Editor] | None = None,
    ) -> Guard:
        """A guard from a policy file; errors as in `Guard`."""
        policy = load_policy(path, known=_known(scorers, editors or {}))
        return cls(policy, scorers=scorers, editors=editors)

    @classmethod
    def from_preset(cls, name: str) -> Guard:
        """A guard from a shipped policy: `text-to-image`, `chat`, `kids` or `research`."""
        return cls(load_preset(name))

    # --- what callers ask ------------------------------------------------------------------------

    def check_prompt(self, text: str, context: Context | None = None) -> Decision:
        """Check one prompt before it reaches a generator.

        Args:
            text: What the user typed; any string.
            context: Counts where a rule of the policy names it.

        Raises:
            InputError: `text` is not a str, or the policy has no prompt stage.
        """
        return self._check(Stage.PROMPT, text, context)

    def check_prompts(self, texts: Sequence[str], context: Context | None = None) -> list[Decision]:
        """Check prompts one after the other; each decision equals that of `check_prompt`."""
        return [self.check_prompt(text, context) for text in _listed(texts)]

    def check_output(self, *, text: str, context: Context | None = None) -> Decision:
        """Check a generated text before it reaches a user; errors as in `check_prompt`."""
        return self._check(Stage.OUTPUT_TEXT, text, context)

    def score_prompts(self, texts: Sequence[str]) -> list[Scores]:
        """Score prompts with the scorers of the prompt stage, without deciding anything.

        Returns:
            One `Scores` a text; a category is None where its scorer failed or ran out of time.
        """
        stage = self._stage_policy(Stage.PROMPT)
        return [self._measure(stage, _typed(text)).scores for text in _listed(texts)]

    def enforce(self, decision: Decision) -> Decision:
        """Hand the decision back, or raise when its content must not be used.

        Raises:
            Blocked: The action is block, or regenerate on an output.
        """
        discards = decision.action is Action.REGENERATE and decision.stage is not Stage.PROMPT
        if decision.action is Action.BLOCK or discards:
            raise Blocked(decision)
        return decision

    def info(self) -> tuple[RunnerInfo, ...]:
        """Every model: name, version, digest, backend, provider really in use, precision."""
        return self._info

    async def acheck_prompt(self, text: str, context: Context | None = None) -> Decision:
        """`check_prompt` without blocking the event loop."""
        return await _in_thread(functools.partial(self.check_prompt, text, context))

    async def acheck_prompts(
        self, texts: Sequence[str], context: Context | None = None
    ) -> list[Decision]:
        """`check_prompts` without blocking the event loop."""
        return await _in_thread(functools.partial(self.check_prompts, texts, context))

    async def acheck_output(self, *, text: str, context: Context | None = None) -> Decision:
        """`check_output` without blocking the event loop."""
        return await _in_thread(functools.partial(self.check_output, text=text, context=context))

    async def ascore_prompts(self, texts: Sequence[str]) -> list[Scores]:
        """`score_prompts` without blocking the event loop."""
        return await _in_thread(functools.partial(self.score_prompts, texts))

    # --- what happens to a text ------------------------------------------------------------------

    def _check(self, stage: Stage, text: str, context: Context | None) -> Decision:
        stage_policy = self._stage_policy(stage)
        clock = _Clock(self.policy.timeout_ms)
        decision = self._enforced(
            self._decide_and_edit(stage, stage_policy, _typed(text), _valid(context), clock), text
        )
        return replace(
            decision,
            policy_id=self._policy_id,
            models=self._models,
            timings_ms=clock.timings_ms(),
        )

    def _decide_and_edit(
        self, stage: Stage, stage_policy: StagePolicy, text: str, context: Context, clock: _Clock
    ) -> Decision:
        limits = self.policy.limits
        if len(text) > limits.max_characters:
            reason = f"{len(text)} characters, at most {limits.max_characters}: {limits.too_long}"
            action = Action(limits.too_long)
            guidance = Guidance({}) if action is Action.REGENERATE else None
            return Decision(
                action=action, stage=stage, scores=Scores(), reasons=(reason,), guidance=guidance
            )
        measured = self._measure(stage_policy, text, clock)
        decision = decide(self.policy, stage, measured.scores, context=context, late=measured.late)
        categories = {fired.category for fired in decision.fired}
        decision = replace(
            decision, spans=tuple(sorted(s for s in measured.spans if s.category in categories))
        )
        if decision.action > Action.EDIT or limits.edits == 0:
            return self._after_edit(decision, stage_policy, "edits are limited to 0")
        return self._edit(decision, stage_policy, text, context, clock)

    def _measure(
        self, stage_policy: StagePolicy, text: str, clock: _Clock | None = None
    ) -> _Measured:
        """Run the stage's scorers; what one cannot answer is None, and never hides what others say."""
        clock = clock or _Clock(self.policy.timeout_ms)
        prompt = clock.timed("normalize", lambda: normalize(text, words=self._words))
        prompt = self._allowlist.apply(prompt)
        measured = _Measured()
        scorers = [self._scorers[name] for name in stage_policy.scorers]

        def run() -> None:
            for scorer in scorers:
                measured.add(scorer, prompt, clock)

        try:
            clock.within_limit(self._deadline, run)
        except DeadlineError as e:
            _log.warning("%s", e)
            measured = measured.given_up(scorers)
        return measured

    def _edit(
        self,
        decision: Decision,
        stage_policy: StagePolicy,
        text: str,
        context: Context,
        clock: _Clock,
    ) -> Decision:
        """Steps 4 and 5: edit, then measure and decide once more."""
        try:
            edited, edits = self._run_editors(decision, stage_policy, text, clock)
        except Exception as e:  # noqa: BLE001  the failure boundary: an editor may be anybody's code
            _log.warning("an editor failed: %s", type(e).__name__)
            decision = replace(decision, status=Status.DEGRADED, action=Action.EDIT)
            return self._after_edit(decision, stage_policy, "an editor failed")
        if not edits:
            return self._after_edit(decision, stage_policy, "no editor found anything to change")
        measured = self._measure(stage_policy, edited, clock)
        again = decide(
            self.policy, decision.stage, measured.scores, context=context, late=measured.late
        )
        status = decision.status if again.status is Status.OK else again.status
        decision = replace(decision, action=Action.EDIT, edits=edits, text=edited, status=status)
        if again.action is Action.ALLOW:
            reasons = (f"after edit, {reason}" for reason in again.reasons)
            return replace(decision, reasons=(*decision.reasons, *reasons))
        return self._after_edit(decision, stage_policy, f"still not allowed ({again.reasons[0]})")

    def _after_edit(self, decision: Decision, stage_policy: StagePolicy, why: str) -> Decision:
        """An edit that was asked for and could not be had is answered by `after_edit`."""
        if decision.action is not Action.EDIT:
            return decision
        action = Action(stage_policy.after_edit)
        reason = f"after edit, {why}: {action.value}"
        steer = Guidance({fired.category: fired.score for fired in decision.fired})
        return replace(
            decision,
            action=action,
            edits=(),
            reasons=(*decision.reasons, reason),
            guidance=steer if action is Action.REGENERATE else None,
        )

    def _run_editors(
        self, decision: Decision, stage_policy: StagePolicy, text: str, clock: _Clock
    ) -> tuple[str, tuple[Edit, ...]]:
        edits: tuple[Edit, ...] = ()
        spans: Sequence[Span] = decision.spans
        for entry in map(_entry, stage_policy.editors):
            named = {fired.category for fired in decision.fired if fired.using == entry.name}
            if not named and entry.when != "always":
                continue
            editor = self._editors[entry.name]
            targets = [span for span in spans if not named or span.category in named]
            text, made = clock.timed(entry.name, functools.partial(editor, text, targets))
            spans = shift(spans, made)
            edits += made
        return _typed(text), edits

    def _enforced(self, decision: Decision, original: str) -> Decision:
        """Say which text to use; under `mode: shadow` let everything pass and say so."""
        if self.policy.mode == "shadow":
            return replace(
                decision, action=Action.ALLOW, shadow=decision.action, text=original, edits=()
            )
        if decision.action is Action.EDIT:
            return decision
        is_usable = decision.action is Action.ALLOW or (
            decision.action is Action.REGENERATE and decision.stage is Stage.PROMPT
        )
        return replace(decision, text=original if is_usable else None)

    def _stage_policy(self, stage: Stage) -> StagePolicy:
        stage_policy = self.policy.stages.get(stage)
        if stage_policy is None:
            stages = ", ".join(self.policy.stages) or "none"
            raise InputError(
                f"policy '{self.policy.policy}' has no stage '{stage.value}'. It has: {stages}."
            )
        return stage_policy


@dataclass(frozen=True, slots=True)
class _Words:
    """The words of all lists and vocabularies."""

    parts: tuple[Container[str], ...]

    def __contains__(self, word: object) -> bool:
        return any(word in part for part in self.parts)


@dataclass(slots=True)
class _Measured:
    """What the scorers of one stage said of one text."""

    scores: Scores = field(default_factory=Scores)
    spans: list[Span] = field(default_factory=list)
    late: frozenset[str] = frozenset()
    answered: set[str] = field(default_factory=set)

    def add(self, scorer: Scorer, prompt: Prompt, clock: _Clock) -> None:
        """Run one scorer; if it fails, its categories are None."""
        try:
            (scored,) = clock.timed(scorer.name, lambda: scorer.score([prompt]))
            missing = dict.fromkeys(set(scorer.categories) - set(scored.scores))
            self.scores = self.scores.merged(scored.scores).merged(missing)
            self.spans += scored.spans
        except Exception as e:  # noqa: BLE001  the failure boundary: a scorer may be anybody's code
            _log.warning("scorer %s failed: %s", scorer.name, type(e).__name__)
            self.scores = self.scores.merged(dict.fromkeys(scorer.categories))
        self.answered.add(scorer.name)

    def given_up(self, scorers: Sequence[Scorer]) -> _Measured:
        """A copy without the scorers that are still running: they may write into this one."""
        late = [scorer for scorer in scorers if scorer.name not in self.answered]
        missing = frozenset(category for scorer in late for category in scorer.categories)
        scores = self.scores.merged(dict.fromkeys(missing))
        return _Measured(scores, list(self.spans), missing, set(self.answered))


class _Clock:
    """The time of one check: what each step took, and how much is left."""

    def __init__(self, limit_ms: int | None) -> None:
        self._started = time.perf_counter()
        self._limit_ms = limit_ms
        self._steps: dict[str, float] = {}

    def timed(self, name: str, step: Callable[[], T]) -> T:
        """Run a step and add up its time under its name."""
        started = time.perf_counter()
        try:
            return step()
        finally:
            took_ms = (time.perf_counter() - started) * 1000
            self._steps[name] = self._steps.get(name, 0.0) + took_ms

    def within_limit(self, deadline: DeadlineRunner, step: Callable[[], None]) -> None:
        """Run a step in what is left of the limit."""
        if self._limit_ms is None:
            step()
            return
        left_s = self._limit_ms / 1000 - (time.perf_counter() - self._started)
        deadline.call(step, timeout_s=max(left_s, 0.0), name="scorers")

    def timings_ms(self) -> dict[str, float]:
        """Milliseconds a step, and `total`."""
        total_ms = (time.perf_counter() - self._started) * 1000
        # A copy: a step that was given up may still be writing.
        steps = {**dict(self._steps), "total": total_ms}
        return {name: round(took, 3) for name, took in steps.items()}


def _open_scorers(policy: Policy, given: Mapping[str, Scorer]) -> dict[str, Scorer]:
    """One scorer a name, whichever stages use it."""
    names = {name: None for stage in policy.stages.values() for name in stage.scorers}
    return {name: _open_scorer(name, policy, given) for name in names}


def _open_scorer(name: str, policy: Policy, given: Mapping[str, Scorer]) -> Scorer:
    if name in given:
        return given[name]
    if name == BLOCKLIST:
        return Blocklist(policy.lists)
    options = policy.models.get(name, RunnerOptions())
    artifact = find_artifact(name, path=Path(options.path) if options.path else None)
    return TextScorer(artifact, open_runner(artifact, options))


def _known(scorers: Sequence[Scorer], editors: Mapping[str, Editor]) -> Known:
    return Known({scorer.name: tuple(scorer.categories) for scorer in scorers}, frozenset(editors))


def _entry(entry: str | EditorEntry) -> EditorEntry:
    return EditorEntry(entry) if isinstance(entry, str) else entry


def _typed(text: object) -> str:
    if not isinstance(text, str):
        raise InputError(f"text is {type(text).__name__}. Expected str.")
    return text


def _listed(texts: Sequence[str]) -> Sequence[str]:
    if isinstance(texts, str):
        raise InputError("texts is one str. Expected a list of them; for one use check_prompt.")
    if not isinstance(texts, Iterable):
        raise InputError(f"texts is {type(texts).__name__}. Expected a list of str.")
    return texts


def _valid(context: Context | None) -> Context:
    if context is None:
        return _NO_CONTEXT
    if not isinstance(context, Context):
        raise InputError(f"context is {type(context).__name__}. Expected guardkit.Context.")
    return context


async def _in_thread(function: Callable[[], T]) -> T:
    import asyncio  # 30 ms of CPU that a synchronous caller need not pay

    return await asyncio.to_thread(function)
