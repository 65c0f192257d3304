"""Parity of `image-transform`: the graph gives the logits of the parts it was put together of.

The card holds no picture and no text: its inputs are drawn again from arithmetic, the same on every machine.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from guardkit.artifacts import Artifact, EditOptions
from guardkit.errors import ParityError
from guardkit.export.image_parity import drawn_crops
from guardkit.image.edit_inputs import (
    CELLS,
    CELLS_SEEN,
    CROPS,
    HAS_REQUEST,
    IDS,
    LOG_ODDS,
    MASK,
    SIGNAL,
    taken_by,
)
from guardkit.runtime.base import Arrays, Runner

DRAWN = 6
"""Edits on a card."""
_TOKENS = 9
_WORDS = 2000, 20_000  # ids of whole words in BERT's vocabulary
_START, _END = 101, 102


class EditParityCard(Struct, frozen=True, forbid_unknown_fields=True):
    """The content of the `parity.json` of a model of edits."""

    precision: str
    logits: tuple[tuple[float, ...], ...]
    """Of the parts in fp32, one row a drawn edit, in the order of the manifest's categories."""
    tolerance: float
    """Largest absolute difference of a logit that passes."""
    worst: float
    """Largest difference when the card was made."""


def drawn_edits(options: EditOptions) -> Arrays:
    """Inputs of the graph, the same on every machine: crops of chequers, numbers in even steps, words of the vocabulary."""
    count = np.arange(DRAWN, dtype=np.int64)[:, None]

    def steps(columns: int, low: float, high: float) -> NDArray[np.float32]:
        place = (count * 31 + np.arange(columns) * 17) % 29 / 28
        return (low + (high - low) * place).astype(np.float32)

    ids = _WORDS[0] + (count * 7919 + np.arange(_TOKENS) * 2749) % (_WORDS[1] - _WORDS[0])
    ids[:, 0], ids[:, -1] = _START, _END
    crops = drawn_crops(DRAWN * 2, options.side)
    return {
        CROPS: crops.reshape(DRAWN, 2, options.side, options.side, 3),
        CELLS: steps(CELLS_SEEN, 0, 1),
        SIGNAL: steps(len(options.signals), -1, 1),
        IDS: ids,
        MASK: np.ones_like(ids),
        LOG_ODDS: steps(len(options.said), -1.5, 1),
        HAS_REQUEST: (count % 3 > 0).astype(np.float32),
    }


def worst_of_edits(artifact: Artifact, runner: Runner, card: EditParityCard) -> tuple[float, str]:
    """The largest difference of a logit, and where it is.

    Raises:
        ManifestError: The artifact compares no pictures.
        ParityError: There is nothing to compare.
    """
    found = runner.run(drawn_edits(taken_by(artifact)))["logits"]
    expected = np.array(card.logits, np.float32)
    if found.shape != expected.shape or not expected.size:
        raise ParityError(
            f"{artifact.path}: logits {found.shape}, the card has {expected.shape}. Export it again."
        )
    differences = np.abs(found - expected)
    row, column = np.unravel_index(int(differences.argmax()), differences.shape)
    return float(differences.max()), f"edit {row}, {artifact.manifest.categories[column]}"
