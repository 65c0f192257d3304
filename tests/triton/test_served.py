"""A policy served by a real Triton: the same answers as here, over gRPC and HTTP, alone and all at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
from msgspec.structs import replace
from tritonclient.utils import InferenceServerException

from guardkit import Action, Context, Decision, Guard, Policy
from guardkit.artifacts import Artifact, RunnerOptions, Triton, load_artifact
from guardkit.errors import ServerError
from guardkit.runtime.base import open_runner
from guardkit.runtime.triton import TritonRunner
from guardkit.text.normalize import normalize
from guardkit.text.score import TextScorer
from guardkit.types import Status, Tier
from tests.triton.conftest import remote
from tests.triton.server import TritonServer

Ask = Callable[..., dict[str, Any]]
_ROUNDING = 1e-3  # between a run alone and one of a batch


def same(ours: Decision, theirs: Decision) -> bool:
    """Whether two decisions agree in all that a caller acts on."""
    close = all(abs((ours.scores[name] or 0) - (theirs.scores[name] or 0)) < _ROUNDING for name in ours.scores)  # fmt: skip
    facts = [
        (one.action, [f.rule for f in one.fired], one.spans, one.text) for one in (ours, theirs)
    ]
    return (
        close
        and theirs.status is Status.OK
        and _without_scores(facts[0]) == _without_scores(facts[1])
    )


def _without_scores(facts: Any) -> Any:
    action, fired, spans, text = facts
    return action, fired, [(span.start, span.end, span.category) for span in spans], text


@pytest.fixture(scope="module")
def ask(server: TritonServer) -> Ask:
    """Ask the served `guard`; (text, context=None, stage=None) -> the decision's JSON."""
    client = tritonclient.grpc.InferenceServerClient(server.grpc)

    def ask(text: bytes | str, **fields: str) -> dict[str, Any]:
        given = {"text": text, **fields}
        inputs = [_text_input(name, value) for name, value in given.items()]
        (decision,) = client.infer("guard", inputs).as_numpy("decision").ravel()
        return dict(json.loads(decision))

    return ask


def _text_input(name: str, value: bytes | str) -> Any:
    content = value if isinstance(value, bytes) else value.encode()
    tensor = tritonclient.grpc.InferInput(name, [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[content]], dtype=object))
    return tensor


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_decisions_through_the_server_are_those_made_here(
    policy: Policy,
    server: TritonServer,
    texts: Sequence[str],
    expected: Sequence[Decision],
    protocol: str,
) -> None:
    guard = remote(policy, server, protocol)
    answers = [guard.check_prompt(text) for text in texts]
    assert len(texts) >= 300
    assert [
        row for row, pair in enumerate(zip(expected, answers, strict=True)) if not same(*pair)
    ] == []
    assert {one.action for one in answers} >= {Action.ALLOW, Action.BLOCK}


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_sixteen_clients_at_once_get_the_same_answers(
    policy: Policy,
    server: TritonServer,
    texts: Sequence[str],
    expected: Sequence[Decision],
    protocol: str,
) -> None:
    guard = remote(policy, server, protocol)
    with ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(guard.check_prompt, texts))
    assert [
        row for row, pair in enumerate(zip(expected, answers, strict=True)) if not same(*pair)
    ] == []


def test_the_served_guard_decides_as_one_here(
    policy: Policy, texts: Sequence[str], ask: Ask
) -> None:
    local = Guard(policy)  # with its cascade, as the served one
    for text in texts:
        ours, theirs = local.check_prompt(text), ask(text)
        assert theirs["status"] == "ok"
        assert theirs["action"] == ours.action.value
        assert [one["rule"] for one in theirs["fired"]] == [one.rule for one in ours.fired]
        assert (theirs["tier"], theirs["text"]) == (ours.tier.value, ours.text)
        assert theirs["policy_id"] == policy.id


def test_the_served_guard_reads_context_and_stage(policy: Policy, ask: Ask) -> None:
    local, context = Guard(policy), Context(audience="children", situation="at school")
    asked = {"context": json.dumps({"audience": "children", "situation": "at school"})}
    text = "what an idiot you are"
    ours = local.check_output(text=text, context=context)
    theirs = ask(text, stage="output-text", **asked)
    assert theirs["stage"] == "output-text"
    assert theirs["action"] == ours.action.value
    scores = [theirs["scores"][name] - (ours.scores[name] or 0) for name in ours.scores]
    assert max(map(abs, scores)) < _ROUNDING


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        pytest.param({"text": b"\xff"}, "not UTF-8", id="text"),
        pytest.param({"text": "x", "context": "{"}, "context: ", id="context"),
        pytest.param({"text": "x", "stage": "nowhere"}, "stage: none that", id="stage"),
    ],
)
def test_a_request_that_cannot_be_read_fails_alone(
    ask: Ask, fields: dict[str, Any], says: str
) -> None:
    with pytest.raises(InferenceServerException, match=says):
        ask(**fields)
    assert ask("hello there")["action"] == "allow"


def test_requests_that_come_together_are_run_together(policy: Policy, server: TritonServer) -> None:
    client = tritonclient.grpc.InferenceServerClient(server.grpc)

    def counts() -> tuple[int, int]:
        (told,) = client.get_inference_statistics("text-safety").model_stats
        return told.inference_count, told.execution_count

    guard = remote(policy, server, "grpc")
    before = counts()
    with ThreadPoolExecutor(16) as clients:
        # Numbers keep the texts apart (the server remembers answers), and their lengths alike.
        list(clients.map(guard.check_prompt, [f"a harbour at dawn {n}" for n in range(100, 300)]))
    inferences, runs = (after - start for after, start in zip(counts(), before, strict=True))
    assert inferences == 200
    assert runs < 150


def test_a_repeated_text_is_answered_from_memory(server: TritonServer, ask: Ask) -> None:
    client = tritonclient.grpc.InferenceServerClient(server.grpc)

    def hits() -> int:
        (told,) = client.get_inference_statistics("guard").model_stats
        return int(told.inference_stats.cache_hit.count)

    ask("a lighthouse in the fog")
    before = hits()
    assert ask("a lighthouse in the fog")["action"] == "allow"
    assert hits() == before + 1


def test_the_ensemble_gives_the_logits_of_a_text(
    repository: Path, server: TritonServer, texts: Sequence[str]
) -> None:
    artifact = load_artifact(repository / "models" / "text-safety")
    scorer = TextScorer(artifact, open_runner(artifact, RunnerOptions()))
    client = tritonclient.grpc.InferenceServerClient(server.grpc)
    for text in (texts[0], texts[-1]):
        windows = scorer.encode(normalize(text, words=scorer.words()))
        wanted = scorer.run(windows.inputs)["logits"]
        tensor = tritonclient.grpc.InferInput("text", [1], "BYTES")
        tensor.set_data_from_numpy(np.array([text.encode()], dtype=object))
        found = client.infer("text-safety-ensemble", [tensor]).as_numpy("logits")
        np.testing.assert_allclose(found, wanted, atol=1e-3)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_server_without_the_model_is_an_error_at_the_start(
    policy: Policy, server: TritonServer, protocol: str
) -> None:
    with pytest.raises(ServerError, match="nobody"):
        remote(policy, server, protocol, model="nobody")


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_server_with_another_version_is_refused(
    repository: Path, server: TritonServer, protocol: str
) -> None:
    artifact = load_artifact(repository / "models" / "text-safety")
    entry = artifact.manifest.files["1/model.onnx"]
    files = {**artifact.manifest.files, "1/model.onnx": replace(entry, sha256="ab" * 32)}
    newer = Artifact(artifact.path, replace(artifact.manifest, version="9.0.0", files=files))
    url = server.grpc if protocol == "grpc" else server.http
    options = RunnerOptions(backend="triton", triton=Triton(url=url, protocol=protocol))  # type: ignore[arg-type]
    with pytest.raises(ServerError, match=r"text-safety@9\.0\.0 has abab"):
        TritonRunner(newer, options)


def test_the_fast_tier_stays_here(
    policy: Policy, server: TritonServer, texts: Sequence[str]
) -> None:
    options = RunnerOptions(backend="triton", triton=Triton(url=server.grpc))
    guard = Guard(replace(policy, models={"text-safety": options}))
    assert [one.backend for one in guard.info()] == ["triton", "onnx"]
    assert {guard.check_prompt(text).tier for text in texts[:40]} == set(Tier)
