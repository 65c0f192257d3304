"""Laws of StepGuard: stopping early changes no answer, and saves what it can.

`python -m bench.steps` compares 100,000 traces with the same full run.
"""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from guardkit.steer import Signal, StepGuard

etas = st.integers(1, 12)
shares = st.integers(1, 100).map(lambda hundredths: hundredths / 100)
score = st.sampled_from([0.0, 0.4, 0.5, 0.9])
previews = st.lists(st.tuples(score, score, score), min_size=12, max_size=16)
Previews = list[tuple[float, float, float]]


def scored(preview: tuple[float, ...], _: int) -> dict[str, float]:
    return dict(zip("abc", preview, strict=True))


def is_unsafe(trace: Previews, eta: int, lam: float) -> bool:
    """The definition, on the whole of the first eta steps."""
    votes = sum(any(score >= 0.5 for score in preview) for preview in trace[:eta])
    return votes >= eta * Fraction(str(lam))


@given(previews, etas, shares)
def test_stopping_early_never_changes_the_answer(trace: Previews, eta: int, lam: float) -> None:
    watch = StepGuard(eta, lam, score=scored).watch(len(trace))
    taken = 0
    for taken, preview in enumerate(trace, 1):
        if watch.on_step(taken, preview) is Signal.ABORT:
            break
    record = watch.end()
    assert record.is_unsafe is is_unsafe(trace, eta, lam)
    assert record.steps_saved == len(trace) - taken
    assert record.decided_at is not None
    assert record.seen + record.scores_saved == eta


@given(previews, etas, shares)
def test_it_stops_at_the_first_step_after_which_nothing_can_change(
    trace: Previews, eta: int, lam: float
) -> None:
    watch = StepGuard(eta, lam, score=scored).watch()
    for step, preview in enumerate(trace[:eta], 1):
        watch.on_step(step, preview)
        rest = eta - step
        safe, unsafe = (0.0, 0.0, 0.0), (0.9, 0.9, 0.9)
        best, worst = (is_unsafe(trace[:step] + [one] * rest, eta, lam) for one in (safe, unsafe))
        assert watch.is_decided is (best == worst)
