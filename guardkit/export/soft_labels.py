"""Make the soft labels of `train.soft`: a larger model and the shipped one, each calibrated, averaged.

    guardkit train soft-labels --teacher RUNS/mpnet --data FOLDER --work FOLDER

The log says what each of them, and both together, reach on validation rows.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from guardkit.artifacts import Artifact, Calibration
from guardkit.errors import InputError
from guardkit.export.text_safety import fit_calibration
from guardkit.text.encode import Encoder
from guardkit.train.classifier import (
    Row,
    SafetyModel,
    Settings,
    collate,
    encode_pool,
    load_trained,
)
from guardkit.train.data import CATEGORIES, Pool, known_labels, labelled
from guardkit.train.mixture import Folders, load_mixture
from guardkit.train.soft import FILE, choose, save
from guardkit.train.teacher import teach

_log = logging.getLogger(__name__)

Floats = NDArray[np.float64]

_CHUNK = 1024  # texts; about a minute of mpnet-base on two cores
_BATCH = 32
_SEED = 20261126


@dataclass(frozen=True, slots=True)
class LabelPlan:
    """How large a run is."""

    rows: int = 40_000
    """Texts to label."""
    judged: int = 4000
    """Validation rows that calibrate the models and judge them."""
    threads: int = 2


def label_softly(
    teacher: Path, student: Artifact, folders: Folders, work: Path, plan: LabelPlan
) -> Path:
    """Label texts of the training split and write them to `data/labels/soft.npz`.

    Args:
        teacher: What `guardkit train text-safety` left, of any base.
        student: The shipped artifact: the ensemble's other half.
        folders: Where the sources lie.
        work: Scored chunks are kept here; a run that was stopped goes on.
        plan: How large the run is.

    Returns:
        The file.

    Raises:
        InputError: `teacher` holds no trained model, or data is missing.
    """
    if not (teacher / "model.safetensors").is_file():
        raise InputError(f"{teacher}: no model.safetensors. Run guardkit train text-safety first.")
    torch.set_num_threads(plan.threads)
    work.mkdir(parents=True, exist_ok=True)
    chosen = choose(load_mixture(folders, split="train", soft=False), plan.rows, seed=_SEED)
    judged = _judged(load_mixture(folders, split="valid"), plan.judged)

    def by_student(texts: list[str]) -> Floats:
        taught = teach(texts, student, work, processes=plan.threads)
        return taught.logits[np.flatnonzero(np.diff(taught.owners, prepend=-1))].astype(float)

    models: dict[str, Callable[[list[str]], Floats]] = {
        "student": by_student,
        "teacher": _Teacher(teacher, work),
    }
    logits = {name: score(judged.texts) for name, score in models.items()}
    calibrations = {name: fit_calibration(found, judged) for name, found in logits.items()}
    together = np.mean([_calibrated(logits[name], calibrations[name]) for name in models], axis=0)
    for name, found in {**logits, "both": together}.items():
        _report(name, found, judged)
    of_chosen = [_calibrated(models[name](chosen.texts), calibrations[name]) for name in models]
    logit = _calibrated(np.mean(of_chosen, axis=0), fit_calibration(together, judged))
    save(folders.own / FILE, chosen.texts, 1 / (1 + np.exp(-logit)))
    return folders.own / FILE


class _Teacher:
    """Scores the first window of texts with a trained torch model, in chunks that are kept on disk."""

    def __init__(self, trained: Path, work: Path) -> None:
        settings = Settings()
        self._model = load_trained(trained)
        self._encoder = Encoder(
            (trained / "tokenizer.json").read_bytes(),
            max_tokens=settings.max_tokens,
            overlap=settings.overlap,
        )
        weights = (trained / "model.safetensors").read_bytes()
        self._key = hashlib.sha256(weights).hexdigest()
        self._work = work

    def __call__(self, texts: list[str]) -> Floats:
        """Score texts: f64 [texts, categories], before calibration."""
        return np.concatenate(
            [self._chunk(texts[start : start + _CHUNK]) for start in range(0, len(texts), _CHUNK)]
        )

    def _chunk(self, texts: list[str]) -> Floats:
        joined = "\0".join([self._key, *texts])
        name = hashlib.sha256(joined.encode("utf8", "replace")).hexdigest()[:12]
        file = self._work / f"soft-{name}.npy"
        if not file.is_file():
            started = time.monotonic()
            logits = _logits(self._model, encode_pool(_unlabelled(texts), self._encoder))
            np.save(file, logits)
            _log.info("scored %.0f texts a second", len(texts) / (time.monotonic() - started))
        return np.asarray(np.load(file), float)


def _logits(model: SafetyModel, rows: Sequence[Row]) -> NDArray[np.float32]:
    """Score encoded texts, those of similar length together: f32 [rows, categories]."""
    order = np.argsort([len(row.ids) for row in rows], kind="stable")
    logits = np.empty((len(rows), len(CATEGORIES)), np.float32)
    with torch.inference_mode():
        for group in np.array_split(order, max(1, len(order) // _BATCH)):
            batch = collate([rows[row] for row in group])
            logits[group] = model(batch.input_ids, batch.attention_mask)[0].numpy()
    return logits


def _unlabelled(texts: Sequence[str]) -> Pool:
    return labelled(texts, np.zeros((len(texts), len(CATEGORIES)), np.float32), source="", rate=1.0)


def _judged(valid: Pool, rows: int) -> Pool:
    """Validation rows without a context, drawn with a fixed seed."""
    plain = np.flatnonzero([not context for context in valid.contexts])
    return valid.take(np.random.default_rng(_SEED).permutation(plain)[:rows])


def _calibrated(logits: Floats, by: Mapping[str, Calibration]) -> Floats:
    scales = np.array([by[category].scale for category in CATEGORIES])
    shifts = np.array([by[category].shift for category in CATEGORIES])
    return logits * scales + shifts


def _report(name: str, logits: Floats, pool: Pool) -> None:
    known, truth = known_labels(pool), pool.labels >= 0.5
    areas = [
        average_precision_score(truth[rows, column], logits[rows, column])
        for column, rows in enumerate(known.T)
    ]
    listed = ", ".join(f"{c} {a:.3f}" for c, a in zip(CATEGORIES, areas, strict=True))
    _log.info("AUPRC of %s, %d rows: mean %.3f; %s", name, len(truth), np.mean(areas), listed)
