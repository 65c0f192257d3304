"""Edits made and measured once, before any prompt is put beside them: what `image-transform` is trained and measured on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.random import Generator
from numpy.typing import NDArray

from guardkit.image.decode import Pixels
from guardkit.image.faces import Faces
from guardkit.image.signals import SIGNALS, Difference, difference_of
from guardkit.train.edit_scenes import Pool, scenes_of
from guardkit.train.edits import HELD_OUT, KINDS, Scene, suits

_log = logging.getLogger(__name__)
Floats = NDArray[np.float32]
Find = Callable[[Pixels], Faces]
See = Callable[[Difference], tuple[Floats, Floats]]
_REPORTED = 20  # scenes


class Edits(Struct, frozen=True):
    """Measured edits, one a row."""

    seen: Floats
    """f32 [edits, 11]: `guardkit.export.transform_graph.SEEN_NAMES`."""
    signals: Floats
    """f32 [edits, signals]: `guardkit.image.signals.SIGNALS`."""
    afters: Floats
    """f32 [edits, channels]: the encoder's features of `after` alone, for what a check of the output could know."""
    kinds: tuple[str, ...]
    """Names of `guardkit.train.edits.KINDS`."""
    scenes: NDArray[np.int64]
    """int64 [edits]: which scene of its split."""
    has_faces: NDArray[np.bool_]
    angles: Floats
    """f32 [edits]: the largest change of a typology angle, in degrees, with its sign."""

    def save(self, file: Path) -> None:
        """Write it as .npz."""
        np.savez(
            file, seen=self.seen, signals=self.signals, afters=self.afters, kinds=np.array(self.kinds), scenes=self.scenes,
            has_faces=self.has_faces, angles=self.angles, names=np.array(SIGNALS),
        )  # fmt: skip

    def at(self, rows: NDArray[np.int64]) -> Edits:
        """Some of them, by their rows."""
        return Edits(
            self.seen[rows], self.signals[rows], self.afters[rows], tuple(self.kinds[row] for row in rows), self.scenes[rows],
            self.has_faces[rows], self.angles[rows],
        )  # fmt: skip

    @classmethod
    def load(cls, file: Path) -> Edits | None:
        """Read it; None: there is none, or it holds other signals."""
        if not file.is_file():
            return None
        with np.load(file) as stored:
            if tuple(stored["names"].tolist()) != SIGNALS:
                return None
            columns = {name: stored[name] for name in ("seen", "signals", "afters", "scenes", "has_faces", "angles")}  # fmt: skip
            return cls(kinds=tuple(stored["kinds"].tolist()), **columns)


def measure_edits(
    pool: Pool,
    find: Find,
    see: See,
    *,
    scenes: int,
    each: int,
    held_out: bool,
    seed: int,
    kinds: Collection[str] = tuple(KINDS),
) -> Edits:
    """Draw scenes, edit each in several ways, measure.

    Args:
        pool: Pictures of one split.
        find: The detector of faces.
        see: What the encoder says of a difference: f32 [11], and of `after` alone: f32 [channels].
        scenes: How many are drawn; some of them cannot be used.
        each: Kinds that training sees, tried on each scene.
        held_out: Whether every kind held out is tried as well.
        seed: Of all that is drawn.
        kinds: Those that are tried.
    """
    random = np.random.default_rng(seed)
    rows: list[tuple[tuple[Floats, Floats], Difference, str, int, bool]] = []
    for number, scene in enumerate(scenes_of(pool, find, random, count=scenes)):
        known = _remembering(find)
        for kind in _chosen(scene, random, kinds, each=each, held_out=held_out):
            after = KINDS[kind].edit(scene, random)
            difference = difference_of(scene.pixels, after, known)
            rows.append((see(difference), difference, kind, number, bool(scene.faces)))
        if number % _REPORTED == 0:
            _log.info("%d scenes, %d edits", number + 1, len(rows))
    return Edits(
        seen=np.stack([row[0][0] for row in rows]),
        afters=np.stack([row[0][1] for row in rows]),
        signals=np.stack([row[1].signals for row in rows]),
        kinds=tuple(row[2] for row in rows),
        scenes=np.array([row[3] for row in rows]),
        has_faces=np.array([row[4] for row in rows]),
        angles=np.array([_largest_angle(row[1]) for row in rows], np.float32),
    )


def joined(parts: Sequence[Edits]) -> Edits:
    """Several as one; scenes are numbered on."""
    starts = np.cumsum([0, *(int(part.scenes.max()) + 1 for part in parts)])
    return Edits(
        seen=np.concatenate([part.seen for part in parts]),
        signals=np.concatenate([part.signals for part in parts]),
        afters=np.concatenate([part.afters for part in parts]),
        kinds=tuple(kind for part in parts for kind in part.kinds),
        scenes=np.concatenate([part.scenes + at for part, at in zip(parts, starts, strict=False)]),
        has_faces=np.concatenate([part.has_faces for part in parts]),
        angles=np.concatenate([part.angles for part in parts]),
    )


def _chosen(
    scene: Scene, random: Generator, kinds: Collection[str], *, each: int, held_out: bool
) -> Iterator[str]:
    suiting = [name for name, kind in KINDS.items() if name in kinds and suits(kind, scene)]
    seen = [name for name in suiting if name not in HELD_OUT]
    yield from random.permutation(seen)[:each].tolist()
    if held_out:
        yield from (name for name in suiting if name in HELD_OUT)


def _remembering(find: Find) -> Find:
    """A detector that looks at each picture once."""
    known: dict[bytes, Faces] = {}

    def remembered(one: Pixels) -> Faces:
        key = one.tobytes()[:: max(1, one.size // 4096)] + bytes(str(one.shape), "ascii")
        if key not in known:
            known[key] = find(one)
        return known[key]

    return remembered


def _largest_angle(difference: Difference) -> float:
    angles = [face.angle_change for face in difference.faces]
    return max(angles, key=abs, default=0.0)
