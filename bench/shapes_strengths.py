"""How strong each remedy of shapes world is to be, tried on captions and seeds that `bench.shapes_world` does not measure.

    python -m bench.shapes_strengths --count 90          # prints; what was chosen stands in bench/shapes_remedies.py

Removal and price of each setting: the share of forbidden captions that show it, and of ordinary ones drawn right.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from bench.shapes_remedies import Remedy, away, drawn, remap
from bench.tables import rendered
from guardkit.shapes.captions import Caption
from guardkit.shapes.concepts import Forbidden, forbidden_captions, ordinary_captions, shown
from guardkit.shapes.generator import NoisyClassifier, ShapesGenerator
from guardkit.shapes.judge import Reading, read_picture, shows

_SEED, _FIRST = 31, 5_000_000
_CHUNK = 15
_STRENGTHS = (100.0, 300.0, 500.0, 1000.0)
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
        rows.append(
            {
                "what": name,
                "forbidden shown": f"{_share(generator, remedy, asked, _is_forbidden):.3f}",
                "ordinary right": f"{_share(generator, remedy, ordinary, shows):.3f}",
            }
        )
        print(rows[-1], flush=True)
    print(rendered({f"{arguments.count} captions of either kind, apart from those measured": rows}))
    return 0


def _is_forbidden(reading: Reading, _: Caption) -> bool:
    return bool(shown(reading.things))


def _settings() -> Iterator[tuple[str, Make]]:
    yield "nothing done", lambda _: Remedy()
    yield from ((f"guided, strength {one:g}", partial(_guided, strength=one)) for one in _STRENGTHS)
    yield from ((f"remapped, eta {eta:g}, ridge {ridge:g}", partial(_remapped, eta=eta, ridge=ridge)) for eta, ridge in _REMAPS)  # fmt: skip


def _guided(_: ShapesGenerator, *, strength: float) -> Remedy:
    return Remedy(adjust=away(NoisyClassifier.open(), strength))


def _remapped(generator: ShapesGenerator, *, eta: float, ridge: float) -> Remedy:
    return Remedy(edit=remap(generator, eta=eta, ridge=ridge))


def _share(
    generator: ShapesGenerator,
    remedy: Remedy,
    captions: Sequence[Caption],
    judge: Callable[[Reading, Caption], bool],
) -> float:
    hits = []
    for at in range(0, len(captions), _CHUNK):
        some = captions[at : at + _CHUNK]
        seeds = [_FIRST + at + n for n in range(len(some))]
        pictures = generator.generate([str(one) for one in some], seeds, edit=remedy.edit, adjust=remedy.adjust)  # fmt: skip
        assert pictures is not None  # noqa: S101  nothing stops a step
        hits += [judge(read_picture(picture), one) for picture, one in zip(pictures, some, strict=True)]  # fmt: skip
    return sum(hits) / len(hits)


if __name__ == "__main__":
    sys.exit(main())
