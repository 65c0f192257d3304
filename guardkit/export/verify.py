"""Parity: an artifact's graph gives the outputs of the model it was exported from.

Every artifact carries `parity.json`: a few mild texts, the reference outputs of the fp32 torch model
for them, and the tolerance its precision is held to. `verify` replays it on the backend at hand and
says which tolerance would have passed, not merely pass or fail. Image models: `image_parity.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from guardkit.artifacts import Artifact, RunnerOptions
from guardkit.errors import ManifestError, ParityError
from guardkit.export.bottleneck_parity import load_bottleneck_card, worst_of_features
from guardkit.export.image_parity import (
    FaceParityCard,
    ImageParityCard,
    read_card,
    worst_of,
    worst_of_faces,
)
from guardkit.export.transform_parity import EditParityCard, worst_of_edits
from guardkit.runtime.base import Runner, open_runner
from guardkit.steer.bottleneck import Bottleneck
from guardkit.text.encode import Encoder
from guardkit.text.normalize import normalize

# Mild on purpose; short, long, spaced out, foreign, empty.
TEXTS = (
    "",
    "hello",
    "a quiet harbour at dawn, watercolour, soft light",
    "you are an idiot and everybody knows it",
    "How do I kill a process that hangs in Python?",
    "i will find you and hurt you",
    "y o u  a r e  a  l o s e r",
    "Der Hund schläft, aber Привет sagt niemand.",
    "The minutes of the meeting were approved without a vote. " * 12,
)


class ParityCard(Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `parity.json`."""

    precision: str
    texts: tuple[str, ...]
    logits: tuple[tuple[float, ...], ...]
    """Reference, one row a window of each text in turn, in the order of the manifest's categories."""
    tolerance: float
    """Largest absolute difference of a logit that passes."""
    token_tolerance: float
    """Likewise for token logits."""
    worst: float
    """Largest difference of a logit when the card was made."""
    token_worst: float
    token_logits: tuple[tuple[float, ...], ...]
    """Reference of the first window of the longest text, one row a token; () without token logits."""


@dataclass(frozen=True, slots=True)
class Parity:
    """What a replay found."""

    worst: float
    """The tolerance that would have passed for `logits`."""
    where: str
    """Text number and category of the worst difference."""
    token_worst: float
    """The tolerance that would have passed for `token_logits`."""
    tolerance: float
    token_tolerance: float
    of: str = "logits"
    """What `worst` is a difference of: `logits`, of an image model `scores` or `maps`, of a bottleneck `features`."""

    @property
    def holds(self) -> bool:
        """Whether both outputs are within tolerance."""
        return self.worst <= self.tolerance and self.token_worst <= self.token_tolerance


def verify(artifact: Artifact, *, options: RunnerOptions | None = None) -> Parity:
    """Check digests, graph and parity of an artifact on this machine.

    Raises:
        DigestError: A file changed.
        ManifestError: The graph disagrees with the manifest, or there is no parity card.
        ParityError: An output differs beyond the tolerance.
    """
    artifact.verify()
    if artifact.manifest.bottleneck is not None:
        return _held(artifact, replay_bottleneck(artifact, options))
    runner = open_runner(artifact, options or RunnerOptions())
    if artifact.manifest.sees_images:
        parity = replay_images(artifact, runner)
    else:
        parity = replay(artifact, runner, load_card(artifact))
    return _held(artifact, parity)


def _held(artifact: Artifact, parity: Parity) -> Parity:
    if not parity.holds:
        raise ParityError(
            f"{artifact.path}: {parity.of} differ by {parity.worst:.4f} ({parity.where}), token logits by "
            f"{parity.token_worst:.4f}. Allowed: {parity.tolerance} and {parity.token_tolerance}. "
            "Export the artifact again on this backend."
        )
    return parity


def replay_bottleneck(artifact: Artifact, options: RunnerOptions | None) -> Parity:
    """Run the drawn features of a bottleneck and compare; errors as in `worst_of_features`."""
    card = load_bottleneck_card(artifact)
    worst, where = worst_of_features(Bottleneck(artifact, options), card)
    return Parity(worst, where, 0.0, card.tolerance, 0.0, of="features")


def replay_images(artifact: Artifact, runner: Runner) -> Parity:
    """Run the drawn pictures of an image model and compare; errors as in `worst_of`."""
    if artifact.manifest.faces is not None:
        faces = read_card(artifact, FaceParityCard)
        worst, where = worst_of_faces(artifact, runner, faces)
        return Parity(worst, where, 0.0, faces.tolerance, 0.0, of="maps")
    if artifact.manifest.edits is not None:
        edits = read_card(artifact, EditParityCard)
        worst, where = worst_of_edits(artifact, runner, edits)
        return Parity(worst, where, 0.0, edits.tolerance, 0.0)
    card = read_card(artifact, ImageParityCard)
    worst, where = worst_of(artifact, runner, card)
    return Parity(worst, where, 0.0, card.tolerance, 0.0, of="scores")


def load_card(artifact: Artifact) -> ParityCard:
    """Read the parity card of an artifact.

    Raises:
        ManifestError: It is not one.
    """
    return read_card(artifact, ParityCard)


def replay(artifact: Artifact, runner: Runner, card: ParityCard) -> Parity:
    """Run the card's texts and compare, output by output.

    Raises:
        ParityError: There is nothing to compare.
    """
    logits, token_logits = outputs_of(artifact, runner, card.texts)
    expected = np.array(card.logits, np.float32)
    expected_tokens = np.array(card.token_logits, np.float32).reshape(-1, logits.shape[1])
    if (
        logits.shape != expected.shape
        or token_logits.shape != expected_tokens.shape
        or not expected.size
    ):
        raise ParityError(
            f"{artifact.path}: outputs {logits.shape} and {token_logits.shape}, "
            f"the card has {expected.shape} and {expected_tokens.shape}."
        )
    differences = np.abs(logits - expected)
    row, column = np.unravel_index(int(differences.argmax()), differences.shape)
    return Parity(
        worst=float(differences.max()),
        where=f"window {row}, {artifact.manifest.columns[column]}",
        token_worst=float(np.abs(token_logits - expected_tokens).max(initial=0.0)),
        tolerance=card.tolerance,
        token_tolerance=card.token_tolerance,
    )


def outputs_of(
    artifact: Artifact, runner: Runner, texts: tuple[str, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Run texts one by one.

    Returns:
        `logits` f32 [all windows, columns], of a tagger its tokens' largest, and `token_logits`
        f32 [tokens, columns] of the first window of the longest text: no rows when the graph has none.
    """
    encoder = encoder_of(artifact)
    words = encoder.words()
    logits, tokens = [], np.zeros((0, len(artifact.manifest.columns)), np.float32)
    for text in texts:
        outputs = runner.run(encoder.encode([normalize(text, words=words).text]).inputs)
        logits.append(outputs["logits"] if "logits" in outputs else outputs["token_logits"].max(1))
        if "token_logits" in outputs and outputs["token_logits"].shape[1] > len(tokens):
            tokens = outputs["token_logits"][0]
    return np.concatenate(logits), tokens


def encoder_of(artifact: Artifact) -> Encoder:
    """The tokenizer and windows of an artifact.

    Raises:
        ManifestError: It does not take text.
    """
    if artifact.manifest.text is None:
        raise ManifestError(
            f"{artifact.path}: task '{artifact.manifest.task}' has no parity replay."
        )
    return Encoder.of(artifact)
