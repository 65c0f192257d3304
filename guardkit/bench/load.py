"""What callers meet when they do not wait for one another: open-loop load, and several processes.

Open loop: requests arrive at random moments (a Poisson process) at a stated rate, whether or not earlier ones
are answered, and a latency counts from the moment a request was due. A closed loop, which sends the next
request when the last is answered, would hide every queue. Rates are shares of this machine's own capacity: what
one process answers per second when 64 callers never pause.

What to expect. One process serves one batch at a time, so at 50 % of capacity a request seldom waits for more
than the batch under way and its own: gather.wait_ms + 2 batches bounds the 99th percentile. Two processes on
two cores share nothing but the memory bus: twice the throughput, less what the bus takes.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import subprocess
import sys
import time
from collections.abc import Sequence

from guardkit.bench import worker
from guardkit.bench.quantiles import p99, percentile
from guardkit.bench.report import OpenLoop, Scaling
from guardkit.errors import InputError, OverloadError
from guardkit.guard import Guard
from guardkit.types import Status

SHARES = (0.25, 0.5, 0.75)
_CALLERS = 64
_TOGETHER = 8  # texts of one model run: text.score.runs_together
_SEED = 20261126
_TIMEOUT_S = 300


def measure_open_loop(
    guard: Guard, tokens: str, texts: Sequence[str], *, requests: int
) -> tuple[OpenLoop, ...]:
    """Latency of `acheck_prompt` at shares of the capacity, lowest first.

    Args:
        guard: What is asked.
        tokens: The texts' bucket.
        texts: Asked in turn.
        requests: At each rate; a 99th percentile needs 1,000.
    """
    loop = asyncio.new_event_loop()
    try:
        capacity = loop.run_until_complete(_capacity(guard, texts, requests))
        batch_ms = _batch_ms(guard, texts)
        return tuple(
            loop.run_until_complete(
                _at_rate(guard, texts, share * capacity, requests, (tokens, share, batch_ms))
            )
            for share in SHARES
        )
    finally:
        loop.close()


async def _capacity(guard: Guard, texts: Sequence[str], requests: int) -> float:
    """Answers per second when so many callers never pause."""
    work = iter(itertools.islice(itertools.cycle(texts), requests))

    async def caller() -> None:
        for text in work:
            await guard.acheck_prompt(text)

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(_CALLERS)))
    return requests / (time.perf_counter() - started)


def _batch_ms(guard: Guard, texts: Sequence[str]) -> float:
    """Milliseconds of one run of several texts, the median of nine."""
    batch = list(itertools.islice(itertools.cycle(texts), _TOGETHER))
    found = []
    for _ in range(9):
        started = time.perf_counter()
        guard.check_prompts(batch)
        found.append((time.perf_counter() - started) * 1000)
    return percentile(found, 0.5)


async def _at_rate(
    guard: Guard,
    texts: Sequence[str],
    rate: float,
    requests: int,
    about: tuple[str, float, float],
) -> OpenLoop:
    rng = random.Random(_SEED)  # noqa: S311  arrivals, not a secret
    due, moment = [], 0.0
    for _ in range(requests):
        moment += rng.expovariate(rate)
        due.append(moment)
    latencies: list[float] = []
    refused = degraded = 0
    started = time.perf_counter()

    async def ask(at_s: float, text: str) -> None:
        nonlocal refused, degraded
        try:
            decision = await guard.acheck_prompt(text)
        except OverloadError:
            refused += 1
            return
        degraded += decision.status is not Status.OK
        latencies.append((time.perf_counter() - started - at_s) * 1000)

    asked = []
    for at_s, text in zip(due, itertools.cycle(texts), strict=False):
        await asyncio.sleep(max(0.0, at_s - (time.perf_counter() - started)))
        asked.append(asyncio.ensure_future(ask(at_s, text)))
    await asyncio.gather(*asked)
    tokens, share, batch_ms = about
    return OpenLoop(
        tokens=tokens,
        share_of_capacity=share,
        offered_per_s=rate,
        answered_per_s=len(latencies) / (time.perf_counter() - started),
        requests=requests,
        refused=refused,
        degraded=degraded,
        wall_ms_p50=percentile(latencies, 0.5),
        wall_ms_p95=percentile(latencies, 0.95),
        wall_ms_p99=p99(latencies),
        wait_ms=guard.policy.gather.wait_ms,
        batch_ms=batch_ms,
    )


def measure_processes(policy: str, *, seconds: float, rounds: int) -> Scaling:
    """Throughput of two processes beside that of one, in turn.

    Args:
        policy: A preset or a policy file; each process opens its own guard, without the cascade.
        seconds: Of each measurement.
        rounds: Of one and two; the ratio is the median.

    Raises:
        InputError: A process failed; the message ends with its last line.
    """
    found = [
        (_items_per_s(policy, 1, seconds), _items_per_s(policy, 2, seconds)) for _ in range(rounds)
    ]
    return Scaling(
        one_items_per_s=percentile([one for one, _ in found], 0.5),
        two_items_per_s=percentile([two for _, two in found], 0.5),
        ratios=tuple(two / one for one, two in found),
    )


def _items_per_s(policy: str, processes: int, seconds: float) -> float:
    workers = [_start_worker(policy, seconds) for _ in range(processes)]
    for one in workers:
        _line(one, policy)  # ready
    for one in workers:
        assert one.stdin is not None  # noqa: S101  a pipe was asked for
        one.stdin.write("go\n")
        one.stdin.flush()
    rates = [float(_line(one, policy)) for one in workers]
    for one in workers:
        one.communicate(timeout=_TIMEOUT_S)
    return sum(rates)


def _start_worker(policy: str, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603  our own interpreter and file
        [sys.executable, "-P", worker.__file__, policy, str(seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _line(process: subprocess.Popen[str], policy: str) -> str:
    assert process.stdout is not None  # noqa: S101  a pipe was asked for
    if line := process.stdout.readline().strip():
        return line
    process.kill()
    last = process.communicate()[1].strip().splitlines()[-1:]
    raise InputError(f"a process with policy '{policy}' failed: {''.join(last)}")
