"""The bench: its arithmetic on made-up numbers, its files' faults, and one quick run end to end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from bench import compare
from guardkit.bench.latency import Pair, Took, summarize
from guardkit.bench.machine import slug
from guardkit.bench.process import installed_mb
from guardkit.bench.quantiles import Interval, median_interval, p99, percentile
from guardkit.bench.report import (
    BenchReport,
    Bucket,
    Footprint,
    Machine,
    Model,
    Protocol,
    Start,
    StartStep,
    Throughput,
    from_json,
    render,
)
from guardkit.bench.run import run_bench
from guardkit.bench.workload import PROMPTS, load_workload
from guardkit.cli.main import main
from guardkit.errors import InputError

WriteFile = Callable[[str, str], Path]

HEADER = '{"workload": "mine", "version": 2}\n'
POLICY = """\
policy: measured
version: 1
prompt:
  scorers: [text-safety]
  rules:
    - {name: insults-are-blocked, when: {category: insult, at_least: 0.9}, action: block}
"""
WORKLOAD = HEADER + (
    '{"bucket": "32", "text": "portrait of my neighbour"}\n{"bucket": "8", "text": "hello world"}\n'
)


# --- workloads --------------------------------------------------------------------------------


def test_a_workload_lists_its_buckets_shortest_first(write_file: WriteFile) -> None:
    workload = load_workload(write_file("w.jsonl", WORKLOAD))
    assert workload.id == "mine/2"
    assert dict(workload.buckets) == {"8": ("hello world",), "32": ("portrait of my neighbour",)}
    assert list(workload.buckets) == ["8", "32"]


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        pytest.param("", 1, "no texts", id="empty"),
        pytest.param(HEADER, 1, "no texts", id="header alone"),
        pytest.param('{"version": 1}\n{}\n', 1, "workload", id="header without a name"),
        pytest.param(HEADER + '{"bucket": "8"}\n', 2, "text", id="no text"),
        pytest.param(HEADER + '{"bucket": "8", "text": ""}\n', 2, "text", id="empty text"),
        pytest.param(HEADER + '{"bucket": 8, "text": "a"}\n', 2, "bucket", id="bucket is a number"),
        pytest.param(HEADER + '{"bucket": "x", "text": "a"}\n', 2, "bucket", id="bucket is a word"),
        pytest.param(
            HEADER + '{"bucket": "8", "text": "a", "kind": "b"}\n', 2, "kind", id="unknown key"
        ),
        pytest.param(
            HEADER + '{"bucket": "8", "text": "a"}\nnot json\n', 3, "malformed", id="not JSON"
        ),
    ],
)
def test_a_malformed_workload_is_refused_with_its_line(
    write_file: WriteFile, content: str, line: int, says: str
) -> None:
    file = write_file("w.jsonl", content)
    with pytest.raises(InputError) as caught:
        load_workload(file)
    assert str(caught.value).startswith(f"{file}:{line}: ")
    assert says in str(caught.value)


def test_a_missing_workload_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.jsonl: cannot be read"):
        load_workload(tmp_path / "absent.jsonl")


def test_the_shipped_workload_allows_a_p99_with_25_repeats() -> None:
    workload = load_workload(PROMPTS)
    assert list(workload.buckets) == ["8", "16", "32", "64", "128", "512"]
    assert {len(texts) * 25 >= 1000 for texts in workload.buckets.values()} == {True}


# --- arithmetic -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        pytest.param([7.0], 0.5, 7.0, id="one value is every percentile"),
        pytest.param([3.0, 1.0, 2.0], 0.5, 2.0, id="the middle of three"),
        pytest.param([1.0, 2.0, 3.0, 4.0], 0.5, 2.0, id="the lower middle of four"),
        pytest.param([float(n) for n in range(1, 21)], 0.95, 19.0, id="19 of 20 are at most 19"),
        pytest.param([float(n) for n in range(1, 21)], 1.0, 20.0, id="all are at most the largest"),
    ],
)
def test_a_percentile_is_the_nearest_rank(
    values: list[float], share: float, expected: float
) -> None:
    assert percentile(values, share) == expected


def test_p99_is_withheld_below_1000_samples() -> None:
    values = [float(n) for n in range(1, 1001)]
    assert p99(values[:999]) is None
    assert p99(values) == 990.0


def test_the_interval_of_a_median_is_the_ranks_around_the_middle() -> None:
    # n = 400: 200 -+ 1.96 * 20 / 2 = 180.4 .. 219.6, rounded up to ranks 181 and 220
    values = [float(n) for n in range(400, 0, -1)]
    assert median_interval(values) == Interval(median=200.0, low=181.0, high=220.0)


def test_the_interval_of_few_values_stays_inside_them() -> None:
    assert median_interval([5.0]) == Interval(5.0, 5.0, 5.0)


def pair(check_cpu_ms: float, bare_cpu_ms: float, *, is_degraded: bool = False) -> Pair:
    check = Took(wall_ns=int(check_cpu_ms * 2e6), cpu_ns=int(check_cpu_ms * 1e6))
    bare = Took(wall_ns=int(bare_cpu_ms * 2e6), cpu_ns=int(bare_cpu_ms * 1e6))
    return Pair(check, bare, is_degraded, model_runs=1 if bare_cpu_ms else 0)


def test_overhead_is_the_median_difference_of_pairs() -> None:
    # differences 0.5, 1, 3; the difference of the medians, 4 - 2, would be 2
    found = summarize("32", 3, [pair(2.5, 2.0), pair(6.0, 5.0), pair(4.0, 1.0)])
    assert found.overhead_cpu_ms is not None
    assert found.overhead_cpu_ms.median == pytest.approx(1.0)
    assert found.cpu_ratio is not None
    assert found.cpu_ratio.median == pytest.approx(1.25)  # of 1.25, 1.2, 4
    assert found.bare_model_cpu_ms_p50 == pytest.approx(2.0)
    assert found.cpu_ms_p50 == pytest.approx(4.0)
    assert found.wall_ms_p50 == pytest.approx(8.0)
    assert found.wall_ms_p99 is None


def test_without_a_model_run_there_is_no_overhead_to_report() -> None:
    found = summarize("32", 1, [pair(0.1, 0.0)])
    assert (found.overhead_cpu_ms, found.cpu_ratio, found.bare_model_cpu_ms_p50) == (None,) * 3


def test_degraded_checks_are_counted() -> None:
    found = summarize("8", 2, [pair(1.0, 0.5), pair(1.0, 0.5, is_degraded=True)])
    assert (found.samples, found.degraded) == (2, 1)


def test_the_installed_size_counts_what_a_distribution_needs() -> None:
    sizes = installed_mb("guardkit", extra="cpu")
    assert {"numpy", "tokenizers", "msgspec", "onnxruntime"} <= set(sizes)
    assert "pytest" not in sizes
    assert sizes["numpy"] > 1.0


# --- reports ----------------------------------------------------------------------------------


def report(
    *, ratio: float = 1.1, overhead_ms: float = 0.3, import_s: float = 0.2, digest: str = "a" * 64
) -> BenchReport:
    sure = Interval(overhead_ms, overhead_ms, overhead_ms)
    bucket = Bucket(
        "32", 40, 400, 0, 1, 5.3, 5.6, None, 5.2, 4.9, sure, Interval(ratio, ratio, ratio)
    )
    return BenchReport(
        policy_id="mine/1#0123456789ab",
        workload="mine/2",
        workload_sha256="b" * 64,
        machine=Machine("Some CPU (R)", 2, 0.1, 0.2, {"python": "3.11.7"}),
        models=(Model("text-safety@1", digest, "onnx", "cpu", "int8", 1),),
        protocol=Protocol(40, 10, 5, quick=False),
        buckets=(bucket,),
        overhead_32_tokens_cpu_ms=sure,
        throughput=(Throughput("32", 1, 400, 180.0),),
        starts=(Start("warm", (StartStep("import", import_s, 0.3),), 95.0),),
        footprint=Footprint({"guardkit": 1.0}, 23.0, 24.0),
    )


def test_the_last_line_of_a_rendered_report_is_the_report() -> None:
    assert from_json(render(report()).splitlines()[-1]) == report()


def test_a_number_that_was_not_measured_is_a_dash_and_null() -> None:
    lines = render(report()).splitlines()
    (row,) = [line for line in lines if line.startswith("32 ")]
    assert row.split()[4] == "-"
    assert json.loads(lines[-1])["buckets"][0]["wall_ms_p99"] is None


def test_a_machine_becomes_a_file_name() -> None:
    assert slug(report().machine) == "some-cpu-r-2-cores"


# --- compare ----------------------------------------------------------------------------------


def slower(before: list[BenchReport], now: list[BenchReport]) -> list[str]:
    return [verdict.name for verdict in compare.verdicts(before, now) if verdict.is_slower]


def test_equal_runs_are_no_slower() -> None:
    assert slower([report(), report()], [report(), report()]) == []


def test_a_higher_ratio_to_the_bare_model_is_a_regression() -> None:
    now = report(ratio=1.1 * 1.05)  # the floor is 3 %
    assert slower([report(), report()], [now, now]) == ["check / bare model, CPU, 32 tokens"]


def test_a_difference_within_the_measured_noise_is_no_regression() -> None:
    before = [report(ratio=1.1), report(ratio=1.1 * 1.04)]
    now = report(ratio=1.1 * 1.05)
    assert slower(before, [now, now]) == []  # 4 % spread + 3 % floor


def test_the_best_of_each_side_is_compared() -> None:
    assert slower([report(), report()], [report(import_s=0.9), report()]) == []


def test_ratios_to_another_model_are_not_compared() -> None:
    now = report(ratio=9.9, digest="c" * 64)
    assert slower([report(), report()], [now, now]) == []


def test_slower_start_up_is_a_regression() -> None:
    now = report(import_s=0.25)
    assert slower([report(), report()], [now, now]) == ["import, CPU s, warm byte-code"]


def test_a_recorded_baseline_is_read_back(tmp_path: Path) -> None:
    file = tmp_path / "baselines" / "m.json"
    assert compare.record(file, [report(), report()]) == compare.SAME
    assert compare.compare(file, [report(), report()]) == compare.SAME
    worse = report(overhead_ms=0.9)
    assert compare.compare(file, [worse, worse]) == compare.SLOWER


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(None, id="no file"),
        pytest.param("{}", id="not a baseline"),
        pytest.param('{"runs": []}', id="no runs"),
    ],
)
def test_without_a_baseline_compare_says_how_to_record_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    file = tmp_path / "m.json"
    if content is not None:
        file.write_text(content, "utf-8")
    assert compare.compare(file, [report(), report()]) == compare.CANNOT_SAY
    assert "bench/compare.py --record" in capsys.readouterr().out


def test_runs_of_another_workload_cannot_be_compared() -> None:
    other = msgspec.structs.replace(report(), workload_sha256="d" * 64)
    assert "another workload" in (compare.difference([other], [report()]) or "")


# --- end to end -------------------------------------------------------------------------------


@pytest.mark.usefixtures("use_tiny_models")
def test_a_quick_run_measures_everything(write_file: WriteFile) -> None:
    policy = write_file("measured.yaml", POLICY)
    found = run_bench(str(policy), workload=write_file("w.jsonl", WORKLOAD), repeats=3, quick=True)
    assert found.policy_id.startswith("measured/1#")
    assert [model.id for model in found.models] == ["text-safety@0.0.1"]
    assert [(bucket.tokens, bucket.samples) for bucket in found.buckets] == [("8", 3), ("32", 3)]
    assert all(bucket.degraded == 0 and bucket.model_runs_p50 == 1 for bucket in found.buckets)
    assert all((bucket.bare_model_cpu_ms_p50 or 0) > 0 for bucket in found.buckets)
    assert found.overhead_32_tokens_cpu_ms == found.buckets[1].overhead_cpu_ms
    assert [one.threads for one in found.throughput] == [1, 2]
    assert [start.byte_code for start in found.starts] == ["cold", "warm"]
    assert all(start.peak_memory_mb > 10 for start in found.starts)
    assert found.footprint.models_mb > 0
    assert from_json(render(found).splitlines()[-1]) == found
    assert "neighbour" not in render(found)  # no text of the workload


def test_a_policy_without_a_prompt_stage_is_refused(write_file: WriteFile) -> None:
    policy = write_file("empty.yaml", "policy: empty\n")
    workload = write_file("w.jsonl", WORKLOAD)
    with pytest.raises(InputError, match="has no stage 'prompt'"):
        run_bench(str(policy), workload=workload, repeats=1, quick=True)


@pytest.mark.usefixtures("use_tiny_models")
def test_a_tagger_is_measured_as_one(write_file: WriteFile) -> None:
    policy = write_file(
        "named.yaml", "policy: named\nprompt: {scorers: [text-safety, pii-tagger]}\n"
    )
    found = run_bench(str(policy), workload=write_file("w.jsonl", WORKLOAD), repeats=1, quick=True)
    assert all(bucket.degraded == 0 and bucket.model_runs_p50 == 2 for bucket in found.buckets)


@pytest.mark.usefixtures("use_tiny_models")
def test_the_command_prints_and_writes_one_document(
    write_file: WriteFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = str(write_file("measured.yaml", POLICY))
    workload = str(write_file("w.jsonl", WORKLOAD))
    out = tmp_path / "out.json"
    command = ["bench", "--policy", policy, "--workload", workload, "--repeats", "1"]
    assert main([*command, "--quick", "--json", "--out", str(out)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert out.read_text("utf-8") == f"{line}\n"
    assert from_json(line).protocol.repeats == 1
