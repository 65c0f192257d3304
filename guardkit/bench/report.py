"""What a bench run found: typed values, a table for people and one JSON line for scripts.

Holds numbers, names and digests; never a text of the workload.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec import Struct

from guardkit.bench.quantiles import Interval

HEADLINE_BUCKET = "32"
"""Tokens of an ordinary prompt: the bucket of the headline numbers."""
OVERHEAD_BAR_MS = 0.4
"""The most CPU the SDK may add to the bare model at 32 tokens; chosen in the product page."""


CPU_HOUR_PRICE = 0.04
"""What an hour of one core costs, in the reader's currency; chosen: the order of a cloud's list price."""


class Machine(Struct, frozen=True):
    """Where the numbers come from."""

    cpu: str
    cores: int
    """Cores this process may use."""
    load_before: float
    """Processes that wanted a core over the last minute, when the run began."""
    load_after: float
    versions: Mapping[str, str]
    int8: str = ""
    """What multiplies int8 on it, for example `AVX2, no VNNI`; "" when nobody looked."""

    @property
    def name(self) -> str:
        """Processor, what multiplies int8, and cores."""
        return f"{self.cpu}{f' ({self.int8})' if self.int8 else ''}, {self.cores} cores"

    @property
    def is_quiet(self) -> bool:
        """Whether little else ran: the load counts the run itself when it ends, not when it begins."""
        return max(self.load_before, self.load_after - 1) <= self.cores / 4


class Model(Struct, frozen=True):
    """A model that took part."""

    id: str
    digest: str
    backend: str
    provider: str
    precision: str
    threads: int


class Protocol(Struct, frozen=True):
    """How it was measured."""

    warm_up_calls: int
    """Calls a bucket before measuring, discarded."""
    repeats: int
    """Measured calls a text."""
    fresh_processes: int
    """Processes a start-up number is the median of."""
    quick: bool
    in_flight: int = 1


class Bucket(Struct, frozen=True):
    """One length of text; every number is for one `check_prompt`."""

    tokens: str
    texts: int
    samples: int
    degraded: int
    """Calls with a status other than ok; anything but 0 makes the row worthless."""
    model_runs_p50: float
    """Graph runs a call; an edited text takes more than one."""
    wall_ms_p50: float
    wall_ms_p95: float
    wall_ms_p99: float | None
    """None with fewer than 1,000 samples."""
    cpu_ms_p50: float
    bare_model_cpu_ms_p50: float | None
    """The same arrays straight into the runner; None when the policy runs no model."""
    overhead_cpu_ms: Interval | None
    """check_prompt minus bare model, pair by pair."""
    cpu_ratio: Interval | None
    """check_prompt divided by bare model, pair by pair."""
    replayed_cpu_ms: Interval | None = None
    """check_prompt with recorded answers of the model, its caches warm: the SDK's own work."""


class Throughput(Struct, frozen=True):
    """Items per second with so many threads calling one guard."""

    tokens: str
    threads: int
    calls: int
    items_per_s: float


class OpenLoop(Struct, frozen=True):
    """`acheck_prompt` when requests arrive at random moments, at a stated rate."""

    tokens: str
    share_of_capacity: float
    """Of what one process answers per second when 64 callers never pause."""
    offered_per_s: float
    answered_per_s: float
    requests: int
    refused: int
    degraded: int
    wall_ms_p50: float
    """From the moment a request was due."""
    wall_ms_p95: float
    wall_ms_p99: float | None
    wait_ms: float
    """The policy's `gather.wait_ms`."""
    batch_ms: float
    """One run of eight texts."""


class Scaling(Struct, frozen=True):
    """One process beside two."""

    one_items_per_s: float
    two_items_per_s: float
    ratios: tuple[float, ...]
    """Two over one, a round."""


class StartStep(Struct, frozen=True):
    """Medians over fresh processes."""

    step: str
    """`import`, `construct`, `first decision`, or `process`: all of it, interpreter included."""
    cpu_s: float
    wall_s: float


class Start(Struct, frozen=True):
    """The start of a process that checks one prompt."""

    byte_code: str
    """`cold`: nothing compiled yet, the first run after an installation. `warm`: every later run."""
    steps: tuple[StartStep, ...]
    peak_memory_mb: float
    """Largest resident size, in 10^6 bytes."""


class Footprint(Struct, frozen=True):
    """Installed size in 10^6 bytes: guardkit, what it needs to run a model, and the models."""

    packages_mb: Mapping[str, float]
    """Distribution -> size."""
    models_mb: float
    """The policy's artifacts; 0 for those inside the package, which count there."""
    total_mb: float


class BenchReport(Struct, frozen=True):
    """Everything one run found."""

    policy_id: str
    workload: str
    workload_sha256: str
    machine: Machine
    models: tuple[Model, ...]
    protocol: Protocol
    buckets: tuple[Bucket, ...]
    overhead_32_tokens_cpu_ms: Interval | None
    """The headline; None when the workload has no such bucket or the policy no model."""
    throughput: tuple[Throughput, ...]
    starts: tuple[Start, ...]
    footprint: Footprint
    open_loop: tuple[OpenLoop, ...] = ()
    processes: Scaling | None = None
    format: int = 1


def to_json(report: BenchReport) -> str:
    """The report as one line of JSON."""
    return msgspec.json.encode(report).decode()


def from_json(line: str | bytes) -> BenchReport:
    """The report a JSON line holds.

    Raises:
        msgspec.DecodeError: It is not one.
    """
    return msgspec.json.decode(line, type=BenchReport)


def render(report: BenchReport) -> str:
    """Tables for people; the last line is the JSON document."""
    parts = (
        _head(report),
        _latency(report),
        _headline(report),
        _load(report),
        _rest(report),
        [to_json(report)],
    )
    return "\n".join(line for part in parts for line in part)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of text, numbers to the right.

    >>> table(["a", "b"], [["x", "1.0"]])
    ['a    b', 'x  1.0']
    """
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def number(value: float | None, digits: int = 2) -> str:
    """A number, or a dash for one that was not measured.

    >>> number(None), number(1.234)
    ('-', '1.23')
    """
    return "-" if value is None else f"{value:.{digits}f}"


def _head(report: BenchReport) -> Iterator[str]:
    machine, protocol = report.machine, report.protocol
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    yield f"policy    {report.policy_id}, workload {report.workload}"
    yield f"machine   {machine.name}, load {machine.load_before:.1f} before and {machine.load_after:.1f} after"
    if not machine.is_quiet:
        yield "          NOT QUIET: other work ran beside this; ratios within the run hold, times do not"
    yield f"versions  {versions}"
    for model in report.models:
        yield f"model     {model.id} {model.digest[:12]}, {model.backend}/{model.provider}, {model.precision}, threads {model.threads}"
    yield f"protocol  {protocol.repeats} measured calls a text, one in flight; {protocol.warm_up_calls} calls a bucket of warm-up discarded"
    yield ""


def _latency(report: BenchReport) -> Iterator[str]:
    yield "check_prompt, milliseconds"
    header = ["tokens", "samples", "wall p50", "p95", "p99", "CPU p50", "bare model CPU p50", "overhead CPU", "95 %", "replayed CPU", "runs", "degraded"]  # fmt: skip
    yield from table(header, [_latency_row(bucket) for bucket in report.buckets])
    yield ""


def _latency_row(bucket: Bucket) -> list[str]:
    overhead = bucket.overhead_cpu_ms
    return [
        bucket.tokens,
        str(bucket.samples),
        number(bucket.wall_ms_p50),
        number(bucket.wall_ms_p95),
        number(bucket.wall_ms_p99),
        number(bucket.cpu_ms_p50),
        number(bucket.bare_model_cpu_ms_p50),
        number(overhead.median if overhead else None, 3),
        _range(overhead),
        number(bucket.replayed_cpu_ms.median if bucket.replayed_cpu_ms else None, 3),
        number(bucket.model_runs_p50, 0),
        str(bucket.degraded),
    ]


def _range(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.low:.3f}..{interval.high:.3f}"


def _headline(report: BenchReport) -> Iterator[str]:
    overhead = report.overhead_32_tokens_cpu_ms
    found = "-" if overhead is None else f"{overhead.median:.3f} ms CPU ({_range(overhead)})"
    yield f"SDK overhead at {HEADLINE_BUCKET} tokens: {found} beside the bare model; bar {OVERHEAD_BAR_MS} ms"
    own = [b.replayed_cpu_ms for b in report.buckets if b.tokens == HEADLINE_BUCKET]
    if own and own[0]:
        yield f"its own work there, model's answer replayed: {own[0].median:.3f} ms CPU ({_range(own[0])})"
    yield ""


def _load(report: BenchReport) -> Iterator[str]:
    if report.open_loop:
        yield "acheck_prompt under open-loop load (arrivals at random), milliseconds from the moment due"
        header = ["of capacity", "offered/s", "answered/s", "requests", "p50", "p95", "p99", "wait + 2 batches", "refused", "degraded"]  # fmt: skip
        yield from table(header, [_load_row(one) for one in report.open_loop])
        yield ""
    if report.processes is not None:
        low, *_, high = sorted(report.processes.ratios)
        yield (
            f"two processes: {report.processes.two_items_per_s:.1f} items per second, one "
            f"{report.processes.one_items_per_s:.1f}; ratio {low:.2f} to {high:.2f} in {len(report.processes.ratios)} rounds"
        )
        yield ""
    for bucket in report.buckets:
        if bucket.tokens == HEADLINE_BUCKET:
            hours = bucket.cpu_ms_p50 / 3.6
            yield (
                f"a million prompts of {bucket.tokens} tokens: {hours:.2f} CPU hours without the cascade, "
                f"{hours * CPU_HOUR_PRICE:.2f} at {CPU_HOUR_PRICE} a CPU hour"
            )
            yield ""


def _load_row(one: OpenLoop) -> list[str]:
    return [
        f"{100 * one.share_of_capacity:.0f} %",
        number(one.offered_per_s, 1),
        number(one.answered_per_s, 1),
        str(one.requests),
        number(one.wall_ms_p50),
        number(one.wall_ms_p95),
        number(one.wall_ms_p99),
        number(one.wait_ms + 2 * one.batch_ms),
        str(one.refused),
        str(one.degraded),
    ]


def _rest(report: BenchReport) -> Iterator[str]:
    for one in report.throughput:
        yield f"throughput at {one.tokens} tokens, threads {one.threads}: {one.items_per_s:.1f} items per second ({one.calls} calls)"
    yield ""
    yield f"start of a fresh process, seconds (median of {report.protocol.fresh_processes}; the system's file cache stays warm)"
    rows = [
        [step.step, start.byte_code, number(step.cpu_s, 3), number(step.wall_s, 3)]
        for start in report.starts
        for step in start.steps
    ]
    yield from table(["step", "byte-code", "CPU", "wall"], rows)
    for start in report.starts:
        yield f"peak memory, {start.byte_code} byte-code: {start.peak_memory_mb:.0f} MB"
    sizes = sorted(report.footprint.packages_mb.items(), key=lambda pair: -pair[1])
    largest = ", ".join(f"{name} {size:.1f}" for name, size in sizes[:6])
    yield f"installed: {report.footprint.total_mb:.1f} MB ({largest}; models outside the package {report.footprint.models_mb:.1f})"
    yield ""
