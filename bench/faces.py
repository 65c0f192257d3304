"""How many faces `face-detector` finds, sees where none is, and sees again once they were hidden: `python -m bench.faces --pictures NAME=FOLDER ...`.

The LFW subset of scikit-image: 100 grey faces and 100 patches of the same pictures without one, 25x25 pixels, here enlarged to a
stated side in the middle of a grey square twice as large. Of photographs: those of scikit-image and scikit-learn that show nobody
(all but `astronaut` and `camera`), and folders, as for `bench.safe_pictures`. Drawn ones are noise, gradients and chequers. 95 % Wilson intervals.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.safe_pictures import drawn_pictures, folder_of, installed_pictures
from bench.tables import rendered
from guardkit.artifacts import RunnerOptions, find_artifact
from guardkit.bench.machine import describe_machine
from guardkit.errors import ImageError
from guardkit.image.decode import Picture, decode
from guardkit.image.editors import EditedImage, ImageEditors
from guardkit.image.faces import FaceDetector
from guardkit.image.score import ImageScorer
from guardkit.metrics.shares import wilson_interval
from guardkit.policy.rules import ImageLimits
from guardkit.runtime.base import open_runner
from guardkit.steps import IMAGE_EDITORS
from guardkit.types import Scored

_THRESHOLDS = (0.3, 0.5)
_SIDES = (25, 64, 128)
_FACES = 100  # of the subset's 200 patches, the first ones
_SHOW_PEOPLE = ("astronaut", "camera")
_LIMITS = ImageLimits(max_pixels=80_000_000)
Pixels = NDArray[np.uint8]


def main() -> int:
    """Look, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", nargs="*", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--out", type=Path, default=Path("bench/results/faces.json"))
    parser.add_argument("--show", type=float, default=1.1, help="name files with such a face")
    arguments = parser.parse_args()
    artifact = find_artifact("face-detector")
    detector = FaceDetector(artifact, open_runner(artifact, RunnerOptions()))
    patches = _patches()
    sources = {**dict(installed_pictures()), **dict(map(folder_of, arguments.pictures))}
    found = {
        "models": [artifact.manifest.id, describe_machine(load_before=0).name],
        "faces found": [
            _row(f"100 grey faces, {side} pixels", _surest(detector, _placed(patches[:_FACES], side)))
            for side in _SIDES
        ],
        "pictures without a face in which one is seen": [
            *(
                _row(f"100 grey patches, {side} pixels", _surest(detector, _placed(patches[_FACES:], side)))
                for side in _SIDES
            ),
            *(
                _row(name, _surest(detector, _read(files, arguments.show, detector)))
                for name, files in sources.items()
                if "faces" not in name
            ),
            _row("drawn", _surest(detector, drawn_pictures())),
        ],
        "pictures in which a face is seen again once every face was hidden": [
            _row(f"100 grey faces, {side} pixels, {editor}", _surest(detector, _hidden(detector, editor, _placed(patches[:_FACES], side))))
            for side in _SIDES
            for editor, of in IMAGE_EDITORS.items()
            if of.is_of_faces
        ],
    }  # fmt: skip
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(rendered(found))
    return 0


def _patches() -> Pixels:
    """The LFW subset: uint8 [200, 25, 25], faces first."""
    spec = find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(
            "bench.faces: scikit-image is not installed. Run: pip install scikit-image"
        )
    grey = np.load(Path(spec.submodule_search_locations[0]) / "data" / "lfw_subset.npy")
    return (grey * 255).round().astype(np.uint8)


def _placed(patches: Pixels, side: int) -> Iterable[Pixels]:
    for patch in patches:
        square = Image.new("L", (2 * side, 2 * side), 128)
        square.paste(Image.fromarray(patch).resize((side, side)), (side // 2, side // 2))
        yield np.asarray(square.convert("RGB"))


def _read(files: Sequence[Any], show: float, detector: FaceDetector) -> Iterable[Pixels]:
    for file in files:
        if Path(file).stem in _SHOW_PEOPLE:
            continue
        try:
            pixels = decode(file, _LIMITS, shortest=detector.side).frames[0]
        except ImageError:
            continue
        if show <= 1 and max(detector.find(pixels).scores, default=0) >= show:
            print(file, detector.find(pixels).boxes.tolist())
        yield pixels


def _hidden(detector: FaceDetector, editor: str, pictures: Iterable[Pixels]) -> Iterable[Pixels]:
    """Pictures as an editor of faces leaves them."""
    editors = ImageEditors([], detector, shortest=None)

    def ask(_: ImageScorer, pictures: Sequence[Picture]) -> list[Scored]:
        return detector.score(pictures)

    for picture in pictures:
        edited = editors.run(editor, EditedImage(decode(picture)), {}, ask=ask)
        yield edited.picture.frames[0]


def _surest(detector: FaceDetector, pictures: Iterable[Pixels]) -> NDArray[np.float64]:
    """The score of the surest face of each picture; 0 where none is seen."""
    faces = (detector.find(picture, at_least=min(_THRESHOLDS)) for picture in pictures)
    return np.array([max(one.scores, default=0.0) for one in faces])


def _row(what: str, scores: NDArray[np.float64]) -> dict[str, Any]:
    row: dict[str, Any] = {"what": what, "of": len(scores)}
    for threshold in _THRESHOLDS:
        hits = int((scores >= threshold).sum())
        low, high = wilson_interval(hits, len(scores))
        row[f"at {threshold}"] = f"{hits} [{100 * low:.1f}, {100 * high:.1f}] %"
    return row


if __name__ == "__main__":
    sys.exit(main())
