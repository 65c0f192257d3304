"""Run the scorers of one stage on a text, within time; a failure hides nothing."""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

from guardkit.errors import DeadlineError
from guardkit.policy.rules import Policy, StagePolicy
from guardkit.runtime.deadline import Clock
from guardkit.text.blocklist import Allowlist, list_words
from guardkit.text.normalize import Prompt, normalize
from guardkit.text.score import Scorer, TextScorer
from guardkit.types import Scores, Span

_log = logging.getLogger(__name__)


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
    answered: set[str] = field(default_factory=set)

    def add(self, scorer: Scorer, prompt: Prompt, clock: Clock) -> None:
        """Run one scorer; if it fails or gives nonsense, its categories have failed."""
        try:
            (scored,) = clock.timed(scorer.name, lambda: scorer.score([prompt]))
            silent = [name for name in scorer.categories if name not in scored.scores]
            scores, spans = self.scores.merged(scored.scores), [*self.spans, *scored.spans]
            self.scores, self.spans = scores, spans  # both or none
            self._miss(silent)
        except Exception as e:  # noqa: BLE001  a failure boundary: a scorer may be anybody's code
            _log.warning("scorer %s failed: %s", scorer.name, type(e).__name__)
            self._miss(scorer.categories)
        self.answered.add(scorer.name)

    def given_up(self, scorers: Sequence[Scorer]) -> Measured:
        """A copy without the scorers that are still running: they may write into this one."""
        waited_for = [scorer for scorer in scorers if scorer.name not in self.answered]
        late = frozenset(category for scorer in waited_for for category in scorer.categories)
        scores = self.scores.merged(dict.fromkeys(late))
        return Measured(scores, list(self.spans), self.failed, late, set(self.answered))

    def _miss(self, categories: Sequence[str]) -> None:
        if categories:
            self.failed |= frozenset(categories)
            self.scores = self.scores.merged(dict.fromkeys(categories))


class Measurer:
    """The opened scorers of a policy; immutable, safe to share between threads."""

    def __init__(self, policy: Policy, scorers: Mapping[str, Scorer]) -> None:
        models = [scorer for scorer in scorers.values() if isinstance(scorer, TextScorer)]
        self._scorers = scorers
        self._allowlist = Allowlist(policy.lists)
        self._words = _Words((list_words(policy.lists), *(model.words() for model in models)))
        for model in models:
            model.score([normalize("warm up")])  # the first run plans memory, and proves the graph

    def measure(self, stage_policy: StagePolicy, text: str, clock: Clock) -> Measured:
        """Normalise a text and run the stage's scorers on it, in order."""
        prompt = clock.timed("normalize", lambda: normalize(text, words=self._words))
        prompt = self._allowlist.apply(prompt)
        measured = Measured()
        scorers = [self._scorers[name] for name in stage_policy.scorers]

        def run() -> None:
            for scorer in scorers:
                measured.add(scorer, prompt, clock)

        try:
            clock.within_limit(run, name="scorers")
        except DeadlineError as e:
            _log.warning("%s", e)
            return measured.given_up(scorers)
        return measured

    def unmeasured(self, stage_policy: StagePolicy) -> Scores:
        """None for every category of a stage: what is known of a text that is not scored."""
        scorers = (self._scorers[name] for name in stage_policy.scorers)
        return Scores(dict.fromkeys(name for scorer in scorers for name in scorer.categories))


@dataclass(frozen=True, slots=True)
class _Words:
    """The words of all lists and vocabularies."""

    parts: tuple[Container[str], ...]

    def __contains__(self, word: object) -> bool:
        return any(word in part for part in self.parts)
