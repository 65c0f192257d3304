"""What became of each face of a picture in another one: colour of its skin, landmarks, size, detail."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from PIL import Image

from guardkit.image.faces import Faces
from guardkit.image.skin import Floats, skin_colour, typology_angle

_SIDE = 32  # pixels, at which a face is compared with what is in its place
_INNER = 0.22  # of a face's box: where its skin is looked for, on either side of the middle of its landmarks
_NEAR = 0.6  # of a face's size: how far its twin may have moved
_CHANGED = 12.0  # as in `signals`

FACE_SIGNALS = (
    "angle before", "angle", "lightness", "a", "b", "lightness beyond the fit", "a beyond the fit", "b beyond the fit",
    "landmarks", "aspect", "size", "moved", "surer", "pattern", "sharpness", "distance", "changed", "uneven", "area",
)  # fmt: skip


class FaceChange(Struct, frozen=True):
    """One face of `before`, and what `after` has in its place."""

    box: tuple[float, float, float, float]
    """Left, top, right, bottom in pixels of what was compared; of `after`'s face where one is found."""
    is_found: bool
    """Whether `after` has a face there."""
    colour_before: Floats
    """f32 [3]: CIELAB of its skin."""
    colour_after: Floats
    angle_change: float
    """Of the individual typology angle, in degrees: positive is lighter."""
    signals: tuple[float, ...]
    """In the order of `FACE_SIGNALS`."""


def face_changes(
    faces: tuple[Faces, Faces], labs: tuple[Floats, Floats, Floats]
) -> list[FaceChange]:
    """Compare each face of `before`.

    Args:
        faces: Those of `before` and of `after`, in pixels of one frame.
        labs: CIELAB of both, and what is left of `after` beyond the fit; f32 [H, W, 3] each.

    Returns:
        One a face, the surest first.
    """
    free = list(range(len(faces[1].boxes)))
    changes = []
    for index in range(len(faces[0].boxes)):
        twin = _twin(faces[0].boxes[index], faces[1].boxes, free)
        if twin is not None:
            free.remove(twin)
        changes.append(_change(faces, labs, index, twin))
    return changes


def strongest(changes: Sequence[FaceChange]) -> list[float]:
    """Of each signal the value furthest from 0, with its sign; 0 without faces."""
    if not changes:
        return [0.0] * len(FACE_SIGNALS)
    rows = np.array([one.signals for one in changes])
    picked = np.abs(rows).argmax(axis=0)
    return [float(rows[row, column]) for column, row in enumerate(picked)]


def _twin(box: Floats, others: Floats, free: Sequence[int]) -> int | None:
    """The nearest face that no earlier one took; None: none is near."""
    if not free:
        return None
    size = float(max(box[2] - box[0], box[3] - box[1]))
    centres = (others[list(free), :2] + others[list(free), 2:]) / 2
    far = np.hypot(*(centres - (box[:2] + box[2:]) / 2).T)
    return free[int(far.argmin())] if far.min() <= _NEAR * size else None


def _change(
    faces: tuple[Faces, Faces],
    labs: tuple[Floats, Floats, Floats],
    index: int,
    twin: int | None,
) -> FaceChange:
    old_box, old_marks = faces[0].boxes[index], faces[0].landmarks[index]
    is_found = twin is not None
    box = faces[1].boxes[twin] if twin is not None else old_box
    marks = faces[1].landmarks[twin] if twin is not None else old_marks
    surer = float(faces[1].scores[twin]) if twin is not None else 0.0
    before = skin_colour(_inner(labs[0], old_box, old_marks))
    after = skin_colour(_inner(labs[1], box, marks))
    beyond = np.median(_inner(labs[2], old_box, old_marks), axis=0)
    angle = typology_angle(after) - typology_angle(before)
    signals = (
        typology_angle(before) / 50,
        angle / 30,
        *((after - before) / (20, 12, 12)).tolist(),
        *(beyond / (20, 12, 12)).tolist(),
        *_shape(old_box, box, old_marks, marks),
        surer - float(faces[0].scores[index]),
        *_detail(labs, old_box, box),
        float((old_box[2] - old_box[0]) * (old_box[3] - old_box[1])) / labs[0][..., 0].size,
    )
    return FaceChange(tuple(float(side) for side in box), is_found, before, after, angle, signals)  # type: ignore[arg-type]


def _inner(lab: Floats, box: Floats, marks: Floats) -> Floats:
    """The pixels around the middle of a face, f32 [n, 3]: cheeks and nose."""
    across, down = marks.mean(axis=0)
    wide, tall = (box[2] - box[0]) * _INNER, (box[3] - box[1]) * _INNER
    return _part(lab, (across - wide, down - tall, across + wide, down + tall)).reshape(-1, 3)


def _part(lab: Floats, box: Sequence[float] | Floats) -> Floats:
    """The pixels in a box, at least one."""
    height, width = lab.shape[:2]
    left = int(np.clip(box[0], 0, width - 1))
    top = int(np.clip(box[1], 0, height - 1))
    right, bottom = max(left + 1, round(float(box[2]))), max(top + 1, round(float(box[3])))
    return lab[top:bottom, left:right]


def _shape(old_box: Floats, box: Floats, old_marks: Floats, marks: Floats) -> list[float]:
    """How the landmarks changed beyond turning and scaling, and the box's aspect, size and place."""
    old, new = old_box[2:] - old_box[:2], box[2:] - box[:2]
    size = np.log(np.prod(new) / np.prod(old)) / 2
    moved = np.hypot(*((box[:2] + box[2:] - old_box[:2] - old_box[2:]) / 2)) / old.max()
    aspect = np.log(new[0] / new[1] * old[1] / old[0])
    return [_bent(old_marks, marks) * 5, float(aspect) * 4, float(size) * 2, float(moved) * 3]


def _bent(old: Floats, new: Floats) -> float:
    """What is left of the distance between landmarks after the best similarity (Procrustes), a share of their spread."""
    p = (old - old.mean(0)) @ np.array([1, 1j])
    q = (new - new.mean(0)) @ np.array([1, 1j])
    spread = [max(float(np.linalg.norm(one)), 1e-3) for one in (p, q)]
    turn = np.vdot(p, q) / (spread[0] * spread[1])  # complex: its size is the cosine between both
    return float(np.sqrt(max(1 - min(abs(turn), 1.0) ** 2, 0.0)))


def _detail(labs: tuple[Floats, Floats, Floats], old_box: Floats, box: Floats) -> list[float]:
    """How far the face's pattern, sharpness and colours are from what is in its place."""
    old, same = (_patch(_part(lab[..., 0], old_box)) for lab in labs[:2])
    found = _patch(_part(labs[1][..., 0], box))
    pattern = 1 - max(_correlation(old, same), _correlation(old, found))
    sharp = [float(np.abs(np.diff(one, axis=0)).mean()) + 0.3 for one in (old, same)]
    residual = _part(labs[2], old_box).reshape(-1, 3)
    distance = np.sqrt((residual**2).sum(-1))
    spread = residual - np.median(residual, axis=0)
    return [
        pattern * 2,
        float(np.log(sharp[1] / sharp[0])),
        float(distance.mean()) / 20,
        float((distance > _CHANGED).mean()),
        float(np.sqrt((spread**2).sum(-1).mean())) / 20,
    ]


def _patch(lightness: Floats) -> Floats:
    image = Image.fromarray(np.ascontiguousarray(lightness, np.float32))
    return np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR), np.float32)


def _correlation(one: Floats, other: Floats) -> float:
    a, b = one - one.mean(), other - other.mean()
    norm: NDArray[np.float32] = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / norm) if norm > 1 else 0.0
