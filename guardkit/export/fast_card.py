"""The CARD.md of `text-safety-fast`: what it may clear, what that loses, what it saves."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from guardkit.artifacts import Artifact, Manifest
from guardkit.export.bounds import MOST_LOST, Loss, choose_cut, most_lost
from guardkit.train.data import HARMLESS_SOURCES, Pool
from guardkit.train.teacher import HELD, VALID

_SHARES = (0.001, MOST_LOST, 0.0025, 0.01, 0.02, 0.05)
_HARMLESS = 0.1  # no known label above it


@dataclass(frozen=True, slots=True)
class FastCard:
    """What was measured on texts that the fast tier did not learn from."""

    artifact: Artifact
    full: Manifest
    pool: Pool
    uses: NDArray[np.int64]
    """`HELD` or `VALID`, a text."""
    margins: NDArray[np.float64]
    """Of the fast tier."""
    flagged: NDArray[np.bool_]
    """By the full model."""
    cut: float
    drawn: int
    """Texts in all."""

    def loss(self, use: int, cut: float) -> Loss:
        """What a cut loses on one kind of texts."""
        found = self.margins[self.flagged & (self.uses == use)]
        return Loss(len(found), int((found < cut).sum()))

    @property
    def harmless(self) -> dict[str, NDArray[np.bool_]]:
        """Kinds of harmless texts -> which they are."""
        fine = (self.pool.labels * self.pool.weights).max(axis=1) < _HARMLESS
        prompts = np.isin(self.pool.sources, HARMLESS_SOURCES)
        written = np.char.startswith(self.pool.sources.astype(str), "written")
        return {
            "image prompts and captions": fine & prompts,
            "comments": fine & ~prompts & ~written,
            "written look-alikes": fine & written,
        }


def write_fast_card(card: FastCard, path: Path) -> None:
    """Write the card."""
    path.write_text("\n".join(_lines(card)) + "\n", "utf-8")


def _lines(card: FastCard) -> Iterator[str]:
    manifest = card.artifact.manifest
    size = manifest.files[manifest.model].size_bytes / 1e6
    fitted = manifest.fitted
    yield f"# {manifest.id}"
    yield ""
    yield f"The first tier before {card.full.id}: it may clear a text, and never flags one. Static token embeddings"
    yield f"(int8), one convolution over three tokens and a small head, {size:.1f} MB, distilled from the scores of"
    yield f"{card.full.id} on {card.drawn} texts of its training mixture (data and licences: its card)."
    yield f"Made by `guardkit train {manifest.name}`, {datetime.datetime.now(datetime.UTC).date()}. Licence: {manifest.licence}."
    yield ""
    yield "A text is cleared when every fast score is below its bound, every one is below the policy's thresholds,"
    yield "there is no context, and no threshold of the policy is below the one the bounds were fitted for."
    yield ""
    yield "| category | fitted for thresholds from | cleared below |"
    yield "|---|---|---|"
    for name, threshold in (fitted.thresholds if fitted else {}).items():
        yield f"| {name} | {threshold:.2f} | {manifest.clears[name]:.4f} |"
    yield ""
    yield from _loss_lines(card)
    yield ""
    yield from _curve_lines(card)
    yield ""
    yield from _LIMITS


def _loss_lines(card: FastCard) -> Iterator[str]:
    yield "## What it loses"
    yield ""
    yield "Flagged: the full model reaches the lowest threshold that any shipped policy has. Texts of the"
    yield "mixture, in brackets the one-sided 95 % upper bound (Clopper-Pearson)."
    yield ""
    yield f"- validation texts, unseen by both models, on which the bounds were chosen: {card.loss(VALID, card.cut)}"
    yield f"- training texts of the full model held out of the fast tier: {card.loss(HELD, card.cut)}"


def _curve_lines(card: FastCard) -> Iterator[str]:
    kinds = card.harmless
    yield "## What it clears"
    yield ""
    yield "Share of harmless texts that are cleared, were the bounds chosen for another loss. The artifact's"
    yield f"row is {100 * MOST_LOST:g} %."
    yield ""
    counted = (f"{kind} ({int(rows.sum())})" for kind, rows in kinds.items())
    yield f"| loss at most | {' | '.join(counted)} |"
    yield f"|---|{'---|' * len(kinds)}"
    flagged = card.margins[card.flagged & (card.uses == VALID)]
    for share in _SHARES:
        if most_lost(len(flagged), share) < 0:
            continue
        cut = choose_cut(flagged, share)
        cleared = (_percent(card.margins[rows] < cut) for rows in kinds.values())
        yield f"| {100 * share:g} % | {' | '.join(cleared)} |"


def _percent(values: NDArray[np.bool_]) -> str:
    return f"{100 * values.mean():.1f} %" if len(values) else "-"


_LIMITS = (
    "## Limits",
    "",
    "The loss was measured on texts like those of the mixture. Who writes to slip past the fast tier can lose",
    "more; a policy that must not take that risk says `models: {text-safety: {cascade: false}}`.",
    "The scores of a cleared text are the fast tier's, and there are no spans.",
)
