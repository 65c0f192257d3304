"""Trained heads to one artifact: the encoder once, every head behind it, preprocessing in front.

    guardkit export image-heads --work runs/heads --name my-heads --out models

The heads of any number of trainings on the same encoder share one graph. Batch norm is a scale and a shift once training is over,
so it goes into the layer behind it, and the layers of all heads are stacked:

    h = relu(W x + b)             W [heads * 384, width]
    logit_k = v_k . h_k + c_k     v_k = last * gamma / sqrt(variance + eps), per head
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from guardkit.artifacts import Artifact, Calibration
from guardkit.errors import InputError
from guardkit.export.artifact import MODEL, check_name
from guardkit.export.image_artifact import AboutImages, new_artifact, write_image_artifact
from guardkit.export.image_graph import INPUT, OUTPUT
from guardkit.export.image_parity import DRAWN, drawn_crops
from guardkit.export.to_onnx import export_graph
from guardkit.train.image_encoder import ImageEncoder, open_encoder
from guardkit.train.image_heads import ABOUT, WEIGHTS, HeadsFile, ImageHead


@dataclass(frozen=True, slots=True)
class HeadsRequest:
    """What to make of which trainings."""

    works: tuple[Path, ...]
    """What `guardkit train image-head` left; each has other categories."""
    name: str
    """Of the artifact, kebab-case."""
    base: str | None = None
    """Where the encoder lies now; None: where it lay in training."""
    licence: str = "not stated"
    version: str = "0.1.0"


class FusedHeads(nn.Module):
    """All heads of one encoder as two layers."""

    def __init__(self, heads: Sequence[ImageHead]) -> None:
        super().__init__()
        folded = [_folded(head) for head in heads]
        self.register_buffer("first", torch.cat([head.first.weight for head in heads]))
        self.register_buffer("first_shift", torch.cat([head.first.bias for head in heads]))
        self.register_buffer("last", torch.stack([row for row, _ in folded]))
        self.register_buffer("last_shift", torch.stack([shift for _, shift in folded]))

    def forward(self, features: Tensor) -> Tensor:
        """f32 [crops, width] to logits, f32 [crops, heads]."""
        hidden = functional.relu(functional.linear(features, self.first, self.first_shift))
        by_head = hidden.view(-1, *self.last.shape)
        return (by_head * self.last).sum(-1) + self.last_shift


class ScoredCrops(nn.Module):
    """Crops to logits, as an artifact's graph has it."""

    def __init__(self, encoder: ImageEncoder, heads: nn.Module) -> None:
        super().__init__()
        self.encoder, self.heads = encoder, heads

    def forward(self, crops: Tensor) -> Tensor:
        """uint8 RGB [crops, side, side, 3] to f32 [crops, categories]."""
        return self.heads(self.encoder(crops))


def export_image_heads(request: HeadsRequest, out: Path) -> Artifact:
    """Write the artifact.

    Args:
        request: The trainings, and what the manifest should say.
        out: The folder that holds artifacts; nothing is left there when something fails.

    Raises:
        InputError: The name is taken, a training cannot be read, two know the same category, or their encoder is another.
        ParityError: The graph does not give what the heads give one by one.
    """
    check_name(request.name)
    files = [_about(work) for work in request.works]
    base = request.base or files[0].base
    encoder = open_encoder(base)
    heads: dict[str, ImageHead] = {}
    calibration: dict[str, Calibration] = {}
    for work, file in zip(request.works, files, strict=True):
        _check_fits(work, file, encoder.digest, base)
        _check_new(work, file.calibration, heads)
        heads |= load_heads(work, file)
        calibration |= file.calibration
    about = AboutImages(
        request.name, request.version, request.licence, calibration, encoder.look.side
    )
    return new_artifact(
        out, request.name, lambda folder: _write(folder, about, encoder, list(heads.values()))
    )


def load_heads(work: Path, file: HeadsFile) -> dict[str, ImageHead]:
    """The heads of a training, ready to run, by category.

    Raises:
        InputError: The weights cannot be read.
    """
    try:
        tensors = load_file(str(work / WEIGHTS))
        return {category: _head(category, tensors) for category in file.calibration}
    except (OSError, KeyError, RuntimeError, SafetensorError) as e:
        raise InputError(f"{work / WEIGHTS}: no heads ({type(e).__name__}). Train again.") from e


def export_crops(model: nn.Module, side: int, path: Path) -> None:
    """Write a model of crops as a graph."""
    axes = {INPUT: ("crops",), OUTPUT: ("crops",)}
    example = torch.from_numpy(drawn_crops(2, side))
    export_graph(model, (example,), path, inputs=(INPUT,), outputs=(OUTPUT,), axes=axes)


def _write(
    folder: Path, about: AboutImages, encoder: ImageEncoder, heads: Sequence[ImageHead]
) -> Artifact:
    export_crops(ScoredCrops(encoder, FusedHeads(heads)), about.side, folder / MODEL)
    return write_image_artifact(folder, about, _one_by_one(encoder, heads))


def _one_by_one(encoder: ImageEncoder, heads: Sequence[ImageHead]) -> NDArray[np.floating]:
    """The probabilities of each head by itself, batch norm and all: [crops, heads]."""
    with torch.no_grad():
        features = encoder(torch.from_numpy(drawn_crops(DRAWN, encoder.look.side)))
        return torch.stack([head(features).sigmoid() for head in heads], dim=1).numpy()


def _folded(head: ImageHead) -> tuple[Tensor, Tensor]:
    """The last layer of a head with its batch norm inside: weights [384], and a shift []."""
    norm, last = head.norm, head.last.weight[0]
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return last * scale, head.last.bias[0] + last @ (norm.bias - norm.running_mean * scale)


def _head(category: str, tensors: Mapping[str, Tensor]) -> ImageHead:
    prefix = f"{category}/"
    state = {
        name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)
    }
    hidden, width = state["first.weight"].shape
    head = ImageHead(width, hidden)
    head.load_state_dict(state)
    return head.eval()


def _about(work: Path) -> HeadsFile:
    file = work / ABOUT
    try:
        return msgspec.json.decode(file.read_bytes(), type=HeadsFile)
    except (OSError, msgspec.DecodeError) as e:
        raise InputError(
            f"{file}: cannot be read ({type(e).__name__}). Expected what guardkit train image-head left."
        ) from e


def _check_fits(work: Path, file: HeadsFile, digest: str, base: str) -> None:
    if file.encoder != digest:
        raise InputError(
            f"{work}: trained on the encoder {file.encoder[:12]}..., {base} is {digest[:12]}... Heads fit the one "
            "they were trained on: name it with --base, or train again."
        )


def _check_new(work: Path, categories: Mapping[str, object], known: Mapping[str, object]) -> None:
    twice = [name for name in categories if name in known]
    if twice:
        raise InputError(f"{work}: {twice[0]}: another --work has a head for it. Name one of them.")
