"""The `onnx` backend: the outputs of the graph, and our own errors for everything else."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from guardkit.artifacts import Artifact, RunnerOptions, load_artifact
from guardkit.errors import ManifestError, MissingExtraError, ProviderError, RunError
from guardkit.runtime.base import Runner, checked_output, open_runner
from tests.tiny import CALM, HARSH, TinyText, change_manifest, file_entry

MODEL = "1/model.onnx"
Inputs = dict[str, NDArray[np.int64]]


@pytest.fixture(scope="module")
def runner(tiny_artifact: Artifact) -> Runner:
    return open_runner(tiny_artifact, RunnerOptions())


def inputs(*rows: tuple[str, ...]) -> Inputs:
    """Tokens to arrays, "[PAD]" masked out."""
    vocabulary = TinyText().vocabulary
    ids = np.array([[vocabulary.index(token) for token in row] for row in rows], np.int64)
    return {"input_ids": ids, "attention_mask": (ids != 0).astype(np.int64)}


def test_the_outputs_are_those_of_the_graph(runner: Runner) -> None:
    outputs = runner.run(inputs(("hello", "idiot"), ("kill", "[PAD]")))
    assert set(outputs) == {"logits", "token_logits"}
    # From the table in tests/tiny.py: columns are insult, threat.
    np.testing.assert_array_equal(outputs["logits"], [[HARSH, CALM], [CALM, HARSH]])
    np.testing.assert_array_equal(
        outputs["token_logits"],
        [[[CALM, CALM], [HARSH, CALM]], [[CALM, HARSH], [CALM, CALM]]],
    )
    assert outputs["logits"].dtype == np.float32


def test_a_token_that_is_masked_does_not_count(runner: Runner) -> None:
    arrays = inputs(("hello", "idiot"))
    arrays["attention_mask"][0, 1] = 0
    np.testing.assert_array_equal(runner.run(arrays)["logits"], [[CALM, CALM]])


def test_a_runner_says_what_is_really_running(runner: Runner, tiny_artifact: Artifact) -> None:
    info = runner.info
    assert (info.name, info.version) == ("text-safety", "0.0.1")
    assert (info.backend, info.provider, info.precision) == ("onnx", "cpu", "fp32")
    assert info.digest == file_entry(tiny_artifact.path / MODEL)["sha256"]


@pytest.mark.parametrize(
    "arrays",
    [
        pytest.param({}, id="none"),
        pytest.param({"input_ids": np.zeros((1, 2), np.int64)}, id="one-missing"),
        pytest.param({**inputs(("hello",)), "more": np.zeros((1, 1))}, id="one-too-many"),
        pytest.param({**inputs(("hello",)), "input_ids": np.zeros((1, 1), np.int32)}, id="dtype"),
        pytest.param({**inputs(("hello",)), "input_ids": np.zeros(1, np.int64)}, id="rank"),
        pytest.param({**inputs(("hello",)), "input_ids": np.full((1, 1), 12345)}, id="no-token"),
    ],
)
def test_inputs_the_graph_cannot_run_are_a_run_error_without_their_values(
    runner: Runner, arrays: Inputs, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RunError, match="text-safety: onnxruntime failed") as caught:
        runner.run(arrays)
    assert caught.value.__cause__ is None
    assert "12345" not in str(caught.value)
    assert capfd.readouterr() == ("", "")  # onnxruntime's own log quotes values


def test_a_runner_is_shared_between_threads(runner: Runner) -> None:
    rows = [("hello", "idiot"), ("kill", "world")] * 20
    with ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(lambda row: runner.run(inputs(row))["logits"].tolist(), rows))
    assert outputs == [[[HARSH, CALM]], [[CALM, HARSH]]] * 20


def test_a_file_that_is_no_graph_is_a_manifest_error(own_artifact: Path) -> None:
    (own_artifact / MODEL).write_bytes(b"no graph")
    files = {name: file_entry(own_artifact / name) for name in (MODEL, "1/tokenizer.json")}
    artifact = load_artifact(change_manifest(own_artifact, {"files": files}))
    with pytest.raises(ManifestError, match="cannot open it"):
        open_runner(artifact, RunnerOptions())


def test_without_onnxruntime_the_error_names_the_extra(
    tiny_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("onnx", "sessions"):
        monkeypatch.delitem(sys.modules, f"guardkit.runtime.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # Python's way to say "not installed"
    with pytest.raises(MissingExtraError, match=r'pip install "guardkit\[cpu\]"'):
        open_runner(tiny_artifact, RunnerOptions())


def test_an_onnxruntime_that_would_use_another_provider_is_refused(
    tiny_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    # What onnxruntime-gpu does with a provider it cannot load: it silently takes another.
    monkeypatch.setattr(
        onnxruntime.InferenceSession, "get_providers", lambda _session: ["OtherProvider"]
    )
    with pytest.raises(ProviderError, match="would use OtherProvider"):
        open_runner(tiny_artifact, RunnerOptions())


@pytest.mark.parametrize(
    ("output", "message"),
    [
        pytest.param(None, "no output 'logits'. Found: other", id="missing"),
        pytest.param(
            np.zeros((1, 3), np.float32), r"shape \(1, 3\), expected \(1, 2\)", id="shape"
        ),
        pytest.param(np.array([[0, np.nan]], np.float32), "NaN or infinity", id="nan"),
        pytest.param(np.array([[0, np.inf]], np.float32), "NaN or infinity", id="infinity"),
    ],
)
def test_an_output_that_cannot_be_used_is_a_run_error(
    tiny_artifact: Artifact, output: NDArray[np.float32] | None, message: str
) -> None:
    outputs = {"other": np.zeros(1)} if output is None else {"logits": output}
    with pytest.raises(RunError, match=message):
        checked_output(outputs, "logits", shape=(1, 2), manifest=tiny_artifact.manifest)
