"""Scorers and editors made of functions, and rules in one line, for tests of the guard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from guardkit.guard import Guard
from guardkit.policy.rules import Policy, Rule, StagePolicy, When
from guardkit.text.normalize import Prompt
from guardkit.types import Action, Scored, Scores, Span

Score = Callable[[str], Scored]


@dataclass
class FakeScorer:
    """Scores with a function of the normalised text and remembers what it was asked."""

    function: Score
    name: str = "mine"
    categories: Sequence[str] = ("insult",)
    calls: list[str] = field(default_factory=list)

    def score(self, prompts: Sequence[Prompt]) -> list[Scored]:
        self.calls += [prompt.text for prompt in prompts]
        return [self.function(prompt.text) for prompt in prompts]


def says(score: float | None, category: str = "insult") -> Score:
    """Every text scores alike; nothing in it is to blame."""
    return lambda _: Scored(Scores({category: score}))


def finds(word: str, category: str = "insult", *, score: float = 0.9) -> Score:
    """Texts with the word score high, others 0; the first one is the span."""

    def function(text: str) -> Scored:
        at = text.find(word)
        if at < 0:
            return Scored(Scores({category: 0.0}))
        span = Span(at, at + len(word), category, score, "mine")
        return Scored(Scores({category: score}), (span,))

    return function


def rule(category: str, action: Action, using: str | None = None) -> Rule:
    """Fires at 0.5 and is named after what it does."""
    return Rule(f"{category}-{action.value}", When(category, 0.5), action, using)


def own_guard(scorer: FakeScorer, *rules: Rule, **stage: Any) -> Guard:
    """A guard over one scorer of the test's own; `stage` as in `StagePolicy`."""
    prompt = StagePolicy(scorers=(scorer.name,), rules=rules, **stage)
    return Guard(Policy("own", prompt=prompt), scorers=[scorer])


CUT_INSULTS = rule("insult", Action.EDIT, "cut")
NO_THREATS = rule("threat", Action.BLOCK)
AGAIN = rule("insult", Action.REGENERATE)
