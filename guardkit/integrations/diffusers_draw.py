"""One picture of a guarded pipeline on its way: each call of the pipeline, and what becomes of its steps."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from guardkit.decision import Decision
from guardkit.guard import Guard
from guardkit.integrations.diffusers_prompts import Guided, look_at, text_embedding
from guardkit.integrations.diffusers_steps import Decode, Previews, Watch, WatchTerms
from guardkit.loop.budget import Budget
from guardkit.steer.steps import StepGuard, StepRecord
from guardkit.taxonomy import Category, Stage
from guardkit.text.composition import Concept
from guardkit.types import Action, Context, Guidance, RunResult, Scores

_BUDGET = Budget()
CALLBACK, TENSORS = "callback_on_step_end", "callback_on_step_end_tensor_inputs"


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a pipeline is used."""

    context: Context | None = None
    budget: Budget = _BUDGET
    """For each picture. A call that is late is stopped at its next step."""
    steps: StepGuard | None = None
    """Watches the steps, for example a `preview_guard(guard)`; None: only the finished picture is checked. A preview costs a run of
    the decoder and one of the scorer."""
    decode: Decode | None = None
    """Draws previews; None: the pipeline's own decoder. A coarser one is cheaper."""
    negative_prompt: str = field(default="", repr=False)
    """Yours, put before the user's: it is not checked, for a negative prompt names what must not be seen."""
    concepts: Sequence[Concept] = ()
    """What prompt and negative prompt together must not point at; directions as `text_embedding` gives them."""
    pass_unchecked: bool = False
    """Let arguments through that nothing here can read, instead of refusing them."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One picture that was asked for."""

    result: RunResult
    """The picture to use, a PIL image, or None; the decision; every attempt."""
    seed: int
    """Of the first attempt; the others' are in their guidance."""
    steps: tuple[StepRecord, ...] = ()
    """What came of watching each call of the pipeline."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user asked, besides the prompt."""

    negative: str = field(repr=False)
    image: Any = field(repr=False)
    arguments: Mapping[str, Any] = field(repr=False)
    seed: int


class Course:
    """One picture on its way: each call of the pipeline, and what became of its steps."""

    def __init__(self, pipeline: Any, guard: Guard, terms: Terms, asked: Asked) -> None:
        self._pipeline = pipeline
        self._guard = guard
        self._terms = terms
        self._asked = asked
        self._calls = 0
        self._is_over = False
        self._records: list[StepRecord] = []
        self._negative = asked.negative
        self._start = asked.image
        self._lock = threading.Lock()

    def drawn(self, prompt: str, lock: threading.Lock) -> Drawn:
        """The picture, as `Guard.run` gets it."""
        self._lock = lock
        terms, seed = self._terms, self._asked.seed
        refusal = self._look_at_image()
        if refusal is not None:
            return Drawn(RunResult(None, refusal, ()), seed)
        try:
            result = self._guard.run(
                self._draw, prompt, context=terms.context, budget=terms.budget, seed=seed
            )
        finally:
            self._is_over = True  # a call that was left behind stops at its next step
        return Drawn(_as_picture(result), seed, tuple(self._records))

    def _draw(self, prompt: str, guidance: Guidance | None) -> Any:
        """A picture; or the decision that there is none."""
        self._calls += 1
        number = self._calls
        if number == 1 and (refusal := self._look_at_prompts(prompt)) is not None:
            return refusal
        with self._lock:
            watch = self._watch(number)
            made = self._pipeline(**self._arguments(prompt, guidance, watch))
        record = watch.end()
        if record is not None and number == self._calls and not self._is_over:
            self._records.append(record)
        if watch.was_stopped and record is not None:
            return self._stopped(watch, record)
        if self._was_blacked_out(made):
            return self._again({Category.SEXUAL: 1.0}, "the pipeline's own safety checker blacked it out")  # fmt: skip
        return made.images[0]

    def _arguments(self, prompt: str, guidance: Guidance | None, watch: Watch) -> dict[str, Any]:
        import torch  # whoever has a pipeline has it

        told = guidance.negative_prompt if guidance else None
        avoided = (self._terms.negative_prompt, self._negative, told)
        seed = self._asked.seed if guidance is None or guidance.seed is None else guidance.seed
        begun = {} if self._start is None else {"image": self._start}
        tensors = self._asked.arguments.get(TENSORS, ())
        return {
            **self._asked.arguments,
            **begun,
            "prompt": prompt,
            "negative_prompt": ", ".join(filter(None, avoided)) or None,
            "generator": torch.Generator().manual_seed(seed),
            CALLBACK: watch,
            TENSORS: list(dict.fromkeys(("latents", *tensors))),
        }

    def _watch(self, number: int) -> Watch:
        terms = self._terms
        return Watch(
            terms.steps,
            Previews(self._pipeline, terms.decode) if terms.steps else None,
            WatchTerms(
                may_stop=self._guard.policy.mode == "enforce",
                is_over=lambda: self._is_over or number != self._calls,
                also=self._asked.arguments.get(CALLBACK),
            ),
        )

    def _steps(self) -> int:
        return int(_given_or_default(self._pipeline, self._asked.arguments, "num_inference_steps", 50))  # fmt: skip

    def _look_at_prompts(self, prompt: str) -> Decision | None:
        scale = scale_of(self._pipeline, self._asked.arguments)
        guided = Guided(prompt, self._asked.negative, scale, self._steps())
        self._negative, refusal = look_at(
            self._guard,
            guided,
            context=self._terms.context,
            concepts=self._terms.concepts,
            embed=self._embed if self._terms.concepts else None,
        )
        return refusal

    def _embed(self, text: str) -> Any:
        return text_embedding(self._pipeline, text)

    def _look_at_image(self) -> Decision | None:
        """Why the picture it begins with may not be used; None: there is none, or it may."""
        if self._asked.image is None:
            return None
        decision = self._guard.check_output(image=self._asked.image, context=self._terms.context)
        if decision.action > Action.EDIT:
            reasons = (*decision.reasons, "the picture to begin with: block")
            return replace(decision, action=Action.BLOCK, guidance=None, reasons=reasons)
        self._start = _as_pil(decision.image)
        return None

    def _stopped(self, watch: Watch, record: StepRecord) -> Decision:
        """What the guard says of the preview that settled it; at the least, draw again."""
        why = f"stopped after step {record.decided_at} of {watch.total}: {record.votes} of {record.seen} previews were unsafe"  # fmt: skip
        seen = self._guard.check_output(image=watch.last, context=self._terms.context)
        again = self._again(record.voted, why)
        if seen.action is not Action.BLOCK:
            return again
        return replace(seen, reasons=(*seen.reasons, f"{why}: block"))

    def _again(self, found: Mapping[str, float | None], why: str) -> Decision:
        steer = {str(name): score for name, score in found.items() if score is not None}
        return Decision(
            action=Action.REGENERATE,
            stage=Stage.OUTPUT_IMAGE,
            scores=Scores(steer),
            reasons=(f"{why}: regenerate",),
            guidance=Guidance(steer),
            policy_id=self._guard.policy.id,
        )

    def _was_blacked_out(self, made: Any) -> bool:
        found = vars(made).get("nsfw_content_detected")
        return bool(found) and bool(found[0]) and self._guard.policy.mode == "enforce"


def scale_of(pipeline: Any, arguments: Mapping[str, Any]) -> float:
    """The guidance scale that a call would have."""
    return float(_given_or_default(pipeline, arguments, "guidance_scale", 1.0))


def _given_or_default(pipeline: Any, arguments: Mapping[str, Any], name: str, absent: float) -> Any:
    parameter = parameters(pipeline).get(name)
    default = absent if parameter is None else parameter.default
    given = arguments.get(name)
    return default if given is None else given


def parameters(pipeline: Any) -> Mapping[str, inspect.Parameter]:
    """What a call of the pipeline takes."""
    return inspect.signature(type(pipeline).__call__).parameters


def _as_picture(result: RunResult) -> RunResult:
    """The result with a PIL image, as the pipeline would give, where an editor made an array."""
    return result if result.output is None else RunResult(_as_pil(result.output), result.decision, result.attempts, result.prompt)  # fmt: skip


def _as_pil(image: Any) -> Any:
    from PIL import Image  # the extra `image`, which read it

    return image if isinstance(image, Image.Image) else Image.fromarray(image)
