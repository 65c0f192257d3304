"""Milliseconds of `check_prompt`, and how much of them the SDK adds to the bare model.

Measured, per text and repeat, one call in flight:

    check   guard.check_prompt(text)              normalize, tokenize, model, decision, edits
    bare    runner.run(arrays) for each graph run that check made, on the very arrays it made

    replay  guard.check_prompt(text) with recorded answers of the model: the SDK's own work

The first two alternate (check first, then bare first), in one process, through one session, so that noise
and warm caches favour neither. Their difference, pair by pair, is the SDK's overhead; the median
over pairs shrugs off the pairs that another process disturbed.

A model run streams its weights through the caches; the SDK's code and the tokenizer's tables then come
back from far memory. The difference holds that, the replay does not; which part is which tells where
to look.

CPU time is that of the whole process (`process_time_ns`): a model may use several threads, and so
do scorers of one's own under `timeout_ms`. With one call in flight nothing else
runs; the collector is left as it is, so its pauses are in the tail, where users meet them.

What to expect. The bare model is the bound: nobody checks a prompt faster than its graph runs.
MiniLM-L6 int8 on one thread of the reference machine (AVX512-VNNI) takes 2.6, 4.8 and 17 ms at 16,
32 and 128 tokens. Tokenizing 32 tokens takes 0.09 ms; with normalising, packing and deciding, 0.2
to 0.4 ms over the model are plausible, growing slowly with length. An edited text is scored twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from guardkit.bench.quantiles import median_interval, p99, percentile
from guardkit.bench.report import Bucket, Throughput
from guardkit.guard import Guard
from guardkit.runtime.base import Arrays, Runner, RunnerInfo
from guardkit.runtime.clock import Stop
from guardkit.types import Status

_NS_PER_MS = 1e6


class Tape:
    """A runner that can note what it was asked, so that the bare model can be asked the same."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._noted: list[ModelRun] | None = None
        self._answers: Iterator[Arrays] | None = None

    @property
    def info(self) -> RunnerInfo:
        """What is really running."""
        return self._runner.info

    def run(self, inputs: Arrays, *, stop: Stop | None = None) -> Arrays:
        """Run the graph once, or give a recorded answer."""
        if self._answers is not None:
            return next(self._answers)
        outputs = self._runner.run(inputs, stop=stop)
        if self._noted is not None:
            self._noted.append(ModelRun(self._runner, inputs, outputs))
        return outputs

    def replay(self, runs: Sequence[ModelRun] | None) -> None:
        """From now on give the answers of these runs; None: run again."""
        mine = (run.outputs for run in runs or () if run.runner is self._runner)
        self._answers = None if runs is None else mine

    def note(self, noted: list[ModelRun] | None) -> None:
        """From now on add every run to this list; None: no longer."""
        self._noted = noted


@dataclass(frozen=True, slots=True)
class ModelRun:
    """One run of a graph."""

    runner: Runner
    inputs: Arrays
    outputs: Arrays


@dataclass(frozen=True, slots=True)
class Took:
    """The cost of one call, in nanoseconds."""

    wall_ns: int
    cpu_ns: int


@dataclass(frozen=True, slots=True)
class Pair:
    """One check and, beside it, the bare model on the same arrays."""

    check: Took
    bare: Took
    is_degraded: bool
    model_runs: int
    replayed: Took | None = None
    """The same check with recorded answers of the model; None when it ran no model."""


def measure_buckets(
    guard: Guard, tapes: Sequence[Tape], buckets: Mapping[str, Sequence[str]], *, repeats: int
) -> tuple[Bucket, ...]:
    """Measure every text `repeats` times, after one call a text of warm-up.

    All buckets in every repeat: a machine that is slow for a minute is slow for all of them.

    Args:
        guard: A guard whose scorers run through `tapes`.
        tapes: Its runners.
        buckets: Bucket -> texts.
        repeats: Measured calls a text.
    """
    runs = {text: _note(guard, tapes, text) for texts in buckets.values() for text in texts}
    pairs: dict[str, list[Pair]] = {tokens: [] for tokens in buckets}
    for repeat in range(repeats):
        for tokens, texts in buckets.items():
            for text in texts:
                pair = _pair(guard, text, runs[text], is_check_first=repeat % 2 == 0)
                replayed = _replayed(guard, tapes, text, runs[text])
                pairs[tokens].append(replace(pair, replayed=replayed))
    return tuple(summarize(tokens, len(texts), pairs[tokens]) for tokens, texts in buckets.items())


def _note(guard: Guard, tapes: Sequence[Tape], text: str) -> list[ModelRun]:
    noted: list[ModelRun] = []
    for tape in tapes:
        tape.note(noted)
    guard.check_prompt(text)
    for tape in tapes:
        tape.note(None)
    return noted


def _pair(guard: Guard, text: str, runs: Sequence[ModelRun], *, is_check_first: bool) -> Pair:
    statuses: list[Status] = []

    def check() -> None:
        statuses.append(guard.check_prompt(text).status)

    def bare() -> None:
        for run in runs:
            run.runner.run(run.inputs)

    if is_check_first:
        check_took, bare_took = took(check), took(bare)
    else:
        bare_took, check_took = took(bare), took(check)
    return Pair(check_took, bare_took, statuses[0] is not Status.OK, len(runs))


def _replayed(
    guard: Guard, tapes: Sequence[Tape], text: str, runs: Sequence[ModelRun]
) -> Took | None:
    """The check without its model runs; the second of two, so that the caches hold it."""
    if not runs:
        return None
    for _ in range(2):
        for tape in tapes:
            tape.replay(runs)
        last = took(lambda: guard.check_prompt(text))
    for tape in tapes:
        tape.replay(None)
    return last


def took(call: Callable[[], object]) -> Took:
    """Make a call and say what it cost."""
    wall = time.perf_counter_ns()
    cpu = time.process_time_ns()
    call()
    cpu_ns = time.process_time_ns() - cpu
    return Took(time.perf_counter_ns() - wall, cpu_ns)


def summarize(tokens: str, texts: int, pairs: Sequence[Pair]) -> Bucket:
    """The numbers of one bucket from its pairs."""
    wall_ms = [pair.check.wall_ns / _NS_PER_MS for pair in pairs]
    modelled = [pair for pair in pairs if pair.model_runs and pair.bare.cpu_ns > 0]
    bare_ms = [pair.bare.cpu_ns / _NS_PER_MS for pair in modelled]
    overhead_ms = [(pair.check.cpu_ns - pair.bare.cpu_ns) / _NS_PER_MS for pair in modelled]
    replayed_ms = [pair.replayed.cpu_ns / _NS_PER_MS for pair in pairs if pair.replayed]
    ratios = [pair.check.cpu_ns / pair.bare.cpu_ns for pair in modelled]
    return Bucket(
        tokens=tokens,
        texts=texts,
        samples=len(pairs),
        degraded=sum(pair.is_degraded for pair in pairs),
        model_runs_p50=percentile([pair.model_runs for pair in pairs], 0.5),
        wall_ms_p50=percentile(wall_ms, 0.5),
        wall_ms_p95=percentile(wall_ms, 0.95),
        wall_ms_p99=p99(wall_ms),
        cpu_ms_p50=percentile([pair.check.cpu_ns / _NS_PER_MS for pair in pairs], 0.5),
        bare_model_cpu_ms_p50=percentile(bare_ms, 0.5) if bare_ms else None,
        overhead_cpu_ms=median_interval(overhead_ms) if overhead_ms else None,
        cpu_ratio=median_interval(ratios) if ratios else None,
        replayed_cpu_ms=median_interval(replayed_ms) if replayed_ms else None,
    )


def measure_throughput(
    guard: Guard, tokens: str, texts: Sequence[str], *, threads: int, calls: int
) -> Throughput:
    """Items per second when `threads` threads share a guard; 1 is one after the other."""
    work = [texts[index % len(texts)] for index in range(calls)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(guard.check_prompt, work[:threads]))  # starts the threads
        wall = time.perf_counter_ns()
        list(pool.map(guard.check_prompt, work))
        wall_s = (time.perf_counter_ns() - wall) / 1e9
    return Throughput(tokens=tokens, threads=threads, calls=calls, items_per_s=calls / wall_s)
