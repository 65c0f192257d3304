"""What a bottleneck is trained on: states of texts, and which of the texts are toxic."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from guardkit.errors import InputError
from guardkit.train.smib_model import pooled

_FEWEST = 10  # rows of a class
_CHUNK = 256  # rows in f32 at a time


@dataclass(frozen=True, slots=True)
class Features:
    """States of N texts at the place where the layer will stand."""

    states: Tensor
    """[N, T, d], f32 or bf16; T is 1 for features of whole texts."""
    mask: Tensor
    """f32 [N, T]: 1 for a token, 0 for padding."""
    toxic: Tensor
    """int64 [N]: 1 for a toxic text."""
    targets: Tensor | None = None
    """int64 [N]: what the features are for, y, as classes; None: the features themselves are to be kept."""

    @classmethod
    def of(
        cls,
        states: ArrayLike,
        toxic: ArrayLike,
        *,
        mask: ArrayLike | None = None,
        targets: ArrayLike | None = None,
        where: str = "features",
    ) -> Features:
        """Check arrays and take them.

        Args:
            states: [N, T, d] states of tokens, or [N, d] of whole texts; finite.
            toxic: [N], true for a toxic text; at least 10 of each kind.
            mask: [N, T]; None: every token counts.
            targets: [N], whole numbers from 0; or None.
            where: Names them in an error.

        Raises:
            InputError: A shape is wrong, a value is not finite, or a class has too few rows.

        >>> Features.of(np.zeros((20, 4), "float32"), np.arange(20) < 10).states.shape
        torch.Size([20, 1, 4])
        """
        h = torch.as_tensor(np.asarray(states, np.float32))
        h = h.unsqueeze(1) if h.ndim == 2 else h
        if h.ndim != 3 or not h.numel():
            raise InputError(f"{where}: states {tuple(h.shape)}. Expected [N, d] or [N, T, d].")
        a = torch.as_tensor(np.asarray(toxic).astype(np.int64))
        m = torch.ones(h.shape[:2]) if mask is None else torch.as_tensor(np.asarray(mask, np.float32))  # fmt: skip
        y = None if targets is None else torch.as_tensor(np.asarray(targets).astype(np.int64))
        found = cls(h, m, a, y)
        found.check(where)
        return found

    def check(self, where: str) -> None:
        """Hold shapes and values to what they are said to be; errors as in `of`."""
        rows = len(self.states)
        if self.toxic.shape != (rows,) or self.mask.shape != self.states.shape[:2]:
            raise InputError(
                f"{where}: states {tuple(self.states.shape)}, toxic {tuple(self.toxic.shape)}, mask "
                f"{tuple(self.mask.shape)}. Expected [N, T, d], [N], [N, T]."
            )
        if self.targets is not None and self.targets.shape != (rows,):
            raise InputError(f"{where}: targets {tuple(self.targets.shape)}. Expected [{rows}].")
        if not torch.isfinite(self.states).all():
            raise InputError(f"{where}: hold NaN or infinity. Look at what made them.")
        counts = torch.bincount(self.toxic.clamp(0, 1), minlength=2).tolist()
        if min(counts) < _FEWEST:
            raise InputError(
                f"{where}: {counts[0]} clean and {counts[1]} toxic rows. Expected {_FEWEST} of each."
            )

    @property
    def width(self) -> int:
        """How many numbers a token has: d."""
        return int(self.states.shape[2])

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation over tokens: f32 [d] each."""
        tokens = self.states[self.mask > 0].float()
        return tokens.mean(0), tokens.std(0)

    def means(self) -> Tensor:
        """The mean over each text's tokens: f32 [N, d]."""
        chunks = zip(self.states.split(_CHUNK), self.mask.split(_CHUNK), strict=True)
        return torch.cat([pooled(states.float(), mask) for states, mask in chunks])


def read_features(path: Path) -> Features:
    """Read `states`, `toxic` and, where there are any, `mask` and `targets` of an .npz file.

    Raises:
        InputError: It cannot be read, lacks an array, or one of them is wrong.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError) as e:
        raise InputError(f"{path}: cannot be read as .npz ({type(e).__name__}).") from e
    missing = [name for name in ("states", "toxic") if name not in found]
    if missing:
        raise InputError(
            f"{path}: has no {missing}. Found: {sorted(found)}. Expected states and toxic."
        )
    return Features.of(found["states"], found["toxic"], mask=found.get("mask"), targets=found.get("targets"), where=str(path))  # fmt: skip
