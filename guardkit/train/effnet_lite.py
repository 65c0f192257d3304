"""EfficientNet-Lite0 (Apache-2.0), as a torch module of our own: what the pictures of `guardkit train image-head` are seen through.

Mobile inverted bottlenecks without squeeze and excitation, ReLU6 throughout. The published weights came from TensorFlow:
padding is "same" as there (the odd pixel at the right and the bottom), and a variance has 0.001 added.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from guardkit.errors import InputError

SIDE, WIDTH = 224, 1280
"""Pixels of a crop's side; numbers of a feature vector."""
MEAN, SPREAD = 0.498, 0.502
"""Its weights expect (x / 255 - mean) / spread: 127 and 128 of 255."""
_STEM = 32
# kernel, stride, expansion, channels out, repeats: table 1 of the EfficientNet paper (arXiv 1905.11946)
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_EPSILON = 1e-3  # TensorFlow's for these models


class EfficientNetLite0(nn.Module):
    """Pixels to features, without the classifier of its 1000 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem, self.bn0 = _Same(3, _STEM, 3, stride=2), _norm(_STEM)
        blocks, channels = [], _STEM
        for kernel, stride, expansion, out, repeats in _STAGES:
            for number in range(repeats):
                step = stride if number == 0 else 1
                blocks.append(_Block(channels, out, kernel, stride=step, expansion=expansion))
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.conv_head, self.bn1 = nn.Conv2d(channels, WIDTH, 1, bias=False), _norm(WIDTH)

    def forward(self, pixels: Tensor) -> Tensor:
        """See pictures.

        Args:
            pixels: f32 [pictures, 3, side, side], prepared as `MEAN` says; the side a multiple of 32.

        Returns:
            f32 [pictures, 1280].
        """
        x = functional.relu6(self.bn0(self.conv_stem(pixels)))
        x = functional.relu6(self.bn1(self.conv_head(self.blocks(x))))
        return x.mean(dim=(2, 3))


class _Block(nn.Module):
    """One inverted bottleneck: expand, filter each channel, project; added to its input where the shapes agree."""

    def __init__(
        self, channels: int, out: int, kernel: int, *, stride: int, expansion: int
    ) -> None:
        super().__init__()
        inner = channels * expansion
        self.expands, self.adds = expansion > 1, stride == 1 and channels == out
        if self.expands:
            self.expand_conv, self.bn0 = nn.Conv2d(channels, inner, 1, bias=False), _norm(inner)
        self.depthwise_conv = _Same(inner, inner, kernel, stride=stride, groups=inner)
        self.bn1 = _norm(inner)
        self.project_conv, self.bn2 = nn.Conv2d(inner, out, 1, bias=False), _norm(out)

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu6(self.bn0(self.expand_conv(x))) if self.expands else x
        inner = functional.relu6(self.bn1(self.depthwise_conv(inner)))
        out = self.bn2(self.project_conv(inner))
        return out + x if self.adds else out


class _Same(nn.Conv2d):
    """TensorFlow's padding "same", for inputs whose sides are multiples of the stride."""

    def __init__(
        self, channels: int, out: int, kernel: int, *, stride: int, groups: int = 1
    ) -> None:
        super().__init__(channels, out, kernel, stride=stride, groups=groups, bias=False)
        whole = kernel - stride
        before, after = whole // 2, whole - whole // 2
        self.around = (before, after, before, after)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.pad(x, self.around))


def load_effnet_lite(path: Path) -> EfficientNetLite0:
    """Read the published weights.

    Args:
        path: `efficientnet-lite0-57934424.pth`: tensors by name, nothing else is unpickled.

    Raises:
        InputError: The file holds others, or cannot be read.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        ours = {_renamed(name): one for name, one in state.items() if not name.startswith("_fc.")}
        model = EfficientNetLite0()
        model.load_state_dict(ours)
    except Exception as e:  # torch has a class for each way of not being weights
        raise InputError(
            f"{path}: no weights of EfficientNet-Lite0 ({type(e).__name__}). Expected the state of its torch "
            "module (efficientnet-lite0-57934424.pth), or name the folder of a CLIP model."
        ) from e
    return model.eval()


def _renamed(name: str) -> str:
    """`_blocks.0._bn1.weight` -> `blocks.0.bn1.weight`."""
    return name.removeprefix("_").replace("._", ".")


def _norm(channels: int) -> Any:
    return nn.BatchNorm2d(channels, eps=_EPSILON)
