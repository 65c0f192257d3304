"""Parity of image models: the graph gives the probabilities of the classifier it was made of.

The card holds no picture: the crops are drawn again from arithmetic, the same on every machine.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from guardkit.artifacts import PARITY_FILE, Artifact, probability
from guardkit.errors import ManifestError, ParityError
from guardkit.runtime.base import Runner

DRAWN = 12
"""Crops on a card."""
STEP = 13
"""Of the values of a map, on a card: prime, so that all of its channels, rows and columns are met."""
_SQUARES = (1, 2, 7, 14, 28, 112)  # a side, of the coarsest to the finest pattern


class ImageParityCard(Struct, frozen=True, forbid_unknown_fields=True):
    """The content of an image model's `parity.json`."""

    precision: str
    crops: int
    """How many of `drawn_crops` were run."""
    scores: tuple[tuple[float, ...], ...]
    """Probabilities of the source model, one row a crop, in the order of the manifest's categories."""
    tolerance: float
    """Largest absolute difference of a probability that passes."""
    worst: float
    """Largest difference when the card was made."""


class FaceParityCard(Struct, frozen=True, forbid_unknown_fields=True):
    """The content of the `parity.json` of a detector of faces."""

    precision: str
    maps: tuple[tuple[float, ...], ...]
    """Every `STEP`th value of the source network's maps, one row a drawn picture; the sure ones as probabilities."""
    tolerance: float
    """Largest absolute difference that passes."""
    worst: float
    """Largest difference when the card was made."""


def drawn_crops(count: int, side: int) -> NDArray[np.uint8]:
    """Chequers of coloured squares, from one square to single pixels, over a gradient.

    Returns:
        uint8 [count, side, side, 3].

    >>> drawn_crops(2, 8).shape
    (2, 8, 8, 3)
    """
    return np.stack([_drawn(number, side) for number in range(count)])


def _drawn(number: int, side: int) -> NDArray[np.uint8]:
    squares = _SQUARES[number % len(_SQUARES)]
    row, column, channel = np.meshgrid(
        np.arange(side), np.arange(side), np.arange(3), indexing="ij"
    )
    cell = (row * squares // side) * squares + column * squares // side
    # Knuth's multiplicative hash of (square, channel, crop): integers, so the same everywhere.
    colour = ((cell * 3 + channel + number * 7919) * 2654435761 >> 16) & 0xFF
    slope = (row + 2 * column) * 64 // (3 * side)
    return ((colour * 3 // 4 + slope) & 0xFF).astype(np.uint8)


def scores_of(artifact: Artifact, runner: Runner, crops: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Run crops: f64 [crops, categories], the sigmoid of the graph's logits, without calibration."""
    (name,) = (spec.name for spec in artifact.manifest.inputs)
    logits = runner.run({name: crops})["logits"]
    return np.vectorize(probability, otypes=[np.float64])(logits)


def worst_of(artifact: Artifact, runner: Runner, card: ImageParityCard) -> tuple[float, str]:
    """The largest difference of a probability, and where it is.

    Raises:
        ManifestError: The artifact takes no images.
        ParityError: There is nothing to compare.
    """
    if artifact.manifest.image is None:
        raise ManifestError(f"{artifact.path}: task '{artifact.manifest.task}' takes no images.")
    found = scores_of(artifact, runner, drawn_crops(card.crops, artifact.manifest.image.side))
    expected = np.array(card.scores)
    if found.shape != expected.shape or not expected.size:
        raise ParityError(
            f"{artifact.path}: scores {found.shape}, the card has {expected.shape}. Export it again."
        )
    differences = np.abs(found - expected)
    crop, column = np.unravel_index(int(differences.argmax()), differences.shape)
    return float(differences.max()), f"crop {crop}, {artifact.manifest.categories[column]}"


def drawn_pictures() -> list[NDArray[np.uint8]]:
    """Pictures for a detector of faces: upright, lying and square; uint8 [height, width, 3] each."""
    drawn = drawn_crops(3, 96)
    return [drawn[0][:, :64], drawn[1][:64], drawn[2]]


def maps_of(artifact: Artifact, runner: Runner, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Run a detector of faces: f32 [15, rows, columns], the first one as probabilities, without calibration."""
    (name,), (output,) = artifact.manifest.inputs, artifact.manifest.outputs
    (maps,) = runner.run({name.name: picture[None]})[output.name]
    logits, *others = maps
    return np.stack([1 / (1 + np.exp(-logits)), *others])


def worst_of_faces(artifact: Artifact, runner: Runner, card: FaceParityCard) -> tuple[float, str]:
    """The largest difference of a value of the maps, and in which picture it is.

    Raises:
        ParityError: There is nothing to compare.
    """
    found = [maps_of(artifact, runner, picture).ravel()[::STEP] for picture in drawn_pictures()]
    if [len(one) for one in found] != [len(one) for one in card.maps]:
        raise ParityError(f"{artifact.path}: the card has maps of other sizes. Export it again.")
    worst = [float(np.abs(a - b).max()) for a, b in zip(found, card.maps, strict=True)]
    return max(worst), f"picture {int(np.argmax(worst))}"


Card = TypeVar("Card", bound=Struct)


def load_image_card(artifact: Artifact, kind: type[Card]) -> Card:
    """Read the parity card of an image model, of the kind that it should be.

    Raises:
        ManifestError: It is not one.
    """
    try:
        return msgspec.json.decode(artifact.read(PARITY_FILE), type=kind)
    except msgspec.DecodeError as e:
        raise ManifestError(f"{artifact.path / PARITY_FILE}: {e}.") from e
