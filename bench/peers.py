"""guardkit and other libraries on the same texts, in the same minutes: `make bench-peers`.

Each library lives in its own process. A few texts go to one, then to the next, in turn, so that whatever else the
machine does hits all alike; one call is in flight. Everything is installed into .venv-peers. A library that cannot
be installed or run is listed with the reason, never with a 0.

The rows compare cost. They do not compare quality: a word list knows words, guardkit runs a model over ten or more
categories. The disguise probe is a smoke test of one mild word, for a library whose list or model knows the word.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from guardkit.bench.machine import describe_machine, load_average
from guardkit.bench.quantiles import percentile
from guardkit.bench.report import Machine, number, table
from guardkit.bench.workload import PROMPTS, load_workload

ROOT = Path(__file__).parent.parent
ENVIRONMENT = ROOT / ".venv-peers"
PYTHON = ENVIRONMENT / "bin" / "python"
REQUIREMENTS = ROOT / "bench" / "peers-requirements.txt"
WORKER = ROOT / "bench" / "peers_worker.py"
GUARDKIT = "guardkit"

BUCKETS = ("16", "32", "128")
BLOCK = 5  # texts to one library before the next has its turn
STARTS = 3  # fresh processes a library; start-up is the median
MEASURE_S = 150  # no new block after this
KILL_S = 240  # a library that hangs is ended

WORD = "idiot"
DISGUISES = ("1d10t", "i d i o t", "i.d.i.o.t", "idiooot", "id!ot", "idi\u043et", "\uff49\uff44\uff49\uff4f\uff54", "id\u200biot", "IdIoT")  # fmt: skip
INNOCENT = ("an idiom dictionary", "idiosyncratic handwriting", "foolscap paper", "a class assignment", "cocktail glasses", "Scunthorpe railway station", "a shiitake risotto", "an analyst at a desk")  # fmt: skip


class Cost(msgspec.Struct, frozen=True):
    """One call at one length."""

    tokens: str
    samples: int
    cpu_ms_p50: float
    wall_ms_p50: float
    wall_ms_p95: float


class Peer(msgspec.Struct):
    """One library; a number it does not have is None, and `problem` says why."""

    name: str
    version: str | None = None
    problem: str | None = None
    costs: list[Cost] = []
    import_cpu_s: float | None = None
    first_decision_cpu_s: float | None = None
    peak_memory_mb: float | None = None
    installed_mb: float | None = None
    disguises_caught: int | None = None
    """Of `DISGUISES`; None when it does not know the plain word."""
    innocent_flagged: int | None = None
    """Of `INNOCENT`."""


class PeersReport(msgspec.Struct, frozen=True):
    """What one run found."""

    workload: str
    policy: str
    machine: Machine
    peers: list[Peer]
    format: int = 1


class Worker:
    """A library's process: texts in, costs out."""

    def __init__(self, name: str, policy: str) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [str(PYTHON), "-P", str(WORKER), name, policy],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
        self._watchdog = threading.Timer(KILL_S, self._process.kill)
        self._watchdog.daemon = True
        self._watchdog.start()

    def read(self) -> Any:
        """One JSON line of the library's."""
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            self._process.kill()
            error = self._process.communicate()[1].strip().splitlines()[-1:]
            raise RuntimeError("".join(error) or "ended without a word, or took too long")
        return json.loads(line)

    def check(self, texts: Sequence[str]) -> list[tuple[int, int, bool]]:
        """Check texts: (wall ns, CPU ns, flagged) each."""
        if self._process.stdin is None:
            raise RuntimeError("no input")
        try:
            self._process.stdin.write(json.dumps(texts) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # read() says why
        return [tuple(one) for one in self.read()]

    def close(self) -> Any:
        """End the process; its last line."""
        if self._process.stdin is not None:
            self._process.stdin.close()
            self._process.stdin = None
        last = self.read()
        self._process.wait()
        self._watchdog.cancel()
        return last


def main(arguments: Sequence[str] | None = None) -> int:
    """Install, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", default="chat", help="guardkit's preset or .yaml file")
    parser.add_argument("--workload", type=Path, default=PROMPTS)
    parser.add_argument("--rounds", type=int, default=5, help="measured calls a text, at most")
    parser.add_argument("--out", type=Path, help="write the JSON document to a file too")
    args = parser.parse_args(arguments)
    policy = str(args.policy)
    policy = str(Path(policy).absolute()) if policy.endswith(".yaml") else policy
    load_before = load_average()
    peers = list(install())
    workload = load_workload(args.workload)
    texts = {tokens: workload.buckets[tokens] for tokens in BUCKETS if tokens in workload.buckets}
    for peer in peers:
        measure_start(peer, policy)
    measure_calls([peer for peer in peers if peer.problem is None], policy, texts, args.rounds)
    report = PeersReport(workload.id, policy, describe_machine(load_before=load_before), peers)
    print("\n".join(rendered(report)))
    document = msgspec.json.encode(report).decode()
    print(document)
    if args.out:
        args.out.write_text(document + "\n", "utf-8")
    return 0


def install() -> Iterator[Peer]:
    """Install guardkit and every peer; one that fails carries its reason."""
    if not PYTHON.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    yield installed(GUARDKIT, ["--editable", f"{ROOT}[cpu]", *constraints])
    for line in REQUIREMENTS.read_text("utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            yield installed(line.split("==")[0], [line, *constraints])


def installed(name: str, requirement: Sequence[str]) -> Peer:
    """Install one library and measure its size."""
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, *requirement], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = "".join(done.stderr.strip().splitlines()[-1:])
        return Peer(name, problem=f"not installed: {last}")
    size = _SIZE if name != GUARDKIT else _SIZE_OF_GUARDKIT
    found = subprocess.run([str(PYTHON), "-c", size, name], capture_output=True, text=True, check=True)  # fmt: skip
    version, size_mb = json.loads(found.stdout)
    return Peer(name, version=version, installed_mb=size_mb)


_SIZE = """
import json, sys
from importlib.metadata import version
from guardkit.bench.process import installed_mb
print(json.dumps([version(sys.argv[1]), sum(installed_mb(sys.argv[1]).values())]))
"""
_SIZE_OF_GUARDKIT = """
import json, sys
from importlib.metadata import version
from guardkit.artifacts import find_artifact
from guardkit.bench.process import measure_footprint
names = ("text-safety", "text-safety-fast")  # what the main wheel carries
found = measure_footprint([find_artifact(name).path for name in names])
print(json.dumps([version(sys.argv[1]), found.total_mb]))
"""


def measure_start(peer: Peer, policy: str) -> None:
    """Import and first decision, in fresh processes with warm byte-code; the first one only warms it."""
    starts = []
    try:
        for _ in range(STARTS + 1):
            if peer.problem is None:
                worker = Worker(peer.name, policy)
                starts.append(worker.read())
                worker.close()
    except RuntimeError as e:
        peer.problem = f"not run: {e}"
        return
    if starts:
        peer.import_cpu_s = percentile([one["import_cpu_s"] for one in starts[1:]], 0.5)
        peer.first_decision_cpu_s = percentile(
            [one["first_decision_cpu_s"] for one in starts[1:]], 0.5
        )


def measure_calls(
    peers: Sequence[Peer], policy: str, texts: dict[str, tuple[str, ...]], rounds: int
) -> None:
    """Blocks of texts to each library in turn; the first round is warm-up and discarded."""
    workers = {peer.name: Worker(peer.name, policy) for peer in peers}
    found: dict[tuple[str, str], list[tuple[int, int, bool]]] = {}
    by_name = {peer.name: peer for peer in peers}
    for name in tuple(workers):
        attempt(by_name[name], workers, lambda worker: worker.read())
    ends = time.monotonic() + MEASURE_S
    for turn, (is_measured, tokens, block) in enumerate(blocks(texts, rounds)):
        if time.monotonic() > ends:
            break
        names = list(workers)
        for name in (*names[turn % max(len(names), 1) :], *names[: turn % max(len(names), 1)]):
            costs = attempt(by_name[name], workers, lambda worker, b=block: worker.check(b))
            if is_measured and costs is not None:
                found.setdefault((name, tokens), []).extend(costs)
    for name in tuple(workers):
        finish(by_name[name], workers, found)


def blocks(
    texts: dict[str, tuple[str, ...]], rounds: int
) -> Iterator[tuple[bool, str, Sequence[str]]]:
    """(is measured, bucket, texts), every bucket in every round."""
    for turn in range(rounds + 1):
        for tokens, those in texts.items():
            if turn == 0:
                yield False, tokens, those[:BLOCK]
                continue
            for at in range(0, len(those), BLOCK):
                yield True, tokens, those[at : at + BLOCK]


def attempt(peer: Peer, workers: dict[str, Worker], step: Any) -> Any:
    """Ask a library's process; one that fails is dropped with its reason."""
    try:
        return step(workers[peer.name])
    except RuntimeError as e:
        peer.problem = f"not run: {e}"
        del workers[peer.name]
        return None


def finish(peer: Peer, workers: dict[str, Worker], found: dict[tuple[str, str], Any]) -> None:
    """The disguise probe, the peak memory, and the summary of the costs."""
    probe = attempt(peer, workers, lambda worker: worker.check([WORD, *DISGUISES, *INNOCENT]))
    if probe is None:
        return
    knows, *flags = [flagged for _, _, flagged in probe]
    peer.disguises_caught = sum(flags[: len(DISGUISES)]) if knows else None
    peer.innocent_flagged = sum(flags[len(DISGUISES) :])
    last = attempt(peer, workers, lambda worker: worker.close())
    peer.peak_memory_mb = last["peak_memory_mb"] if last else None
    peer.costs = [cost(tokens, costs) for (name, tokens), costs in found.items() if name == peer.name]  # fmt: skip


def cost(tokens: str, costs: Sequence[tuple[int, int, bool]]) -> Cost:
    """The summary of one library at one length."""
    wall_ms = [wall / 1e6 for wall, _, _ in costs]
    cpu_ms = [cpu / 1e6 for _, cpu, _ in costs]
    return Cost(
        tokens=tokens,
        samples=len(costs),
        cpu_ms_p50=percentile(cpu_ms, 0.5),
        wall_ms_p50=percentile(wall_ms, 0.5),
        wall_ms_p95=percentile(wall_ms, 0.95),
    )


def rendered(report: PeersReport) -> Iterator[str]:
    """Two tables: a call, and everything else."""
    machine = report.machine
    yield f"machine   {machine.name}, load {machine.load_before:.1f} before and {machine.load_after:.1f} after"
    yield f"workload  {report.workload}, blocks of {BLOCK} texts to each library in turn; guardkit with policy {report.policy}"
    yield ""
    calls = [
        [peer.name, one.tokens, str(one.samples), *(number(x) for x in (one.cpu_ms_p50, one.wall_ms_p50, one.wall_ms_p95))]
        for peer in report.peers
        for one in peer.costs
    ]  # fmt: skip
    yield from table(["one call", "tokens", "samples", "CPU ms p50", "wall ms p50", "p95"], calls)
    yield ""
    rows = [
        [f"{peer.name} {peer.version or ''}".strip(), number(peer.import_cpu_s), number(peer.first_decision_cpu_s),
         number(peer.peak_memory_mb, 0), number(peer.installed_mb, 1), number(peer.disguises_caught, 0), number(peer.innocent_flagged, 0)]
        for peer in report.peers
    ]  # fmt: skip
    header = ["library", "import CPU s", "first decision CPU s", "peak MB", "installed MB", f"disguises caught of {len(DISGUISES)}", f"innocent flagged of {len(INNOCENT)}"]  # fmt: skip
    yield from table(header, rows)
    yield from (f"{peer.name}: {peer.problem}" for peer in report.peers if peer.problem)
    yield ""


if __name__ == "__main__":
    sys.exit(main())
