"""The loop: check, edit, generate, score; on `regenerate` ask again with guidance, at most so often; then block.

    prompt -> check_prompt    BLOCK: over
       |      ALLOW the prompt | EDIT the edited one | REGENERATE the prompt, with guidance
       v
    generate -> check_output  ALLOW, EDIT: over, the output is used | BLOCK: over
       ^                      REGENERATE: again, with guidance, while the budget lasts; then BLOCK
       +------------------------+

A generator that raises, hangs or gives nothing usable is answered by `on_failure` and `on_timeout`; `allow` there
means block, for there is nothing to allow. Every attempt is recorded.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from msgspec.structs import replace

from guardkit.decision import Decision
from guardkit.errors import InputError
from guardkit.loop.budget import Budget
from guardkit.loop.generator import Answer, Ask, Generator, without_output
from guardkit.loop.guidance import guidance, merged
from guardkit.policy.rules import Policy
from guardkit.runtime.deadline import DeadlineRunner
from guardkit.taxonomy import Stage
from guardkit.types import Action, Attempt, Context, Guidance, RunResult, Scores, Status

_SEED_BITS = 31  # what every generator takes as a seed
_NO_REFUSAL = "gave a Decision to use something. Expected one to regenerate or block, or the output"


class Checks(Protocol):
    """What the loop asks of a guard."""

    policy: Policy

    def check_prompts(self, texts: Sequence[str], context: Context | None) -> list[Decision]:
        """As `Guard.check_prompts`."""
        ...

    def check_prompt(self, text: str, context: Context | None) -> Decision:
        """As `Guard.check_prompt`."""
        ...

    def check_output(
        self,
        *,
        text: str | None = None,
        image: Any = None,
        prompt: str | None = None,
        context: Context | None = None,
    ) -> Decision:
        """As `Guard.check_output`."""
        ...

    async def acheck_prompts(self, texts: Sequence[str], context: Context | None) -> list[Decision]:
        """As `Guard.acheck_prompts`."""
        ...

    async def acheck_prompt(self, text: str, context: Context | None) -> Decision:
        """As `Guard.acheck_prompt`."""
        ...

    async def acheck_output(
        self,
        *,
        text: str | None = None,
        image: Any = None,
        prompt: str | None = None,
        context: Context | None = None,
    ) -> Decision:
        """As `Guard.acheck_output`."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What is the same for every prompt of one call."""

    context: Context | None
    budget: Budget
    seed: int | None
    """Of the seeds that guidance brings; None: new ones every time."""


def run_all(
    guard: Checks, generator: Generator, prompts: Sequence[str], plan: Plan, threads: DeadlineRunner
) -> list[RunResult]:
    """Drive a generator for some prompts; each round is one call for all that are not over.

    Raises:
        InputError: The policy has no output stage, or a prompt is not a str.
    """
    rounds = Rounds(guard.policy, prompts, plan)
    if guard.policy.prompt is None:
        rounds.begin([None] * len(prompts))
    elif len(prompts) == 1:
        rounds.begin([guard.check_prompt(prompts[0], plan.context)])
    else:
        rounds.begin(guard.check_prompts(prompts, plan.context))
    while courses := rounds.unsettled():
        asks = [course.ask for course in courses]
        answers = generator.ask(asks, threads, timeout_s=rounds.limit_s())
        for course, answer in zip(courses, answers, strict=True):
            course.take(*_judged(guard, course, answer))
    return rounds.results()


class Rounds:
    """The prompts of one call, and the time they have together."""

    def __init__(self, policy: Policy, prompts: Sequence[str], plan: Plan) -> None:
        """Refuse what cannot be run; the time begins.

        Raises:
            InputError: The policy has no output stage, or a prompt is not a str.
        """
        if policy.output_text is None and policy.output_image is None:
            raise InputError(
                f"policy '{policy.policy}' has no output stage: what is generated would not be checked. "
                "Add output-text or output-image to it."
            )
        for prompt in prompts:
            if not isinstance(prompt, str):
                raise InputError(f"prompt is {type(prompt).__name__}. Expected str.")
        self._policy = policy
        self._prompts = prompts
        self._plan = plan
        self._courses: list[Course] = []
        total_s = plan.budget.total_s
        self._ends_s = None if total_s is None else time.monotonic() + total_s

    def begin(self, decisions: Sequence[Decision | None]) -> None:
        """Take the decisions on the prompts; None: the policy has no prompt stage."""
        seed = self._plan.seed
        seeds = random.SystemRandom() if seed is None else random.Random(seed)  # noqa: S311  no secret
        self._courses = [
            Course(self._policy, prompt, decision, self._plan, seeds)
            for prompt, decision in zip(self._prompts, decisions, strict=True)
        ]

    def unsettled(self) -> list[Course]:
        """The courses that are not over; once the time is, none."""
        unsettled = [course for course in self._courses if not course.is_over]
        if self._ends_s is not None and time.monotonic() >= self._ends_s:
            for course in unsettled:
                course.stop("no time was left")
            return []
        return unsettled

    def limit_s(self) -> float | None:
        """Seconds the next call may take."""
        left = [] if self._ends_s is None else [max(self._ends_s - time.monotonic(), 0.0)]
        if (attempt_s := self._plan.budget.attempt_s) is not None:
            left.append(attempt_s)
        return min(left, default=None)

    def results(self) -> list[RunResult]:
        """What came of each prompt."""
        return [course.result() for course in self._courses]


class Course:
    """One prompt on its way: what to ask next, and what came of it so far."""

    def __init__(
        self,
        policy: Policy,
        prompt: str,
        decision: Decision | None,
        plan: Plan,
        seeds: random.Random,
    ) -> None:
        self._policy = policy
        self._context = plan.context
        self._seeds = seeds
        allowed = plan.budget.regenerations
        self._allowed = policy.limits.regenerations if allowed is None else allowed
        self._prompt_decision = decision
        self._decision = decision
        self._attempts: list[Attempt] = []
        self._strengths: dict[str, float] = {}
        self._output: Any = None
        self._is_text = policy.output_image is None
        self._prompt = prompt
        if decision is not None and decision.action is not Action.BLOCK:
            self._prompt = decision.text or ""
        self.is_over = decision is not None and decision.action is Action.BLOCK
        self._guidance: Guidance | None = None
        if decision is not None and decision.action is Action.REGENERATE:
            self._guide(decision)

    @property
    def ask(self) -> Ask:
        """What the generator is asked next."""
        return Ask(self._prompt, self._guidance)

    def output_of(self, answer: Answer) -> dict[str, Any]:
        """The answer, as `check_output` takes it."""
        if isinstance(answer.output, str):
            return {"text": answer.output, "context": self._context}
        return {"image": answer.output, "prompt": self._prompt, "context": self._context}

    def vetted(self, answer: Answer) -> Answer:
        """The answer; with a problem, where the policy has nothing to say about what it is.

        A decision stands for an output that the generator itself gave up.
        """
        if answer.problem is not None:
            return answer
        if isinstance(answer.output, Decision):
            is_refusal = answer.output.action >= Action.REGENERATE
            return answer if is_refusal else without_output(answer, _NO_REFUSAL)
        stage = Stage.OUTPUT_TEXT if isinstance(answer.output, str) else Stage.OUTPUT_IMAGE
        self._is_text = stage is Stage.OUTPUT_TEXT
        if self._policy.stage(stage) is not None:
            return answer
        kind = type(answer.output).__name__
        return without_output(answer, f"gave {kind}, and the policy has no stage '{stage.value}'")

    def refusal(self, answer: Answer) -> Decision:
        """The decision on an answer that has a problem: there is nothing that could be checked."""
        policy = self._policy
        answered = (policy.on_timeout if answer.is_late else None) or policy.on_failure
        action = Action.REGENERATE if answered == "regenerate" else Action.BLOCK
        return Decision(
            action=action,
            stage=Stage.OUTPUT_TEXT if policy.output_text is not None else Stage.OUTPUT_IMAGE,
            scores=Scores(),
            status=Status.ERROR,
            reasons=(f"{answer.problem}: {action.value}",),
            policy_id=policy.id,
        )

    def take(self, answer: Answer, decision: Decision) -> None:
        """Record an attempt, and decide how it goes on."""
        self._attempts.append(
            Attempt(decision, answer.guidance, answer.took_ms, answer.problem, answer.error)
        )
        self._decision = decision
        if decision.action is not Action.REGENERATE:
            self.is_over = True
            if decision.action is not Action.BLOCK:
                self._output = decision.text if isinstance(answer.output, str) else decision.image
        elif len(self._attempts) > self._allowed:
            untold = self._guidance is not None and answer.guidance is None
            blind = ", without guidance, for the generator takes none" if untold else ""
            self.stop(f"regenerated {self._allowed} times, which is all{blind}")
        else:
            self._guide(decision)

    def stop(self, why: str) -> None:
        """End with a block."""
        self.is_over = True
        decision = self.refusal(Answer()) if self._decision is None else self._decision
        before = () if self._decision is None else decision.reasons
        reasons = (*before, f"{why}: block")
        self._decision = replace(
            decision, action=Action.BLOCK, text=None, image=None, reasons=reasons
        )

    def result(self) -> RunResult:
        """What came of it."""
        assert self._decision is not None  # noqa: S101  of the prompt, or of an attempt
        return RunResult(self._output, self._decision, tuple(self._attempts), self._prompt_decision)

    def _guide(self, decision: Decision) -> None:
        found = decision.guidance.categories if decision.guidance else {}
        self._strengths = merged(self._strengths, found)
        seed = self._seeds.getrandbits(_SEED_BITS)
        self._guidance = guidance(self._prompt, self._strengths, seed=seed, is_text=self._is_text)


def _judged(guard: Checks, course: Course, answer: Answer) -> tuple[Answer, Decision]:
    answer = course.vetted(answer)
    if isinstance(answer.output, Decision):
        return answer, answer.output
    if answer.problem is None:
        try:
            return answer, guard.check_output(**course.output_of(answer))
        except InputError:
            answer = no_image(answer)
    return answer, course.refusal(answer)


def no_image(answer: Answer) -> Answer:
    """What is no text and that `check_output` does not know as an image."""
    kind = type(answer.output).__name__
    return without_output(
        answer, f"gave {kind}. Expected str, or an image as check_output takes it"
    )
