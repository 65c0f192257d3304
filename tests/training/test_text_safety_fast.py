"""The fast tier's graph, what it learns from, and how its bounds are chosen."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from scipy.stats import beta

from guardkit.artifacts import Artifact, RunnerOptions, find_artifact
from guardkit.errors import InputError
from guardkit.export.bounds import (
    MOST_LOST,
    Loss,
    bounds_of,
    choose_cut,
    margins,
    most_lost,
    upper_bound,
)
from guardkit.export.fast_graph import export_fast_graph, quantize_rows
from guardkit.export.text_safety_fast import calibrated, task_for
from guardkit.runtime.base import open_runner
from guardkit.text.normalize import normalize
from guardkit.text.score import TextScorer
from guardkit.train.fast import FastModel, FastSettings
from guardkit.train.teacher import Taught, is_held, teach


@pytest.fixture
def model() -> FastModel:
    """Random weights, whose token table is what int8 can hold."""
    torch.manual_seed(0)
    model = FastModel(50, 3, FastSettings(width=16, channels=24, hidden=8)).eval()
    table, scales = quantize_rows(model.embedding.weight.detach().numpy())
    with torch.no_grad():
        model.embedding.weight.copy_(torch.from_numpy(table * scales))
    return model


def _session(model: FastModel, path: Path) -> onnxruntime.InferenceSession:
    export_fast_graph({n: t.detach().numpy() for n, t in model.state_dict().items()}, path)
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_the_graph_gives_what_the_model_gives(model: FastModel, tmp_path: Path) -> None:
    ids, mask = torch.randint(0, 50, (3, 9)), torch.ones((3, 9), dtype=torch.int64)
    mask[1, 5:] = 0
    (found,) = _session(model, tmp_path / "1" / "model.onnx").run(
        None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
    )
    with torch.no_grad():
        expected = model(ids, mask).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_padding_changes_nothing(model: FastModel, tmp_path: Path) -> None:
    session = _session(model, tmp_path / "model.onnx")
    ids = np.arange(1, 7, dtype=np.int64)[None]
    (bare,) = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    wide = np.pad(ids, ((0, 0), (0, 5)))
    mask = (wide > 0).astype(np.int64)
    (padded,) = session.run(None, {"input_ids": wide, "attention_mask": mask})
    np.testing.assert_allclose(padded, bare, atol=1e-5)


@pytest.mark.parametrize(("hits", "count"), [(0, 598), (8, 3000), (17, 5500)])
def test_the_upper_bound_is_that_of_clopper_and_pearson(hits: int, count: int) -> None:
    expected = beta.ppf(0.95, hits + 1, count - hits)
    assert upper_bound(hits, count) == pytest.approx(expected, rel=1e-6)


def test_a_cut_loses_as_many_as_its_bound_allows() -> None:
    flagged = np.random.default_rng(0).normal(1.0, 2.0, 3000)
    allowed = most_lost(3000)
    assert beta.ppf(0.95, allowed + 1, 3000 - allowed) <= MOST_LOST
    assert beta.ppf(0.95, allowed + 2, 2999 - allowed) > MOST_LOST
    loss = Loss(3000, int((flagged < choose_cut(flagged)).sum()))
    assert loss.cleared == allowed
    assert loss.upper <= MOST_LOST


def test_too_few_flagged_texts_give_no_cut() -> None:
    with pytest.raises(InputError, match="too few"):
        choose_cut(np.zeros(500))


def test_bounds_clear_what_lies_below_the_cut() -> None:
    scores = np.random.default_rng(0).random((500, 2))
    thresholds, cut = {"insult": 0.5, "threat": 0.15}, -1.5
    bounds = np.array([*bounds_of(cut, thresholds).values()])
    below = margins(scores, {0: 0.5, 1: 0.15}) < cut
    np.testing.assert_array_equal((scores < bounds).all(axis=1), below)


def test_taught_windows_are_those_the_sdk_runs(tiny_artifact: Artifact, tmp_path: Path) -> None:
    texts = ["hello world", "you idiot", "the sea and the sky. " * 8 + "kill"]
    taught = teach(texts, tiny_artifact, tmp_path, processes=1)
    scorer = TextScorer(tiny_artifact, open_runner(tiny_artifact, RunnerOptions()))
    expected = [[*one.scores.values()] for one in scorer.score([normalize(t) for t in texts])]
    found = calibrated(taught.of_texts(taught.logits), tiny_artifact.manifest)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    last = taught.take(np.array([False, False, True]))
    assert (len(last.ids), set(last.owners)) == (len(taught.ids) - 2, {0})


def test_scored_chunks_are_used_again(tiny_artifact: Artifact, tmp_path: Path) -> None:
    teach(["hello"], tiny_artifact, tmp_path, processes=1)
    (chunk,) = tmp_path.glob("taught-*/*.npz")
    written = chunk.stat().st_mtime_ns
    again = teach(["hello"], tiny_artifact, tmp_path, processes=1)
    assert chunk.stat().st_mtime_ns == written
    assert isinstance(again, Taught)


def test_a_text_is_flagged_at_the_lowest_threshold_of_any_shipped_policy() -> None:
    task = task_for(find_artifact("text-safety"))
    shipped = Path("policies").glob("*.yaml")
    text = "".join(file.read_text() for file in shipped if not file.name.endswith(".cases.yaml"))
    # With a language tier a rule is for texts that the model leaves to another one.
    found = re.findall(r"category: threat, at_least: ([0-9.]+)}", text)
    assert task.thresholds["threat"] == min(map(float, found))


def test_about_an_eighth_is_held_out() -> None:
    share = np.mean([is_held(f"text {index}") for index in range(4000)])
    assert share == pytest.approx(0.12, abs=0.02)
