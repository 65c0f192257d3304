"""Pictures to edit: portraits, people put before other pictures, and pictures of nobody; each split has pictures of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.random import Generator
from PIL import Image, ImageOps

from guardkit.errors import GuardkitError, InputError
from guardkit.image.decode import Pixels, decode
from guardkit.image.faces import Faces
from guardkit.policy.rules import ImageLimits
from guardkit.train.edits import Scene

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_LIMITS = ImageLimits(max_pixels=80_000_000)
_SURE = 0.5  # of a face, to be edited
_LEAST_FACE = 0.12  # of the shorter side: a smaller one is not edited
_NEAR = 640  # pixels of the shorter side that is kept
_SIDES = (224, 384)
_SHARES = (("train", 55), ("valid", 70), ("test", 100))  # of 100 pictures, cumulative
Find = Callable[[Pixels], Faces]


class Pool(Struct, frozen=True):
    """Pictures of one split."""

    people: tuple[Pixels, ...]
    """With one face that fills much of it."""
    places: tuple[Pixels, ...]
    """Without a face."""


def load_pools(folders: Sequence[Path], find: Find) -> dict[str, Pool]:
    """Read every picture under folders and sort it by split, and by whether a face is seen.

    Raises:
        InputError: A split has no picture of people, or none without.
    """
    pools = {name: (list[Pixels](), list[Pixels]()) for name, _ in _SHARES}
    for folder in folders:
        for file in sorted(folder.rglob("*")):
            if file.suffix.lower() not in _SUFFIXES:
                continue
            try:
                pixels = decode(file, _LIMITS, shortest=_NEAR).frames[0]
            except GuardkitError:
                continue
            faces = find(pixels if min(pixels.shape[:2]) > 150 else _enlarged(pixels, 256))
            people, places = pools[split_of(file.name)]
            if len(faces.boxes) == 1 and faces.scores[0] >= _SURE:
                people.append(pixels)
            elif not len(faces.boxes):
                places.append(pixels)
    for name, (people, places) in pools.items():
        if len(people) < 2 or not places:
            raise InputError(
                f"{', '.join(map(str, folders))}: {len(people)} pictures with one face and {len(places)} with "
                f"none for '{name}'. Expected at least 2 and 1; add pictures."
            )
    return {name: Pool(tuple(people), tuple(places)) for name, (people, places) in pools.items()}


def split_of(name: str) -> str:
    """Which split a file belongs to, by a digest of its name.

    >>> split_of("face-0001.png") in ("train", "valid", "test")
    True
    """
    place = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100
    return next(split for split, below in _SHARES if place < below)


def scenes_of(pool: Pool, find: Find, random: Generator, *, count: int) -> Iterator[Scene]:
    """Draw scenes: two in five are portraits, as many composed, one shows nobody."""
    for number in range(count):
        kind = number % 5
        pixels = (
            _place(pool, random)
            if kind == 4
            else (_portrait(pool, random) if kind in (0, 1) else _composed(pool, random))
        )
        found = find(pixels)
        least = _LEAST_FACE * min(pixels.shape[:2])
        boxes = tuple(
            (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
            for box, score in zip(found.boxes, found.scores, strict=True)
            if score >= _SURE and box[2] - box[0] >= least
        )
        if bool(boxes) != (kind == 4):
            others = tuple(_head(_any(pool.people, random)) for _ in range(2))
            yield Scene(pixels, boxes, others, _any(pool.places, random))


def _any(pictures: Sequence[Pixels], random: Generator) -> Pixels:
    return pictures[int(random.integers(len(pictures)))]


def _enlarged(pixels: Pixels, side: int) -> Pixels:
    image = Image.fromarray(pixels)
    factor = side / min(image.size)
    size = round(image.width * factor), round(image.height * factor)
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC))


def _head(pixels: Pixels) -> Pixels:
    """The middle of a portrait."""
    height, width = pixels.shape[:2]
    return pixels[round(height * 0.1) : round(height * 0.95), round(width * 0.12) : round(width * 0.88)]  # fmt: skip


def _portrait(pool: Pool, random: Generator) -> Pixels:
    return _enlarged(_any(pool.people, random), int(random.integers(*_SIDES)))


def _place(pool: Pool, random: Generator) -> Pixels:
    size = int(random.integers(*_SIDES)), int(random.integers(*_SIDES))
    return np.asarray(ImageOps.fit(Image.fromarray(_any(pool.places, random)), size))


def _composed(pool: Pool, random: Generator) -> Pixels:
    """One to three people before a place, side by side, with a plain body each."""
    width, height = int(random.integers(300, 400)), int(random.integers(240, 340))
    place = ImageOps.fit(Image.fromarray(_any(pool.places, random)), (width, height))
    count = int(random.integers(1, 4))
    for index in range(count):
        side = int(min(height * 0.5, width / count * 0.9) * random.uniform(0.75, 1.0))
        head = Image.fromarray(_enlarged(_any(pool.people, random), side)).crop((0, 0, side, side))
        left = int(width * (index + 0.5) / count - side / 2)
        top = int(random.uniform(0.05, 0.3) * height)
        body = Image.new("RGB", (round(side * 1.5), height), tuple(random.integers(20, 220, 3).tolist()))  # fmt: skip
        round_body = _oval_mask((body.width, (height - top) * 2))
        place.paste(body, (left - side // 4, top + round(side * 0.8)), round_body.crop((0, 0, *body.size)))  # fmt: skip
        place.paste(head, (left, top), _oval_mask((side, side)))
    return np.asarray(place)


def _oval_mask(size: tuple[int, int]) -> Image.Image:
    """An ellipse with a soft edge, of a size."""
    rows, columns = np.mgrid[: size[1], : size[0]]
    far = np.hypot(columns / size[0] * 2 - 1, rows / size[1] * 2 - 1)
    return Image.fromarray((np.clip((1 - far) / 0.12, 0, 1) * 255).astype(np.uint8))
