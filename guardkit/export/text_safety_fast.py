"""A trained fast tier to the artifact `text-safety-fast`: graph, calibration, bounds, manifest, card.

The calibration is fitted on training texts that were held out of it, to the full model's scores; the
bounds are chosen on the validation texts, which neither model has seen. Everything is measured on
the exported graph, run as the SDK runs it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from guardkit.artifacts import (
    FORMAT,
    Artifact,
    Calibration,
    Fitted,
    Manifest,
    RunnerOptions,
    TensorSpec,
)
from guardkit.errors import InputError
from guardkit.export.artifact import LABELS, MODEL, config_pbtxt, file_entries, write_manifest
from guardkit.export.bounds import Loss, bounds_of, choose_cut, margins
from guardkit.export.fast_card import FastCard, write_fast_card
from guardkit.export.fast_graph import export_fast_graph
from guardkit.policy.load import list_policies, load_preset
from guardkit.runtime.base import open_runner
from guardkit.text.cascade import FAST, rule_thresholds
from guardkit.train.fast import load_fast
from guardkit.train.teacher import HELD, VALID, Drawn, Taught

_log = logging.getLogger(__name__)

Floats = NDArray[np.float64]

LEAST_FLAGGED = 3000
"""Flagged texts that the bounds rest on, at least."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a fast tier is fitted for."""

    full: Artifact
    thresholds: Mapping[str, float]
    """Category of the full model -> the lowest threshold of any shipped policy."""

    @property
    def columns(self) -> dict[int, float]:
        """The thresholds by column of the full model's logits."""
        names = self.full.manifest.categories
        return {names.index(name): value for name, value in self.thresholds.items()}

    def flagged(self, scores: Floats) -> NDArray[np.bool_]:
        """Whether some category of a text reaches its threshold."""
        bars = np.array([*self.columns.values()])
        found: NDArray[np.bool_] = np.any(scores[:, [*self.columns]] >= bars, axis=1)
        return found


def task_for(full: Artifact) -> Task:
    """The task under the shipped policies: a text is flagged when any of them might act on it."""
    lowest: dict[str, float] = {}
    for name in list_policies():
        for category, threshold in rule_thresholds(load_preset(name), full.manifest.languages):
            lowest[category] = min(threshold, lowest.get(category, 1.0))
    order = [name for name in full.manifest.categories if name in lowest]
    return Task(full, {name: lowest[name] for name in order})


def calibrated(logits: NDArray[np.float32], manifest: Manifest) -> Floats:
    """Logits [rows, categories] to scores in [0, 1]."""
    by = [manifest.calibration[name] for name in manifest.categories]
    x = logits * np.array([one.scale for one in by]) + np.array([one.shift for one in by])
    scores: Floats = 1.0 / (1.0 + np.exp(-np.clip(x, -60, 60)))
    return scores


def export_fast(
    work: Path, drawn: Drawn, taught: Taught, task: Task, out: Path, *, version: str, least: int
) -> Artifact:
    """Write the artifact from what `train_fast` left.

    Args:
        work: Holds the weights.
        drawn: The texts.
        taught: Their windows and the full model's logits.
        task: The full model and the thresholds.
        out: The folder that holds artifacts.
        version: Version of the artifact.
        least: Flagged validation texts that there must be.

    Raises:
        InputError: There are too few flagged texts to choose bounds on.
    """
    folder = out / FAST
    export_fast_graph(load_fast(work), folder / MODEL)
    (folder / LABELS).write_text("\n".join(task.full.manifest.categories) + "\n")
    artifact = write_manifest(folder, _manifest(folder, task, version))
    tested = drawn.uses != 0
    logits = _run(artifact, taught.take(tested))
    scores = calibrated(taught.of_texts(taught.logits), task.full.manifest)[tested]
    uses = drawn.uses[tested]
    calibration = _calibrate(logits[uses == HELD], scores[uses == HELD], artifact.manifest)
    manifest = replace(artifact.manifest, calibration=calibration)
    margin = margins(calibrated(logits, manifest), task.columns)
    flagged = task.flagged(scores)
    chosen_on = flagged & (uses == VALID)
    if chosen_on.sum() < least:
        raise InputError(
            f"{int(chosen_on.sum())} flagged validation texts, at least {least} are needed. Draw "
            "more with --rows, or lower --flagged for a look."
        )
    cut = choose_cut(margin[chosen_on])
    manifest = replace(manifest, clears=bounds_of(cut, task.thresholds))
    (folder / "config.pbtxt").write_text(config_pbtxt(manifest))
    artifact = write_manifest(folder, manifest)
    pool = drawn.pool.take(np.flatnonzero(tested))
    card = FastCard(artifact, task.full.manifest, pool, uses, margin, flagged, cut, len(drawn.uses))
    write_fast_card(card, folder / "CARD.md")
    _log.info("cut %.3f, cleared of flagged: %s", cut, loss_of(margin[chosen_on], cut))
    return artifact


def loss_of(flagged_margins: Floats, cut: float) -> Loss:
    """How many flagged texts a cut clears."""
    return Loss(len(flagged_margins), int((flagged_margins < cut).sum()))


def _run(artifact: Artifact, taught: Taught) -> NDArray[np.float32]:
    """The graph's logits, f32 [texts, categories], window by window as for a prompt."""
    runner = open_runner(artifact, RunnerOptions())
    rows = [
        runner.run({"input_ids": ids[None], "attention_mask": np.ones_like(ids)[None]})["logits"][0]
        for ids in taught.ids
    ]
    return taught.of_texts(np.stack(rows))


def _calibrate(
    logits: NDArray[np.float32], wanted: Floats, manifest: Manifest
) -> dict[str, Calibration]:
    """Platt scaling to the full model's scores: each text counts as p of a yes and 1 - p of a no."""
    fitted: dict[str, Calibration] = {}
    truth = np.repeat([1, 0], len(logits))
    for column, category in enumerate(manifest.categories):
        twice = np.tile(logits[:, column : column + 1], (2, 1))
        weights = np.concatenate([wanted[:, column], 1 - wanted[:, column]])
        regression = LogisticRegression(C=100.0).fit(twice, truth, sample_weight=weights)
        scale, shift = float(regression.coef_[0, 0]), float(regression.intercept_[0])
        fitted[category] = Calibration(max(round(scale, 5), 1e-3), round(shift, 5))
    return fitted


def _manifest(folder: Path, task: Task, version: str) -> Manifest:
    full = task.full.manifest
    tokens = ("windows", "tokens")
    return Manifest(
        format=FORMAT,
        name=FAST,
        version=version,
        task="text-clears",
        precision="int8",
        licence=full.licence,
        categories=full.categories,
        calibration={name: Calibration(1.0, 0.0) for name in full.categories},
        inputs=(
            TensorSpec("input_ids", "int64", tokens),
            TensorSpec("attention_mask", "int64", tokens),
        ),
        outputs=(TensorSpec("logits", "float32", ("windows", len(full.categories))),),
        files=file_entries(folder, (MODEL, LABELS)),
        clears=dict.fromkeys(task.thresholds, 0.0),
        fitted=Fitted(full.id, full.scores_digest, dict(task.thresholds)),
    )
