"""What a fast tier learns from: texts of the mixture, and what the shipped model says of each window.

Texts are scored in the SDK's own way (normalised, tokenized and run by `TextScorer`), in chunks that
are kept on disk: a run that was stopped goes on where it was. A chunk belongs to its texts and to
the model's graph; a new calibration leaves it valid.
"""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from guardkit.artifacts import Artifact, RunnerOptions, load_artifact
from guardkit.runtime.base import open_runner
from guardkit.text.normalize import normalize
from guardkit.text.score import TextScorer
from guardkit.train.data import Pool, joined
from guardkit.train.mixture import Folders, load_mixture
from guardkit.train.vary import fill, mistype

_log = logging.getLogger(__name__)

Floats = NDArray[np.float32]

_CHUNK = 500  # texts; about three seconds of one core
_TYPO_SHARE = 0.12  # as the full model's own training has it
_HELD_SHARE = 0.12  # of the training rows: calibrates the scores and measures the loss once more
_SEED = 20261124


@dataclass(frozen=True, slots=True)
class Taught:
    """Texts, their windows, and the full model's logits before calibration."""

    ids: list[NDArray[np.int64]]
    """One a window."""
    owners: NDArray[np.int64]
    """int64 [windows]: index of the text; ascending."""
    logits: Floats
    """f32 [windows, categories]."""

    def of_texts(self, values: Floats) -> Floats:
        """f32 [windows, categories] to the maximum over the windows of each text."""
        starts = np.flatnonzero(np.diff(self.owners, prepend=-1))
        return np.maximum.reduceat(values, starts, axis=0)

    def take(self, texts: NDArray[np.bool_]) -> Taught:
        """Keep the windows of some texts."""
        rows = np.flatnonzero(texts[self.owners])
        owners = (np.cumsum(texts) - 1)[self.owners[rows]]
        return Taught([self.ids[row] for row in rows], owners, self.logits[rows])


@dataclass(frozen=True, slots=True)
class Drawn:
    """Texts without a context, and what each is for."""

    pool: Pool
    uses: NDArray[np.int64]
    """int64 [texts]: `LEARN`, `HELD` or `VALID`."""


LEARN, HELD, VALID = 0, 1, 2
"""Learned from; kept from the fast tier, but not from the full model; kept from both."""


def draw_texts(folders: Folders, rows: int) -> Drawn:
    """Draw texts of the mixture, slots filled, some words of those to learn from mistyped.

    Args:
        folders: Where the sources lie.
        rows: How many texts to draw of the training split, by their rates, each at most once; of
            the validation split as many, or all. No text is drawn from both.
    """
    rng = np.random.default_rng(_SEED)
    valid = _without_context(load_mixture(folders, split="valid"))
    valid = valid.take(rng.permutation(len(valid.texts))[:rows])
    pool = _without_context(load_mixture(folders, split="train"))
    seen = set(valid.texts)
    pool = pool.take(np.flatnonzero([text not in seen for text in pool.texts]))
    order = np.argsort(rng.exponential(size=len(pool.texts)) / pool.rates)  # without replacement
    pool = pool.take(order[:rows])
    held = np.array([is_held(text) for text in pool.texts])
    for row, text in enumerate(pool.texts):
        filled = fill(text, rng)
        typo = not held[row] and rng.random() < _TYPO_SHARE
        pool.texts[row] = mistype(filled, rng) if typo else filled
    uses = np.concatenate([np.where(held, HELD, LEARN), np.full(len(valid.texts), VALID)])
    return Drawn(joined([pool, valid]), uses)


def is_held(text: str) -> bool:
    """Whether a text of the training split is kept from the fast tier; slots as yet unfilled."""
    return hashlib.sha256(text.encode("utf8", "replace")).digest()[1] < 256 * _HELD_SHARE


def _without_context(pool: Pool) -> Pool:
    """A context disables the fast tier; what only a context decides would teach it nonsense."""
    return pool.take(np.flatnonzero([not context for context in pool.contexts]))


def teach(texts: Sequence[str], artifact: Artifact, work: Path, *, processes: int) -> Taught:
    """Score texts with a model, or read what an earlier run scored.

    Args:
        texts: Any texts.
        artifact: The full model.
        work: The chunks go to a folder in it.
        processes: How many cores to use.
    """
    manifest = artifact.manifest
    key = hashlib.sha256(manifest.files[manifest.model].sha256.encode())
    key.update("\0".join(texts).encode("utf8", "replace"))
    folder = work / f"taught-{key.hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    chunks = {
        folder / f"{start:07d}.npz": texts[start : start + _CHUNK]
        for start in range(0, len(texts), _CHUNK)
    }
    missing = [file for file in chunks if not file.is_file()]
    _log.info("%d of %d chunks are to be scored, into %s", len(missing), len(chunks), folder)
    started = time.monotonic()
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(_score_chunk, artifact.path, chunks[file], file) for file in missing]
        for done, job in enumerate(jobs, start=1):
            job.result()
            if done % 20 == 0:
                rate = done * _CHUNK / (time.monotonic() - started)
                _log.info("%d of %d chunks, %.0f texts a second", done, len(jobs), rate)
    return _read(list(chunks))


_OPENED: dict[Path, TextScorer] = {}  # one a worker process


def _score_chunk(path: Path, texts: Sequence[str], file: Path) -> None:
    """Score some texts one by one, as the SDK does, and leave them in a file."""
    if path not in _OPENED:
        artifact = load_artifact(path)
        _OPENED[path] = TextScorer(artifact, open_runner(artifact, RunnerOptions(threads=1)))
    scorer = _OPENED[path]
    words = scorer.words()
    ids, logits, owners = [], [], []
    for row, text in enumerate(texts):
        windows = scorer.encode(normalize(text, words=words))
        logits.append(scorer.run(windows.inputs)["logits"])
        owners += [row] * len(windows.texts)
        ids += [encoding.ids for encoding in windows.encodings]
    partial = file.with_suffix(".tmp")
    with partial.open("wb") as out:
        np.savez(
            out,
            ids=np.concatenate([np.array(one, np.int32) for one in ids]),
            lengths=np.array([len(one) for one in ids]),
            owners=np.array(owners),
            logits=np.concatenate(logits),
        )
    partial.replace(file)


def _read(files: Sequence[Path]) -> Taught:
    ids: list[NDArray[np.int64]] = []
    owners, logits = [], []
    for index, file in enumerate(files):
        with np.load(file) as chunk:
            ends = np.cumsum(chunk["lengths"])[:-1]
            ids += np.split(chunk["ids"].astype(np.int64), ends)
            owners.append(chunk["owners"] + index * _CHUNK)
            logits.append(chunk["logits"].astype(np.float32))
    return Taught(ids, np.concatenate(owners), np.concatenate(logits))
