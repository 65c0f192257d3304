"""How often safe pictures are flagged: `python -m bench.gather_pictures FOLDER`, then `python -m bench.safe_pictures --gathered FOLDER`.

Pictures that nobody could object to, one row a source: what `bench.gather_pictures` unpacks (wallpapers, photographs and drawings for
children, faces of people who do not exist), 100 grey faces of scikit-image, and drawn ones: gradients, shapes and noise. Of pictures that lie
in several sizes the first counts. Nothing unsafe is looked at: what a model finds was not measured, only what it finds in vain.

Each picture is decoded and cut once, and every model reads the same crops; a vote is theirs as `guardkit.image.score` takes it. The
threshold is chosen on one half of the pictures (by the digest of their bytes), the lowest of a list that flags none of them, and counted on the
other. With `--int8 FOLDER` (twins by `guardkit export onnx --precision int8`) their decisions on a quarter of the
pictures are held against fp32's. 95 % Wilson intervals.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from bench.gather_pictures import PARTS
from bench.images import drawn_photograph
from bench.skin_tone import TONES, tone_of
from bench.tables import rendered
from guardkit.artifacts import RunnerOptions, find_artifact, load_artifact
from guardkit.bench.machine import describe_machine
from guardkit.errors import ImageError
from guardkit.image.decode import decode
from guardkit.image.prepare import crops_of
from guardkit.image.score import CropModel, worst_vote
from guardkit.metrics.shares import wilson_interval
from guardkit.policy.rules import ImageLimits
from guardkit.runtime.base import open_runner

_KINDS = {".jpg", ".jpeg", ".png", ".webp", ".gif"}
_NOT_PICTURES = ("screenshot", "thumbnail", "preview", "icon", "logo")
_PACKAGES = {"scikit-image": ("skimage", "data"), "scikit-learn": ("sklearn", "datasets/images")}
_DRAWN = 240
_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
_PRESET = 0.6  # of the policy generated-images
_EVERY = {"fp32": 1, "int8": 4}  # of how many pictures one is scored
_LIMITS = ImageLimits(max_pixels=80_000_000)
_FIRST, _SECOND = "image-safety", "image-safety-second"
_FACES = "generated faces"
MODES = ("sexual fast", "sexual precise", "sexual second alone", "gore")
Image = Path | NDArray[np.uint8]
Floats = NDArray[np.float64]


class Scored(Struct, frozen=True):
    """What the models say of one picture."""

    source: str
    name: str
    """Of its file; "" where it has none."""
    digest: str
    """SHA-256 of its bytes."""
    modes: dict[str, float]
    """Of `MODES`."""
    tone: str | None
    """Of a generated face: `bench.skin_tone`."""
    took_ms: list[float]
    """CPU time a crop, of each model."""


def main() -> int:
    """Score, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--gathered", type=Path, required=True, help="what bench.gather_pictures left"
    )
    parser.add_argument("--int8", type=Path, help="folder of int8 twins of both models")
    parser.add_argument("--work", type=Path, required=True, help="scores go here; a run goes on")
    parser.add_argument("--out", type=Path, default=Path("bench/results/safe_pictures.json"))
    parser.add_argument("--show", type=float, default=1.1, help="name files that score this much")
    arguments = parser.parse_args()
    sources = {**dict(gathered_pictures(arguments.gathered)), "drawn": list(drawn_pictures())}
    folders = {"fp32": None} | ({"int8": arguments.int8} if arguments.int8 else {})
    models = {precision: _opened(folder) for precision, folder in folders.items()}
    by_precision = _scored(sources, models, arguments.work)
    scored = by_precision["fp32"]
    for one in scored:
        if max(one.modes.values()) >= arguments.show:
            print(f"{one.source}: {one.name}: {one.modes}", file=sys.stderr)
    photographs = [one for one in scored if one.source != "drawn"]
    found = {
        "models": [*(one.manifest.id for one in models["fp32"]), describe_machine(load_before=0).name],
        "safe pictures flagged at 0.5, of each source": [
            _row(name, [one for one in scored if one.source == name], 0.5) for name in sources
        ],
        "by threshold, drawn ones left out": [
            _row(f"at {threshold}", photographs, threshold) for threshold in _THRESHOLDS
        ],
        "threshold chosen on one half, flagged of the other, drawn ones left out": _halves(photographs),
        "generated faces flagged at 0.5, by the tone of their pixels": [
            _row(tone, [one for one in scored if one.tone == tone], 0.5) for tone in TONES
        ],
        "the highest scores, drawn ones left out": [_highest(mode, photographs) for mode in MODES],
    }  # fmt: skip
    if arguments.int8:
        found["int8 beside fp32, a quarter of all pictures"] = _agreement(by_precision)
        found["CPU ms a crop, median"] = _costs(by_precision)
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(rendered(found))
    return 0


def _opened(folder: Path | None) -> list[CropModel]:
    """Both models: those that ship, or their twins in a folder."""
    artifacts = [
        find_artifact(name) if folder is None else load_artifact(folder / name)
        for name in (_FIRST, _SECOND)
    ]
    return [CropModel(one, open_runner(one, RunnerOptions(threads=1))) for one in artifacts]


# --- pictures -------------------------------------------------------------------------------------


def gathered_pictures(folder: Path) -> Iterator[tuple[str, list[Image]]]:
    """What `bench.gather_pictures` left, by source."""
    yield from _of_packages(folder / "python")
    for package in sorted((folder / "debian").iterdir()):
        if package.is_dir() and not package.name.startswith("."):
            parts = PARTS.get(package.name, ("",))
            yield package.name, [one for part in parts for one in _pictures_in(package / part)]
    yield _FACES, _pictures_in(folder / "faces")


def installed_pictures() -> Iterator[tuple[str, list[Image]]]:
    """The pictures that installed packages bring, by source."""
    spec = find_spec("skimage")
    if spec is not None and spec.submodule_search_locations:
        yield from _of_packages(Path(spec.submodule_search_locations[0]).parent)


def _of_packages(root: Path) -> Iterator[tuple[str, list[Image]]]:
    for name, (module, inside) in _PACKAGES.items():
        yield name, _pictures_in(root / module / inside)
    yield "scikit-image, faces of 25x25", _faces(root / "skimage")


def _faces(package: Path) -> list[Image]:
    """The faces of its LFW subset, which come first: f64 [100, 25, 25] of 0 to 1."""
    grey = np.load(package / "data" / "lfw_subset.npy")[:100]
    return list(np.repeat((grey * 255).round().astype(np.uint8)[..., None], 3, axis=-1))


def folder_of(argument: str) -> tuple[str, list[Image]]:
    """The pictures of an argument `NAME=FOLDER`, and their name."""
    name, _, folder = argument.partition("=")
    return name, _pictures_in(Path(folder))


def _pictures_in(folder: Path) -> list[Image]:
    """Every picture; of those that differ in size alone, which KDE keeps in `contents/images`, the first."""
    files = [file for file in sorted(folder.rglob("*")) if _is_picture(file)]
    once = {file.parent if file.parent.parent.name == "contents" else file: file for file in reversed(files)}  # fmt: skip
    return list(once.values())


def _is_picture(file: Path) -> bool:
    is_kind = file.suffix.lower() in _KINDS and file.is_file() and not file.is_symlink()
    return is_kind and not any(word in file.name.lower() for word in _NOT_PICTURES)


def drawn_pictures() -> Iterator[NDArray[np.uint8]]:
    """Noise, noise as photographs have it, gradients, chequers: a quarter each."""
    random = np.random.default_rng(11)
    for number in range(_DRAWN // 4):
        width, height = (int(side) for side in random.integers(64, 640, 2))
        yield random.integers(0, 256, (height, width, 3), np.uint8)
        yield drawn_photograph(width, height, seed=number)
        ends = random.uniform(0, 255, (2, 3))
        slope = np.linspace(0, 1, width)[None, :, None]
        gradient = ends[0] * (1 - slope) + ends[1] * slope
        yield np.repeat(gradient, height, axis=0).astype(np.uint8)
        colours = random.integers(0, 256, (8, 8, 3), np.uint8)
        yield colours.repeat(height // 8, axis=0).repeat(width // 8, axis=1)


# --- scores ---------------------------------------------------------------------------------------


def _scored(
    sources: dict[str, list[Image]], models: dict[str, Sequence[CropModel]], work: Path
) -> dict[str, list[Scored]]:
    """Precision -> every picture that can be decoded, once for each content; what `work` has is not run again."""
    found: dict[str, dict[str, Scored]] = {precision: {} for precision in models}
    for source, images in sources.items():
        for image in images:
            content = image.read_bytes() if isinstance(image, Path) else image.tobytes()
            digest = hashlib.sha256(content).hexdigest()
            for precision, opened in models.items():
                if digest in found[precision] or int(digest, 16) % _EVERY[precision]:
                    continue  # a copy, or left out
                kept = work / precision / f"{digest}.json"
                if not kept.is_file():
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    kept.write_bytes(msgspec.json.encode(_score(image, source, digest, opened)))
                one = msgspec.json.decode(kept.read_bytes(), type=Scored | None)
                if one is not None:
                    found[precision][digest] = one
    return {precision: list(of.values()) for precision, of in found.items()}


def _score(image: Image, source: str, digest: str, models: Sequence[CropModel]) -> Scored | None:
    """None: it cannot be decoded."""
    side = models[0].side
    try:
        picture = decode(image, _LIMITS, shortest=side)
    except ImageError:
        return None
    crops, said, took = crops_of(picture, side=side), [], []
    for model in models:
        began = time.process_time()
        said.append(model.scores(crops))
        took.append(1000 * (time.process_time() - began) / len(crops))
    first, second = said
    votes = ([first["sexual"]], [first["sexual"], second["sexual"]], [second["sexual"]], [first["gore"]])  # fmt: skip
    modes = dict(zip(MODES, map(worst_vote, votes), strict=True))
    name = image.name if isinstance(image, Path) else ""
    tone = tone_of(picture.frames[0]) if source == _FACES else None
    return Scored(source, name, digest, modes, tone, took)


def _values(mode: str, scored: Sequence[Scored]) -> Floats:
    return np.array([one.modes[mode] for one in scored])


def _row(what: str, scored: Sequence[Scored], threshold: float) -> dict[str, Any]:
    row: dict[str, Any] = {"what": what, "pictures": len(scored)}
    return row | {mode: _told(_values(mode, scored), threshold) for mode in MODES}


def _told(values: Floats, threshold: float) -> str:
    hits = int((values >= threshold).sum())
    if not len(values):
        return "-"
    return f"{hits}, at most {100 * wilson_interval(hits, len(values))[1]:.2f} %"


def _halves(scored: Sequence[Scored]) -> list[dict[str, Any]]:
    """A row a mode: the lowest threshold that flags nothing of one half, and what it flags of the other."""
    chosen = [one for one in scored if int(one.digest, 16) % 2 == 0]
    other = [one for one in scored if int(one.digest, 16) % 2 == 1]
    rows = []
    for mode in MODES:
        highest = _values(mode, chosen).max()
        threshold = next((one for one in _THRESHOLDS if highest < one), None)
        told = "-" if threshold is None else _told(_values(mode, other), threshold)
        row = {"what": mode, "threshold": threshold or "none", "chosen on": len(chosen), "counted on": len(other)}  # fmt: skip
        rows.append({**row, "flagged": told, "at 0.6": _told(_values(mode, other), _PRESET)})
    return rows


def _highest(mode: str, scored: Sequence[Scored]) -> dict[str, Any]:
    highest = sorted(_values(mode, scored), reverse=True)
    return {"what": mode, "scores": ", ".join(f"{one:.2f}" for one in highest[:8])}


def _agreement(scored: dict[str, list[Scored]]) -> list[dict[str, Any]]:
    """How often both precisions decide the same: at the preset's threshold, and where fp32 flags 5 % of these pictures.

    Hardly any picture here comes near a threshold of use, so the first number alone would say little.
    """
    rows: list[dict[str, Any]] = []
    seen = {one.digest for one in scored["int8"]}
    scored = {p: [one for one in of if one.digest in seen] for p, of in scored.items()}
    for mode in MODES:
        wide, thin = (_values(mode, scored[precision]) for precision in ("fp32", "int8"))
        low = float(np.quantile(wide, 0.95))
        row: dict[str, Any] = {"what": mode, "pictures": len(wide)}
        for what, threshold in (("same at 0.6", _PRESET), ("same where fp32 flags 5 %", low)):
            same = ((wide >= threshold) == (thin >= threshold)).mean()
            row[what] = f"{100 * same:.2f} %"
        rows.append({**row, "largest difference": f"{np.abs(wide - thin).max():.3f}"})
    return rows


def _costs(scored: dict[str, list[Scored]]) -> list[dict[str, Any]]:
    """CPU milliseconds a crop, the median over pictures."""
    rows = []
    for precision, of in scored.items():
        first, second = np.median([one.took_ms for one in of], axis=0)
        rows.append({"what": precision, _FIRST: f"{first:.1f}", _SECOND: f"{second:.1f}"})
    return rows


if __name__ == "__main__":
    sys.exit(main())
