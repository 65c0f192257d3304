"""The networks of a bottleneck: the map f_theta, and the classifier p_phi that says what toxicity is left in it.

    residual     z = h + s * W2 relu(W1 (h - m) / s + b1) + b2       d -> width -> d; W2 begins at 0, so training begins at f(h) = h
    published    z = W3 relu(W2 relu(W1 h))                          d -> 1024 -> 1024 -> d, no residual, no norm (ToViLaG)
    p_phi        mean over tokens -> d -> 1024, tanh -> d, tanh -> 2      last column: toxic

m and s are mean and standard deviation of the training features: states of language models have dimensions a hundred times as
large as others. Both maps work token by token.
"""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from guardkit.errors import InputError
from guardkit.train.erasure import Eraser

_PUBLISHED = 1024  # inner width of the released networks
_FILES = ("bottleneck.safetensors", "bottleneck.json")


class Form(StrEnum):
    """Which map."""

    RESIDUAL = "residual"
    PUBLISHED = "published"


class Bottleneck(nn.Module):
    """f_theta: features f32 [..., d] to features of the same shape."""

    def __init__(self, d: int, *, form: Form = Form.RESIDUAL, width: int = 128) -> None:
        super().__init__()
        self.d, self.form, self.width = d, form, width
        self.register_buffer("mean", torch.zeros(d))
        self.register_buffer("scale", torch.ones(d))
        if form is Form.PUBLISHED:
            sizes = [(d, _PUBLISHED), (_PUBLISHED, _PUBLISHED), (_PUBLISHED, d)]
        else:
            sizes = [(d, width), (width, d)]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in sizes)
        if form is Form.RESIDUAL:
            nn.init.zeros_(self.layers[-1].weight)
            nn.init.zeros_(self.layers[-1].bias)

    def forward(self, features: Tensor) -> Tensor:
        """Filter features f32 [..., d]."""
        inner = features
        if self.form is Form.RESIDUAL:
            inner = (features - self.mean) / self.scale
        for layer in self.layers[:-1]:
            inner = torch.relu(layer(inner))
        out = self.layers[-1](inner)
        return features + out * self.scale if self.form is Form.RESIDUAL else out

    def standardize(self, mean: Tensor, scale: Tensor) -> None:
        """Take mean and standard deviation, f32 [d], of the features it will see."""
        self.mean.copy_(mean)
        self.scale.copy_(scale.clamp(min=1e-6))

    def start_from(self, eraser: Eraser, middle: Tensor) -> None:
        """Begin at the erasure of features whose mean is `middle`, f32 [d].

        Two units of the inner layer are one linear one: relu(x) - relu(-x) = x.

        Raises:
            InputError: The map is not residual, so it has no linear part to begin with, or too narrow.
        """
        if self.form is not Form.RESIDUAL:
            raise InputError("form published: cannot begin at an erasure. Expected residual.")
        units = 2 * eraser.rank
        if units > self.width:
            raise InputError(f"width {self.width}: an erasure of rank {eraser.rank} takes {units} inner units.")  # fmt: skip
        first, last = self.layers[0], self.layers[-1]
        v = torch.as_tensor(eraser.v.T, dtype=torch.float32) * self.scale
        u = torch.as_tensor(eraser.u, dtype=torch.float32) / self.scale[:, None]
        offset = v @ ((self.mean - middle) / self.scale)
        with torch.no_grad():
            first.weight[:units], first.bias[:units] = torch.cat([v, -v]), torch.cat([offset, -offset])  # fmt: skip
            last.weight[:, :units] = torch.cat([-u, u], 1)

    def then_erase(self, eraser: Eraser, middle: Tensor) -> Bottleneck:
        """The map that this one and an erasure of what it gives, whose mean is `middle`, make: r(f(h)).

        Again a residual map, with two more inner units a direction: r(f) = f - U V^T (f - m), and V^T f is linear in h and in the inner units.
        """
        wider = Bottleneck(self.d, form=self.form, width=self.width + 2 * eraser.rank)
        wider.standardize(self.mean, self.scale)
        first, last = self.layers[0], self.layers[-1]
        v = torch.as_tensor(eraser.v.T, dtype=torch.float32)
        u = torch.as_tensor(eraser.u, dtype=torch.float32) / self.scale[:, None]
        with torch.no_grad():
            given = v * self.scale  # V^T of what the last layer gives, in the units of the features
            inner = torch.cat([first.weight, given, -given])
            outer = last.weight - u @ (given @ last.weight)
            wider.layers[0].weight.copy_(inner)
            wider.layers[0].bias.copy_(torch.cat([first.bias, torch.zeros(2 * eraser.rank)]))
            wider.layers[-1].weight.copy_(torch.cat([outer, -u, u], 1))
            offset = v @ (self.mean - middle) + given @ last.bias
            wider.layers[-1].bias.copy_(last.bias - u @ offset)
        return wider.eval()


class ToxicityHead(nn.Module):
    """p_phi: what a classifier can still tell from the mean of a text's states."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(d))
        self.register_buffer("scale", torch.ones(d))
        self.layers = nn.Sequential(
            nn.Linear(d, _PUBLISHED), nn.Tanh(), nn.Linear(_PUBLISHED, d), nn.Tanh(), nn.Linear(d, 2)
        )  # fmt: skip

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Logits f32 [B, 2] of features f32 [B, T, d] with a mask f32 [B, T]."""
        return self.layers((pooled(features, mask) - self.mean) / self.scale)

    def standardize(self, mean: Tensor, scale: Tensor) -> None:
        """Take mean and standard deviation, f32 [d], of pooled features."""
        self.mean.copy_(mean)
        self.scale.copy_(scale.clamp(min=1e-6))


def pooled(features: Tensor, mask: Tensor) -> Tensor:
    """The mean over tokens: f32 [B, d] of [B, T, d]."""
    weights = mask.unsqueeze(-1).to(features.dtype)
    return (features * weights).sum(1) / weights.sum(1).clamp(min=1)


def save_bottleneck(layer: Bottleneck, work: Path) -> None:
    """Write weights and shape into a folder."""
    save_file(layer.state_dict(), work / _FILES[0])
    about = {"d": layer.d, "form": layer.form.value, "width": layer.width}
    (work / _FILES[1]).write_text(json.dumps(about) + "\n")


def load_bottleneck(work: Path) -> Bottleneck:
    """The layer that `save_bottleneck` left in a folder, in eval mode.

    Raises:
        InputError: The folder holds none.
    """
    missing = [name for name in _FILES if not (work / name).is_file()]
    if missing:
        raise InputError(f"{work}: has no {missing}. Expected what guardkit train smib leaves.")
    about = json.loads((work / _FILES[1]).read_text())
    layer = Bottleneck(about["d"], form=Form(about["form"]), width=about["width"])
    layer.load_state_dict(load_file(work / _FILES[0]))
    return layer.eval()
