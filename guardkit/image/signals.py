"""What differs between two pictures of one scene, as numbers that a model can weigh.

before, after --align--> the part of `before` that `after` shows, at one size
              --fit----> what a change of light and colour of the whole explains (a gain and a shift a channel of CIELAB)
              --faces--> each face of `before` beside what `after` has in its place: colour, typology angle, landmarks, detail
              --rest---> where pixels changed beyond the fit, how much, and to which colours
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from PIL import Image

from guardkit.image.align import Shown, cut, shown_of
from guardkit.image.decode import Pixels
from guardkit.image.face_change import FACE_SIGNALS, FaceChange, face_changes, strongest
from guardkit.image.faces import Faces
from guardkit.image.skin import Floats, lab_of

LONGEST = 320  # pixels of the longer side of what is compared; what the face detector sees well starts there
_CELLS = 7  # a side, of the encoder's last feature map
_CHANGED = 12.0  # CIELAB distance beyond the fit; 2.3 is just noticeable, JPEG at quality 30 stays mostly below 10
_LIMIT = 4.0  # every signal lies within plus or minus this
_ROUNDS = 3  # of the fit, each without what the one before could not explain
_EVERY = 3  # pixels across and down, one counts for the fit
Find = Callable[[Pixels], Faces]

_WHOLE = (
    "lightness gain", "lightness shift", "a gain", "a shift", "b gain", "b shift", "unexplained", "sharpness", "chroma",
    "kept", "correlation", "mirrored", "shape", "size",
)  # fmt: skip
_REGION = (
    "changed", "changed off faces", "changed on faces", "changed around faces", "changed below faces", "share on faces",
    "extent", "filled", "lightness", "a", "b", "lightness change", "a change", "b change", "red", "dark", "grey", "flat",
    "skin before", "skin after",
)  # fmt: skip
_FACES = ("faces before", "faces after", "lost faces", "new faces")
SIGNALS: tuple[str, ...] = (*_WHOLE, *_REGION, *_FACES, *(f"face: {name}" for name in FACE_SIGNALS))
"""The names of the numbers, in their order."""


class Difference(Struct, frozen=True):
    """Two pictures compared."""

    before: Pixels
    """uint8 RGB [H, W, 3]: the part that `after` shows, in its size."""
    after: Pixels
    """uint8 RGB [H, W, 3], at most `LONGEST` pixels a side."""
    signals: Floats
    """f32 [signals], in the order of `SIGNALS`, each in [-4, 4]."""
    cells: Floats
    """f32 [49]: how much of each cell of a 7x7 grid faces take, in [0, 1], a row after the other."""
    faces: tuple[FaceChange, ...]
    """A face of `before` each, with what became of it."""


def difference_of(before: Pixels, after: Pixels, find: Find) -> Difference:
    """Compare two pictures.

    Args:
        before: uint8 RGB [H, W, 3].
        after: Likewise; may be a crop, or of another size.
        find: The detector of faces.
    """
    size_change = float(np.log(after.shape[0] * after.shape[1] / before[..., 0].size) / 2)
    after = _shrunk(after)
    height, width = after.shape[:2]
    shown = shown_of(before, after)
    part = cut(before, shown, (width, height))
    old, new = lab_of(part), lab_of(after)
    faces = find(part), find(after)
    on_faces = _mask(faces[0], old.shape[:2]) | _mask(faces[1], old.shape[:2])
    fit = _fit(old, new, ~on_faces)
    residual = new - fit.apply(old)
    changes = face_changes(faces, (old, new, residual))
    whole = _whole(old, new, residual, fit)
    seen = [*whole, *_geometry(before, after, shown), size_change]
    region = _region(new, new - old, residual, faces=faces, changes=changes)
    counts = [len(faces[0].boxes), len(faces[1].boxes)]
    lost, new_ones = sum(not one.is_found for one in changes), _new(faces, changes)
    values = [*seen, *region, *(min(one, 4) / 2 for one in (*counts, lost, new_ones))]
    signals = np.array([*values, *strongest(changes)], np.float32)
    signals = np.nan_to_num(signals, nan=0.0).clip(-_LIMIT, _LIMIT)
    return Difference(part, after, signals, _cells(on_faces), tuple(changes))


# --- light and colour of the whole ----------------------------------------------------------------


class _Fit(Struct, frozen=True):
    """after = gain * before + shift, in each channel of CIELAB."""

    gain: Floats
    shift: Floats

    def apply(self, lab: Floats) -> Floats:
        fitted: Floats = (lab * self.gain + self.shift).astype(np.float32)
        return fitted


def _fit(old: Floats, new: Floats, where: NDArray[np.bool_]) -> _Fit:
    """Least squares over the pixels off faces, without those that it explains least."""
    old, new = old[::_EVERY, ::_EVERY], new[::_EVERY, ::_EVERY]
    where = where[::_EVERY, ::_EVERY]
    if where.mean() < 0.1:
        where = np.ones_like(where)
    x, y = old[where], new[where]
    kept = np.ones(len(x), bool)
    fit = _Fit(np.ones(3, np.float32), np.zeros(3, np.float32))
    for _ in range(_ROUNDS):
        centre, target = x[kept].mean(0), y[kept].mean(0)
        variance = ((x[kept] - centre) ** 2).mean(0) + 1.0  # the 1 keeps a plain colour at gain 1
        covariance = ((x[kept] - centre) * (y[kept] - target)).mean(0) + 1.0
        gain = (covariance / variance).clip(0, 3).astype(np.float32)
        fit = _Fit(gain, (target - gain * centre).astype(np.float32))
        far = np.abs(y - fit.apply(x)).sum(1)
        kept = far <= max(float(np.quantile(far, 0.7)), 6.0)
    return fit


def _whole(old: Floats, new: Floats, residual: Floats, fit: _Fit) -> list[float]:
    median = np.median(old[::_EVERY, ::_EVERY].reshape(-1, 3), axis=0)
    middle = fit.apply(median) - median
    pairs = [(float(g) - 1, float(m) / 25) for g, m in zip(fit.gain, middle, strict=True)]
    chroma = [np.hypot(one[..., 1], one[..., 2]).mean() + 2 for one in (old, new)]
    sharp = [np.abs(np.diff(one[..., 0], axis=0)).mean() + 0.2 for one in (old, new)]
    return [
        *(value for pair in pairs for value in pair),
        float(np.sqrt((residual**2).sum(-1).mean())) / 15,
        float(np.log(sharp[1] / sharp[0])),
        float(np.log(chroma[1] / chroma[0])),
    ]


def _geometry(before: Pixels, after: Pixels, shown: Shown) -> list[float]:
    ratios = [one.shape[1] / one.shape[0] for one in (before, after)]
    shape = float(np.log(ratios[1] / ratios[0]))
    return [shown.share, shown.correlation, float(shown.is_mirrored), shape * 2]


# --- where pixels changed -------------------------------------------------------------------------


def _region(
    new: Floats,
    change: Floats,
    residual: Floats,
    *,
    faces: tuple[Faces, Faces],
    changes: list[FaceChange],
) -> list[float]:
    distance = np.sqrt((residual**2).sum(-1))
    changed = distance > _CHANGED
    shape = changed.shape
    on = _mask(faces[0], shape) | _mask(faces[1], shape)
    around = _mask(faces[0], shape, grow=0.5) & ~on
    below = _mask(faces[0], shape, grow=0.3, down=1.1) & ~on
    total = float(changed.mean())
    shares = [_share(changed, one) for one in (~on, on, around, below)]
    extent, filled = _extent(changed)
    of_change = new[changed] if changed.any() else np.zeros((1, 3), np.float32)
    by = change[changed] if changed.any() else np.zeros((1, 3), np.float32)
    redness, dark = of_change[:, 1] > 35, of_change[:, 0] < 22
    grey = np.hypot(of_change[:, 1], of_change[:, 2]) < 8
    some = float(changed.any())
    colours = [of_change.mean(0) / (100, 40, 40) * some, by.mean(0) / (40, 30, 30) * some]
    flat = some * float(np.clip(of_change.std(0).sum() / 40, 0, 2))
    skin = _skin_off_faces(new, change, changes, ~on)
    return [
        total, *shares, _share(on, changed) if changed.any() else 0.0, extent, filled,
        *np.concatenate(colours).tolist(), some * float(redness.mean()), some * float(dark.mean()), some * float(grey.mean()), flat,
        *skin,
    ]  # fmt: skip


def _share(what: NDArray[np.bool_], where: NDArray[np.bool_]) -> float:
    count = int(where.sum())
    return float((what & where).sum()) / count if count else 0.0


def _extent(changed: NDArray[np.bool_]) -> tuple[float, float]:
    """The share of the picture that a box around most of the change takes, and how much of the box changed."""
    rows, columns = np.nonzero(changed)
    if rows.size < 8:
        return 0.0, 0.0
    top, bottom = np.quantile(rows, (0.02, 0.98))
    left, right = np.quantile(columns, (0.02, 0.98))
    area = float((bottom - top + 1) * (right - left + 1))
    return area / changed.size, min(rows.size / area, 1.0)


def _skin_off_faces(
    new: Floats, change: Floats, changes: list[FaceChange], where: NDArray[np.bool_]
) -> list[float]:
    """The share of pixels beside faces that have the colour of the surest face's skin, before and after."""
    if not changes:
        return [0.0, 0.0]
    first = changes[0]
    limits = np.array((12.0, 7.0, 9.0), np.float32)
    old_near = (np.abs(new - change - first.colour_before) <= limits).all(-1)
    new_near = (np.abs(new - first.colour_after) <= limits).all(-1)
    return [_share(old_near, where), _share(new_near, where)]


def _new(faces: tuple[Faces, Faces], changes: list[FaceChange]) -> int:
    return len(faces[1].boxes) - sum(one.is_found for one in changes)


def _mask(
    faces: Faces, shape: tuple[int, ...], *, grow: float = 0.0, down: float = 0.0
) -> NDArray[np.bool_]:
    """The boxes of faces, grown by a share of their sides and moved down by a share of their height: bool [H, W]."""
    mask = np.zeros(shape[:2], bool)
    for left, top, right, bottom in faces.boxes.tolist():
        wide, tall = (right - left) * grow, (bottom - top) * grow
        shift = (bottom - top) * down
        rows = slice(max(int(top - tall + shift), 0), max(int(bottom + tall + shift), 0))
        mask[rows, max(int(left - wide), 0) : int(right + wide) + 1] = True
    return mask


def _cells(mask: NDArray[np.bool_]) -> Floats:
    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    small = grey.resize((_CELLS, _CELLS), Image.Resampling.BOX)
    cells: Floats = (np.asarray(small, np.float32).ravel() / 255).astype(np.float32)
    return cells


def _shrunk(pixels: Pixels) -> Pixels:
    image = Image.fromarray(pixels)
    if max(image.size) <= LONGEST:
        return pixels
    factor = LONGEST / max(image.size)
    size = max(16, round(image.width * factor)), max(16, round(image.height * factor))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0))
