"""`run_bench`: everything `guardkit bench` measures, in the order it measures it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from guardkit.artifacts import RunnerOptions, find_artifact
from guardkit.bench.latency import Tape, measure_buckets, measure_throughput
from guardkit.bench.load import measure_open_loop, measure_processes
from guardkit.bench.machine import describe_machine, load_average
from guardkit.bench.process import measure_footprint, measure_starts
from guardkit.bench.quantiles import Interval
from guardkit.bench.report import (
    HEADLINE_BUCKET,
    BenchReport,
    Bucket,
    Model,
    OpenLoop,
    Protocol,
    Throughput,
)
from guardkit.bench.workload import Workload, load_workload
from guardkit.errors import InputError
from guardkit.guard import Guard
from guardkit.policy.load import load_policy, load_preset
from guardkit.policy.rules import Policy
from guardkit.runtime.base import open_runner
from guardkit.steps import SCORERS
from guardkit.taxonomy import Stage
from guardkit.text.opening import scorer_of

_QUICK_TEXTS = 5  # a bucket
_PROCESSES = {False: 5, True: 1}  # by `quick`
_THROUGHPUT_CALLS = {False: 400, True: 40}
_REQUESTS = {False: 1000, True: 40}
_PROCESS_S = {False: 4.0, True: 0.3}
_PROCESS_ROUNDS = {False: 5, True: 2}
_THREADS = (1, 2)


def run_bench(policy: str, *, workload: Path, repeats: int, quick: bool) -> BenchReport:
    """Measure a policy on this machine.

    Args:
        policy: The name of a preset, or a file that ends in `.yaml`.
        workload: A JSONL file; see `guardkit.bench.workload`.
        repeats: Measured calls a text.
        quick: A few texts a bucket and one fresh process: shows that it works, not how fast it is.

    Raises:
        InputError: The workload is malformed, or the policy has no prompt stage.
        PolicyError: The policy has faults.
        ArtifactError: A model is missing, changed or malformed.
        BackendError: A model cannot be run here.
    """
    load_before = load_average()
    texts = load_workload(workload)
    if quick:
        texts = _shortened(texts)
    opened = _open(_read_policy(policy))
    buckets = measure_buckets(opened.guard, opened.tapes, texts.buckets, repeats=repeats)
    most_texts = max(map(len, texts.buckets.values()))
    return BenchReport(
        policy_id=opened.guard.policy.id,
        workload=texts.id,
        workload_sha256=texts.sha256,
        models=opened.models,
        protocol=Protocol(most_texts, repeats, _PROCESSES[quick], quick),
        buckets=buckets,
        overhead_32_tokens_cpu_ms=_headline(buckets),
        throughput=_throughput(opened.guard, texts, quick=quick),
        open_loop=_open_loop(opened.guard, texts, quick=quick),
        processes=measure_processes(
            _absolute(policy), seconds=_PROCESS_S[quick], rounds=_PROCESS_ROUNDS[quick]
        ),
        starts=measure_starts(_absolute(policy), processes=_PROCESSES[quick]),
        footprint=measure_footprint(opened.folders),
        machine=describe_machine(load_before=load_before),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Opened:
    """A guard, and the runners below it."""

    guard: Guard
    tapes: tuple[Tape, ...]
    models: tuple[Model, ...]
    folders: tuple[Path, ...]


def _open(policy: Policy) -> _Opened:
    """Open a guard whose every model runs through a `Tape`, on every text: without the cascade."""
    names = set(policy.scorers) - set(SCORERS)
    options = {
        name: replace(policy.models.get(name, RunnerOptions()), cascade=False)
        for name in sorted(names)
    }
    policy = replace(policy, models=options)
    artifacts = {
        name: find_artifact(name, path=Path(one.path) if one.path else None)
        for name, one in options.items()
    }
    tapes = {name: Tape(open_runner(artifacts[name], options[name])) for name in options}
    scorers = [scorer_of(artifacts[name], tapes[name], options[name]) for name in options]
    guard = Guard(policy, scorers=scorers)
    return _Opened(
        guard=guard,
        tapes=tuple(tapes.values()),
        models=tuple(_model(tapes[name], options[name]) for name in options),
        folders=tuple(artifact.path for artifact in artifacts.values()),
    )


def _model(tape: Tape, options: RunnerOptions) -> Model:
    info = tape.info
    return Model(
        id=f"{info.name}@{info.version}",
        digest=info.digest,
        backend=info.backend,
        provider=info.provider,
        precision=info.precision,
        threads=options.threads,
    )


def _read_policy(policy: str) -> Policy:
    read = load_policy(policy) if _is_file(policy) else load_preset(policy)
    if Stage.PROMPT not in read.stages:
        raise InputError(f"policy '{read.policy}' has no stage 'prompt': there is nothing to time.")
    return read


def _is_file(policy: str) -> bool:
    return policy.endswith(".yaml")


def _absolute(policy: str) -> str:
    return str(Path(policy).absolute()) if _is_file(policy) else policy


def _shortened(workload: Workload) -> Workload:
    buckets = {tokens: texts[:_QUICK_TEXTS] for tokens, texts in workload.buckets.items()}
    return Workload(id=workload.id, sha256=workload.sha256, buckets=buckets)


def _headline(buckets: tuple[Bucket, ...]) -> Interval | None:
    found = [bucket.overhead_cpu_ms for bucket in buckets if bucket.tokens == HEADLINE_BUCKET]
    return found[0] if found else None


def _headline_bucket(workload: Workload) -> str:
    """The headline's length, or the workload's shortest where it has no such bucket."""
    buckets = workload.buckets
    return HEADLINE_BUCKET if HEADLINE_BUCKET in buckets else min(buckets, key=int)


def _open_loop(guard: Guard, workload: Workload, *, quick: bool) -> tuple[OpenLoop, ...]:
    tokens = _headline_bucket(workload)
    return measure_open_loop(guard, tokens, workload.buckets[tokens], requests=_REQUESTS[quick])


def _throughput(guard: Guard, workload: Workload, *, quick: bool) -> tuple[Throughput, ...]:
    tokens = _headline_bucket(workload)
    return tuple(
        measure_throughput(
            guard, tokens, workload.buckets[tokens], threads=threads, calls=_THROUGHPUT_CALLS[quick]
        )
        for threads in _THREADS
    )
