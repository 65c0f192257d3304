"""The watchdog stops what is late, leaves alone what is done, and the model run really ends."""

from __future__ import annotations

import threading
import time

import pytest

from guardkit import Action, Guard
from guardkit.errors import DeadlineError
from guardkit.policy.load import policy_from_dict
from guardkit.runtime.clock import Clock, Stop, Watchdog, check_time
from guardkit.runtime.deadline import DeadlineRunner
from guardkit.types import Status

SOON_S, LONG_S = 0.02, 5.0


def test_a_stop_fires_when_its_moment_has_come() -> None:
    fired = threading.Event()
    stop = Watchdog(SOON_S).watch()
    stop.on_stop(fired.set)
    assert fired.wait(LONG_S)
    assert stop.is_over


def test_a_stop_that_is_done_never_fires() -> None:
    watchdog, fired = Watchdog(SOON_S), threading.Event()
    early = watchdog.watch()
    early.on_stop(fired.set)
    early.is_done = True
    late = watchdog.watch()
    late_fired = threading.Event()
    late.on_stop(late_fired.set)
    assert late_fired.wait(LONG_S)  # the one behind it is still seen to
    assert not fired.is_set()
    assert not early.is_over


def test_a_sleeping_watchdog_wakes_for_the_next_stop() -> None:
    watchdog = Watchdog(SOON_S)
    for _ in range(3):
        fired = threading.Event()
        watchdog.watch().on_stop(fired.set)
        assert fired.wait(LONG_S)


def test_what_registers_after_the_moment_is_stopped_at_once() -> None:
    stop, fired = Stop(time.monotonic()), threading.Event()
    stop.fire()
    stop.on_stop(fired.set)
    assert fired.is_set()


@pytest.mark.parametrize("is_over", [True, False], ids=["fired", "moment-passed"])
def test_no_step_begins_after_the_moment(is_over: bool) -> None:
    stop = Stop(time.monotonic() + (LONG_S if is_over else 0.0))
    if is_over:
        stop.fire()
    with pytest.raises(DeadlineError, match="step: no time was left"):
        check_time(stop, "step")


def test_an_ended_clock_leaves_nothing_to_stop() -> None:
    fired = threading.Event()
    clock = Clock(DeadlineRunner(), Watchdog(SOON_S))
    assert clock.stop is not None
    clock.stop.on_stop(fired.set)
    clock.end()
    assert not fired.wait(SOON_S * 3)


def test_a_late_model_run_is_really_stopped() -> None:
    # 8,000 characters take the shipped model a third of a second; the limit is a tenth of that.
    text = "a quiet harbour at dawn with two boats and a dog " * 160
    free, limited = (
        Guard(
            policy_from_dict(
                {
                    "policy": "timed",
                    "prompt": {
                        "scorers": ["text-safety"],
                        "rules": [
                            {
                                "name": "no-threats",
                                "when": {"category": "threat", "at_least": 0.5},
                                "action": "block",
                            }
                        ],
                    },
                    "timeout_ms": limit,
                    "on_timeout": "regenerate",
                }
            )
        )
        for limit in (60_000, 30)
    )
    whole, stopped = free.check_prompt(text), limited.check_prompt(text)
    assert (whole.action, whole.status) == (Action.ALLOW, Status.OK)
    assert (stopped.action, stopped.status) == (Action.REGENERATE, Status.ERROR)
    assert set(stopped.scores.values()) == {None}
    assert stopped.timings_ms["total"] < whole.timings_ms["total"] / 2
    assert limited.check_prompt("a quiet harbour at dawn").status is Status.OK  # and works on
