"""Run the scorers of one stage on a text, within time; a failure hides nothing."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from guardkit.errors import DeadlineError, MissingExtraError
from guardkit.policy.rules import Policy, StagePolicy
from guardkit.runtime.clock import Clock, check_time
from guardkit.text.blocklist import Allowlist, Blocklist, list_words
from guardkit.text.cascade import Cascade
from guardkit.text.context import describe
from guardkit.text.identifiers import Identifiers
from guardkit.text.language import ENGLISH, TOLD_BY_SCRIPT, UNNAMED, identify, load_namer
from guardkit.text.normalize import Prompt, normalize
from guardkit.text.public_figures import PublicFigures
from guardkit.text.score import Scorer, TextScorer
from guardkit.types import Context, Scored, Scores, Span, Tier

_log = logging.getLogger(__name__)
_NO_CONTEXT = Context()


Translate = Callable[[str, str], str]
"""A text and its language (ISO 639-1, or `und`) to English."""


@dataclass(slots=True)
class Measured:
    """What the scorers of one stage said of one text."""

    scores: Scores = field(default_factory=Scores)
    """None where no scorer of the category answered."""
    spans: list[Span] = field(default_factory=list)
    failed: frozenset[str] = frozenset()
    """Categories of which a scorer failed; another one may still have scored them."""
    late: frozenset[str] = frozenset()
    """Likewise, where a scorer ran out of time."""
    foreign: frozenset[str] = frozenset()
    """Categories that no scorer of theirs scored, for they do not know the language."""
    tier: Tier = Tier.FULL
    """FAST when the fast tier cleared the text."""
    language: str | None = None
    """What the text was scored as; None when no scorer cares."""

    def add(self, scorer: Scorer, answer: Callable[[], list[Scored]]) -> None:
        """Take one scorer's answer; if there is none, or nonsense, its categories are missed."""
        try:
            (scored,) = answer()
            silent = [name for name in scorer.categories if name not in scored.scores]
            scores, spans = self.scores.merged(scored.scores), [*self.spans, *scored.spans]
            self.scores, self.spans = scores, spans  # both or none
            self._miss(silent)
            if scored.tier is Tier.FAST:
                self.tier = Tier.FAST
        except DeadlineError:
            _log.warning("scorer %s ran out of time", scorer.name)
            self._miss(scorer.categories)
            self.late |= frozenset(scorer.categories)
        except Exception as e:  # noqa: BLE001  a failure boundary: a scorer may be anybody's code
            _log.warning("scorer %s failed: %s", scorer.name, type(e).__name__)
            self._miss(scorer.categories)

    def abstain(self, categories: Sequence[str]) -> None:
        """Note what a scorer leaves to others, for it does not know the language."""
        self.foreign |= frozenset(categories)

    def settle(self) -> Measured:
        """Mark as not measured what every scorer left to others."""
        scored = {name for name in self.foreign if name in self.scores}
        self.foreign -= scored
        self.scores = self.scores.merged(dict.fromkeys(sorted(self.foreign)))
        return self

    def _miss(self, categories: Sequence[str]) -> None:
        if categories:
            self.failed |= frozenset(categories)
            self.scores = self.scores.merged(dict.fromkeys(categories))


@dataclass(slots=True)
class Prepared:
    """A text made ready for the scorers, and what models already said of it in a run of several."""

    prompt: Prompt
    language: str | None
    answers: dict[str, Scored] = field(default_factory=dict)
    """Scorer -> its answer."""
    took_ms: dict[str, float] = field(default_factory=dict)
    """Step -> this text's share."""


class Measurer:
    """The opened scorers of a policy; immutable, safe to share between threads."""

    def __init__(
        self,
        policy: Policy,
        scorers: Mapping[str, Scorer],
        cascade: Cascade | None = None,
        translate: Translate | None = None,
    ) -> None:
        models = [scorer for scorer in scorers.values() if isinstance(scorer, TextScorer)]
        self._scorers = scorers
        self._cascade = cascade
        self._translate = translate
        self._allowlist = Allowlist(policy.lists)
        self._words = _Words((list_words(policy.lists), *(model.words() for model in models)))
        self._english = _Words(tuple(model.words() for model in models))
        self._languages = frozenset(code for model in models for code in model.languages)
        if (
            self._languages - TOLD_BY_SCRIPT and load_namer() is None
        ):  # half a second, here and once
            raise MissingExtraError("telling the languages of this policy's models", "languages")

    def measure(
        self,
        stage_policy: StagePolicy,
        text: str,
        clock: Clock,
        *,
        context: Context = _NO_CONTEXT,
        quick: bool = False,
        ahead: Prepared | None = None,
    ) -> Measured:
        """Normalise a text and run the stage's scorers on it, in order, with its context.

        With `quick` the fast tier may answer for the full model, unless there is a context. What `ahead`
        holds (`score_ahead`, of the same text and arguments) is taken as it is.
        """
        if ahead is None:
            ahead = clock.timed("normalize", lambda: self._prepare(text, context))
        for step, took_ms in ahead.took_ms.items():
            clock.charge(step, took_ms)
        measured = Measured(language=ahead.language)
        for name in stage_policy.scorers:
            scorer = self._scorers[name]
            if isinstance(scorer, TextScorer) and not scorer.knows(ahead.language):
                measured.abstain(scorer.categories)
            elif name in ahead.answers:
                measured.add(scorer, functools.partial(list, (ahead.answers[name],)))
            else:
                scorer = self._tiered(scorer, context, quick=quick)
                answer = functools.partial(_ask, scorer, ahead.prompt, clock)
                measured.add(scorer, functools.partial(clock.timed, name, answer))
        if not measured.foreign:
            return measured
        if self._translate is not None:
            self._score_translation(stage_policy, text, measured, clock)
        return measured.settle()

    def _score_translation(
        self, stage_policy: StagePolicy, text: str, measured: Measured, clock: Clock
    ) -> None:
        """Let the English models score a translation; its spans are none of the text's."""
        translate = functools.partial(self._translated, text, measured.language or UNNAMED, clock)
        try:
            prompt = clock.timed("translate", translate)
        except Exception as e:  # noqa: BLE001  a failure boundary: it is the caller's code
            _log.warning("translate failed: %s", type(e).__name__)
            return
        for name in stage_policy.scorers:
            scorer = self._scorers[name]
            if not isinstance(scorer, TextScorer) or scorer.knows(measured.language):
                continue
            if scorer.knows(ENGLISH):
                answer = functools.partial(_ask_without_spans, scorer, prompt, clock)
                measured.add(scorer, functools.partial(clock.timed, name, answer))

    def _translated(self, text: str, language: str, clock: Clock) -> Prompt:
        assert self._translate is not None  # noqa: S101  asked for by who has one
        translate = functools.partial(self._translate, text, language)
        english = clock.within_limit(translate, name="translate")
        return normalize(english, words=self._words)

    def score_ahead(
        self,
        stage_policy: StagePolicy,
        texts: Sequence[str],
        *,
        context: Context = _NO_CONTEXT,
        quick: bool = False,
        limit_ms: float | None = None,
    ) -> list[Prepared]:
        """Run the stage's models on several texts together: quicker, but nothing depends on it.

        Where a run fails, or a text's share of it took longer than `limit_ms`, there is no answer, and
        `measure` asks for one.
        """
        prepared = [_timed_share(functools.partial(self._prepare, text, context)) for text in texts]
        for name in stage_policy.scorers:
            scorer = self._scorers[name]
            if not isinstance(scorer, TextScorer):
                continue
            rows = [one for one in prepared if scorer.knows(one.language)]
            _answer_together(self._tiered(scorer, context, quick=quick), rows, name, limit_ms)
        return prepared

    def _prepare(self, text: str, context: Context) -> Prepared:
        prompt = self._allowlist.apply(normalize(text, words=self._words))
        if context is not _NO_CONTEXT and (described := describe(context)):
            prompt = replace(prompt, context=normalize(described, words=self._words).text)
        return Prepared(prompt, self._language(prompt, context))

    def _tiered(self, scorer: Scorer, context: Context, *, quick: bool) -> Scorer:
        """The cascade in place of its full model, where the fast tier may answer."""
        cascade = self._cascade if quick and context == _NO_CONTEXT else None
        return cascade if cascade is not None and scorer is cascade.full else scorer

    def _language(self, prompt: Prompt, context: Context) -> str | None:
        """The language of the context, else of the text; None when no scorer cares."""
        if not self._languages or context.language is not None:
            return context.language
        return identify(prompt.text, self._english, namer=load_namer)

    def unmeasured(self, stage_policy: StagePolicy) -> Scores:
        """None for every category of a stage: what is known of a text that is not scored."""
        scorers = (self._scorers[name] for name in stage_policy.scorers)
        return Scores(dict.fromkeys(name for scorer in scorers for name in scorer.categories))


def _timed_share(prepare: Callable[[], Prepared]) -> Prepared:
    started = time.perf_counter()
    prepared = prepare()
    prepared.took_ms["normalize"] = (time.perf_counter() - started) * 1000
    return prepared


def _answer_together(
    scorer: Scorer, rows: Sequence[Prepared], name: str, limit_ms: float | None
) -> None:
    """Give every text the answer of one model, as far as it has one in time."""
    if not rows:
        return
    started = time.perf_counter()
    try:
        scored = scorer.score([one.prompt for one in rows])
    except Exception as e:  # noqa: BLE001  a shortcut that fails must not fail the checks
        _log.warning("scorer %s failed on several texts together: %s", name, type(e).__name__)
        return
    share_ms = (time.perf_counter() - started) * 1000 / len(rows)
    if limit_ms is None or share_ms <= limit_ms:
        for one, answer in zip(rows, scored, strict=True):
            one.answers[name] = answer
            one.took_ms[name] = share_ms


def _ask_without_spans(scorer: Scorer, prompt: Prompt, clock: Clock) -> list[Scored]:
    return [Scored(scored.scores) for scored in _ask(scorer, prompt, clock)]


def _ask(scorer: Scorer, prompt: Prompt, clock: Clock) -> list[Scored]:
    """Ask one scorer, in time: ours can be stopped, anybody's can only be abandoned."""
    if isinstance(scorer, TextScorer | Cascade):
        return scorer.score([prompt], stop=clock.stop)
    if isinstance(scorer, Blocklist | Identifiers | PublicFigures):
        check_time(clock.stop, scorer.name)
        return scorer.score([prompt])
    return clock.within_limit(lambda: scorer.score([prompt]), name=scorer.name)


@dataclass(frozen=True, slots=True)
class _Words:
    """The words of all lists and vocabularies."""

    parts: tuple[Container[str], ...]

    def __contains__(self, word: object) -> bool:
        for part in self.parts:  # noqa: SIM110  asked for every word: any() takes twice as long
            if word in part:
                return True
        return False
