"""A fresh probe: what a new classifier, trained from nothing on features, can tell from them.

It took no part in training the layer whose features it reads, so it is evidence where an adversary's own loss is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from guardkit.errors import InputError
from guardkit.metrics.ranking import Bools, Floats

_CHANCE = 0.5
_PATIENCE = 8  # epochs without a better validation loss


@dataclass(frozen=True, slots=True)
class Probe:
    """How a probe reads."""

    hidden: tuple[int, ...] = (256, 128)
    """Widths of its layers; () is a linear probe."""
    epochs: int = 60
    """At most: it stops where a fifth of its training rows, held back, is told no better."""
    rate: float = 1e-3
    decay: float = 1e-2
    seed: int = 1


def probe_accuracy(
    features: Floats, toxic: Bools, held: Floats, held_toxic: Bools, how: Probe | None = None
) -> float:
    """Train a probe and say its balanced accuracy on other rows; .5 is chance, on average.

    Args:
        features: [N, d], of whole texts; standardized here.
        toxic: bool [N], what it is to tell.
        held: [M, d], which it does not see in training.
        held_toxic: bool [M], both values among them.
        how: Its size and training; None: as the defaults.

    Returns:
        The mean of the shares of toxic and clean rows that it tells, in [0, 1].

    Raises:
        InputError: The rows of the two differ in width, or one class is missing.
    """
    how = how or Probe()
    if features.shape[1:] != held.shape[1:] or any(
        len(np.unique(rows)) < 2 for rows in (toxic, held_toxic)
    ):
        raise InputError(
            f"probe: features {features.shape} and {held.shape}. Expected one width, and both classes."
        )
    torch.manual_seed(how.seed)
    mean, scale = features.mean(0), np.maximum(features.std(0), 1e-6)
    x, x_held = (torch.as_tensor((one - mean) / scale, dtype=torch.float32) for one in (features, held))  # fmt: skip
    model = _fitted(x, torch.as_tensor(toxic.astype(np.int64)), how)
    with torch.no_grad():
        found = model(x_held).argmax(1).numpy() == 1
    return float((found[held_toxic].mean() + (~found[~held_toxic]).mean()) / 2)


def advantage(accuracy: float) -> float:
    """What a probe gains over a coin, in [-1/2, 1/2].

    >>> advantage(0.75)
    0.25
    """
    return accuracy - _CHANCE


def _fitted(x: torch.Tensor, a: torch.Tensor, how: Probe) -> nn.Module:
    sizes = (x.shape[1], *how.hidden)
    layers: list[nn.Module] = []
    for inner, outer in pairwise(sizes):
        layers += [nn.Linear(inner, outer), nn.ReLU(), nn.Dropout(0.2)]
    model = nn.Sequential(*layers, nn.Linear(sizes[-1], 2))
    optimizer = torch.optim.AdamW(model.parameters(), how.rate, weight_decay=how.decay)
    order = np.random.default_rng(how.seed).permutation(len(x))
    fifth = len(x) // 5
    weights = len(a) / (2 * torch.bincount(a, minlength=2).float())
    best, state, waited = np.inf, model.state_dict(), 0
    for _ in range(how.epochs):
        model.train()
        for rows in torch.as_tensor(order[fifth:])[torch.randperm(len(x) - fifth)].split(64):
            loss = cross_entropy(model(x[rows]), a[rows], weight=weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            told = cross_entropy(model(x[order[:fifth]]), a[order[:fifth]], weight=weights).item()
        waited = 0 if told < best else waited + 1
        if told < best:
            best, state = told, {name: value.clone() for name, value in model.state_dict().items()}
        if waited >= _PATIENCE:
            break
    model.load_state_dict(state)
    return model.eval()
