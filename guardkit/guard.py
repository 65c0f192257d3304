"""`Guard`: the only conductor. The path of a text is in `guard_texts.py`, that of an image in `guard_images.py`."""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec.structs import replace

from guardkit.decision import Decision
from guardkit.errors import Blocked, Fault, InputError, PolicyError
from guardkit.guard_texts import Check, TextChecks
from guardkit.loop.budget import Budget
from guardkit.loop.generator import Generate, Generator
from guardkit.loop.held import HOLD, PATIENCE
from guardkit.loop.run import Plan, run_all
from guardkit.loop.stream import AsyncStream, Stream
from guardkit.policy.decide import usable
from guardkit.policy.load import load_policy, load_preset
from guardkit.policy.meaning import Known, check_meaning
from guardkit.policy.rules import Policy, StagePolicy
from guardkit.policy.tree import path_text
from guardkit.runtime.base import OpenRunner, RunnerInfo, open_runner
from guardkit.runtime.clock import Clock, Watchdog
from guardkit.runtime.deadline import DeadlineRunner
from guardkit.steps import REWRITE
from guardkit.taxonomy import IMAGE_STAGES, Stage
from guardkit.text.anonymize import Mode, anonymize, vault_of
from guardkit.text.cascade import may_clear, open_cascade, runners_of
from guardkit.text.edit import Editor
from guardkit.text.editors import Editors
from guardkit.text.identifiers import apart, find
from guardkit.text.measure import Measurer, Prepared, Translate
from guardkit.text.opening import open_rewriter, open_scorers, open_tagger
from guardkit.text.rewrite import Rewriter
from guardkit.text.score import Scorer
from guardkit.text.tagger import Tagger
from guardkit.types import Action, Context, Guidance, RunResult, Scores
from guardkit.vault import Vault

if TYPE_CHECKING:
    from guardkit.guard_images import ImageChecks
    from guardkit.image.decode import ImageInput
    from guardkit.image.score import ImageScorer
    from guardkit.image.video import VideoInput
    from guardkit.runtime.gather import Gatherer, Ticket

_Asked = tuple[str, Context]
_NO_CONTEXT = Context()
_BUDGET = Budget()
_MOST_GENERATING = 1024  # calls of generators at once; chosen: far above what one process can serve
_BLOCK = 64  # texts that are scored before the first of them is decided
T = TypeVar("T")


class Guard:
    """One policy with its models opened; immutable, and safe to share between threads."""

    def __init__(
        self,
        policy: Policy,
        *,
        scorers: Sequence[Scorer] = (),
        editors: Mapping[str, Editor] | None = None,
        translate: Translate | None = None,
        rewriter: Rewriter | None = None,
        image_scorers: Sequence[ImageScorer] = (),
        open_runner: OpenRunner = open_runner,
    ) -> None:
        """Open every model the policy names.

        Args:
            policy: A validated policy.
            scorers: Scorers of your own that the policy names beside the shipped ones.
            editors: Editors of your own, likewise.
            translate: (text, language) to English, for texts in a language that no scorer of a category
                knows: the English model then scores the translation. When it fails, or is not given, the
                policy's `languages.low_evidence` answers.
            rewriter: A rewriter of your own for the editor `rewrite` and `Guard.rewrite`, for example a
                `guardkit.text.rewrite.LanguageModelRewriter`; None: the shipped model. What it makes of a
                text is scored again in any case.
            image_scorers: Scorers of images of your own that the policy names; they get a decoded
                `guardkit.image.decode.Picture`.
            open_runner: What opens a model, where it is not what the policy's `models` say.

        Raises:
            PolicyError: The policy contradicts itself or names a step that nobody provides.
            ArtifactError: A model is missing, changed or malformed.
            BackendError: A model cannot be run here.
        """
        known = _known(scorers, editors or {}, image_scorers)
        faults = list(check_meaning(msgspec.to_builtins(policy), known))
        if faults:
            name = policy.policy
            raise PolicyError([Fault(name, 1, 1, path_text(at), what) for at, what in faults])
        self.policy = policy
        self._made_of = (
            policy,
            tuple(scorers),
            editors,
            translate,
            rewriter,
            tuple(image_scorers),
            open_runner,
        )
        self._open_runner = open_runner
        if rewriter is not None or REWRITE in policy.editors:
            rewriter = open_rewriter(policy, rewriter, open_runner)
        self._opened_rewriter = rewriter
        given = {scorer.name: scorer for scorer in scorers}
        opened = open_scorers(policy, given, open_runner)
        self._scorers = opened
        cascade = open_cascade(policy, opened)
        runners = runners_of(opened, cascade)
        self._images = {
            stage: _open_images(policy, stage, image_scorers, open_runner)
            for stage in policy.stages
            if stage in IMAGE_STAGES
        }
        looking = tuple(runner for checks in self._images.values() for runner in checks.runners)
        self._models = {tier: tuple(one.info.id for one in used) for tier, used in runners.items()}
        all_used = (*runners.values(), looking)
        self._info = tuple(dict.fromkeys(one.info for used in all_used for one in used))
        self._policy_id = policy.id
        self._measurer = Measurer(policy, opened, cascade, translate)
        own = Editors(policy, editors or {}, rewriter)
        self._texts = TextChecks(policy, self._measurer, own)
        self._threads = DeadlineRunner()
        self._generators = DeadlineRunner(most_busy=_MOST_GENERATING)
        limit_ms = policy.timeout_ms
        self._watchdog = None if limit_ms is None else Watchdog(limit_ms / 1000)

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        *,
        scorers: Sequence[Scorer] = (),
        editors: Mapping[str, Editor] | None = None,
        translate: Translate | None = None,
        rewriter: Rewriter | None = None,
        image_scorers: Sequence[ImageScorer] = (),
    ) -> Guard:
        """A guard from a policy file; arguments and errors as in `Guard`."""
        policy = load_policy(path, known=_known(scorers, editors or {}, image_scorers))
        return cls(
            policy,
            scorers=scorers,
            editors=editors,
            translate=translate,
            rewriter=rewriter,
            image_scorers=image_scorers,
        )

    @classmethod
    def from_preset(cls, name: str) -> Guard:
        """A guard from a shipped policy.

        Shipped: `text-to-image`, `text-to-image-balanced`, `chat`, `kids`, `research`, `multilingual`, and for
        pictures `generated-images`, `hidden-faces` and `image-edits`.
        """
        return cls(load_preset(name))

    def __reduce__(self) -> tuple[Callable[..., Guard], tuple[object, ...]]:
        """A guard goes to another process as what it was made of, and opens its models there."""
        return _made_again, self._made_of

    # --- what callers ask ------------------------------------------------------------------------

    def check_prompt(self, text: str, context: Context | None = None) -> Decision:
        """Check one prompt before it reaches a generator.

        Args:
            text: What the user typed; any string.
            context: The situation; the models read it, and a rule may name it.

        Raises:
            InputError: `text` is not a str, or the policy has no prompt stage.
        """
        return self._check(Stage.PROMPT, text, context)

    def check_prompts(self, texts: Sequence[str], context: Context | None = None) -> list[Decision]:
        """Check prompts; each decision is that of `check_prompt`, errors as there.

        Short prompts of similar length share a run of the model: scores then differ by rounding, below 1e-3.
        """
        texts, stage = _listed(texts), self._stage_policy(Stage.PROMPT)
        ahead = self._ahead(stage, texts, _valid(context), quick=may_clear(stage))
        return [
            self._check(Stage.PROMPT, text, context, ahead=one)
            for text, one in zip(texts, ahead, strict=True)
        ]

    def check_output(
        self,
        *,
        text: str | None = None,
        image: ImageInput | None = None,
        video: VideoInput | None = None,
        prompt: str | None = None,
        context: Context | None = None,
    ) -> Decision:
        """Check a generated text, image or video before it reaches a user.

        An image that cannot be decoded, or is over a limit of `limits.images`, is not measured: `on_failure`
        answers, and the reason says what is wrong. Of a video, frames are checked as images are (`limits.videos`).

        Args:
            text: The text; either this, `image` or `video`.
            image: A path, the bytes of a file, a PIL image, or a uint8 array [H, W, 3].
            video: A path, or the bytes of a file: MP4, MOV, WebM, Matroska. Takes the extra `video`.
            prompt: What the image or video was made of. The verdict does not depend on it, unless the stage has the scorer
                `public-figures` or one of your own that reads it.
            context: The situation, as in `check_prompt`.

        Raises:
            InputError: `text` is not a str, `image` or `video` is none of the above (or there is no such file), more
                than one or none is given, or the policy has no such stage.
            MissingExtraError: A video, and PyAV is not installed.
        """
        given = {"text": text, "image": image, "video": video}
        names = [name for name, one in given.items() if one is not None]
        if prompt is not None and (names == ["text"] or not isinstance(prompt, str)):
            raise InputError("prompt: is the str that an image was made of. Expected beside image.")
        if len(names) > 1:
            each = "both" if len(names) == 2 else "all"
            told = " and ".join(names)
            raise InputError(f"{told}: {each} are given. Expected one; call once for each.")
        if video is not None:
            checks = self._image_checks(Stage.OUTPUT_IMAGE)
            return checks.check_video(video, prompt, _valid(context), self._clock())
        if image is None:
            return self._check(Stage.OUTPUT_TEXT, _typed(text), context)
        checks = self._image_checks(Stage.OUTPUT_IMAGE)
        return checks.check(image, prompt, _valid(context), self._clock())

    def check_edit(
        self,
        *,
        before: ImageInput,
        after: ImageInput,
        prompt: str | None = None,
        context: Context | None = None,
    ) -> Decision:
        """Check what an edit did to an image, before anybody sees the result.

        Both images are compared: a change that nobody asked for counts (`bias`: "make them beautiful" that lightens skin), and so does
        one that was asked for to harm; an image that comes out as it went in does not. A broken image is not measured:
        `on_failure` answers.

        Args:
            before: The image that was edited: a path, the bytes of a file, a PIL image, or a uint8 array [H, W, 3].
            after: What came of it, of any size; crops and mirror images are found.
            prompt: What was asked for; None: nobody said, and the verdict is of both images alone.
            context: The situation, as in `check_prompt`.

        Raises:
            InputError: One is no image at all, `prompt` is no str, or the policy has no stage `edit`.
        """
        if prompt is not None and not isinstance(prompt, str):
            raise InputError(f"prompt is {type(prompt).__name__}. Expected str, or None.")
        if before is None:
            raise InputError("before is NoneType. Expected an image; without one: check_output.")
        checks = self._image_checks(Stage.EDIT)
        return checks.check(after, prompt, _valid(context), self._clock(), before=before)

    def score_prompts(self, texts: Sequence[str]) -> list[Scores]:
        """Score prompts with the scorers of the prompt stage, without deciding anything.

        Short prompts of similar length share a run of the model, as in `check_prompts`.

        Returns:
            One `Scores` a text; a category is None where its scorer failed or ran out of time, and
            everywhere when the text is longer than `limits.max_characters`.
        """
        texts, stage = _listed(texts), self._stage_policy(Stage.PROMPT)
        ahead = self._ahead(stage, texts, _NO_CONTEXT, quick=False)
        return [self._score(stage, *one) for one in zip(texts, ahead, strict=True)]

    def score_images(self, images: Sequence[ImageInput]) -> list[Scores]:
        """Score images with the scorers of the stage `output-image`, without deciding anything.

        Returns:
            One `Scores` an image; a category is None where its scorer failed or ran out of time, and
            everywhere when the image cannot be decoded.

        Raises:
            InputError: One is no image at all, as in `check_output`, or the policy has no such stage.
        """
        if isinstance(images, str | bytes) or not isinstance(images, Iterable):
            raise InputError(f"images is {type(images).__name__}. Expected a list of images.")
        checks = self._image_checks(Stage.OUTPUT_IMAGE)
        return [checks.score(image, self._clock()) for image in images]

    def anonymize(
        self,
        text: str,
        mode: str = "placeholder",
        *,
        vault: Vault | None = None,
        conversation: str | None = None,
    ) -> tuple[str, Vault]:
        """Replace personal data, whatever the policy says: what has a form, names and addresses.

        Names take the artifact `pii-tagger`, which the first call opens where the policy does not name it.

        Args:
            text: Any string.
            mode: `placeholder` and `surrogate` restore exactly, `generic`, `mask` and `hash` are one-way.
            vault: Of earlier texts of the conversation: what they replaced gets the same replacement.
            conversation: Which one the new vault is for; its `restore` then asks for it.

        Returns:
            The new text, and the vault that leads back, with all that `vault` held.

        Raises:
            InputError: `text` is not a str or longer than `limits.max_characters`, the mode is unknown, or
                `vault` is of a one-way mode, expired, or of another conversation.
            ArtifactError: There is no `pii-tagger`.

        >>> guard = Guard.from_preset("chat")
        >>> text, vault = guard.anonymize("I am Ada Marlowe, ada@example.org")
        >>> text, vault.restore("Dear <PERSON_1>")
        ('I am <PERSON_1>, <EMAIL_1>', 'Dear Ada Marlowe')
        """
        text = _typed(text)
        if len(text) > (longest := self.policy.limits.max_characters):
            raise InputError(f"text has {len(text)} characters. Expected at most {longest}.")
        if mode not in list(Mode):
            raise InputError(f"mode '{mode}': unknown. Expected one of {', '.join(Mode)}.")
        before = vault.originals(conversation=conversation) if vault is not None else None
        found = apart([*find(text), *self._tagger.find(text)])
        edited, _, originals = anonymize(text, found, Mode(mode), before=before)
        lifetime_s = self.policy.anonymize.vault_s
        return edited, vault_of(
            originals, Mode(mode), lifetime_s=lifetime_s, conversation=conversation
        )

    def rewrite(self, text: str, context: Context | None = None) -> str | None:
        """Make a prompt harmless in which the policy or the rewriter finds something wrong, and score what came of it.

        What is still not allowed, or only just, is rewritten up to twice more; the most harmless of what comes of it is
        returned. The first call opens `prompt-rewriter` where the policy does not name the editor `rewrite`.

        Args:
            text: Any string.
            context: The situation, as in `check_prompt`.

        Returns:
            A text in which no rule on harm fires; the text itself when nothing is wrong with it. None: it
            cannot be rewritten: the rewriter gave up, or what it made is still harmful. Names and other personal data are
            left to `anonymize`.

        Raises:
            InputError: `text` is not a str, or the policy has no prompt stage.
            ArtifactError: There is no `prompt-rewriter`.
        """
        stage_policy, text = self._stage_policy(Stage.PROMPT), _typed(text)
        context = _valid(context)

        def check_of(text: str) -> Check:
            return Check(Stage.PROMPT, stage_policy, text, context, self._clock(), None)

        return self._texts.rewritten(text, self._rewriter, check_of)

    def enforce(self, decision: Decision) -> Decision:
        """Hand the decision back, or raise when its content must not be used.

        Raises:
            Blocked: The action is block, or regenerate on an output.
        """
        discards = decision.action is Action.REGENERATE and decision.stage is not Stage.PROMPT
        if decision.action is Action.BLOCK or discards:
            raise Blocked(decision)
        return decision

    def run(
        self,
        generate: Generate,
        prompt: str,
        *,
        context: Context | None = None,
        budget: Budget = _BUDGET,
        seed: int | None = None,
    ) -> RunResult:
        """Drive a generator: check the prompt, edit it, generate, check the output, generate again; then block.

        Args:
            generate: Any callable of a prompt that gives a str or an image (what `check_output` takes), or a `Decision` to
                regenerate or block, where it gave up a generation itself (a `StepGuard` stopped it). A parameter
                named `guidance` gets a `Guidance` when it is asked again, else None; a callable without one gets the
                guidance's revised prompt, where it has one.
            prompt: What the user typed.
            context: The situation, as in `check_prompt`.
            budget: How often and how long the generator may be asked; it holds even if it hangs.
            seed: Of the seeds that guidance brings; None: new ones every time.

        Returns:
            The output to use, or None; the last decision; every attempt. A generator that raises or hangs is
            answered by `on_failure` and `on_timeout`, where `allow` means block: there is nothing to allow.

        Raises:
            InputError: `prompt` is not a str, `generate` cannot be called with it, or the policy has no output stage.

        >>> result = Guard.from_preset("chat").run(lambda prompt: "Take a coat.", "How is the weather?")
        >>> result.output, len(result.attempts)
        ('Take a coat.', 1)
        """
        plan = Plan(_valid(context), budget, seed)
        generator = Generator(generate, is_batch=False, may_await=False)
        return run_all(self, generator, [prompt], plan, self._generators)[0]

    def run_batch(
        self,
        generate: Generate,
        prompts: Sequence[str],
        *,
        context: Context | None = None,
        budget: Budget = _BUDGET,
        seed: int | None = None,
    ) -> list[RunResult]:
        """`run` for a generator of batches: it takes a list of prompts (and of guidance), and gives a list of outputs.

        Each round is one call, for those prompts that are not settled; arguments and errors as in `run`.
        """
        plan = Plan(_valid(context), budget, seed)
        generator = Generator(generate, is_batch=True, may_await=False)
        return run_all(self, generator, _listed(prompts), plan, self._generators)

    def stream(
        self,
        tokens: Iterable[str],
        *,
        context: Context | None = None,
        hold: int = HOLD,
        patience: int = PATIENCE,
    ) -> Stream:
        """Check a text while it is written; what comes out was checked, whatever the chunking.

        Args:
            tokens: The text in pieces of any size.
            context: The situation, as in `check_prompt`.
            hold: Characters between two checks, at least; text comes out one to two of these distances late. It
                grows with the text, to a sixteenth of what is written.
            patience: Checks in a row that may say no before the text is ended. Nothing comes out meanwhile; a check
                of more of the text may take the no back. 0 ends it at once.

        Returns:
            An iterator of pieces of text. When it is exhausted, its `end` holds the last event, a `StreamEnd` with the
            decision; `events()` has that event at its end instead. What `tokens` raises, the iterator raises.

        Raises:
            InputError: The policy has no stage `output-text`, or, while iterating, a token is no str.

        >>> stream = Guard.from_preset("chat").stream(["Take ", "a co", "at."])
        >>> "".join(stream), stream.end.decision.action
        ('Take a coat.', <Action.ALLOW: 'allow'>)
        """
        return Stream(self, tokens, context=_valid(context), hold=hold, patience=patience)

    def info(self) -> tuple[RunnerInfo, ...]:
        """Every model: name, version, digest, backend, provider really in use, precision."""
        return self._info

    async def arun(
        self,
        generate: Generate,
        prompt: str,
        *,
        context: Context | None = None,
        budget: Budget = _BUDGET,
        seed: int | None = None,
    ) -> RunResult:
        """`run` without blocking the event loop; `generate` may be a coroutine function."""
        from guardkit.loop.arun import arun_all  # asyncio: 30 ms that others need not pay

        plan = Plan(_valid(context), budget, seed)
        generator = Generator(generate, is_batch=False, may_await=True)
        return (await arun_all(self, generator, [prompt], plan, self._generators))[0]

    async def arun_batch(
        self,
        generate: Generate,
        prompts: Sequence[str],
        *,
        context: Context | None = None,
        budget: Budget = _BUDGET,
        seed: int | None = None,
    ) -> list[RunResult]:
        """`run_batch` without blocking the event loop; `generate` may be a coroutine function."""
        from guardkit.loop.arun import arun_all  # likewise

        plan = Plan(_valid(context), budget, seed)
        generator = Generator(generate, is_batch=True, may_await=True)
        return await arun_all(self, generator, _listed(prompts), plan, self._generators)

    def astream(
        self,
        tokens: AsyncIterable[str] | Iterable[str],
        *,
        context: Context | None = None,
        hold: int = HOLD,
        patience: int = PATIENCE,
    ) -> AsyncStream:
        """`stream` without blocking the event loop; `tokens` may be asynchronous."""
        return AsyncStream(self, tokens, context=_valid(context), hold=hold, patience=patience)

    async def acheck_prompt(self, text: str, context: Context | None = None) -> Decision:
        """`check_prompt` without blocking the event loop; concurrent calls share runs of the model.

        The first call waits for others, as long as the policy's `gather` says; a caller that is cancelled
        is left out.

        Raises:
            InputError: As in `check_prompt`.
            OverloadError: More calls wait than `gather.queue` allows; nothing was checked.
        """
        self._stage_policy(Stage.PROMPT)
        return await self._gatherer.ask((_typed(text), _valid(context)))

    async def acheck_prompts(
        self, texts: Sequence[str], context: Context | None = None
    ) -> list[Decision]:
        """`check_prompts` without blocking the event loop."""
        return await _in_thread(functools.partial(self.check_prompts, texts, context))

    async def acheck_output(
        self,
        *,
        text: str | None = None,
        image: ImageInput | None = None,
        video: VideoInput | None = None,
        prompt: str | None = None,
        context: Context | None = None,
    ) -> Decision:
        """`check_output` without blocking the event loop."""
        work = functools.partial(
            self.check_output, text=text, image=image, video=video, prompt=prompt, context=context
        )
        return await _in_thread(work)

    async def acheck_edit(
        self,
        *,
        before: ImageInput,
        after: ImageInput,
        prompt: str | None = None,
        context: Context | None = None,
    ) -> Decision:
        """`check_edit` without blocking the event loop."""
        work = functools.partial(
            self.check_edit, before=before, after=after, prompt=prompt, context=context
        )
        return await _in_thread(work)

    async def ascore_images(self, images: Sequence[ImageInput]) -> list[Scores]:
        """`score_images` without blocking the event loop."""
        return await _in_thread(functools.partial(self.score_images, images))

    async def aanonymize(
        self,
        text: str,
        mode: str = "placeholder",
        *,
        vault: Vault | None = None,
        conversation: str | None = None,
    ) -> tuple[str, Vault]:
        """`anonymize` without blocking the event loop."""
        work = functools.partial(self.anonymize, text, mode, vault=vault, conversation=conversation)
        return await _in_thread(work)

    async def arewrite(self, text: str, context: Context | None = None) -> str | None:
        """`rewrite` without blocking the event loop."""
        return await _in_thread(functools.partial(self.rewrite, text, context))

    async def ascore_prompts(self, texts: Sequence[str]) -> list[Scores]:
        """`score_prompts` without blocking the event loop."""
        return await _in_thread(functools.partial(self.score_prompts, texts))

    @functools.cached_property
    def _rewriter(self) -> Rewriter:
        """The caller's, the policy's, else the shipped one."""
        return self._opened_rewriter or open_rewriter(self.policy, None, self._open_runner)

    @functools.cached_property
    def _tagger(self) -> Tagger:
        """The policy's, else the shipped one."""
        opened = (one for one in self._scorers.values() if isinstance(one, Tagger))
        return next(opened, None) or open_tagger(self.policy, self._open_runner)

    @functools.cached_property
    def _gatherer(self) -> Gatherer[_Asked, Decision]:
        from guardkit.runtime.gather import Gatherer  # asyncio: 30 ms that others need not pay

        plan = self.policy.gather
        return Gatherer(
            self._check_gathered, wait_ms=plan.wait_ms, at_most=plan.at_most, queue=plan.queue
        )

    def _check_gathered(self, tickets: Sequence[Ticket[_Asked]]) -> list[Decision]:
        """Check the prompts of several callers, those of one context together."""
        stage, began_s = self._stage_policy(Stage.PROMPT), time.perf_counter()
        by_context: dict[Context, list[int]] = {}
        for row, ticket in enumerate(tickets):
            by_context.setdefault(ticket.job[1], []).append(row)
        decisions: dict[int, Decision] = {}
        for context, rows in by_context.items():
            texts = [tickets[row].job[0] for row in rows]
            ahead = self._ahead(stage, texts, context, quick=may_clear(stage))
            for row, text, one in zip(rows, texts, ahead, strict=True):
                if one is not None:
                    one.took_ms["gather"] = (began_s - tickets[row].asked_s) * 1000
                decisions[row] = self._check(Stage.PROMPT, text, context, ahead=one)
        return [decisions[row] for row in range(len(tickets))]

    # --- what happens to a text ------------------------------------------------------------------

    def _ahead(
        self, stage_policy: StagePolicy, texts: Sequence[str], context: Context, *, quick: bool
    ) -> Iterator[Prepared | None]:
        """What the models say of each text, a block of texts at a time; None for a text not scored."""
        longest = self.policy.limits.max_characters
        for start in range(0, len(texts), _BLOCK):
            block = texts[start : start + _BLOCK]
            fits = [len(_typed(text)) <= longest for text in block]
            ahead = iter(
                self._measurer.score_ahead(
                    stage_policy,
                    [text for text, fit in zip(block, fits, strict=True) if fit],
                    context=context,
                    quick=quick,
                    limit_ms=self.policy.timeout_ms,
                )
            )
            yield from (next(ahead) if fit else None for fit in fits)

    def _check(
        self,
        stage: Stage,
        text: str,
        context: Context | None,
        *,
        ahead: Prepared | None = None,
    ) -> Decision:
        policy, text, context = self._stage_policy(stage), _typed(text), _valid(context)
        clock = self._clock()
        check = Check(stage, policy, text, context, clock, ahead)
        decision = self._too_long(check)
        if decision is None:
            decision = self._texts.decide_and_edit(check)
        return replace(
            decision,
            policy_id=self._policy_id,
            models=self._models[decision.tier],
            timings_ms=clock.end(),
            **usable(self.policy, decision, text, name="text"),
        )

    def _score(self, stage_policy: StagePolicy, text: str, ahead: Prepared | None) -> Scores:
        if len(text) > self.policy.limits.max_characters:
            return self._measurer.unmeasured(stage_policy)
        clock = self._clock()
        scores = self._measurer.measure(stage_policy, text, clock, ahead=ahead).scores
        clock.end()
        return scores

    def _too_long(self, check: Check) -> Decision | None:
        """The answer to a text over the limit, which is not scored; None for any other."""
        limits = self.policy.limits
        if len(check.text) <= limits.max_characters:
            return None
        action = Action(limits.too_long)
        return Decision(
            action=action,
            stage=check.stage,
            scores=Scores(),
            reasons=(
                f"{len(check.text)} characters, at most {limits.max_characters}: {action.value}",
            ),
            guidance=Guidance({}) if action is Action.REGENERATE else None,
        )

    # --- either ----------------------------------------------------------------------------------

    def _image_checks(self, stage: Stage) -> ImageChecks:
        self._stage_policy(stage)
        return self._images[stage]

    def _clock(self) -> Clock:
        return Clock(self._threads, self._watchdog)

    def _stage_policy(self, stage: Stage) -> StagePolicy:
        stage_policy = self.policy.stage(stage)
        if stage_policy is None:
            stages = ", ".join(self.policy.stages) or "none"
            raise InputError(
                f"policy '{self.policy.policy}' has no stage '{stage.value}'. It has: {stages}."
            )
        return stage_policy


def _made_again(
    policy: Policy,
    scorers: Sequence[Scorer],
    editors: Mapping[str, Editor] | None,
    translate: Translate | None,
    rewriter: Rewriter | None,
    image_scorers: Sequence[ImageScorer],
    open_runner: OpenRunner,
) -> Guard:
    return Guard(
        policy,
        scorers=scorers,
        editors=editors,
        translate=translate,
        rewriter=rewriter,
        image_scorers=image_scorers,
        open_runner=open_runner,
    )


def _known(
    scorers: Sequence[Scorer], editors: Mapping[str, Editor], image_scorers: Sequence[ImageScorer]
) -> Known:
    read = {scorer.name: tuple(scorer.categories) for scorer in scorers}
    seen = {scorer.name: tuple(scorer.categories) for scorer in image_scorers}
    return Known(read | seen, frozenset(editors), frozenset(seen))


def _open_images(
    policy: Policy, stage: Stage, image_scorers: Sequence[ImageScorer], open_runner: OpenRunner
) -> ImageChecks:
    """What checks images at a stage; where a policy has none, Pillow need not be there."""
    from guardkit.guard_images import ImageChecks  # Pillow: an optional package

    return ImageChecks(policy, image_scorers, open_runner, stage)


def _typed(text: object) -> str:
    if not isinstance(text, str):
        raise InputError(f"text is {type(text).__name__}. Expected str.")
    return text


def _listed(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise InputError("texts is one str. Expected a list of them; for one use check_prompt.")
    if not isinstance(texts, Iterable):
        raise InputError(f"texts is {type(texts).__name__}. Expected a list of str.")
    return list(texts)


def _valid(context: Context | None) -> Context:
    if context is None:
        return _NO_CONTEXT
    if not isinstance(context, Context):
        raise InputError(f"context is {type(context).__name__}. Expected guardkit.Context.")
    return context


async def _in_thread(function: Callable[[], T]) -> T:
    import asyncio  # 30 ms of CPU that a synchronous caller need not pay

    return await asyncio.to_thread(function)
