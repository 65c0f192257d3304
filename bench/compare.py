"""Compare this checkout with the accepted numbers of this machine: `make bench-compare`.

    python bench/compare.py             exit 0: no slower; 1: slower than noise explains; 2: cannot say
    python bench/compare.py --record    accept the numbers of this checkout: bench/baselines/<machine>.json

The bench runs twice, now and when recording, so noise is measured and not guessed. For each number the best of
two is compared with the best of two; it may be worse by the spread of both pairs plus a small floor. Costs of a
call are compared as ratios to the bare model, measured in the same run: a machine that is slow today is slow for
both. Start-up is CPU time; wall time is never compared.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from guardkit.bench.machine import slug
from guardkit.bench.report import HEADLINE_BUCKET, BenchReport, number, table, to_json
from guardkit.bench.run import run_bench
from guardkit.bench.workload import PROMPTS
from guardkit.errors import GuardkitError

BASELINES = Path(__file__).parent / "baselines"
RUNS = 2
REPEATS = 10  # 400 samples a bucket: plenty for a median, a few minutes for two runs
SAME, SLOWER, CANNOT_SAY = 0, 1, 2

RATIO_FLOOR = 0.03  # chosen: half of what a code change worth a look costs
TIME_FLOOR = 0.10  # absolute CPU time moves with the clock rate of the day
SIZE_FLOOR = 0.02  # sizes hardly vary


class Baseline(msgspec.Struct, frozen=True):
    """The accepted runs of one machine."""

    runs: tuple[BenchReport, ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a report; smaller is better."""

    value: float
    floor: float
    """How much worse it may be, as a share, beyond the noise that was measured."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One number then and now."""

    name: str
    before: float | None
    now: float | None
    allowed: float
    """The largest value that passes; unused where one side has no number."""

    @property
    def is_slower(self) -> bool:
        """Whether noise does not explain the difference."""
        return self.before is not None and self.now is not None and self.now > self.allowed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, compare, and say so by the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", default="chat")
    parser.add_argument("--workload", type=Path, default=PROMPTS)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--quick", action="store_true", help="a few texts only: a smoke test")
    parser.add_argument("--record", action="store_true", help="accept the numbers of this checkout")
    parser.add_argument("--baselines", type=Path, default=BASELINES, metavar="FOLDER")
    args = parser.parse_args(arguments)
    try:
        runs = [
            run_bench(args.policy, workload=args.workload, repeats=args.repeats, quick=args.quick)
            for _ in range(RUNS)
        ]
    except GuardkitError as e:
        print(e, file=sys.stderr)
        return CANNOT_SAY
    file = args.baselines / f"{slug(runs[0].machine)}.json"
    return record(file, runs) if args.record else compare(file, runs)


def record(file: Path, runs: Sequence[BenchReport]) -> int:
    """Write the runs as the machine's baseline."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(map(to_json, runs))
    file.write_text(f'{{"runs":[\n{lines}\n]}}\n', "utf-8")
    print(f"recorded {file}")
    return SAME


def compare(file: Path, runs: Sequence[BenchReport]) -> int:
    """Compare runs with a baseline file, print the table, return the exit code."""
    if not file.is_file():
        print(f"{file}: no baseline for this machine. Run: python bench/compare.py --record")
        return CANNOT_SAY
    try:
        baseline = msgspec.json.decode(file.read_bytes(), type=Baseline).runs
    except msgspec.DecodeError as e:
        print(f"{file}: {e}. Run: python bench/compare.py --record")
        return CANNOT_SAY
    if problem := difference(baseline, runs):
        print(f"{file}: {problem} Run: python bench/compare.py --record")
        return CANNOT_SAY
    found = verdicts(baseline, runs)
    print("\n".join(rendered(found)))
    slower = [verdict.name for verdict in found if verdict.is_slower]
    print(f"slower than noise explains: {'; '.join(slower)}" if slower else "no slower")
    return SLOWER if slower else SAME


def difference(before: Sequence[BenchReport], now: Sequence[BenchReport]) -> str | None:
    """Why the two cannot be compared; None when they can."""
    if not before:
        return "holds no runs."
    for what, one, other in (
        ("workload", before[0].workload_sha256, now[0].workload_sha256),
        ("protocol", str(before[0].protocol), str(now[0].protocol)),
        ("policy", before[0].policy_id.split("#")[0], now[0].policy_id.split("#")[0]),
    ):
        if one != other:
            return f"recorded with another {what} ({one}, now {other})."
    return None


def verdicts(before: Sequence[BenchReport], now: Sequence[BenchReport]) -> list[Verdict]:
    """One verdict a number."""
    same_models = ids(before[0]) == ids(now[0])
    then = [metrics(report, with_ratios=same_models) for report in before]
    today = [metrics(report, with_ratios=same_models) for report in now]
    names = dict.fromkeys(name for report in (*then, *today) for name in report)
    return [verdict(name, then, today) for name in names]


def ids(report: BenchReport) -> set[str]:
    """The digests of the models; ratios to different models say nothing about the SDK."""
    return {model.digest for model in report.models}


def verdict(
    name: str, before: Sequence[Mapping[str, Metric]], now: Sequence[Mapping[str, Metric]]
) -> Verdict:
    """Best against best, with the spread of both as the noise."""
    then = [report[name] for report in before if name in report]
    today = [report[name] for report in now if name in report]
    best_then = min((metric.value for metric in then), default=None)
    best_now = min((metric.value for metric in today), default=None)
    if best_then is None or best_now is None:
        return Verdict(name, best_then, best_now, 0.0)
    noise = spread(then) + spread(today)
    return Verdict(name, best_then, best_now, best_then * (1 + noise + then[0].floor))


def spread(found: Sequence[Metric]) -> float:
    """How far runs of the same code lie apart, as a share of the best."""
    values = [metric.value for metric in found]
    return max(values) / min(values) - 1 if min(values) > 0 else 0.0


def metrics(report: BenchReport, *, with_ratios: bool) -> dict[str, Metric]:
    """The numbers that are held against a baseline, by a name with its unit."""
    pairs = [*_costs(report, with_ratios=with_ratios), *_starts(report)]
    return dict(pairs)


def _costs(report: BenchReport, *, with_ratios: bool) -> Iterator[tuple[str, Metric]]:
    for bucket in report.buckets:
        if with_ratios and bucket.cpu_ratio is not None:
            name = f"check / bare model, CPU, {bucket.tokens} tokens"
            yield name, Metric(bucket.cpu_ratio.median, RATIO_FLOOR)
        if bucket.tokens == HEADLINE_BUCKET:
            name = f"check, CPU ms, {bucket.tokens} tokens"
            yield name, Metric(bucket.cpu_ms_p50, TIME_FLOOR)
    if report.overhead_32_tokens_cpu_ms is not None:
        yield (
            "overhead, CPU ms, 32 tokens",
            Metric(report.overhead_32_tokens_cpu_ms.median, TIME_FLOOR),
        )


def _starts(report: BenchReport) -> Iterator[tuple[str, Metric]]:
    for start in report.starts:
        for step in start.steps:
            yield (
                f"{step.step}, CPU s, {start.byte_code} byte-code",
                Metric(step.cpu_s, TIME_FLOOR),
            )
    peak = min((start.peak_memory_mb for start in report.starts), default=0.0)
    yield "peak memory, MB", Metric(peak, SIZE_FLOOR)
    yield "installed, MB", Metric(report.footprint.total_mb, SIZE_FLOOR)


def rendered(found: Sequence[Verdict]) -> list[str]:
    """A table of verdicts."""
    rows = [
        [
            one.name,
            number(one.before, 3),
            number(one.now, 3),
            number(one.allowed if one.before is not None and one.now is not None else None, 3),
            "SLOWER" if one.is_slower else "",
        ]
        for one in found
    ]
    return table(["number", "baseline", "now", "allowed", ""], rows)


if __name__ == "__main__":
    sys.exit(main())
