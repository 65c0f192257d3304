"""Train the classifier of noisy pictures of shapes world: which forbidden concepts a picture under way will show.

    guardkit train shapes-world --work FOLDER --only classifier      # 256k noisy pictures, five minutes

Loss: binary cross-entropy a concept, on x_t = cos(u) x_0 + sin(u) eps, u uniform in (0, pi/2). Half of the pictures show a
forbidden concept. Each is moved a little against the classifier first (`misled`): gradients of one that withstands this point where a picture
changes to the eye (Kawar et al., arXiv 2208.08664), and guidance by them took away what that of a plainly trained one left.
The generator takes no part: the classifier learns from drawn scenes, so that it serves any generator of them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import conv_transpose2d, pixel_shuffle

from guardkit.shapes.concepts import Forbidden
from guardkit.train.shapes_model import NoisyClassifier
from guardkit.train.shapes_world import ScenePool, draw_pool, noised

_log = logging.getLogger(__name__)
WEIGHTS = "classifier.safetensors"
_LOG_STEPS = 100


@dataclass(frozen=True, slots=True)
class ClassifierSettings:
    """What one training run is made of."""

    steps: int = 4000
    batch: int = 64
    rate: float = 1e-3
    pool: int = 12_000
    seed: int = 20261128
    """Another than the generator's: its scenes are others."""
    threads: int = 1
    radius: float = 3.0
    """How far pictures are moved against the classifier; half of a colour on a fifth of a small shape's pixels is about 3."""


def train_classifier(work: Path, settings: ClassifierSettings) -> None:
    """Train the classifier and leave its weights in `work`; it is short, and starts from nothing each time."""
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    pool = draw_pool(settings.pool, settings.seed)
    model = NoisyClassifier(len(Forbidden))
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.rate, settings.steps)
    rng = np.random.default_rng(settings.seed)
    recent = 0.0
    for step in range(1, settings.steps + 1):
        x_0, shows = _balanced(pool, rng, settings.batch)
        x_t, u, _ = noised(x_0)
        level = torch.cos(u).flatten() ** 2
        x_t = misled(model, x_t, level, shows, settings.radius)
        loss = bce(model(x_t, level), shows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        recent = 0.98 * recent + 0.02 * loss.item() if recent else loss.item()
        if step % _LOG_STEPS == 0:
            _log.info("classifier: step %d of %d, loss %.4f", step, settings.steps, recent)
    save_file(model.state_dict(), work / WEIGHTS)


def misled(
    model: NoisyClassifier, x_t: Tensor, level: Tensor, shows: Tensor, radius: float
) -> Tensor:
    """Pictures moved to where the classifier is more wrong, by up to `radius` each (L2), one step of its gradient."""
    x_t = x_t.detach().requires_grad_()
    (slope,) = torch.autograd.grad(bce(model(x_t, level), shows), x_t)
    reach = radius * torch.rand(len(x_t), 1, 1, 1)
    norm = slope.flatten(1).norm(dim=1)[:, None, None, None].clamp(min=1e-12)
    return (x_t + reach * slope / norm).detach()


def load_classifier(work: Path) -> NoisyClassifier:
    """What `train_classifier` left."""
    model = NoisyClassifier(len(Forbidden))
    model.load_state_dict(load_file(work / WEIGHTS))
    return model.eval()


def _balanced(pool: ScenePool, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
    """Pictures, half of them forbidden, and what each shows f32 [count, concepts]."""
    is_forbidden = pool.shows.any(axis=1)
    half = count // 2
    rows = np.concatenate(
        [
            rng.choice(np.flatnonzero(is_forbidden), half),
            rng.choice(np.flatnonzero(~is_forbidden), count - half),
        ]
    )
    pictures = torch.from_numpy(pool.pictures[rows]).float() / 127.5 - 1
    return pictures, torch.from_numpy(pool.shows[rows]).float()


class WithGradients(nn.Module):
    """The classifier, and the gradient of each of its logits, written out: a graph to export has no autograd.

    g(input) of a convolution is the transposed convolution of g(output); a ReLU lets through what it let through before.
    """

    def __init__(self, model: NoisyClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, x_t: Tensor, alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
        """To logits [B, concepts] and their gradients at x_t [B, concepts, 3, 16, 16]."""
        m = self.model
        layers, flat, hidden = m.activations(x_t, alpha_bar)
        g = m.out.weight[None] * (hidden > 0).float()[:, None]  # [B, K, H]
        g = (g @ m.inner.weight) * (flat > 0).float()[:, None]  # [B, K, C * 4]
        g = g.reshape(-1, m.last.out_channels, 2, 2)  # [B * K, C, 2, 2]
        for layer, x in zip((m.last, m.middle, m.down), reversed(layers), strict=True):
            stride = layer.stride[0]
            g = conv_transpose2d(
                g, layer.weight, stride=stride, padding=1, output_padding=stride - 1
            )
            g = _masked(g, x > 0)
        g = pixel_shuffle(conv_transpose2d(g, m.stem.weight, padding=1), 2)
        return m.out(hidden), g.reshape(-1, m.out.out_features, *x_t.shape[1:])


def _masked(g: Tensor, passed: Tensor) -> Tensor:
    """[B * K, C, h, w] where [B, C, h, w] says so."""
    by_picture = g.reshape(passed.shape[0], -1, *passed.shape[1:])
    return (by_picture * passed.float()[:, None]).reshape(g.shape)
