"""Tiny Hugging Face classifiers of images with random weights, and what transformers itself makes of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    ConvNextConfig,
    ConvNextForImageClassification,
    ConvNextImageProcessor,
    MobileNetV2Config,
    MobileNetV2ForImageClassification,
    MobileNetV2ImageProcessor,
    MobileViTImageProcessor,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

LABELS = ["drawing", "gore", "nude", "suggestive"]
MAP = "gore: gore\nsexual: [nude, suggestive]\n"
FAMILIES = ("vit", "resnet", "mobilenet", "convnext", "bgr")
_HEADS = {"softmax": "single_label_classification", "sigmoid": "multi_label_classification"}
_SIDE = 32


def build_images(folder: Path, family: str, head: str = "softmax", **settings: Any) -> Path:
    """A classifier with random weights, and an image processor of its family, as a folder.

    Args:
        folder: Where.
        family: One of `FAMILIES`; each prepares pictures in another way.
        head: How its labels relate.
        settings: Of its image processor, changed.
    """
    common: dict[str, Any] = {
        "num_labels": len(LABELS),
        "id2label": dict(enumerate(LABELS)),
        "label2id": {label: at for at, label in enumerate(LABELS)},
        "problem_type": _HEADS[head],
    }
    torch.manual_seed(7)
    model, processor = _FAMILIES[family](common)
    _spread(model)
    model.save_pretrained(folder)
    for name, value in settings.items():
        setattr(processor, name, value)
    processor.save_pretrained(folder)
    return folder


def _vit(common: dict[str, Any]) -> tuple[Any, Any]:
    """Squeezed to a square, bilinear, to -1..1."""
    config = ViTConfig(
        image_size=_SIDE,
        patch_size=8,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        initializer_range=0.3,
        **common,
    )
    size = {"height": _SIDE, "width": _SIDE}
    return ViTForImageClassification(config), ViTImageProcessor(size=size)


def _resnet(common: dict[str, Any]) -> tuple[Any, Any]:
    """ImageNet's means; ConvNeXT's processor, which resizes to more than it keeps."""
    config = ResNetConfig(embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], **common)
    processor = ConvNextImageProcessor(size={"shortest_edge": _SIDE}, crop_pct=0.8, resample=3)
    return ResNetForImageClassification(config), processor


def _mobilenet(common: dict[str, Any]) -> tuple[Any, Any]:
    """The middle of a resized picture."""
    config = MobileNetV2Config(
        image_size=_SIDE,
        depth_multiplier=0.25,
        min_depth=8,
        depth_divisible_by=8,
        initializer_range=0.3,
        **common,
    )
    size, crop = {"shortest_edge": 40}, {"height": _SIDE, "width": _SIDE}
    return (
        MobileNetV2ForImageClassification(config),
        MobileNetV2ImageProcessor(size=size, crop_size=crop),
    )


def _convnext(common: dict[str, Any]) -> tuple[Any, Any]:
    """384 pixels and more are not cropped."""
    config = ConvNextConfig(
        num_channels=3, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], image_size=384, **common
    )
    return ConvNextForImageClassification(config), ConvNextImageProcessor()


def _bgr(common: dict[str, Any]) -> tuple[Any, Any]:
    """Blue first, 0 to 1, not normalized."""
    config = ResNetConfig(embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], **common)
    size, crop = {"shortest_edge": 36}, {"height": _SIDE, "width": _SIDE}
    return (
        ResNetForImageClassification(config),
        MobileViTImageProcessor(size=size, crop_size=crop),
    )


_FAMILIES = {
    "vit": _vit,
    "resnet": _resnet,
    "mobilenet": _mobilenet,
    "convnext": _convnext,
    "bgr": _bgr,
}


def _spread(model: Any) -> None:
    """Make the head's weights so large that pictures differ."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "classifier" in name and parameter.ndim == 2:
                parameter.mul_(6 / parameter.norm())


def pictures(count: int, side: int = 96) -> list[NDArray[np.uint8]]:
    """Smooth coloured pictures that differ: uint8 [side, side, 3] each."""
    row, column = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side), indexing="ij")
    drawn = []
    for number in range(count):
        rng = np.random.default_rng(number)
        waves = [
            np.sin(rng.uniform(2, 12) * row + rng.uniform(2, 12) * column + rng.uniform(0, 6))
            for _ in range(3)
        ]
        drawn.append((np.stack(waves, -1) * rng.uniform(60, 127) + 127).astype(np.uint8))
    return drawn


def save_pictures(folder: Path, drawn: Sequence[NDArray[np.uint8]]) -> list[Path]:
    """PNGs of pictures, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03d}.png" for number in range(len(drawn))]
    for path, pixels in zip(paths, drawn, strict=True):
        Image.fromarray(pixels).save(path)
    return paths


def torch_image_scores(
    folder: Path, drawn: Sequence[NDArray[np.uint8]], head: str = "softmax"
) -> NDArray[np.float32]:
    """f32 [pictures, (gore, sexual)] as transformers itself gives them, in probabilities."""
    processor = AutoImageProcessor.from_pretrained(folder, use_fast=False)
    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    images = [Image.fromarray(pixels) for pixels in drawn]
    with torch.no_grad():
        logits = model(**processor(images=images, return_tensors="pt")).logits
    if head == "sigmoid":
        p = logits.sigmoid()
        sexual = p[:, 2:].amax(1)
    else:
        p = logits.softmax(1)
        sexual = p[:, 2:].sum(1)
    scores: NDArray[np.float32] = torch.stack([p[:, 1], sexual], 1).numpy()
    return scores
