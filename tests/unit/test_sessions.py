"""Sessions: shared within a process, kept optimized on disk, usable after a fork and from a pickle."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import warnings
import weakref
from pathlib import Path

import numpy as np
import pytest

from guardkit import Guard
from guardkit.artifacts import Artifact, RunnerOptions, load_artifact
from guardkit.errors import RunError
from guardkit.runtime import sessions
from guardkit.runtime.base import open_runner, warm_inputs
from guardkit.runtime.onnx import OnnxRunner
from guardkit.runtime.sessions import open_session
from tests.tiny_image import build_tiny_faces


def test_two_guards_share_a_session(tiny_artifact: Artifact) -> None:
    first = open_session(tiny_artifact, RunnerOptions(languages=("en",)))
    assert open_session(tiny_artifact, RunnerOptions(cascade=False)) is first


def test_another_number_of_threads_is_another_session(tiny_artifact: Artifact) -> None:
    first = open_session(tiny_artifact, RunnerOptions())
    assert open_session(tiny_artifact, RunnerOptions(threads=2)) is not first


def test_a_session_goes_with_its_last_guard(tiny_artifact: Artifact) -> None:
    last = weakref.ref(open_session(tiny_artifact, RunnerOptions(threads=3)))
    gc.collect()
    assert last() is None


@pytest.mark.parametrize("has_vnni", [True, False])
def test_exact_sums_are_asked_for_only_where_the_processor_does_not_give_them(
    tiny_artifact: Artifact, monkeypatch: pytest.MonkeyPatch, *, has_vnni: bool
) -> None:
    monkeypatch.setattr(sessions, "has_vnni", lambda: has_vnni)
    options = sessions._session_options(1, tiny_artifact.manifest)
    if has_vnni:
        with pytest.raises(RuntimeError, match="quantprecision"):
            options.get_session_config_entry("session.x64quantprecision")
    else:
        assert options.get_session_config_entry("session.x64quantprecision") == "1"


def test_only_graphs_of_texts_plan_their_memory(tmp_path: Path, tiny_artifact: Artifact) -> None:
    pictures = load_artifact(build_tiny_faces(tmp_path) / "face-detector").manifest
    assert not sessions._session_options(1, pictures).enable_mem_pattern
    assert sessions._session_options(1, tiny_artifact.manifest).enable_mem_pattern


def kept_files(folder: Path) -> tuple[Path, Path]:
    (graph,), (digest,) = folder.glob("*.onnx"), folder.glob("*.sha256")
    return graph, digest


def runs(artifact: Artifact, cache: Path) -> bool:
    """Whether a runner with a cache gives what one without gives."""
    inputs = warm_inputs(artifact.manifest)
    expected = open_runner(artifact, RunnerOptions()).run(inputs)
    outputs = open_runner(artifact, RunnerOptions(cache=str(cache))).run(inputs)
    return all(np.array_equal(outputs[name], expected[name]) for name in expected)


@pytest.fixture
def alone(tiny_artifact: Artifact) -> Artifact:
    """The artifact, with no session of it open that could be shared."""
    gc.collect()
    return tiny_artifact


def opened_with(artifact: Artifact, cache: Path, threads: int) -> None:
    """Open with a cache; the threads keep it from being shared."""
    open_session(artifact, RunnerOptions(cache=str(cache), threads=threads))


def test_an_optimized_graph_is_kept_and_used_again(alone: Artifact, tmp_path: Path) -> None:
    opened_with(alone, tmp_path / "cache", 6)
    graph, _ = kept_files(tmp_path / "cache")
    written = graph.stat().st_mtime_ns
    gc.collect()
    opened_with(alone, tmp_path / "cache", 7)
    assert graph.stat().st_mtime_ns == written
    assert runs(alone, tmp_path / "cache")


@pytest.mark.parametrize("which", [0, 1], ids=["graph", "digest"])
def test_a_damaged_kept_graph_is_made_anew(
    alone: Artifact, tmp_path: Path, caplog: pytest.LogCaptureFixture, which: int
) -> None:
    opened_with(alone, tmp_path, 8)
    whole = [file.read_bytes() for file in kept_files(tmp_path)]
    damaged = kept_files(tmp_path)[which]
    damaged.write_bytes(damaged.read_bytes()[:-3] + b"bad")
    gc.collect()
    opened_with(alone, tmp_path, 9)
    assert "damaged; made anew" in caplog.text
    assert [file.read_bytes() for file in kept_files(tmp_path)] == whole


def test_a_cache_that_cannot_be_written_is_said_and_not_needed(
    alone: Artifact, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("not a folder")
    opened_with(alone, tmp_path / "file", 10)
    assert "cannot be kept" in caplog.text


def _after_fork(runner: OnnxRunner, sent: multiprocessing.SimpleQueue[list[float]]) -> None:
    artifact_inputs = {
        "input_ids": np.array([[2, 5, 3]], np.int64),
        "attention_mask": np.ones((1, 3), np.int64),
    }
    sent.put(runner.run(artifact_inputs)["logits"].ravel().tolist())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_runner_works_in_a_forked_process(tiny_artifact: Artifact, threads: int) -> None:
    runner = OnnxRunner(tiny_artifact, RunnerOptions(threads=threads))
    _after_fork(runner, here := multiprocessing.SimpleQueue())
    forking = multiprocessing.get_context("fork")
    sent: multiprocessing.SimpleQueue[list[float]] = forking.SimpleQueue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: fork beside threads
        child = forking.Process(target=_after_fork, args=(runner, sent), daemon=True)
        child.start()
    child.join(30)
    assert child.exitcode == 0
    assert sent.get() == here.get()


def test_a_gpu_is_not_used_after_a_fork(
    tiny_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = OnnxRunner(tiny_artifact, RunnerOptions())
    monkeypatch.setattr(runner, "_options", RunnerOptions(provider="cuda"))
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(RunError, match="Build the Guard in each worker"):
        runner.run(warm_inputs(tiny_artifact.manifest))


def test_a_guard_goes_to_another_process_as_what_it_was_made_of(guard: Guard) -> None:
    again = pickle.loads(pickle.dumps(guard))  # noqa: S301  our own bytes
    assert again.policy == guard.policy
    assert again.check_prompt("you idiot").action is guard.check_prompt("you idiot").action
