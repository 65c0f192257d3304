"""One real server for the tests that only ask it things, and texts with what a local guard says of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from guardkit import Decision, Guard, Policy
from guardkit.artifacts import RunnerOptions, Triton
from guardkit.bench.workload import PROMPTS
from guardkit.policy.load import load_preset
from guardkit.serve.config import Serving
from guardkit.serve.deploy import server_command
from guardkit.serve.repository import write_repository
from tests.triton.server import TritonServer

ROOT = Path(__file__).parents[2]
_PATIENT_MS = 20_000  # the machine may be busy; a late answer is a right one here


@pytest.fixture(scope="session")
def policy() -> Policy:
    """`chat`, without a time limit: these tests ask for equal answers, not quick ones."""
    return replace(load_preset("chat"), timeout_ms=None)


@pytest.fixture(scope="session")
def serving() -> Serving:
    return Serving(backend="python", guards=2, response_cache=True)


@pytest.fixture(scope="session")
def repository(policy: Policy, serving: Serving, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    write_repository(policy, folder, serving)
    return folder


@pytest.fixture(scope="session")
def server(
    repository: Path, serving: Serving, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    """A server that the tests share; none of them may stop it."""
    options = server_command(serving, str(repository))[1:]
    server = TritonServer(repository / "models", tmp_path_factory.mktemp("work"), *options)
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """350 texts, harmless and not, of 4 to 500 tokens: the benchmark's prompts and written twins."""
    rows = [json.loads(line) for line in PROMPTS.read_text("utf-8").splitlines()]
    prompts = [row["text"] for row in rows if "text" in row]
    written = (ROOT / "data" / "written" / "twins.txt").read_text("utf-8").splitlines()
    twins = [line.rpartition(" | ")[2] for line in written if " | " in line]
    return [*prompts, *twins[:109], " ".join(twins[:60])]


@pytest.fixture(scope="session")
def expected(policy: Policy, texts: list[str]) -> list[Decision]:
    """What the full model says here."""
    local = replace(policy, models={"text-safety": RunnerOptions(cascade=False)})
    return [Guard(local).check_prompt(text) for text in texts]


def remote(policy: Policy, server: TritonServer, protocol: str, **changes: object) -> Guard:
    """A guard whose model is at the server."""
    url = server.grpc if protocol == "grpc" else server.http
    settings = {"url": url, "protocol": protocol, "call_ms": _PATIENT_MS, **changes}
    options = RunnerOptions(backend="triton", triton=Triton(**settings), cascade=False)  # type: ignore[arg-type]
    return Guard(replace(policy, models={"text-safety": options}))
