"""Several texts at once: models run them together, and nothing else changes."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from guardkit import Guard
from guardkit.artifacts import Artifact, RunnerOptions
from guardkit.errors import RunError
from guardkit.runtime.base import Arrays, Runner, open_runner
from guardkit.runtime.clock import Stop
from guardkit.text.normalize import normalize
from guardkit.text.score import TextScorer, runs_together
from guardkit.types import Action

_TEXTS = [
    "hello world",
    "you idiot",
    "hello " * 200 + "kill",
    "i will kill you",
    "",
    "the sea",
    "y o u  f o o l",
]


class CountingRunner:
    """Notes how many windows each run had, and may fail on more than one."""

    def __init__(self, runner: Runner, *, fails_together: bool = False) -> None:
        self.info = runner.info
        self.runs: list[int] = []
        self._runner = runner
        self._fails = fails_together

    def run(self, inputs: Arrays, *, stop: Stop | None = None) -> Arrays:
        count = len(inputs["input_ids"])
        self.runs.append(count)
        if self._fails and count > 1:
            raise RunError("too many")
        return self._runner.run(inputs, stop=stop)


@pytest.fixture
def runner(tiny_artifact: Artifact) -> Runner:
    return open_runner(tiny_artifact, RunnerOptions())


def test_texts_of_similar_length_share_a_run(tiny_artifact: Artifact, runner: Runner) -> None:
    counting = CountingRunner(runner)
    scorer = TextScorer(tiny_artifact, counting)
    prompts = [normalize(text) for text in _TEXTS]
    together = scorer.score(prompts)
    assert len(counting.runs) < len(_TEXTS)
    assert together == [scorer.score([prompt])[0] for prompt in prompts]


def test_few_tokens_are_padded_and_long_texts_run_alone() -> None:
    groups = runs_together([(1, 10), (1, 14), (1, 15), (1, 49), (1, 49), (3, 128)])
    assert groups == [[0, 1], [2], [3], [4], [5]]
    assert [len(group) for group in runs_together([(1, 5)] * 20)] == [8, 8, 4]


def test_many_texts_get_the_decisions_of_each_alone(guard: Guard) -> None:
    texts = [*_TEXTS, "x" * 9000]
    together = guard.check_prompts(texts)
    alone = [guard.check_prompt(text) for text in texts]
    assert [replace(one, timings_ms={}) for one in together] == [
        replace(one, timings_ms={}) for one in alone
    ]
    assert [one.action for one in together[1:4]] == [Action.EDIT, Action.BLOCK, Action.BLOCK]
    assert guard.score_prompts(texts)[:-1] == [one.scores for one in alone[:-1]]
    assert guard.check_prompts(iter(["hello"]))[0].action is Action.ALLOW  # type: ignore[arg-type]


def test_each_decision_carries_its_share_of_the_time(guard: Guard) -> None:
    for decision in guard.check_prompts(["hello world", "hello sea"]):
        steps = decision.timings_ms
        assert {"normalize", "text-safety", "total"} <= set(steps)
        assert steps["total"] >= steps["text-safety"] > 0


def test_where_a_common_run_fails_each_text_is_scored_alone(
    guard: Guard, tiny_artifact: Artifact, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = CountingRunner(runner, fails_together=True)
    monkeypatch.setattr(TextScorer, "run", lambda _, inputs, **__: failing.run(inputs))
    decisions = guard.check_prompts(["hello world", "you idiot"])
    assert [one.action for one in decisions] == [Action.ALLOW, Action.EDIT]
    assert 2 in failing.runs


def test_an_answer_that_took_too_long_does_not_count(guard: Guard) -> None:
    stage = guard.policy.stages["prompt"]
    (slow,) = guard._measurer.score_ahead(stage, ["hello"], limit_ms=0.0)
    (quick,) = guard._measurer.score_ahead(stage, ["hello"], limit_ms=1e6)
    assert (list(slow.answers), list(quick.answers)) == ([], ["text-safety"])
