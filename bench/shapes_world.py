"""What steering does to a generator that truly generates: forbidden concepts and ordinary captions of shapes world.

    python -m bench.shapes_world --work runs/bench                  # writes bench/results/shapes_world.json; resumes
    python -m bench.shapes_world --work runs/bench --count 60       # a look

As many captions that ask for a forbidden concept as ordinary ones, each drawn with one seed before, and with another after: rolled
again, guided by the classifier of noisy pictures, with the text's states remapped, with them through the bottleneck. An exact judge
(`guardkit.shapes.judge`) reads every picture; what it cannot read is counted as unreadable, not as safe.
Then prompts that are allowed one by one and rebuild what is forbidden together, against `check_composition`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.shapes_compositions import composed
from bench.shapes_remedies import REMEDIES, Remedy, drawn
from bench.shapes_strip import save_strip
from bench.tables import rendered, shown_points, shown_ratio, shown_share
from guardkit.bench.machine import describe_machine, load_average
from guardkit.metrics.bootstrap import estimate_means
from guardkit.metrics.shares import wilson_interval
from guardkit.shapes.captions import Caption, draw_scene
from guardkit.shapes.concepts import Forbidden, forbidden_captions, ordinary_captions, shown
from guardkit.shapes.generator import ShapesGenerator
from guardkit.shapes.judge import read_picture, shows
from guardkit.shapes.scene import render

_CHUNK = 15  # pictures in one run of the sampler
_SEED = 20261127
FIRST, _SECOND = (
    1_000_000,
    2_000_000,
)  # seeds before and after: no picture has the noise of another


@dataclass(frozen=True, slots=True)
class Job:
    """Some pictures of one remedy."""

    remedy: str
    kind: str
    """`forbidden` or `ordinary`."""
    captions: tuple[Caption, ...]
    first_seed: int

    @property
    def key(self) -> str:
        """Names it in the kept results."""
        return f"{self.remedy}/{self.kind}/{self.first_seed}/{len(self.captions)}"


def main() -> int:
    """Generate, judge, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("bench/results/shapes_world.json"))
    parser.add_argument("--strip", type=Path, default=Path("docs/pictures/shapes_world.png"))
    parser.add_argument("--work", type=Path, required=True, help="results of the pictures so far")
    parser.add_argument("--count", type=int, default=300, help="pictures a remedy and kind")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=REMEDIES, help="their pictures; no report")
    arguments = parser.parse_args()
    load = load_average()
    arguments.work.mkdir(parents=True, exist_ok=True)
    captions = captions_of(arguments.count)
    kept = arguments.work / "pictures.jsonl"
    names = arguments.only or list(REMEDIES)
    rows = _judged(names, captions, kept, arguments.processes)
    if arguments.only:
        return 0
    found = {
        "models": ["shapes-world-encoder, -denoiser, -classifier 0.1.0, smib-shapes-world 0.1.0"],
        "machine": msgspec.to_builtins(describe_machine(load_before=load)),
        "count": arguments.count,
        "judge": _judge_itself(),
        "remedies": {name: _summary(rows, name) for name in REMEDIES},
        "composition": composed(_generator()),
    }
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    save_strip(_generator(), {name: _remedy(name) for name in REMEDIES}, arguments.strip)
    print(rendered(shapes_rows(found)))
    return 0


@cache
def _generator() -> ShapesGenerator:
    """Once a process."""
    return ShapesGenerator.open()


@cache
def _remedy(name: str) -> Remedy:
    """Likewise."""
    return REMEDIES[name](_generator())


def captions_of(count: int) -> dict[str, list[Caption]]:
    """As many of each forbidden concept; of ordinary ones as many of one thing or several alike, of two things, and of two things held out."""
    third = count // 3
    forbidden = [drawn(forbidden_captions(one), third, _SEED + at) for at, one in enumerate(Forbidden)]  # fmt: skip
    known = ordinary_captions(held_out=False)
    groups = (
        [one for one in known if one.second is None],
        [one for one in known if one.second],
        ordinary_captions(held_out=True),
    )
    ordinary = [drawn(group, third, _SEED + 9 + at) for at, group in enumerate(groups)]
    return {"forbidden": list(chain(*forbidden)), "ordinary": list(chain(*ordinary))}


def _judged(
    names: Sequence[str], captions: dict[str, list[Caption]], kept: Path, processes: int
) -> dict[str, list[dict[str, Any]]]:
    """What the judge said of every picture, by job; jobs that are kept are not run again."""
    jobs = [
        Job(name, kind, tuple(some[at : at + _CHUNK]), (FIRST if name == "before" else _SECOND) + at)
        for name in names
        for kind, some in captions.items()
        for at in range(0, len(some), _CHUNK)
    ]  # fmt: skip
    lines = kept.read_text().splitlines() if kept.is_file() else []
    done: dict[str, list[dict[str, Any]]] = dict(map(json.loads, lines))
    left = [job for job in jobs if job.key not in done]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool, kept.open("a") as file:  # fmt: skip
        for job, rows in zip(left, pool.map(run_job, left), strict=True):
            done[job.key] = rows
            file.write(json.dumps([job.key, rows]) + "\n")
            file.flush()
    return {job.key: done[job.key] for job in jobs}


def run_job(job: Job) -> list[dict[str, Any]]:
    """Generate the pictures of a job, and read them."""
    remedy = _remedy(job.remedy)
    seeds = [job.first_seed + at for at in range(len(job.captions))]
    texts = [str(caption) for caption in job.captions]
    pictures = remedy.pictures(_generator(), texts, seeds)
    return [judged(picture, caption) for picture, caption in zip(pictures, job.captions, strict=True)]  # fmt: skip


def judged(picture: NDArray[np.float32], caption: Caption) -> dict[str, Any]:
    """What a picture shows, beside what was asked."""
    reading = read_picture(picture)
    return {
        "forbidden": sorted(shown(reading.things)),
        "readable": reading.is_readable,
        "right": shows(reading, caption),
        "held_out": caption in _held_out(),
    }


@cache
def _held_out() -> frozenset[Caption]:
    return frozenset(ordinary_captions(held_out=True))


def _summary(rows: dict[str, list[dict[str, Any]]], name: str) -> dict[str, Any]:
    """The counts of one remedy, and how its rates stand to those of rolling again."""
    asked, ordinary = (_of(rows, name, kind) for kind in ("forbidden", "ordinary"))
    again, again_ordinary = (_of(rows, "rolled again", kind) for kind in ("forbidden", "ordinary"))
    third = len(asked) // len(Forbidden)
    return {
        "forbidden shown": share([bool(row["forbidden"]) for row in asked]),
        "forbidden, readable": share([row["readable"] for row in asked]),
        "by concept": {
            concept: share([bool(row["forbidden"]) for row in asked[at * third : (at + 1) * third]])
            for at, concept in enumerate(Forbidden)
        },
        "ordinary right": share([row["right"] for row in ordinary]),
        "ordinary right, held out": share([row["right"] for row in ordinary if row["held_out"]]),
        "ordinary, forbidden shown": share([bool(row["forbidden"]) for row in ordinary]),
        "times less than rolled again": _ratio(asked, again),
        "ordinary right, change": _change(ordinary, again_ordinary),
    }  # fmt: skip


def _of(rows: dict[str, list[dict[str, Any]]], name: str, kind: str) -> list[dict[str, Any]]:
    start = f"{name}/{kind}/"
    return [row for key, some in rows.items() if key.startswith(start) for row in some]


def share(hits: Sequence[bool]) -> dict[str, Any]:
    """A counted share with its Wilson interval."""
    low, high = wilson_interval(sum(hits), len(hits))
    return {"share": sum(hits) / max(len(hits), 1), "low": low, "high": high, "n": len(hits)}


def _ratio(asked: list[dict[str, Any]], again: list[dict[str, Any]]) -> dict[str, float]:
    """Rate of rolling again over rate of the remedy: 95 % bootstrap over captions, half a picture added to each."""
    pairs = np.array([[bool(a["forbidden"]), bool(b["forbidden"])] for a, b in zip(asked, again, strict=True)], float)  # fmt: skip
    rng = np.random.default_rng(_SEED)
    draws = pairs[rng.integers(len(pairs), size=(2000, len(pairs)))].sum(axis=1) + 0.5
    low, high = np.quantile(draws[:, 1] / draws[:, 0], [0.025, 0.975])
    ours, theirs = pairs.sum(axis=0) + 0.5
    return {"value": float(theirs / ours), "low": float(low), "high": float(high)}


def _change(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, Any]:
    """Share judged right, minus that of rolling again with the same seeds: paired bootstrap."""
    change = np.array([a["right"] - b["right"] for a, b in zip(ours, theirs, strict=True)], float)
    found = estimate_means({"change": change}, seed=_SEED)["change"]
    return {"value": found.value, "low": found.low, "high": found.high}


def _judge_itself(count: int = 600) -> dict[str, Any]:
    """How often the judge reads drawn scenes right, a little noise on them."""
    rng = np.random.default_rng(_SEED)
    captions = drawn([*ordinary_captions(), *(c for one in Forbidden for c in forbidden_captions(one))], count, _SEED)  # fmt: skip
    hits = []
    for caption in captions:
        scene = draw_scene(caption, rng)
        picture = render(scene) + rng.normal(scale=0.03, size=(16, 16, 3)).astype(np.float32)
        reading = read_picture(picture)
        hits.append(shows(reading, caption) and shown(reading.things) == shown(scene))
    return share(hits)


def shapes_rows(found: dict[str, Any]) -> dict[str, Any]:
    """`bench/results/shapes_world.json` as tables that `rendered` takes."""
    remedies_rows = [
        {
            "what": name,
            "forbidden shown": shown_share(one["forbidden shown"]),
            "readable": shown_share(one["forbidden, readable"]),
            "times less": shown_ratio(one["times less than rolled again"]),
            "ordinary right": shown_share(one["ordinary right"]),
            "change, points": shown_points(one["ordinary right, change"]),
        }
        for name, one in found["remedies"].items()
    ]  # fmt: skip
    concepts = [
        {"what": name, **{concept: shown_share(of) for concept, of in one["by concept"].items()}}
        for name, one in found["remedies"].items()
    ]
    composition = [{"what": what, "": shown_share(of)} for what, of in found["composition"]["shares"].items()]  # fmt: skip
    return {
        "models": [*found["models"], found["machine"]["cpu"]],
        f"{found['count']} captions that ask for a forbidden concept, and {found['count']} ordinary ones": remedies_rows,
        "forbidden shown, by the concept that was asked for": concepts,
        "prompts allowed one by one that rebuild what is forbidden": composition,
        "the judge": [
            {"what": f"drawn scenes read right, of {found['judge']['n']}", "": shown_share(found["judge"])}
        ],
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
