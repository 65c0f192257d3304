"""Time limits: the answer, the error or `DeadlineError`, and hanging calls that cannot pile up."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from guardkit.errors import DeadlineError
from guardkit.runtime.deadline import DeadlineRunner

SOON_S = 0.01
LONG_S = 10.0
"""A limit no test reaches."""


def test_the_value_comes_back() -> None:
    assert DeadlineRunner().call(lambda: 42, timeout_s=LONG_S, name="step") == 42


def test_an_error_comes_back_as_it_is() -> None:
    error = ValueError("its own")

    def fail() -> None:
        raise error

    with pytest.raises(ValueError, match="its own") as caught:
        DeadlineRunner().call(fail, timeout_s=LONG_S, name="step")
    assert caught.value is error


def test_a_late_step_is_a_deadline_error_that_names_it() -> None:
    release = threading.Event()
    with pytest.raises(DeadlineError, match="scorers: no answer within 10 ms"):
        DeadlineRunner().call(release.wait, timeout_s=SOON_S, name="scorers")
    release.set()


def test_an_idle_thread_is_used_again() -> None:
    runner = DeadlineRunner()
    threads = {runner.call(threading.get_ident, timeout_s=LONG_S, name="a")}
    for _ in range(20):
        # The thread lies down just after it answered; a call in between starts a second one.
        threads.add(runner.call(threading.get_ident, timeout_s=LONG_S, name="a"))
    assert len(threads) <= 2


def test_calls_at_the_same_time_do_not_wait_for_each_other() -> None:
    runner = DeadlineRunner()
    together = threading.Barrier(8)

    def call() -> int:
        return runner.call(lambda: together.wait(LONG_S), timeout_s=LONG_S, name="a")

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(call) for _ in range(8)]
    assert sorted(answer.result() for answer in answers) == list(range(8))


def test_calls_that_hang_are_bounded_and_then_refused() -> None:
    runner, release = DeadlineRunner(), threading.Event()
    before = threading.active_count()
    for _ in range(64):  # the most that may hang, see deadline.py
        with pytest.raises(DeadlineError, match="no answer"):
            runner.call(release.wait, timeout_s=0.0, name="hang")
    with pytest.raises(DeadlineError, match="64 calls still hang; refused"):
        runner.call(release.wait, timeout_s=0.0, name="hang")
    assert threading.active_count() <= before + 64
    release.set()


def test_a_step_that_ends_late_makes_room_again() -> None:
    runner, release, ended = DeadlineRunner(), threading.Event(), threading.Event()

    def hang() -> None:
        release.wait()
        ended.set()

    with pytest.raises(DeadlineError):
        runner.call(hang, timeout_s=0.0, name="hang")
    release.set()
    assert ended.wait(LONG_S)
    assert runner.call(lambda: "next", timeout_s=LONG_S, name="next") == "next"


FORK = """
import os, warnings
from guardkit.runtime.deadline import DeadlineRunner

warnings.simplefilter("ignore", DeprecationWarning)  # 3.12+: forking with threads; that is the point
runner = DeadlineRunner()
assert runner.call(lambda: 1, timeout_s=10, name="parent") == 1
child = os.fork()
if child == 0:
    os._exit(runner.call(lambda: 7, timeout_s=10, name="child"))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert runner.call(lambda: 2, timeout_s=10, name="parent") == 2
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_starts_threads_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORK], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


STUCK = """
import threading
from guardkit.errors import DeadlineError
from guardkit.runtime.deadline import DeadlineRunner

try:
    DeadlineRunner().call(threading.Event().wait, timeout_s=0.01, name="hang")
except DeadlineError:
    print("given up")
"""


def test_a_hanging_step_does_not_keep_the_process_alive() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (0, "given up\n")
