"""The frozen encoder that heads share: uint8 crops to feature vectors, preprocessing inside.

    crops --> float, channels first, less mean, by spread --> EfficientNet-Lite0 ---> [crops, 1280]
                                                          +-> CLIP vision tower ----> [crops, its projection]

Features are not scaled to length 1: heads read them as they are (as in Ethical-Lens, arXiv 2404.12104, and
Unsafe Diffusion, 2305.13873).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import CLIPModel
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from transformers.utils import cached_file

from guardkit.errors import InputError
from guardkit.train import effnet_lite

_LEVELS = 255.0
# What transformers raises when something is missing, malformed or out of reach.
READING = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError)


@dataclass(frozen=True, slots=True)
class Look:
    """How an encoder wants its pictures, and what it gives."""

    side: int
    """Pixels of a crop's side."""
    width: int
    """Numbers of a feature vector."""
    mean: tuple[float, float, float]
    """Of each channel, from 0 to 1; it wants (x / 255 - mean) / spread."""
    spread: tuple[float, float, float]


class ImageEncoder(nn.Module):
    """An encoder with our preprocessing in front; its weights never change."""

    def __init__(self, network: nn.Module, look: Look) -> None:
        super().__init__()
        self.network, self.look = network.requires_grad_(False).eval(), look
        mean, spread = torch.tensor(look.mean), torch.tensor(look.spread)
        self.register_buffer("scale", (1 / (_LEVELS * spread)).view(1, 3, 1, 1))
        self.register_buffer("shift", (mean / spread).view(1, 3, 1, 1))

    def forward(self, crops: Tensor) -> Tensor:
        """See crops.

        Args:
            crops: uint8 RGB [crops, side, side, 3].

        Returns:
            f32 [crops, width].
        """
        pixels = crops.permute(0, 3, 1, 2).float() * self.scale - self.shift
        return self.network(pixels)

    @property
    def digest(self) -> str:
        """SHA-256 of every weight: heads fit the encoder they were trained on, and no other."""
        whole = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            whole.update(name.encode() + tensor.contiguous().numpy().tobytes())
        return whole.hexdigest()


class _ClipTower(nn.Module):
    """Pixels to the projection that CLIP compares with texts."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.tower, self.projection = model.vision_model, model.visual_projection

    def forward(self, pixels: Tensor) -> Tensor:
        return self.projection(self.tower(pixel_values=pixels).pooler_output)


def open_encoder(base: str) -> ImageEncoder:
    """Open the encoder that a user names.

    Args:
        base: The file of EfficientNet-Lite0's weights, a folder of a CLIP model, or its name on the hub.

    Raises:
        InputError: It is none of them, or cannot be read.
    """
    if Path(base).is_file():
        centre, spread = effnet_lite.MEAN, effnet_lite.SPREAD
        look = Look(effnet_lite.SIDE, effnet_lite.WIDTH, (centre,) * 3, (spread,) * 3)
        return ImageEncoder(effnet_lite.load_effnet_lite(Path(base)), look)
    try:
        return clip_encoder(load_clip(base), base)
    except READING as e:
        raise InputError(
            f"--base {base}: no image encoder ({type(e).__name__}). Expected the .pth file of EfficientNet-Lite0, or "
            "a folder or hub name of a CLIP model with safetensors weights."
        ) from e


def load_clip(base: str) -> Any:
    """Both towers of a CLIP model; raises one of `READING` where there is none."""
    # eager: the attention that every opset of ONNX knows
    model = CLIPModel.from_pretrained(base, use_safetensors=True, attn_implementation="eager")
    return model.requires_grad_(False).eval()


def clip_encoder(model: Any, base: str) -> ImageEncoder:
    """The vision tower of a CLIP model, with the preprocessing that its folder tells.

    Args:
        model: A `CLIPModel`.
        base: Where it came from; without a preprocessor_config.json OpenAI's numbers hold.
    """
    file = cached_file(
        base, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False
    )
    said = json.loads(Path(file).read_text("utf-8")) if file else {}
    mean = said.get("image_mean", OPENAI_CLIP_MEAN)
    spread = said.get("image_std", OPENAI_CLIP_STD)
    side, width = model.config.vision_config.image_size, model.config.projection_dim
    return ImageEncoder(_ClipTower(model), Look(side, width, (*mean,), (*spread,)))
