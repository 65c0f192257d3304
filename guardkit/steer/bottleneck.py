"""A bottleneck (SMIB layer) between an encoder and a decoder: features in, features of the same shape out.

    step = Bottleneck(find_artifact("smib-minilm"))
    decoder.run({"states": step(encoder.run(tokens)["states"])})

Inside a torch module: `guardkit.integrations.bottleneck.attach`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from guardkit.artifacts import Artifact, RunnerOptions
from guardkit.errors import InputError, ManifestError
from guardkit.runtime.base import OpenRunner, open_runner
from guardkit.runtime.clock import Stop

TASK, INPUT, OUTPUT = "bottleneck", "features", "filtered"
_RANKS = {1: (None, None), 2: (None,), 3: ()}  # [d], [T, d], [B, T, d]


class Bottleneck:
    """An opened artifact; safe to share between threads."""

    def __init__(
        self,
        artifact: Artifact,
        options: RunnerOptions | None = None,
        *,
        open_runner: OpenRunner = open_runner,
    ) -> None:
        """Open an artifact.

        Args:
            artifact: One whose task is `bottleneck`.
            options: Where it runs; None: one thread of this processor.
            open_runner: What opens it.

        Raises:
            ManifestError: It is no bottleneck.
            ArtifactError: It is changed or malformed.
            BackendError: It cannot be run here.
        """
        manifest = artifact.manifest
        if manifest.bottleneck is None:
            raise ManifestError(
                f"{artifact.path}: task '{manifest.task}'. Expected '{TASK}': an artifact smib-*."
            )
        self.options = manifest.bottleneck
        self.id = manifest.id
        self._runner = open_runner(artifact, options or RunnerOptions())

    def __call__(self, features: NDArray[Any], *, stop: Stop | None = None) -> NDArray[np.float32]:
        """Filter features.

        Args:
            features: [d], [T, d] or [B, T, d] of floats, d as in `options.width`; finite.
            stop: Gives up when it fires.

        Returns:
            f32, of the same shape.

        Raises:
            InputError: The shape or width is another, or a value is NaN or infinite.
            RunError: The graph failed.
        """
        check_features(features.shape, is_finite=bool(np.isfinite(features).all()), name=self.id, width=self.options.width)  # fmt: skip
        shaped = features[_RANKS[features.ndim]].astype(np.float32, copy=False)
        filtered: NDArray[np.float32] = self._runner.run({INPUT: shaped}, stop=stop)[OUTPUT]
        return filtered.reshape(features.shape)


def check_features(shape: tuple[int, ...], *, is_finite: bool, name: str, width: int) -> None:
    """Refuse what a bottleneck was not made for.

    Raises:
        InputError: Rank, width or a value is wrong.

    >>> check_features((7, 384), is_finite=True, name="smib-minilm@0.1.0", width=384)
    """
    if len(shape) not in _RANKS or 0 in shape or shape[-1] != width:
        raise InputError(
            f"{name}: features of shape {list(shape)}. Expected [{width}], [T, {width}] or [B, T, {width}]: "
            "take the layer that this artifact was made for, or train one for yours."
        )
    if not is_finite:
        raise InputError(
            f"{name}: features hold NaN or infinity. Look at the layer that gives them."
        )
