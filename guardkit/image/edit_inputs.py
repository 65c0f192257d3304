"""The tensors of a graph that compares a picture with what it was made of; no picture is touched here, and Pillow not needed."""

from __future__ import annotations

from guardkit.artifacts import Artifact, EditOptions, TensorSpec
from guardkit.errors import ManifestError

CROPS, CELLS, SIGNAL, IDS, MASK, LOG_ODDS, HAS_REQUEST, OUTPUT = (
    "crops", "cells", "signals", "input_ids", "attention_mask", "log_odds", "has_request", "logits",
)  # fmt: skip
CELLS_SEEN = 49
"""Of a 7x7 grid, the encoder's last feature map."""


def taken_by(artifact: Artifact) -> EditOptions:
    """How an artifact takes edits.

    Raises:
        ManifestError: It takes none, or its inputs are others than `edit_specs`.
    """
    manifest, options = artifact.manifest, artifact.manifest.edits
    if options is None or manifest.text is None:
        raise ManifestError(f"{artifact.path}: task '{manifest.task}' compares no pictures.")
    if manifest.inputs != edit_specs(options):
        raise ManifestError(
            f"{artifact.path}: found inputs {manifest.inputs}. Expected {edit_specs(options)}. "
            "Export the artifact again."
        )
    return options


def edit_specs(options: EditOptions) -> tuple[TensorSpec, ...]:
    """The inputs of a graph with these options."""
    side, tokens = options.side, ("edits", "tokens")
    return (
        TensorSpec(CROPS, "uint8", ("edits", 2, side, side, 3)),
        TensorSpec(CELLS, "float32", ("edits", CELLS_SEEN)),
        TensorSpec(SIGNAL, "float32", ("edits", len(options.signals))),
        TensorSpec(IDS, "int64", tokens),
        TensorSpec(MASK, "int64", tokens),
        TensorSpec(LOG_ODDS, "float32", ("edits", len(options.said))),
        TensorSpec(HAS_REQUEST, "float32", ("edits", 1)),
    )
