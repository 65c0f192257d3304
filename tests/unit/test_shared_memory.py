"""Inputs through shared memory: they arrive, nothing is left behind, and a server that will not is an error."""

from __future__ import annotations

import gc
import mmap
import multiprocessing
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from guardkit.errors import DeadlineError, RunError, ServerError
from guardkit.runtime import shared_memory
from guardkit.runtime.base import Arrays
from guardkit.runtime.shared_memory import SharedMemoryWire
from guardkit.runtime.wire import Described, Inputs, Placed, Unreachable

SHM = Path("/dev/shm")  # noqa: S108
CROPS = {"crops": np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)}


class FakeServer:
    """Maps regions when they are registered, as Triton does, and answers with the sum of each input."""

    def __init__(self) -> None:
        self.mapped: dict[str, mmap.mmap] = {}
        self.seen: list[str] = []
        """The regions of each run."""
        self.failures: list[Exception] = []
        """Raised by the next runs, one each."""
        self.refusal: Exception | None = None
        self.gate: threading.Barrier | None = None

    def describe(self, model: str, timeout_s: float) -> Described:
        return Described({}, {}, {})

    def register(self, region: str, size: int, timeout_s: float) -> None:
        if self.refusal:
            raise self.refusal
        with (SHM / region).open("r+b") as file:
            self.mapped[region] = mmap.mmap(file.fileno(), size)

    def unregister(self, region: str, timeout_s: float) -> None:
        if region not in self.mapped:
            raise RunError("Unable to find system shared memory region")
        del self.mapped[region]

    def infer(self, model: str, inputs: Inputs, outputs: Sequence[str], timeout_s: float) -> Arrays:
        if timeout_s <= 0:
            raise DeadlineError("no time was left")
        if self.failures:
            raise self.failures.pop(0)
        if self.gate:
            self.gate.wait(10)
        return {
            name: np.array([self.read(one).sum(dtype=np.int64)]) for name, one in inputs.items()
        }

    def read(self, placed: Any) -> NDArray[Any]:
        assert isinstance(placed, Placed)
        self.seen.append(placed.region)
        if placed.region not in self.mapped:
            raise RunError("Unable to find shared memory region")
        memory = self.mapped[placed.region]
        return np.ndarray(placed.shape, placed.dtype, memory, placed.offset)

    def restart(self) -> None:
        self.mapped.clear()


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


def opened(server: FakeServer) -> SharedMemoryWire:
    wire = SharedMemoryWire(server, "grpc here:1")
    wire.describe("m", 1.0)
    return wire


def ask(wire: SharedMemoryWire, inputs: Arrays = CROPS) -> dict[str, int]:
    return {name: int(one[0]) for name, one in wire.infer("m", inputs, ["x"], 5.0).items()}


def sums(inputs: Arrays) -> dict[str, int]:
    return {name: int(one.sum(dtype=np.int64)) for name, one in inputs.items()}


def names_in_memory() -> set[str]:
    return {one.name for one in SHM.glob(f"guardkit-{os.getpid()}-*")}


def test_inputs_arrive_one_behind_the_other(server: FakeServer) -> None:
    ids = np.array([[5, 6, 7]], np.int64)
    inputs = {**CROPS, "flipped": CROPS["crops"][:, ::-1], "ids": ids}
    assert ask(opened(server), inputs) == sums(inputs)


def test_a_region_serves_one_call_after_another_and_grows(server: FakeServer) -> None:
    wire = opened(server)
    ask(wire)
    ask(wire)
    assert len(set(server.seen)) == 1
    large = {"crops": np.full(3 * 2**20, 1, np.uint8)}
    assert ask(wire, large) == sums(large)
    assert len(set(server.seen)) == 2
    assert list(server.mapped) == server.seen[-1:]  # the small one was given up


def test_its_name_is_gone_before_it_is_used(server: FakeServer) -> None:
    wire = opened(server)
    assert names_in_memory() == set()
    ask(wire)
    assert names_in_memory() == set()


def test_calls_at_the_same_time_have_regions_of_their_own(server: FakeServer) -> None:
    wire, found = opened(server), {}
    server.gate = threading.Barrier(4)

    def call(number: int) -> None:
        inputs = {"crops": np.full((64, 64), number, np.uint8)}
        found[number] = ask(wire, inputs) == sums(inputs)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(1, 5)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found == dict.fromkeys(range(1, 5), True)
    assert len(server.mapped) == 4


def test_a_server_that_was_started_again_gets_a_new_region(server: FakeServer) -> None:
    wire = opened(server)
    ask(wire)
    server.restart()
    assert ask(wire) == sums(CROPS)
    assert len(server.mapped) == 1
    assert len(set(server.seen)) == 2


def test_a_model_that_fails_is_an_error_and_leaves_no_region(server: FakeServer) -> None:
    wire = opened(server)
    ask(wire)
    server.failures = [RunError("the server failed")] * 2  # the one it knew, and a new one
    with pytest.raises(RunError, match="the server failed"):
        ask(wire)
    assert server.mapped == {}
    assert ask(wire) == sums(CROPS)


@pytest.mark.parametrize("failure", [Unreachable("reset"), DeadlineError("late")])
def test_a_call_that_nobody_answered_keeps_its_region(
    server: FakeServer, failure: Exception
) -> None:
    wire = opened(server)
    server.failures = [failure]
    with pytest.raises(type(failure)):
        ask(wire)
    assert ask(wire) == sums(CROPS)
    assert len(server.mapped) == 1


def test_the_end_of_a_wire_is_told_to_the_server(server: FakeServer) -> None:
    wire = opened(server)
    ask(wire)
    assert len(server.mapped) == 1
    del wire
    gc.collect()
    assert server.mapped == {}


def test_a_server_that_does_not_take_it_is_an_error_at_the_start(server: FakeServer) -> None:
    server.refusal = RunError("HTTP 403 not allowed")
    with pytest.raises(
        ServerError, match=r"grpc here:1: does not take shared memory \(HTTP 403 .*false"
    ):
        opened(server)
    assert names_in_memory() == set()


def test_a_full_machine_is_an_error_before_a_byte_is_written(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(ServerError, match=r"no 1048576 bytes of shared memory \(No space left"):
        opened(server)
    assert names_in_memory() == set()


def test_a_system_without_it_is_an_error(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shared_memory, "_FOLDER", tmp_path / "none")
    with pytest.raises(ServerError, match="Expected Linux"):
        opened(server)


def test_a_forked_process_uses_none_of_its_parents_regions(server: FakeServer) -> None:
    wire = opened(server)
    ask(wire)
    (ours,) = server.mapped
    context = multiprocessing.get_context("fork")
    told: Any = context.SimpleQueue()

    def child() -> None:
        ask(wire)
        told.put(server.seen[-1])

    process = context.Process(target=child)
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert told.get() != ours
    assert ask(wire) == sums(CROPS)
    assert server.seen[-1] == ours
