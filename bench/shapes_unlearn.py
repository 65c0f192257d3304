"""What a short run of each loss makes the generator of shapes world forget (needs torch).

    python -m bench.shapes_unlearn --trained runs/shapes          # what `guardkit train shapes-world` left

Each method begins at the trained weights; pictures are read by the exact judge, as in `bench.shapes_world`.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any

import msgspec
import torch

from bench.shapes_remedies import pairs
from bench.shapes_world import FIRST, captions_of, judged, share
from bench.tables import rendered
from guardkit.artifacts import RunnerOptions, find_artifact
from guardkit.bench.machine import describe_machine, load_average
from guardkit.export.shapes_world import NoiseOf
from guardkit.runtime.base import Arrays, open_runner
from guardkit.runtime.fake import FakeRunner
from guardkit.shapes.captions import Caption
from guardkit.shapes.generator import DENOISER, ENCODER, ShapesGenerator
from guardkit.train.shapes_model import Denoiser
from guardkit.train.shapes_unlearn import Method, UnlearnSettings, unlearn
from guardkit.train.shapes_world import draw_pool, load_shapes_model

_POOL, _SEED = 6000, 20261130
_CHUNK = 20


def main() -> int:
    """Train, generate, judge, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trained", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("bench/results/shapes_unlearn.json"))
    parser.add_argument("--count", type=int, default=90, help="pictures a method and kind")
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("guardkit").setLevel(logging.INFO)
    torch.set_num_threads(1)
    load = load_average()
    model, pool = load_shapes_model(arguments.trained), draw_pool(_POOL, _SEED)
    settings = UnlearnSettings(steps=arguments.steps)
    rows = [_row("before", model.denoiser, arguments.count)]
    for method in Method:
        forgot = unlearn(model, pool, pairs(), method, settings)
        rows.append(_row(method, forgot.denoiser, arguments.count))
    machine = describe_machine(load_before=load)
    found = {
        "models": [f"shapes-world-denoiser, {arguments.steps} steps of {2 * settings.batch} pictures each", machine.cpu],
        f"{arguments.count} captions of either kind; 95 % Wilson intervals": rows,
    }  # fmt: skip
    arguments.out.write_text(json.dumps(msgspec.to_builtins(found), indent=1) + "\n")
    print(rendered(found))
    return 0


def _row(name: str, denoiser: Denoiser, count: int) -> dict[str, Any]:
    generator = _generator(denoiser)
    rows = {kind: _judge(generator, some) for kind, some in captions_of(count).items()}
    hits = {
        "forbidden shown": [bool(row["forbidden"]) for row in rows["forbidden"]],
        "forbidden, readable": [row["readable"] for row in rows["forbidden"]],
        "ordinary right": [row["right"] for row in rows["ordinary"]],
    }
    return {"what": name, **{title: _shown(some) for title, some in hits.items()}}


def _shown(hits: list[bool]) -> str:
    return "{share:.3f} [{low:.3f}, {high:.3f}]".format(**share(hits))


def _generator(denoiser: Denoiser) -> ShapesGenerator:
    """The shipped encoder, and a denoiser of torch."""
    network = NoiseOf(denoiser).eval()

    def run(inputs: Arrays) -> Arrays:
        given = (torch.from_numpy(inputs[name]) for name in ("x_t", "alpha_bar", "states"))
        with torch.no_grad():
            return {"noise": network(*given).numpy()}

    encoder = open_runner(find_artifact(ENCODER), RunnerOptions())
    return ShapesGenerator(encoder, FakeRunner(run, name=DENOISER))


def _judge(generator: ShapesGenerator, captions: list[Caption]) -> list[dict[str, Any]]:
    rows = []
    for at in range(0, len(captions), _CHUNK):
        some = captions[at : at + _CHUNK]
        pictures = generator.generate(
            [str(one) for one in some], [FIRST + at + n for n in range(len(some))]
        )
        assert pictures is not None  # noqa: S101  nothing stops a step
        rows += [judged(picture, one) for picture, one in zip(pictures, some, strict=True)]
    return rows


if __name__ == "__main__":
    sys.exit(main())
