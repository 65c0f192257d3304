"""From the shipped full model to its fast tier: draw, score, train, export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from guardkit.artifacts import Artifact
from guardkit.export.text_safety_fast import LEAST_FLAGGED, calibrated, export_fast, task_for
from guardkit.train.fast import FastSettings, train_fast
from guardkit.train.mixture import Folders
from guardkit.train.teacher import LEARN, draw_texts, teach


@dataclass(frozen=True, slots=True)
class Plan:
    """How large a run is."""

    rows: int = 60_000
    """Texts drawn of the training split."""
    processes: int = 2
    version: str = "0.2.0"
    flagged: int = LEAST_FLAGGED
    """Flagged validation texts that the bounds need."""


def distil_fast(
    full: Artifact,
    folders: Folders,
    work: Path,
    out: Path,
    plan: Plan,
    settings: FastSettings | None = None,
) -> Artifact:
    """Make `text-safety-fast` for a full model.

    Args:
        full: The artifact `text-safety`.
        folders: Where the texts lie.
        work: Scored texts and weights are kept here; the scored ones are used again.
        out: The folder that holds artifacts.
        plan: How large the run is.
        settings: Of the training.

    Raises:
        InputError: Data is missing, or too few texts are flagged.
    """
    work.mkdir(parents=True, exist_ok=True)
    task = task_for(full)
    drawn = draw_texts(folders, plan.rows)
    taught = teach(drawn.pool.texts, full, work, processes=plan.processes)
    learned = taught.take(drawn.uses == LEARN)
    scores = calibrated(learned.logits, full.manifest).astype(np.float32)
    thresholds = [task.thresholds.get(name) for name in full.manifest.categories]
    train_fast(learned, scores, thresholds, full, work, settings or FastSettings())
    return export_fast(work, drawn, taught, task, out, version=plan.version, least=plan.flagged)
