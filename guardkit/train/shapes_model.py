"""The networks of shapes world: a text encoder, a denoiser, and a classifier of noisy pictures.

    encoder     int64 [B, T] -> states f32 [B, T, D]            two transformer layers over words
    denoiser    x_t f32 [B, 3, 16, 16], alpha_bar [B], states -> v    a U-Net at 8 x 8 and 4 x 4, text in its attention
    classifier  x_t, alpha_bar -> logits f32 [B, concepts]      convolutions; says what a noisy picture will be

The denoiser predicts v = sqrt(abar) eps - sqrt(1 - abar) x_0 (Salimans and Ho, arXiv 2202.00512), which is well
scaled at every noise; its exported graph gives eps = sqrt(abar) v + sqrt(1 - abar) x_t.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pixel_shuffle, pixel_unshuffle
from torch.nn.functional import scaled_dot_product_attention as attention

from guardkit.shapes.captions import TOKENS, VOCABULARY

STATES = 128
"""D, the width of the text conditioning."""
_FINE, _COARSE = 48, 96  # channels at 8 x 8 and at 4 x 4
_TIME = 128
_HEADS = 4
_GROUPS = 8


class TextEncoder(nn.Module):
    """Words to states; padding is a word like any other, as in the encoders of larger generators."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(len(VOCABULARY), STATES)
        # As large as the words: with places a fiftieth of that, 1.5M pictures did not teach it which word comes first.
        self.places = nn.Parameter(torch.randn(TOKENS, STATES))
        self.layers = nn.ModuleList(_EncoderLayer() for _ in range(2))
        self.norm = nn.LayerNorm(STATES)

    def forward(self, ids: Tensor) -> Tensor:
        """int64 [B, T] to states [B, T, D]."""
        x = self.words(ids) + self.places
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class _EncoderLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before_attention, self.before_inner = nn.LayerNorm(STATES), nn.LayerNorm(STATES)
        self.qkv, self.out = nn.Linear(STATES, 3 * STATES), nn.Linear(STATES, STATES)
        self.inner = nn.Sequential(
            nn.Linear(STATES, 3 * STATES), nn.GELU(), nn.Linear(3 * STATES, STATES)
        )

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = map(_heads, self.qkv(self.before_attention(x)).chunk(3, dim=-1))
        x = x + self.out(_joined(attention(q, k, v)))
        return x + self.inner(self.before_inner(x))


class Denoiser(nn.Module):
    """A U-Net whose coarse half attends to itself and to the text."""

    def __init__(self) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(32, _TIME), nn.SiLU(), nn.Linear(_TIME, _TIME))
        self.summary = nn.Linear(STATES, _TIME)
        self.stem = nn.Conv2d(12, _FINE, 3, padding=1)
        self.fine_places = nn.Parameter(torch.randn(_FINE, 8, 8) * 0.02)
        self.first = _Block(_FINE, _FINE)
        self.down = nn.Conv2d(_FINE, _COARSE, 3, stride=2, padding=1)
        self.coarse_places = nn.Parameter(torch.randn(_COARSE, 4, 4) * 0.02)
        self.blocks = nn.ModuleList(_Block(_COARSE, _COARSE) for _ in range(3))
        self.attentions = nn.ModuleList(_Attention() for _ in range(3))
        self.up = nn.Conv2d(_COARSE, _FINE, 3, padding=1)
        self.last = _Block(2 * _FINE, _FINE)
        self.norm = nn.GroupNorm(_GROUPS, _FINE)
        self.out = nn.Conv2d(_FINE, 12, 3, padding=1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x_t: Tensor, alpha_bar: Tensor, states: Tensor) -> Tensor:
        """Predict v: x_t [B, 3, 16, 16], alpha_bar [B], states [B, T, D] to [B, 3, 16, 16]."""
        about = self.time(noise_features(alpha_bar)) + self.summary(states.mean(dim=1))
        fine = self.first(self.stem(pixel_unshuffle(x_t, 2)) + self.fine_places, about)
        x = self.down(fine) + self.coarse_places
        for block, attend in zip(self.blocks, self.attentions, strict=True):
            x = attend(block(x, about), states)
        x = self.up(interpolate(x, scale_factor=2.0, mode="nearest"))
        x = self.last(torch.cat([x, fine], dim=1), about)
        return pixel_shuffle(self.out(nn.functional.silu(self.norm(x))), 2)


class _Block(nn.Module):
    """Two convolutions with a skip; noise and caption scale and shift what is between them."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.before, self.between = (
            nn.GroupNorm(_GROUPS, inside),
            nn.GroupNorm(_GROUPS, outside),
        )
        self.first = nn.Conv2d(inside, outside, 3, padding=1)
        self.second = nn.Conv2d(outside, outside, 3, padding=1)
        self.about = nn.Linear(_TIME, 2 * outside)
        self.skip = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, x: Tensor, about: Tensor) -> Tensor:
        scale, shift = self.about(nn.functional.silu(about))[..., None, None].chunk(2, dim=1)
        y = self.first(nn.functional.silu(self.before(x)))
        y = self.between(y) * (1 + scale) + shift
        return self.skip(x) + self.second(nn.functional.silu(y))


class _Attention(nn.Module):
    """Places of the picture look at one another and at the words."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_GROUPS, _COARSE)
        self.qkv = nn.Linear(_COARSE, 3 * _COARSE)
        self.text = nn.Linear(STATES, 2 * _COARSE)
        self.out = nn.Linear(_COARSE, _COARSE)

    def forward(self, x: Tensor, states: Tensor) -> Tensor:
        places = self.norm(x).flatten(2).transpose(1, 2)  # [B, 16, C]
        q, k, v = self.qkv(places).chunk(3, dim=-1)
        text_k, text_v = self.text(states).chunk(2, dim=-1)
        keys, values = torch.cat([k, text_k], dim=1), torch.cat([v, text_v], dim=1)
        y = self.out(_joined(attention(_heads(q), _heads(keys), _heads(values))))
        return x + y.transpose(1, 2).reshape(x.shape)


class NoisyClassifier(nn.Module):
    """Which forbidden concepts a noisy picture will show."""

    def __init__(self, concepts: int) -> None:
        super().__init__()
        self.time = nn.Linear(32, 128)
        self.stem = nn.Conv2d(12, 64, 3, padding=1)
        self.down = nn.Conv2d(64, 96, 3, stride=2, padding=1)
        self.middle = nn.Conv2d(96, 128, 3, padding=1)
        self.last = nn.Conv2d(128, 128, 3, stride=2, padding=1)
        self.inner, self.out = nn.Linear(128 * 4, 128), nn.Linear(128, concepts)

    def forward(self, x_t: Tensor, alpha_bar: Tensor) -> Tensor:
        """x_t [B, 3, 16, 16], alpha_bar [B] to logits [B, concepts]."""
        return self.out(self.activations(x_t, alpha_bar)[2])

    def activations(
        self, x_t: Tensor, alpha_bar: Tensor
    ) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor, Tensor]:
        """What each layer lets through: three of convolutions, the last one flat, and what the logits are made of."""
        first = torch.relu(self.stem(pixel_unshuffle(x_t, 2)))
        second = torch.relu(self.down(first))
        about = self.time(noise_features(alpha_bar))[..., None, None]
        third = torch.relu(self.middle(second) + about)
        flat = torch.relu(self.last(third)).flatten(1)
        return (first, second, third), flat, torch.relu(self.inner(flat))


def noise_features(alpha_bar: Tensor) -> Tensor:
    """The share of noise as 32 waves: [B] to [B, 32]."""
    angle = torch.acos(alpha_bar.sqrt().clamp(0, 1))[:, None]  # 0: clean, pi / 2: noise alone
    steps = torch.exp(torch.arange(16, device=alpha_bar.device) * (math.log(64) / 15))
    return torch.cat([torch.sin(angle * steps), torch.cos(angle * steps)], dim=1)


def _heads(x: Tensor) -> Tensor:
    """[B, N, C] to [B, heads, N, C / heads]."""
    return x.reshape(x.shape[0], x.shape[1], _HEADS, -1).transpose(1, 2)


def _joined(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)
