"""Which kinds of edits to add, without a look at those held out: `python -m bench.transform_folds --pictures faces wallpapers --base minilm-l6 --work runs/transform`.

A quarter of the kinds that training sees is left out in turn, of every effect some (`bare` has no neighbour and stays), and with it a quarter of the scenes; a head
is trained on the rest and asked about the kinds left out, in the scenes left out, beside requests of `bench/proxies/edit_prompts.tsv`. Twice: with the kinds
of 0.1.0 alone, and with those of 0.2.0 (`edits.LATER`) too. ROC AUC of pairs as in `bench.transform`, the mean of four folds and each of them. `edits.HELD_OUT` and
the second set of requests take no part.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from bench.tables import rendered
from guardkit.bench.machine import describe_machine
from guardkit.metrics.ranking import roc_auc
from guardkit.train.edit_features import Edits
from guardkit.train.edit_folds import FOLDS, folds_of_kinds
from guardkit.train.edit_prompts import load_requests
from guardkit.train.edits import LATER
from guardkit.train.sentences import read_requests
from guardkit.train.transform import edits_of
from guardkit.train.transform_head import (
    Said,
    Settings,
    draw_pairs,
    logits_of,
    numbers_of,
    train_heads,
)

_EACH, _SEED = 4, 17


class Asked(Struct, frozen=True):
    """Requests: what is trained on, and what is asked."""

    train: Said
    apart: Said


def main() -> int:
    """Train eight times, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", nargs="+", required=True, type=Path)
    parser.add_argument("--base", required=True, type=Path)
    parser.add_argument("--work", required=True, type=Path, help="as of guardkit train")
    parser.add_argument("--own", type=Path, default=Path("data"))
    parser.add_argument("--members", type=int, default=3, help="heads that are averaged")
    parser.add_argument("--out", type=Path, default=Path("bench/results/transform_folds.json"))
    arguments = parser.parse_args()
    edits = edits_of("train", arguments.pictures, arguments.work)
    written = load_requests(arguments.own / "written/edits/train.tsv", each=3, seed=1, split="train")  # fmt: skip
    apart = load_requests(Path("bench/proxies/edit_prompts.tsv"), each=3, seed=2, held_out=True)
    asked = Asked(*(read_requests(requests, arguments.base) for requests in (written, apart)))
    settings = Settings(members=arguments.members)
    rows = [
        {"what": f"trained on {title}", **_areas(edits, asked, settings, with_later=later)}
        for title, later in (("kinds of 0.1.0", False), ("kinds of 0.2.0 too", True))
    ]
    found: dict[str, Any] = {
        "models": [describe_machine(load_before=0).name],
        "ROC AUC on kinds left out of training": rows,
    }
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(rendered(found))
    return 0


def _areas(edits: Edits, asked: Asked, settings: Settings, *, with_later: bool) -> dict[str, str]:
    """Of kinds left out: those of 0.1.0, and later ones; the mean, and each fold."""
    folds = folds_of_kinds()
    fold_of = np.array([folds[kind] for kind in edits.kinds])
    is_later = np.isin(np.array(edits.kinds), LATER)
    areas: dict[str, list[float]] = {"left out: kinds of 0.1.0": [], "left out: kinds of 0.2.0": []}
    for fold in range(FOLDS):
        is_scene = edits.scenes % FOLDS == fold
        train = edits.at(np.flatnonzero((fold_of != fold) & ~is_scene & (with_later | ~is_later)))
        heads = train_heads(train, asked.train, settings)
        for title, is_group in zip(areas, (~is_later, is_later), strict=True):
            left = edits.at(np.flatnonzero((fold_of == fold) & is_scene & is_group))
            random = np.random.default_rng(_SEED)
            pairs = draw_pairs(left, asked.apart, random, without_request=0.0, each=_EACH)
            scores = logits_of(heads, numbers_of(left), asked.apart, pairs).max(1)
            area = roc_auc(pairs.harms >= 0, scores.astype(np.float64))
            areas[title].append(area if area is not None else float("nan"))
    return {title: _told(np.array(of)) for title, of in areas.items()}


def _told(areas: NDArray[np.float64]) -> str:
    return f"{areas.mean():.3f} ({', '.join(f'{area:.3f}' for area in areas)})"


if __name__ == "__main__":
    sys.exit(main())
