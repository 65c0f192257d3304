"""How often safe pictures are flagged: `python -m bench.safe_pictures --pictures wallpapers=FOLDER ...`.

Pictures that nobody could object to, one row a source. `scikit-image` and `scikit-learn` bring photographs where they are
installed; folders hold what openly licensed packages unpack to (Debian: plasma-workspace-wallpapers, gnome-backgrounds,
mate-backgrounds, ukui-wallpapers, sway-backgrounds, lomiri-wallpapers-16.04 and -20.04: `apt-get download`, then `dpkg -x`);
drawn ones are gradients, shapes and noise. Of pictures that lie in several sizes the first counts. Nothing unsafe is
looked at: what a model finds was not measured, only what it finds in vain. 95 % Wilson intervals.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from bench.images import drawn_photograph
from bench.tables import rendered
from guardkit import Guard, Policy, Scores
from guardkit.artifacts import RunnerOptions
from guardkit.bench.machine import describe_machine
from guardkit.metrics.shares import wilson_interval
from guardkit.policy.rules import ImageLimits, Limits, StagePolicy

_KINDS = {".jpg", ".jpeg", ".png", ".webp", ".gif"}
_NOT_PICTURES = ("screenshot", "thumbnail", "preview")
_PACKAGES = {"scikit-image": ("skimage", "data"), "scikit-learn": ("sklearn", "datasets/images")}
_DRAWN = 240
_CATEGORIES = ("sexual", "gore")
_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
_POLICY = Policy(
    "safe",
    output_image=StagePolicy(scorers=("image-safety",)),
    limits=Limits(images=ImageLimits(max_pixels=80_000_000)),
)
_ALONE = "second alone"
_MODES = ("fast", "precise", _ALONE)
Image = Path | NDArray[np.uint8]


def main() -> int:
    """Score, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", nargs="*", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--out", type=Path, default=Path("bench/results/safe_pictures.json"))
    parser.add_argument("--show", type=float, default=1.1, help="name files that score this much")
    arguments = parser.parse_args()
    sources = dict(installed_pictures()) | dict(folder_of(one) for one in arguments.pictures)
    sources = {**sources, "drawn": list(drawn_pictures())}
    guards = {mode: _guard(mode) for mode in _MODES}
    scores = {
        mode: {name: _scored(guard, images, arguments.show) for name, images in sources.items()}
        for mode, guard in guards.items()
    }
    models = [one.id for one in guards["precise"].info()]
    found = {
        "models": [*models, describe_machine(load_before=0).name],
        "safe pictures flagged at 0.5": [
            _row(f"{name}, {mode}", of, 0.5) for mode in _MODES for name, of in scores[mode].items()
        ],
        "by threshold, drawn ones left out": [
            _row(f"at {threshold}, {mode}", _photographs(scores[mode]), threshold)
            for mode in _MODES
            for threshold in _THRESHOLDS
        ],
        "the highest scores, drawn ones left out": [
            _highest(mode, _photographs(scores[mode])) for mode in _MODES
        ],
    }
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(rendered(found))
    return 0


def _guard(mode: Any) -> Guard:
    if mode == _ALONE:
        return Guard(replace(_POLICY, output_image=StagePolicy(scorers=("image-safety-second",))))
    return Guard(replace(_POLICY, models={"image-safety": RunnerOptions(mode=mode)}))


# --- pictures -------------------------------------------------------------------------------------


def installed_pictures() -> Iterator[tuple[str, list[Image]]]:
    """The pictures that installed packages bring, by source."""
    for name, (module, inside) in _PACKAGES.items():
        spec = find_spec(module)
        if spec is not None and spec.submodule_search_locations:
            yield name, _pictures_in(Path(spec.submodule_search_locations[0]) / inside)
    if (spec := find_spec("skimage")) is not None and spec.submodule_search_locations:
        yield "scikit-image, faces of 25x25", _faces(Path(spec.submodule_search_locations[0]))


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


def _scored(guard: Guard, images: Sequence[Image], show: float) -> list[Scores]:
    scores = [guard.score_images([image])[0] for image in images]
    for image, one in zip(images, scores, strict=True):
        if isinstance(image, Path) and (one.worst is None or one.worst[1] >= show):
            print(f"{image.name}: {one}", file=sys.stderr)
    return [one for one in scores if one.worst is not None]


def _photographs(scores: dict[str, list[Scores]]) -> list[Scores]:
    return [one for name, of in scores.items() if name != "drawn" for one in of]


def _row(what: str, scores: Sequence[Scores], threshold: float) -> dict[str, Any]:
    row: dict[str, Any] = {"what": what, "pictures": len(scores)}
    for category in _CATEGORIES:
        known = [one[category] or 0 for one in scores if category in one]
        hits = sum(one >= threshold for one in known)
        told = f"{hits}, at most {100 * wilson_interval(hits, len(known))[1]:.1f} %"
        row[category] = told if known else "-"
    return row


def _highest(mode: str, scores: Sequence[Scores]) -> dict[str, Any]:
    row: dict[str, Any] = {"what": mode}
    for category in _CATEGORIES:
        highest = sorted((one[category] or 0 for one in scores if category in one), reverse=True)
        row[category] = ", ".join(f"{one:.2f}" for one in highest[:5]) or "-"
    return row


if __name__ == "__main__":
    sys.exit(main())
