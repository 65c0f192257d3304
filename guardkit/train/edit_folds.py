"""Kinds of edits left out in turn, so that a head is asked about kinds it did not see."""

from __future__ import annotations

import numpy as np

from guardkit.train.edit_features import Edits
from guardkit.train.edits import HELD_OUT, KINDS, LATER, Effect
from guardkit.train.transform_head import (
    Floats,
    Heads,
    Pairs,
    Said,
    Settings,
    draw_pairs,
    logits_of,
    numbers_of,
    train_heads,
)

FOLDS = 4
NEVER = -1
"""The fold of a kind that no turn leaves out: no other kind has its effect."""
_SEED = 17
_EACH = 6  # requests beside an edit


def folds_of_kinds() -> dict[str, int]:
    """Kind -> the fold that leaves it out: round robin within an effect, kinds of 0.1.0 and later ones apart."""
    random, folds = np.random.default_rng(_SEED), dict[str, int]()
    for effect in Effect:
        for is_later in (False, True):
            kinds = [name for name, kind in KINDS.items() if kind.effect == effect and name not in HELD_OUT and (name in LATER) == is_later]  # fmt: skip
            start = int(random.integers(FOLDS))
            order = random.permutation(kinds).tolist()
            folds |= {name: (at + start) % FOLDS for at, name in enumerate(order)}
    return folds | {"bare": NEVER}


def left_out(
    heads: Heads, train: tuple[Edits, Said], valid: tuple[Edits, Said], settings: Settings
) -> tuple[Floats, Pairs]:
    """What heads say of kinds that they did not see, in other pictures and beside other requests.

    Args:
        heads: Trained on all kinds; asked about those that cannot be left out.
        train: What they, and a head a fold, are trained on.
        valid: What is asked.
        settings: Of the training.

    Returns:
        f32 [pairs, 4], and the pairs.
    """
    folds, (edits, said) = folds_of_kinds(), valid
    of_train, of_valid = (np.array([folds[kind] for kind in one.kinds]) for one in (train[0], edits))  # fmt: skip
    random = np.random.default_rng(settings.seed)
    pairs = draw_pairs(edits, said, random, without_request=settings.without_request, each=_EACH)
    logits = logits_of(heads, numbers_of(edits), said, pairs)
    for fold in range(FOLDS):
        without = train[0].at(np.flatnonzero(of_train != fold))
        blind = train_heads(without, train[1], settings)
        rows = of_valid[pairs.edits] == fold
        logits[rows] = logits_of(blind, numbers_of(edits), said, pairs)[rows]
    return logits, pairs
