"""The `triton` backend: it believes one model alone, is patient within its time, and never hides a failure."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from guardkit import Guard, Policy
from guardkit.artifacts import Artifact, Breaker, RunnerOptions, Tls, Triton
from guardkit.errors import DeadlineError, PolicyError, RunError, ServerError
from guardkit.policy.load import load_policy
from guardkit.policy.rules import StagePolicy
from guardkit.runtime.base import Arrays, open_runner
from guardkit.runtime.breaker import CircuitBreaker
from guardkit.runtime.clock import Stop
from guardkit.runtime.pbtxt import DIGEST
from guardkit.runtime.triton import TritonRunner
from guardkit.runtime.wire import Described, Unreachable, headers_of, open_wire
from guardkit.types import Action, Status
from tests.conftest import WriteFile
from tests.fake_steps import NO_THREATS

INPUTS: dict[str, NDArray[Any]] = {
    "input_ids": np.array([[2, 5, 3]], np.int64),
    "attention_mask": np.ones((1, 3), np.int64),
}
TENSORS_IN = dict.fromkeys(INPUTS, ("INT64", (-1, -1)))
TENSORS_OUT = {"logits": ("FP32", (-1, 2)), "token_logits": ("FP32", (-1, -1, 2))}


class FakeWire:
    """A server in a few lines: it runs the artifact here, unless it is told to fail."""

    def __init__(self, artifact: Artifact) -> None:
        self._runner = open_runner(artifact, RunnerOptions())
        self.described = Described({DIGEST: self._runner.info.digest}, TENSORS_IN, TENSORS_OUT)
        self.failures: list[Exception] = []
        """Raised by the next calls, one each."""
        self.changed: dict[str, NDArray[Any]] = {}
        """Outputs to give instead."""
        self.lengths: list[int] = []
        self.asked = 0

    def describe(self, model: str, timeout_s: float) -> Described:
        self.asked += 1
        if self.failures:
            raise self.failures.pop(0)
        return self.described

    def infer(self, model: str, inputs: Arrays, outputs: Sequence[str], timeout_s: float) -> Arrays:
        assert timeout_s > 0
        self.lengths.append(inputs["input_ids"].shape[1])
        if self.failures:
            raise self.failures.pop(0)
        return {**self._runner.run(inputs), **self.changed}


@pytest.fixture
def wire(tiny_artifact: Artifact) -> FakeWire:
    return FakeWire(tiny_artifact)


def options(**changes: Any) -> RunnerOptions:
    return RunnerOptions(backend="triton", triton=Triton(url="127.0.0.1:1", **changes))


def opened(artifact: Artifact, wire: FakeWire, **changes: Any) -> TritonRunner:
    return TritonRunner(artifact, options(**changes), wire=wire)


def test_outputs_are_those_of_the_graph_whatever_was_padded(
    tiny_artifact: Artifact, wire: FakeWire
) -> None:
    expected = open_runner(tiny_artifact, RunnerOptions()).run(INPUTS)
    outputs = opened(tiny_artifact, wire, pad_to=8).run(INPUTS)
    assert wire.lengths == [8]
    for name, array in expected.items():
        np.testing.assert_array_equal(outputs[name], array)


def test_what_runs_is_said_to_be_a_server(tiny_artifact: Artifact, wire: FakeWire) -> None:
    info = opened(tiny_artifact, wire).info
    assert (info.backend, info.provider) == ("triton", "server")


@pytest.mark.parametrize(
    ("described", "says"),
    [
        pytest.param(Described({}, TENSORS_IN, TENSORS_OUT), "digest none", id="not ours"),
        pytest.param(Described({DIGEST: "ab" * 32}, TENSORS_IN, TENSORS_OUT), "digest abab", id="another version"),
    ],
)  # fmt: skip
def test_a_server_with_another_model_is_refused(
    tiny_artifact: Artifact, wire: FakeWire, described: Described, says: str
) -> None:
    wire.described = described
    with pytest.raises(ServerError, match=says):
        opened(tiny_artifact, wire)


def test_a_served_model_of_other_shapes_is_refused(tiny_artifact: Artifact, wire: FakeWire) -> None:
    parameters = wire.described.parameters
    wire.described = Described(parameters, TENSORS_IN, {**TENSORS_OUT, "logits": ("FP32", (-1, 9))})
    with pytest.raises(Exception, match=r"output 'logits' has shape \[None, 9\]"):
        opened(tiny_artifact, wire)


def test_an_absent_server_is_an_error_at_the_start(tiny_artifact: Artifact, wire: FakeWire) -> None:
    wire.failures = [Unreachable("refused") for _ in range(3)]
    with pytest.raises(ServerError, match=r"127\.0\.0\.1:1, model 'text-safety': refused"):
        opened(tiny_artifact, wire, retries=2)
    assert wire.asked == 3


def test_a_call_is_tried_again_while_nobody_answers(
    tiny_artifact: Artifact, wire: FakeWire
) -> None:
    runner = opened(tiny_artifact, wire, retries=2)
    wire.failures = [Unreachable("reset"), Unreachable("reset")]
    assert set(runner.run(INPUTS)) == {"logits", "token_logits"}
    # After a failure the model is asked for again before it is believed.
    assert wire.asked == 3


@pytest.mark.parametrize("error", [RunError("no"), DeadlineError("late")], ids=["said no", "late"])
def test_an_answer_that_says_no_is_not_asked_for_again(
    tiny_artifact: Artifact, wire: FakeWire, error: Exception
) -> None:
    runner = opened(tiny_artifact, wire)
    wire.failures = [error]
    with pytest.raises(type(error)):
        runner.run(INPUTS)
    assert len(wire.lengths) == 1


def test_a_model_that_was_changed_meanwhile_is_refused(
    tiny_artifact: Artifact, wire: FakeWire
) -> None:
    runner = opened(tiny_artifact, wire)
    wire.described = Described({DIGEST: "cd" * 32}, TENSORS_IN, TENSORS_OUT)
    wire.failures = [Unreachable("restarted")]
    with pytest.raises(ServerError, match="digest cdcd"):
        runner.run(INPUTS)


@pytest.mark.parametrize(
    ("output", "says"),
    [
        pytest.param(np.zeros((1, 2), np.float64), "float64, rank 2", id="dtype"),
        pytest.param(np.zeros((2,), np.float32), "float32, rank 1", id="rank"),
    ],
)
def test_an_output_that_is_none_of_ours_is_an_error(
    tiny_artifact: Artifact, wire: FakeWire, output: NDArray[Any], says: str
) -> None:
    runner = opened(tiny_artifact, wire)
    wire.changed = {"logits": output}
    with pytest.raises(RunError, match=says):
        runner.run(INPUTS)


def test_no_call_is_made_when_no_time_is_left(tiny_artifact: Artifact, wire: FakeWire) -> None:
    runner = opened(tiny_artifact, wire)
    with pytest.raises(DeadlineError):
        runner.run(INPUTS, stop=Stop(time.monotonic() - 1))
    assert wire.lengths == []


def test_a_server_that_fails_again_and_again_is_left_alone(
    tiny_artifact: Artifact, wire: FakeWire
) -> None:
    runner = opened(tiny_artifact, wire, breaker=Breaker(failures=2, pause_ms=60_000))
    wire.failures = [RunError("no"), RunError("no")]
    for _ in range(2):
        with pytest.raises(RunError, match="no"):
            runner.run(INPUTS)
    with pytest.raises(RunError, match=r"left alone .* after 2 failures"):
        runner.run(INPUTS)
    assert len(wire.lengths) == 2


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def fail(breaker: CircuitBreaker) -> None:
    with pytest.raises(ValueError, match="no"), breaker.attempt("here"):
        raise ValueError("no")


def test_after_the_pause_one_call_tries_and_closes_the_circuit() -> None:
    clock = Clock()
    breaker = CircuitBreaker(Breaker(failures=1, pause_ms=1000), clock=clock)
    fail(breaker)
    clock.now_s = 1.0
    with breaker.attempt("here"):
        refused = pytest.raises(RunError, match="left alone")
        with refused, breaker.attempt("here"):  # another, while the first one tries
            pass
    with breaker.attempt("here"):
        pass


def test_when_the_call_that_tries_fails_the_pause_begins_again() -> None:
    clock = Clock()
    breaker = CircuitBreaker(Breaker(failures=1, pause_ms=1000), clock=clock)
    fail(breaker)
    clock.now_s = 1.5
    fail(breaker)
    clock.now_s = 2.0
    with pytest.raises(RunError, match="500 ms more"), breaker.attempt("here"):
        pass


def test_a_success_between_failures_starts_the_count_anew() -> None:
    breaker = CircuitBreaker(Breaker(failures=2, pause_ms=1000), clock=Clock())
    fail(breaker)
    with breaker.attempt("here"):
        pass
    fail(breaker)
    with breaker.attempt("here"):
        pass


@pytest.mark.usefixtures("use_tiny_models")
def test_a_failing_server_leaves_a_text_to_on_failure(wire: FakeWire) -> None:
    policy = Policy(
        policy="served",
        prompt=StagePolicy(scorers=("text-safety",), rules=(NO_THREATS,)),
        models={"text-safety": options(retries=0)},
    )
    guard = Guard(policy, open_runner=lambda artifact, how: TritonRunner(artifact, how, wire=wire))
    assert guard.check_prompt("hello").action is Action.ALLOW
    wire.failures = [Unreachable("gone")]
    decision = guard.check_prompt("hello")
    assert decision.action is Action.BLOCK
    assert decision.status is Status.ERROR
    assert set(decision.scores.values()) == {None}
    assert guard.check_prompt("hello").action is Action.ALLOW


def test_a_bearer_token_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Triton(url="127.0.0.1:1", token_env="GUARD_TOKEN")
    monkeypatch.setenv("GUARD_TOKEN", "abc")
    assert headers_of(asked) == {"authorization": "Bearer abc"}
    monkeypatch.delenv("GUARD_TOKEN")
    with pytest.raises(ServerError, match="GUARD_TOKEN is not set"):
        headers_of(asked)


def test_a_certificate_that_is_not_there_is_an_error_at_the_start(tmp_path: Path) -> None:
    asked = Triton(url="127.0.0.1:1", tls=Tls(ca=str(tmp_path / "ca.pem")))
    with pytest.raises(ServerError, match=r"ca\.pem: cannot be read"):
        open_wire(asked)


@pytest.mark.parametrize(
    ("models", "says"),
    [
        pytest.param("{backend: triton}", "needs to know where", id="no url"),
        pytest.param("{triton: {url: 'a:1'}}", "of no use without backend: triton", id="no backend"),
        pytest.param("{backend: triton, triton: {url: nowhere}}", "url", id="no port"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("use_tiny_models")
def test_a_policy_that_half_names_a_server_is_refused(
    write_file: WriteFile, models: str, says: str
) -> None:
    text = f"policy: mine\nprompt: {{scorers: [text-safety]}}\nmodels: {{text-safety: {models}}}\n"
    with pytest.raises(PolicyError, match=says):
        load_policy(write_file("mine.yaml", text))


def test_where_a_model_is_served_does_not_change_the_policy_id() -> None:
    def served_at(url: str) -> Policy:
        triton = Triton(url=url)
        return Policy(policy="p", models={"m": RunnerOptions(backend="triton", triton=triton)})

    assert served_at("staging:8001").id == served_at("production:8001").id
