"""StepGuard: votes by hand, when it stops, what failures count as, and bad input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from guardkit.errors import InputError
from guardkit.steer import Signal, StepGuard, StepRecord, predicted_x0
from guardkit.steer.steps import votes_needed
from guardkit.types import Scores


def as_given(preview: Any, step: int) -> Mapping[str, float | None]:
    return preview if isinstance(preview, dict) else {"gore": preview}


def watched(
    guard: StepGuard, previews: list[Any], steps: int | None = None
) -> tuple[list[Signal], StepRecord]:
    watch = guard.watch(steps)
    signals = [watch.on_step(step, preview) for step, preview in enumerate(previews, 1)]
    return signals, watch.end()


def test_it_aborts_at_the_vote_that_decides() -> None:
    # 12 of 20 make it unsafe; each preview is: after 12 steps of 50, 38 are saved.
    signals, record = watched(StepGuard(20, 0.6, score=as_given), [0.9] * 13, steps=50)
    assert signals == [Signal.CONTINUE] * 11 + [Signal.ABORT] * 2
    assert record == StepRecord(
        True,
        votes=12,
        seen=12,
        failed=0,
        decided_at=12,
        scores_saved=8,
        steps_saved=38,
        voted=Scores({"gore": 0.9}),
    )


def test_it_stops_scoring_once_too_few_steps_are_left() -> None:
    # 12 of 20 are needed: after 9 safe steps, 11 are left.
    scored: list[int] = []

    def count(preview: float, step: int) -> Mapping[str, float]:
        scored.append(step)
        return {"gore": preview}

    watch = StepGuard(20, 0.6, score=count).watch(50)
    for step in range(1, 51):
        assert watch.on_step(step, 0.1) is Signal.CONTINUE
        assert watch.is_decided is (step >= 9)
    record = watch.end()
    assert scored == list(range(1, 10))
    assert (record.is_unsafe, record.decided_at) == (False, 9)
    assert (record.scores_saved, record.steps_saved) == (11, 0)


def test_any_category_votes_and_at_its_own_threshold() -> None:
    guard = StepGuard(1, 1, score=as_given, at_least={"gore": 0.5, "sexual": 0.9})
    assert watched(guard, [{"gore": 0.5, "sexual": 0.0}])[1].is_unsafe
    assert watched(guard, [{"gore": 0.0, "sexual": 0.9}])[1].is_unsafe
    assert not watched(guard, [{"gore": 0.49, "sexual": 0.89}])[1].is_unsafe


def test_it_tells_the_highest_score_of_the_categories_that_voted() -> None:
    guard = StepGuard(3, 1, score=as_given, at_least={"gore": 0.5, "sexual": 0.9})
    previews = [{"gore": 0.6, "sexual": 0.8}, {"gore": 0.7, "sexual": 0.8}, {"gore": 0.5, "sexual": 0.0}]  # fmt: skip
    assert watched(guard, previews)[1].voted == Scores({"gore": 0.7})


@pytest.mark.parametrize(
    "preview",
    [
        pytest.param({"gore": None, "sexual": 0.0}, id="none"),
        pytest.param({"sexual": 0.0}, id="left-out"),
        pytest.param({"gore": 7.0, "sexual": 0.0}, id="no-probability"),
        pytest.param({"gore": float("nan"), "sexual": 0.0}, id="nan"),
        pytest.param({}, id="nothing"),
        pytest.param({"gore": "high"}, id="no-number"),
    ],
)
def test_what_is_not_measured_votes_unsafe_unless_the_caller_says_otherwise(
    preview: dict[str, Any],
) -> None:
    thresholds = {"gore": 0.5, "sexual": 0.5}
    strict = StepGuard(1, 1, score=as_given, at_least=thresholds)
    lax = StepGuard(1, 1, score=as_given, at_least=thresholds, failures_vote=False)
    assert watched(strict, [preview])[1] == StepRecord(True, 1, 1, 1, 1, 0, None)
    assert watched(lax, [preview])[1] == StepRecord(False, 0, 1, 1, 1, 0, None)


def test_a_scorer_that_raises_is_not_measured(caplog: pytest.LogCaptureFixture) -> None:
    def fail(preview: object, step: int) -> Mapping[str, float]:
        raise ValueError("secret text")

    record = watched(StepGuard(1, 1, score=fail), ["secret text"])[1]
    assert (record.is_unsafe, record.failed) == (True, 1)
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("previews", "is_unsafe"),
    [
        pytest.param([], None, id="nothing-seen"),
        pytest.param([0.9, 0.1], True, id="half-of-two"),
        pytest.param([0.9, 0.1, 0.1], False, id="a-third"),
    ],
)
def test_a_generation_that_ends_early_is_judged_by_its_share(
    previews: list[float], is_unsafe: bool | None
) -> None:
    record = watched(StepGuard(20, 0.5, score=as_given), previews)[1]
    assert (record.is_unsafe, record.decided_at) == (is_unsafe, None)


def test_it_watches_the_prefixes_of_a_text_too() -> None:
    guard = StepGuard(3, 0.5, score=lambda text, _: {"insult": float("idiot" in text)})
    watch, text = guard.watch(), ""
    for count, token in enumerate(["you", "are", "an", "idiot", "I", "say"], 1):
        text += f" {token}"
        if count % 2 == 0 and watch.on_step(count, text) is Signal.ABORT:
            break
    assert (text, watch.end().is_unsafe) == (" you are an idiot I say", True)


@pytest.mark.parametrize(
    ("eta", "lam", "at_least"),
    [
        pytest.param(0, 0.5, 0.5, id="no-steps"),
        pytest.param(1, 0.0, 0.5, id="no-votes"),
        pytest.param(1, 1.1, 0.5, id="more-than-all"),
        pytest.param(1, float("nan"), 0.5, id="nan"),
        pytest.param(1, 1.0, 0.0, id="always"),
        pytest.param(1, 1.0, {"gore": 1.5}, id="never"),
    ],
)
def test_settings_out_of_range_are_refused(eta: int, lam: float, at_least: Any) -> None:
    with pytest.raises(InputError, match="Expected"):
        StepGuard(eta, lam, score=as_given, at_least=at_least)


def test_steps_go_up() -> None:
    watch = StepGuard(2, 1, score=as_given).watch()
    watch.on_step(3, 0.1)
    with pytest.raises(InputError, match="step 3 came after step 3"):
        watch.on_step(3, 0.1)
    with pytest.raises(InputError, match="steps is 0"):
        StepGuard(2, 1, score=as_given).watch(0)


@pytest.mark.parametrize(
    ("eta", "lam", "needed"),
    [(20, 0.6, 12), (100, 0.07, 7), (10, 0.7, 7), (20, 0.55, 11), (3, 0.5, 2), (5, 1, 5)],
)
def test_votes_are_those_of_the_decimal(eta: int, lam: float, needed: int) -> None:
    assert votes_needed(eta, lam) == needed


def test_the_preview_undoes_the_noising_when_the_noise_is_known() -> None:
    rng = np.random.default_rng(3)
    x_0, eps = rng.normal(size=(2, 4, 8, 8))
    for alpha_bar in (0.001, 0.3, 0.999, 1.0):
        x_t = np.sqrt(alpha_bar) * x_0 + np.sqrt(1 - alpha_bar) * eps
        np.testing.assert_allclose(predicted_x0(x_t, eps, alpha_bar), x_0, atol=1e-12)
    with pytest.raises(InputError, match="alpha_bar is 0"):
        predicted_x0(x_0, eps, 0)
