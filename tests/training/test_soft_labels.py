"""Soft labels: chosen, kept, mixed in where nobody knows better, and never among validation rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from guardkit.artifacts import load_artifact
from guardkit.errors import InputError
from guardkit.export.soft_labels import LabelPlan, label_softly
from guardkit.train.data import CATEGORIES, Pool, labelled
from guardkit.train.mixture import Folders, load_mixture
from guardkit.train.soft import FILE, choose, save, softened

_INSULT, _SEXUAL = CATEGORIES.index("insult"), CATEGORIES.index("sexual")


def _pool(*texts: str, contexts: list[str] | None = None) -> Pool:
    """Harmless texts of which nobody knows whether they are sexual."""
    shape = (len(texts), len(CATEGORIES))
    weights = np.ones(shape, np.float32)
    weights[:, _SEXUAL] = 0
    labels = np.zeros(shape, np.float32)
    return labelled(texts, labels, source="x", rate=1.0, weights=weights, contexts=contexts)


def _said(path: Path, text: str, probability: float) -> Path:
    save(path, [text], np.full((1, len(CATEGORIES)), probability))
    return path


def test_soft_labels_fill_what_is_unknown_and_soften_what_is_known(tmp_path: Path) -> None:
    pool = softened(_pool("one", "two"), _said(tmp_path / "soft.npz", "one", 0.5))
    assert pool.labels[0, _SEXUAL] == pytest.approx(0.5)
    assert 0 < pool.labels[0, _INSULT] < 0.5
    assert 0 < pool.weights[0, _SEXUAL] < pool.weights[0, _INSULT] == 1
    assert (pool.labels[1].max(), pool.weights[1, _SEXUAL]) == (0, 0)


def test_a_text_in_a_context_keeps_its_labels(tmp_path: Path) -> None:
    path = _said(tmp_path / "soft.npz", "one", 0.5)
    pool = softened(_pool("one", contexts=["listener: a child"]), path)
    assert pool.labels.max() == 0


def test_labels_of_other_categories_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "soft.npz"
    nothing = np.zeros((0, 1), np.float16)
    np.savez(path, categories=["toxicity"], digests=np.zeros(0, np.uint64), scores=nothing)
    with pytest.raises(InputError, match="other categories"):
        softened(_pool("one"), path)


def test_chosen_are_texts_with_open_labels_and_no_slots() -> None:
    known = labelled(["known"], np.zeros((1, len(CATEGORIES)), np.float32), source="x", rate=1.0)
    assert choose(known, 5, seed=0).texts == []
    assert sorted(choose(_pool("one", "two", "{name} is here"), 5, seed=0).texts) == ["one", "two"]
    assert len(choose(_pool("one", "two"), 1, seed=0).texts) == 1


def test_a_teacher_labels_training_rows_alone(
    work: Path, models: Path, folders: Folders, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = tmp_path / "own"
    (own / "labels").mkdir(parents=True)
    (own / "written").symlink_to(folders.own / "written")
    mine = Folders(folders.data, own)
    before = load_mixture(mine, split="train")
    plan = LabelPlan(rows=50, judged=100, threads=1)
    with caplog.at_level("INFO"):
        path = label_softly(work, load_artifact(models / "text-safety"), mine, tmp_path, plan)
    assert path == own / FILE
    assert "AUPRC of both" in caplog.text
    after = load_mixture(mine, split="train")
    changed = np.flatnonzero((after.labels != before.labels).any(axis=1))
    assert 25 <= len({after.texts[row] for row in changed}) <= 50
    valid = load_mixture(mine, split="valid")
    assert set(np.unique(valid.labels[valid.weights >= 1])) <= {0.0, 1.0}
    with pytest.raises(InputError, match="guardkit train text-safety first"):
        label_softly(tmp_path, load_artifact(models / "text-safety"), mine, tmp_path, plan)
