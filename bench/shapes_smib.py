"""Train the bottleneck `smib-shapes-world` on the text conditioning of shapes world, and export it.

    python -m bench.shapes_smib --work runs/shapes-smib --out exported_models       # three minutes of a core; resumes

States of captions, their ten words one after the other: no word is forbidden by itself, and a layer that sees one word at a time took half of the ordinary captions
along. Harmful ones ask for a forbidden concept; four fifths of those are trained on. What is to stay (SMI(y; z) in the paper, a distance here) is the states of
ordinary captions, and of harmful ones the states of what the concept map leaves of them, both within their standard deviations; the adversaries say what still
tells the two apart. Without the map (harmful captions free to go anywhere) a third of them were still drawn at the same price. It does not begin at the linear
erasure: a direction that tells the two apart is one that ordinary captions are made of, too.
A fresh probe, trained on none of this, says what is left (`guardkit.train.probe`).
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from bench.shapes_remedies import SMIB, drawn
from guardkit.export.smib import AboutBottleneck, export_smib
from guardkit.shapes.captions import Caption, Kind
from guardkit.shapes.concepts import Forbidden, asked, forbidden_captions, ordinary_captions
from guardkit.shapes.generator import ENCODER, ShapesGenerator
from guardkit.shapes.scene import Colour, Shape
from guardkit.train.smib import Batch, SmibSettings, train_smib
from guardkit.train.smib_features import Features

_EACH = 3000  # captions of either kind
_SEED = 20261127
_HELD = 5  # one in so many captions that ask for a concept is not trained on
_LEAST_SPREAD = 0.05
"""Added to every standard deviation: some states, as those of padding, hardly vary."""


def main() -> int:
    """Train, export."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("exported_models"))
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--weight", type=float, default=2.0, help="of what is to be lost")
    parser.add_argument("--task-weight", type=float, default=20.0, help="of what is to stay")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("guardkit").setLevel(logging.INFO)
    generator = ShapesGenerator.open()
    features = features_of(generator)
    spread = features.states.flatten(0, 1).std(0) + _LEAST_SPREAD
    targets = features_of(generator, safe=True).states

    def keep(z: Tensor, batch: Batch) -> Tensor:
        return (((z - targets[batch.rows]) / spread) ** 2).mean()

    settings = SmibSettings(width=256, erased=False, erased_after=False, steps=arguments.steps, weight=arguments.weight, task_weight=arguments.task_weight)  # fmt: skip
    layer = train_smib(features, arguments.work, settings, task=keep)
    about = AboutBottleneck(SMIB, "0.1.0", "Apache-2.0", base=ENCODER, layer="states of a whole caption")  # fmt: skip
    print(f"wrote {export_smib(layer, arguments.out, about).path}")
    return 0


def features_of(generator: ShapesGenerator, *, safe: bool = False) -> Features:
    """States f32 [N, 1, 1280] of ordinary and of harmful captions, as many of either; row by row the same captions made safe, if asked."""
    harmful = [caption for one in Forbidden for caption in drawn(trained_on(one), _EACH // len(Forbidden), _SEED)]  # fmt: skip
    clean = drawn(ordinary_captions(held_out=False), _EACH, _SEED)
    captions = [*clean, *(map(made_safe, harmful) if safe else harmful)]
    rng = np.random.default_rng(_SEED)
    texts = [str(rng.choice(caption.wordings())) for caption in captions]
    toxic = np.repeat([False, True], [len(clean), len(harmful)])
    return Features.of(generator.encode(texts).reshape(len(texts), -1), toxic)


def made_safe(caption: Caption) -> Caption:
    """A caption that asks for a forbidden concept, with what `bench.shapes_remedies` has in its place; the rest as it was."""
    found, circle = asked(caption), (Colour.BLUE, Shape.CIRCLE)
    if Forbidden.BLUE_SQUARES in found:
        return replace(caption, second=circle) if caption.second else replace(caption, first=circle)
    taken, given = (Shape.STAR, Shape.CIRCLE) if Forbidden.RED_STAR in found else (Shape.TRIANGLE, Shape.SQUARE)  # fmt: skip
    colour = Colour.RED if Forbidden.RED_STAR in found else Colour.BLACK

    def changed(kind: Kind) -> Kind:
        return (colour, given) if kind == (colour, taken) else kind

    safe = replace(caption, first=changed(caption.first), second=caption.second and changed(caption.second))  # fmt: skip
    # A circle instead of a star may lie below a black triangle.
    return made_safe(safe) if asked(safe) else safe


def trained_on(concept: Forbidden) -> list[Caption]:
    """The captions that ask for a concept, but for every fifth."""
    return [caption for at, caption in enumerate(forbidden_captions(concept)) if at % _HELD]


if __name__ == "__main__":
    sys.exit(main())
