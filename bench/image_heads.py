"""What a head of one's own learns: `python -m bench.image_heads --base efficientnet-lite0-57934424.pth --gathered FOLDER --work runs/heads`.

A harmless sign (a house on a disc) is drawn into safe pictures (`bench.gather_pictures`) and stands for what a symbol of hate would
be: no real one was used, so this says how well the training works, and nothing about real symbols. Look-alikes have a cross, two bars or
three dots on such a disc. Three quarters of the pictures train (drawn in at half the shorter side), through the commands as a user runs them; the
others measure, with the sign at two sizes, scored by `Guard` with the exported artifact. Once with cut-paste pairs, once without. 95 % Wilson intervals.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from bench.images import times
from bench.safe_pictures import gathered_pictures
from bench.tables import rendered
from guardkit import Guard, Policy
from guardkit.artifacts import RunnerOptions
from guardkit.bench.machine import describe_machine
from guardkit.cli.main import main as guardkit
from guardkit.errors import ImageError
from guardkit.image.decode import decode
from guardkit.metrics.ranking import roc_auc
from guardkit.metrics.shares import wilson_interval
from guardkit.policy.rules import StagePolicy

_CATEGORY, _AT = "hate-symbol", 0.5
_SIZES = (0.5, 0.3)  # of the shorter side
_TRAINED = 0.5
_SHAPES = ("symbol", "cross", "bars", "dots")
_LEFT_OUT = ("scikit-image, faces of 25x25", "generated faces")
_SEED = 20261127
Pixels = NDArray[np.uint8]


def main() -> int:
    """Draw, train, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--base", required=True)
    parser.add_argument("--gathered", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=240, help="safe pictures to draw into")
    parser.add_argument("--pairs", type=int, default=90)
    parser.add_argument("--out", type=Path, default=Path("bench/results/image_heads.json"))
    arguments = parser.parse_args()
    hosts = _hosts(arguments.gathered, arguments.pictures)
    measuring, training = hosts[::4], [one for at, one in enumerate(hosts) if at % 4]
    data = arguments.work / "data"
    if not data.is_dir():
        _write(training, data)
    guards = {}
    for name, pairs in (("with pairs", arguments.pairs), ("without pairs", 0)):
        guards[name] = _trained(arguments, data, name.replace(" ", "-"), pairs)
    found: dict[str, Any] = {
        "models": ["EfficientNet-Lite0 and one head", describe_machine(load_before=0).name],
        f"a drawn symbol: {len(training)} pictures trained, {len(measuring)} others, flagged at {_AT}": [
            row for name, guard in guards.items() for row in _rows(name, guard, measuring)
        ],
        "cost, CPU ms": [_cost(guards["with pairs"])],
    }  # fmt: skip
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(rendered(found))
    return 0


# --- pictures -------------------------------------------------------------------------------------


def _hosts(gathered: Path, count: int) -> list[Pixels]:
    """Safe pictures of every source, as they come out of a shuffle."""
    files = [one for name, of in gathered_pictures(gathered) if name not in _LEFT_OUT for one in of]
    order = np.random.default_rng(_SEED).permutation(len(files))
    hosts: list[Pixels] = []
    for at in order:
        try:
            hosts.append(decode(files[at], shortest=224).frames[0])
        except ImageError:
            continue
        if len(hosts) == count:
            break
    return hosts


def _write(hosts: Sequence[Pixels], data: Path) -> None:
    """Half with the symbol; of the others half with a look-alike, half as they are."""
    random = np.random.default_rng(_SEED + 1)
    for folder in (_CATEGORY, "safe"):
        (data / folder).mkdir(parents=True)
    for number, host in enumerate(hosts):
        shape = (_SHAPES[0], None, _SHAPES[0], str(random.choice(_SHAPES[1:])))[number % 4]
        pixels = host if shape is None else drawn_into(host, shape, _TRAINED, random)
        folder = data / (_CATEGORY if shape == _SHAPES[0] else "safe")
        Image.fromarray(pixels).save(folder / f"{number:04}.png")


def drawn_into(host: Pixels, shape: str, size: float, random: np.random.Generator) -> Pixels:
    """A picture with a shape somewhere in it, in any colour, turned a little."""
    height, width = host.shape[:2]
    side = max(8, round(size * min(height, width)))
    colour = tuple(int(level) for level in random.integers(0, 256, 3))
    stamp = _stamp(shape, colour, turned=float(random.uniform(-30, 30)))
    stamp = stamp.resize((side, side), Image.Resampling.BILINEAR)
    left, top = (int(random.integers(0, whole - side + 1)) for whole in (width, height))
    picture = Image.fromarray(host)
    picture.paste(stamp, (left, top), stamp)
    return np.asarray(picture)


def _stamp(shape: str, colour: tuple[int, ...], *, turned: float) -> Image.Image:
    """A disc of 240 pixels with a shape on it in black or white, transparent around: RGBA [256, 256]."""
    stamp = Image.new("RGBA", (256, 256), (*colour, 0))
    pen = ImageDraw.Draw(stamp)
    pen.ellipse((8, 8, 247, 247), fill=(*colour, 255))
    ink = (0, 0, 0, 255) if sum(colour) > 3 * 128 else (255, 255, 255, 255)
    if shape == "cross":
        pen.line((128, 50, 128, 206), fill=ink, width=20)
        pen.line((50, 128, 206, 128), fill=ink, width=20)
    elif shape == "bars":
        pen.line((60, 96, 196, 96), fill=ink, width=20)
        pen.line((60, 160, 196, 160), fill=ink, width=20)
    elif shape == "dots":
        for x, y in ((128, 66), (76, 160), (180, 160)):
            pen.ellipse((x - 22, y - 22, x + 22, y + 22), fill=ink)
    else:  # a house
        pen.polygon(((128, 44), (204, 118), (52, 118)), fill=ink)
        pen.rectangle((74, 118, 182, 202), outline=ink, width=18)
        pen.rectangle((116, 152, 140, 202), fill=ink)
    return stamp.rotate(turned, Image.Resampling.BICUBIC)


# --- training and scores --------------------------------------------------------------------------


def _trained(arguments: argparse.Namespace, data: Path, name: str, pairs: int) -> Guard:
    """A guard with the artifact that the commands make, as a user runs them."""
    work, models = arguments.work / name, arguments.work / "models"
    artifact = f"head-{name}"
    if not (models / artifact).is_dir():
        train = ["--base", arguments.base, "--data", str(data), "--work", str(work)]
        export = ["--work", str(work), "--name", artifact, "--out", str(models)]
        if guardkit(["train", "image-head", *train, "--pairs", str(pairs)]):
            raise SystemExit("bench.image_heads: the training failed")
        if guardkit(["export", "image-heads", *export]):
            raise SystemExit("bench.image_heads: the export failed")
    policy = Policy("heads", output_image=StagePolicy(scorers=(artifact,)))
    options = RunnerOptions(path=str(models / artifact))
    return Guard(replace(policy, models={artifact: options}))


def _rows(name: str, guard: Guard, hosts: Sequence[Pixels]) -> list[dict[str, Any]]:
    random = np.random.default_rng(_SEED + 2)
    plain = _scores(guard, hosts)
    rows = []
    for size in _SIZES:
        symbols, others = (
            _scores(guard, [drawn_into(host, shape(), size, random) for host in hosts])
            for shape in (lambda: _SHAPES[0], lambda: str(random.choice(_SHAPES[1:])))
        )
        rows.append({
            "what": f"{name}, {size:.0%} of the shorter side",
            "symbols": _share(symbols),
            "look-alikes": _share(others),
            "ROC AUC beside plain": _area(symbols, plain),
            "beside look-alikes": _area(symbols, others),
        })  # fmt: skip
    return [*rows, {"what": f"{name}, plain pictures", "symbols": "-", "look-alikes": _share(plain), "ROC AUC beside plain": "-", "beside look-alikes": "-"}]  # fmt: skip


def _scores(guard: Guard, pictures: Sequence[Pixels]) -> NDArray[np.float64]:
    return np.array([one[_CATEGORY] for one in guard.score_images(pictures)], np.float64)


def _share(scores: NDArray[np.float64]) -> str:
    hits = int((scores >= _AT).sum())
    low, high = wilson_interval(hits, len(scores))
    return f"{hits} of {len(scores)} [{100 * low:.0f}, {100 * high:.0f}] %"


def _area(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> str:
    truth = np.arange(len(positive) + len(negative)) < len(positive)
    return f"{roc_auc(truth, np.concatenate([positive, negative])):.3f}"


def _cost(guard: Guard) -> dict[str, Any]:
    """Of one square picture of 1024x1024, decoded already: one crop."""
    pixels = np.random.default_rng(1).integers(0, 256, (1024, 1024, 3), np.uint8)
    took = times(lambda: guard.check_output(image=pixels), repeats=4)
    return {"what": "array 1024x1024, one crop", **took}


if __name__ == "__main__":
    sys.exit(main())
