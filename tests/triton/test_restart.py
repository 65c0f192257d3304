"""A server that is killed in mid-load and comes back: no answer is lost, none is wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from guardkit import Action, Decision, Guard, Policy
from guardkit.artifacts import Breaker, RunnerOptions, Triton
from guardkit.types import Status
from tests.triton.server import TritonServer

_CLIENTS = 8


@dataclass
class Load:
    """Clients that ask without a pause, and what they got."""

    guard: Guard
    texts: Sequence[str]
    over: threading.Event = field(default_factory=threading.Event)
    answers: list[tuple[int, Decision, float]] = field(default_factory=list)
    """Which text, the decision, and when it came."""
    errors: list[BaseException] = field(default_factory=list)
    asked: int = 0

    def run(self, offset: int) -> None:
        row = offset
        while not self.over.is_set():
            row = (row + _CLIENTS) % len(self.texts)
            self.asked += 1
            try:
                decision = self.guard.check_prompt(self.texts[row])
            except BaseException as e:  # noqa: BLE001  whatever it is, it is what we look for
                self.errors.append(e)
                return
            self.answers.append((row, decision, time.monotonic()))


def test_a_kill_and_restart_in_mid_load_loses_and_falsifies_nothing(
    policy: Policy,
    repository: Path,
    tmp_path: Path,
    texts: Sequence[str],
    expected: Sequence[Decision],
) -> None:
    server = TritonServer(repository / "models", tmp_path, "--cache-config=local,size=1048576")
    server.start()
    options = RunnerOptions(
        backend="triton",
        triton=Triton(url=server.grpc, call_ms=5000, breaker=Breaker(pause_ms=200)),
        cascade=False,
    )
    load = Load(Guard(replace(policy, models={"text-safety": options})), texts[:200])
    clients = [threading.Thread(target=load.run, args=(n,), daemon=True) for n in range(_CLIENTS)]
    try:
        for client in clients:
            client.start()
        time.sleep(2)
        server.kill()
        time.sleep(2)
        server.start()
        back_s = time.monotonic()
        time.sleep(4)
    finally:
        load.over.set()
        for client in clients:
            client.join(30)
        server.kill()

    assert load.errors == []
    assert not any(client.is_alive() for client in clients)
    # `asked` is counted without a lock: a lost update makes it smaller, never larger.
    assert len(load.answers) >= load.asked
    failed = [one for _, one, _ in load.answers if one.status is not Status.OK]
    assert failed, "the kill was not felt: nothing was tested"
    assert {one.action for one in failed} == {Action.BLOCK}  # on_failure
    assert all(score is None for one in failed for score in one.scores.values())
    wrong = [
        row
        for row, one, _ in load.answers
        if one.status is Status.OK
        and (one.action, [f.rule for f in one.fired])
        != (expected[row].action, [f.rule for f in expected[row].fired])
    ]
    assert wrong == []
    recovered = [one for _, one, when_s in load.answers if when_s > back_s + 2]
    assert recovered
    assert all(one.status is Status.OK for one in recovered)
