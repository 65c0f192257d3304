"""How strong each remedy of shapes world is to be, tried on captions and seeds that `bench.shapes_world` does not measure.

    python -m bench.shapes_strengths --count 90          # prints; what was chosen stands in bench/shapes_remedies.py

Removal and price of each setting: the share of forbidden captions that show it, of those whose picture is readable and shows nothing forbidden (what
spoils pictures lowers the first alone), and of ordinary ones drawn right.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product

import numpy as np

from bench.shapes_remedies import Remedy, drawn, guided, remap
from bench.tables import rendered
from guardkit.shapes.captions import Caption
from guardkit.shapes.concepts import Forbidden, forbidden_captions, ordinary_captions, shown
from guardkit.shapes.generator import ShapesGenerator
from guardkit.shapes.judge import Reading, read_picture, shows

_SEED, _FIRST = 31, 5_000_000
_CHUNK = 15
_STRENGTHS = (300.0, 500.0, 1000.0, 2000.0)
_RECURRENCES = (1, 4, 8, 16)
_REMAPS = ((0.02, 0.3), (0.05, 0.3), (0.05, 3.0), (0.1, 0.1))
Make = Callable[[ShapesGenerator], Remedy]


def main() -> int:
    """Generate, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=90, help="captions of either kind")
    arguments = parser.parse_args()
    generator = ShapesGenerator.open()
    third = arguments.count // len(Forbidden)
    asked = [one for at, concept in enumerate(Forbidden) for one in drawn(forbidden_captions(concept), third, _SEED + at)]  # fmt: skip
    ordinary = drawn(ordinary_captions(), arguments.count, _SEED + len(Forbidden))
    rows = []
    for name, make in _settings():
        remedy = make(generator)
        read, plain = (_readings(generator, remedy, some) for some in (asked, ordinary))
        found = {
            "forbidden shown": [bool(shown(one.things)) for one in read],
            "readable, nothing forbidden": [one.is_readable and not shown(one.things) for one in read],
            "ordinary right": list(map(shows, plain, ordinary)),
        }  # fmt: skip
        rows.append({"what": name, **{title: f"{np.mean(hits):.3f}" for title, hits in found.items()}})  # fmt: skip
        print(rows[-1], flush=True)
    title = f"{arguments.count} captions of either kind, apart from those measured"
    print(rendered({"models": ["shapes-world 0.1.0"], title: rows}))
    return 0


def _settings() -> Iterator[tuple[str, Make]]:
    yield "nothing done", lambda _: Remedy()
    for strength, turns in product(_STRENGTHS, _RECURRENCES):
        yield f"guided, strength {strength:g}, recurrence {turns}", partial(_guided, strength=strength, recurrence=turns)  # fmt: skip
    yield from ((f"remapped, eta {eta:g}, ridge {ridge:g}", partial(_remapped, eta=eta, ridge=ridge)) for eta, ridge in _REMAPS)  # fmt: skip


def _guided(_: ShapesGenerator, *, strength: float, recurrence: int) -> Remedy:
    return guided(strength, recurrence)


def _remapped(generator: ShapesGenerator, *, eta: float, ridge: float) -> Remedy:
    return Remedy(edit=remap(generator, eta=eta, ridge=ridge))


def _readings(
    generator: ShapesGenerator, remedy: Remedy, captions: Sequence[Caption]
) -> list[Reading]:
    """What the judge sees in a picture of each caption."""
    found = list[Reading]()
    for at in range(0, len(captions), _CHUNK):
        some = captions[at : at + _CHUNK]
        seeds = [_FIRST + at + n for n in range(len(some))]
        found += map(read_picture, remedy.pictures(generator, [str(one) for one in some], seeds))
    return found


if __name__ == "__main__":
    sys.exit(main())
