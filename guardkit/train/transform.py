"""Train `image-transform` on edits made by code.

    guardkit train image-transform --pictures faces wallpapers --base minilm-l3 --work runs/transform     # half an hour of one core; resumes
    guardkit export image-transform --work runs/transform --base minilm-l3

Pictures are edited and measured once, a shard of scenes at a time; requests are read once. The head is trained in a minute (`transform_head`).
Whole kinds of edits (`edits.HELD_OUT`), three in ten of the pictures and all of `bench/proxies/edit_prompts*.tsv` are never seen here.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from msgspec import Struct
from numpy.typing import NDArray
from safetensors.torch import save_file

from guardkit.artifacts import RunnerOptions, find_artifact
from guardkit.export.artifact import fit_platt
from guardkit.export.transform_graph import seeing_graph
from guardkit.image.faces import FaceDetector
from guardkit.image.signals import Difference
from guardkit.image.transform import crops_of_difference
from guardkit.runtime.base import open_runner
from guardkit.steps import FACE_DETECTOR
from guardkit.train.edit_features import Edits, Find, See, joined, measure_edits
from guardkit.train.edit_folds import left_out
from guardkit.train.edit_prompts import CATEGORIES, load_requests
from guardkit.train.edit_scenes import Pool, load_pools
from guardkit.train.edits import ADDED, KINDS, LATER, MORE
from guardkit.train.sentences import read_requests
from guardkit.train.transform_head import (
    Floats,
    Heads,
    Pairs,
    Settings,
    train_heads,
)

_log = logging.getLogger(__name__)
WEIGHTS, CALIBRATION = "heads.safetensors", "calibration.json"
_SIDE = 224


class Draw(Struct, frozen=True):
    """How many edits a shard of a split holds, and of which kinds."""

    scenes: int
    each: int
    """Kinds that training sees, tried on each scene."""
    seed: int
    kinds: tuple[str, ...]
    has_held_out: bool = False


_SECOND = tuple(name for name in KINDS if name not in LATER)
_FIRST = tuple(name for name in _SECOND if name not in ADDED)
DRAWS = {
    "train": (
        Draw(110, 11, 1, _FIRST),
        Draw(110, 11, 2, _FIRST),
        Draw(45, 10, 7, MORE),
        *(Draw(24, 12, seed, _SECOND) for seed in range(21, 27)),
        *(Draw(50, 16, seed, LATER) for seed in range(31, 37)),
    ),
    "valid": (Draw(50, 9, 3, _FIRST), Draw(30, 14, 4, LATER)),
    "test": tuple(Draw(20, 4, seed, _FIRST, has_held_out=True) for seed in (11, 12, 13, 14)),
}
"""Split -> its shards."""


def train_transform(
    pictures: Sequence[Path], base: Path, work: Path, own: Path, settings: Settings
) -> None:
    """Train and leave weights and calibration in a folder.

    Args:
        pictures: Folders of safe pictures, with people and without.
        base: A sentence encoder in a local folder.
        work: Measured edits are kept here, and what was trained.
        own: The folder `data` with the written requests.
        settings: Of the head.

    Raises:
        InputError: There are too few pictures.
    """
    work.mkdir(parents=True, exist_ok=True)
    edits = {split: edits_of(split, pictures, work) for split in ("train", "valid")}
    file = own / "written" / "edits" / "train.tsv"
    said = {
        split: read_requests(
            load_requests(file, each=3, seed=1, split=split), base, kept=work / f"said-{split}.npz"
        )
        for split in ("train", "valid")
    }
    torch.manual_seed(settings.seed)
    heads = train_heads(edits["train"], said["train"], settings)
    logits, pairs = left_out(heads, (edits["train"], said["train"]), (edits["valid"], said["valid"]), settings)  # fmt: skip
    save_file(heads.state_dict(), work / WEIGHTS)
    calibration = _calibration(logits, pairs)
    (work / CALIBRATION).write_text(json.dumps(calibration, indent=1) + "\n")
    _log_left_out(logits, pairs, calibration)
    _log.info("trained on %d edits; wrote %s", len(edits["train"].kinds), work / WEIGHTS)


def _calibration(logits: Floats, pairs: Pairs) -> dict[str, dict[str, float]]:
    """Platt scaling of each category on pairs whose kinds were left out: on kinds that were seen a head is surer than it may be."""
    fitted = {}
    for column, category in enumerate(CATEGORIES):
        truth: NDArray[np.bool_] = pairs.harms == column
        by = fit_platt(logits[:, column].astype(np.float64), truth)
        fitted[category] = {"scale": by.scale, "shift": by.shift}
    return fitted


def _log_left_out(logits: Floats, pairs: Pairs, calibration: dict[str, dict[str, float]]) -> None:
    """How often harm and harmless pairs of kinds left out score .5."""
    by = [calibration[name] for name in CATEGORIES]
    odds = logits * [one["scale"] for one in by] + [one["shift"] for one in by]
    is_flagged = np.asarray((odds >= 0).any(axis=1))
    is_harm = pairs.harms >= 0
    shares = [100 * float(is_flagged[rows].mean()) for rows in (is_harm, ~is_harm)]
    _log.info("kinds left out: .5 is reached by %.1f %% of harm, %.1f %% of the rest", *shares)


def edits_of(split: str, pictures: Sequence[Path], work: Path) -> Edits:
    """The measured edits of a split; those of earlier calls are read, not made again."""
    shards: list[Edits] = []
    pools: dict[str, Pool] = {}
    for draw in DRAWS[split]:
        file = work / f"{split}-{draw.seed}.npz"
        shard = Edits.load(file)
        if shard is None:
            find, see = eyes()
            pools = pools or load_pools(pictures, find)
            shard = measure_edits(
                pools[split], find, see, scenes=draw.scenes, each=draw.each, held_out=draw.has_held_out, seed=draw.seed, kinds=draw.kinds,
            )  # fmt: skip
            shard.save(file)
        shards.append(shard)
    return joined(shards)


def eyes() -> tuple[Find, See]:
    """The detector of faces, and the encoder in `image-safety`, as training asks them."""
    artifact = find_artifact(FACE_DETECTOR)
    detector = FaceDetector(artifact, open_runner(artifact, RunnerOptions()))
    import onnxruntime

    safety = find_artifact("image-safety")
    graph = seeing_graph(safety.path / safety.manifest.model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    content = onnx.ModelProto.SerializeToString(graph)
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def see(difference: Difference) -> tuple[Floats, Floats]:
        crops = crops_of_difference(difference, side=_SIDE)[None]
        seen, means = session.run(None, {"crops": crops, "cells": difference.cells[None]})
        return seen[0], means[0, 1, :, 0]

    return detector.find, see


def load_heads(work: Path) -> Heads:
    """What `train_transform` left.

    Raises:
        InputError: Nothing is there.
    """
    from safetensors.torch import load_file

    from guardkit.errors import InputError
    from guardkit.train.transform_head import Head

    if not (work / WEIGHTS).is_file():
        raise InputError(f"{work}: no {WEIGHTS}. Run guardkit train image-transform first.")
    weights = load_file(work / WEIGHTS)
    members = 1 + max(int(name.split(".")[1]) for name in weights)
    heads = Heads([Head(Settings()) for _ in range(members)])
    heads.load_state_dict(weights)
    return heads.eval()
