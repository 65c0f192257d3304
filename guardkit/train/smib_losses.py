"""What a bottleneck loses: three estimates of SMI(z; a) from a classifier p_phi(a|z), a in {clean, toxic}.

    smi_plugin        1/2 mean sum_a p(a|z)^2 / p(a) - 1/2                      least where p is the prior
    smi_dual          mean p(a_i|z_i) / p(a_i) - 1/2 mean sum_a p(a|z)^2 / p(a) - 1/2      with the true labels a_i
    tovilag_release   mean p(toxic|z) / .5 - sum_a p(a|z)^2 / .5               as ToViLaG released it, for parity

With p = p(toxic|z) the released one is -4 p^2 + 6 p - 2: it pushes p down to 0 below p = .75 and *up* above it, and is
0 at p = .5, not least. The layer that lowers it makes texts look clean, or, where the classifier is sure, toxic.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from torch import Tensor

TOXIC = 1
"""The column of `toxic`: the last one, as in the release."""


class Loss(StrEnum):
    """Which estimate the layer lowers."""

    PLUGIN = "plugin"
    DUAL = "dual"
    TOVILAG_RELEASE = "tovilag_release"


def smi_plugin(p: Tensor, prior: Tensor) -> Tensor:
    """The exact SMI of the classifier's own posteriors.

    Args:
        p: f32 [B, 2], posteriors.
        prior: f32 [2], p(a).

    >>> import torch
    >>> smi_plugin(torch.tensor([[0.0, 1.0]]), torch.tensor([0.5, 0.5])).item()
    0.5
    """
    return (p.square() / prior).sum(1).mean() / 2 - 0.5


def smi_dual(p: Tensor, toxic: Tensor, prior: Tensor) -> Tensor:
    """The dual bound with g = p(a|z) / p(a): never above the true SMI, and equal to it for the true posterior.

    Args:
        p: f32 [B, 2], posteriors.
        toxic: int64 [B], the true labels.
        prior: f32 [2], p(a).

    >>> import torch
    >>> smi_dual(torch.tensor([[0.0, 1.0]]), torch.tensor([1]), torch.tensor([0.5, 0.5])).item()
    0.5
    """
    ratio = p / prior
    joint = ratio.gather(1, toxic[:, None]).mean()
    return joint - (prior * ratio.square()).sum(1).mean() / 2 - 0.5


def tovilag_release(p: Tensor) -> Tensor:
    """The toxicity term of the released code, which takes .5 as the prior of both classes.

    Args:
        p: f32 [B, 2], posteriors.

    >>> import torch
    >>> tovilag_release(torch.tensor([[0.25, 0.75]])).item()
    0.25
    """
    return (p[:, TOXIC] / 0.5 - p.square().sum(1) / 0.5).mean()


LOSSES: dict[Loss, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    Loss.PLUGIN: lambda p, _toxic, prior: smi_plugin(p, prior),
    Loss.DUAL: smi_dual,
    Loss.TOVILAG_RELEASE: lambda p, _toxic, _prior: tovilag_release(p),
}
"""Each of (posteriors, labels, prior)."""
