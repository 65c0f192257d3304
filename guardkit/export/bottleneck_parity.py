"""Parity of bottlenecks: the graph gives what the torch layer gave for a few drawn features."""

from __future__ import annotations

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from guardkit.artifacts import PARITY_FILE, Artifact
from guardkit.errors import ManifestError, ParityError
from guardkit.steer.bottleneck import Bottleneck

_TOKENS = 6


class BottleneckParityCard(Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a bottleneck's `parity.json`."""

    precision: str
    mean: tuple[float, ...]
    """Of the features it was trained on, one a dimension; what `drawn_features` draws around."""
    scale: tuple[float, ...]
    """Their standard deviations."""
    filtered: tuple[tuple[float, ...], ...]
    """What the torch layer made of the drawn features, one row a token."""
    tolerance: float
    """Largest difference that passes, in standard deviations."""
    worst: float
    """Largest difference when the card was made."""


def drawn_features(mean: ArrayLike, scale: ArrayLike) -> NDArray[np.float32]:
    """Features from integers alone, the same on every machine, within 2 standard deviations of a mean.

    Returns:
        f32 [6, d].

    >>> drawn_features([0.0, 10.0], [1.0, 2.0]).shape
    (6, 2)
    """
    middle, spread = np.asarray(mean), np.asarray(scale)
    place = np.arange(_TOKENS * middle.size, dtype=np.int64).reshape(_TOKENS, -1)
    # Knuth's multiplicative hash of the place
    parts = ((place + 1) * 2654435761 >> 12 & 0xFFF) / 1024 - 2
    return (middle + parts * spread).astype(np.float32)


def worst_of_features(bottleneck: Bottleneck, card: BottleneckParityCard) -> tuple[float, str]:
    """The largest difference in standard deviations, and where it is.

    Raises:
        ParityError: There is nothing to compare.
    """
    features = drawn_features(card.mean, card.scale)
    expected = np.array(card.filtered)
    if expected.shape != features.shape or not expected.size:
        raise ParityError(
            f"{bottleneck.id}: the card has {expected.shape} filtered features, expected {features.shape}. Export it again."
        )
    differences = np.abs(bottleneck(features) - expected) / np.asarray(card.scale)
    token, column = np.unravel_index(int(differences.argmax()), differences.shape)
    return float(differences.max()), f"token {token}, dimension {column}"


def load_bottleneck_card(artifact: Artifact) -> BottleneckParityCard:
    """Read the parity card of a bottleneck.

    Raises:
        ManifestError: It is not one.
    """
    try:
        return msgspec.json.decode(artifact.read(PARITY_FILE), type=BottleneckParityCard)
    except msgspec.DecodeError as e:
        raise ManifestError(f"{artifact.path / PARITY_FILE}: {e}.") from e
