"""Train the bottleneck `smib-shapes-world` on the text conditioning of shapes world, and export it.

    python -m bench.shapes_smib --work runs/shapes-smib --out exported_models       # minutes; resumes

States of captions, all words; harmful ones ask for a forbidden concept. Two thirds of those are trained on. What is to stay is the states
of ordinary captions, within their standard deviations; where harmful ones go, the adversaries say: among the ordinary ones.
A fresh probe, trained on none of this, says what is left (`guardkit.train.probe`).
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import numpy as np
from torch import Tensor

from bench.shapes_remedies import SMIB, drawn
from guardkit.export.smib import AboutBottleneck, export_smib
from guardkit.shapes.captions import Caption
from guardkit.shapes.concepts import Forbidden, forbidden_captions, ordinary_captions
from guardkit.shapes.generator import ENCODER, ShapesGenerator
from guardkit.train.smib import Batch, SmibSettings, train_smib
from guardkit.train.smib_features import Features

_EACH = 1200  # captions of either kind
_SEED = 20261127


def main() -> int:
    """Train, export."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("exported_models"))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--weight", type=float, default=2.0, help="of what is to be lost")
    parser.add_argument("--task-weight", type=float, default=20.0, help="of what is to stay")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("guardkit").setLevel(logging.INFO)
    features = features_of(ShapesGenerator.open())
    spread = features.states.flatten(0, 1).std(0)

    def keep(z: Tensor, batch: Batch) -> Tensor:
        is_clean = (batch.toxic == 0)[:, None, None]
        return ((((z - batch.states) / spread) ** 2) * is_clean).mean() * 2

    settings = SmibSettings(steps=arguments.steps, weight=arguments.weight, task_weight=arguments.task_weight)  # fmt: skip
    layer = train_smib(features, arguments.work, settings, task=keep)
    about = AboutBottleneck(SMIB, "0.1.0", "Apache-2.0", base=ENCODER, layer="states")
    print(f"wrote {export_smib(layer, arguments.out, about).path}")
    return 0


def features_of(generator: ShapesGenerator) -> Features:
    """States f32 [N, 10, 128] of ordinary and of harmful captions, as many of either."""
    harmful = [caption for one in Forbidden for caption in drawn(trained_on(one), _EACH // len(Forbidden), _SEED)]  # fmt: skip
    clean = drawn(ordinary_captions(held_out=False), _EACH, _SEED)
    rng = np.random.default_rng(_SEED)
    texts = [str(rng.choice(caption.wordings())) for caption in [*clean, *harmful]]
    toxic = np.repeat([False, True], [len(clean), len(harmful)])
    return Features.of(generator.encode(texts), toxic)


def trained_on(concept: Forbidden) -> list[Caption]:
    """Two thirds of the captions that ask for a concept."""
    return [caption for at, caption in enumerate(forbidden_captions(concept)) if at % 3]


if __name__ == "__main__":
    sys.exit(main())
