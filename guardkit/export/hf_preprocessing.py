"""What a Hugging Face classifier of images does to a picture before its network, as guardkit does it.

    resize, how                       `image.prepare`: square crops of `side` pixels
    crop, rescale, normalize, BGR     in the graph, as one product and one sum a channel

A picture that is not square is squeezed, or loses its ends, there; here squares cover it, and the worst counts.
Every key that says something else is refused by name: a picture prepared in another way gets other scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from guardkit.artifacts import Resample
from guardkit.errors import InputError

FILE = "preprocessor_config.json"
_RESAMPLES: dict[int, Resample] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers."""
_SIDES = (16, 1024)  # those that a manifest allows
_CONVNEXT_WHOLE = 384  # from this size on, ConvNeXT's processor resizes without a crop
_NO_MATTER = {
    "_valid_processor_keys",
    "data_format",
    "device",
    "disable_grouping",
    "do_convert_rgb",  # a decoded picture is RGB
    "feature_extractor_type",
    "image_processor_type",
    "input_data_format",
    "processor_class",
    "return_tensors",
}
_MEANT = {
    "crop_pct",
    "crop_size",
    "default_to_square",
    "do_center_crop",
    "do_flip_channel_order",
    "do_normalize",
    "do_rescale",
    "do_resize",
    "image_mean",
    "image_std",
    "resample",
    "rescale_factor",
    "size",
}


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """A square of a picture to what the network takes."""

    side: int
    """Pixels of the square's side."""
    seen: int
    """Pixels of its middle that the network takes."""
    resample: Resample = "bilinear"
    factor: float = 1 / 255
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    is_bgr: bool = False


class Prepare(nn.Module):
    """Crops as guardkit cuts them, uint8 RGB [crops, side, side, 3], to pixel values f32 [crops, 3, seen, seen]."""

    product: Tensor
    sum: Tensor

    def __init__(self, how: Preprocessing) -> None:
        super().__init__()
        self._how = how
        mean, std = (torch.tensor(one, dtype=torch.float64) for one in (how.mean, how.std))
        self.register_buffer("product", (how.factor / std).to(torch.float32).view(1, 3, 1, 1))
        self.register_buffer("sum", (-mean / std).to(torch.float32).view(1, 3, 1, 1))

    def forward(self, crops: Tensor) -> Tensor:
        """Cut out the middle, reorder, scale."""
        first = (self._how.side - self._how.seen) // 2
        end = first + self._how.seen
        pixels = crops[:, first:end, first:end].to(torch.float32).permute(0, 3, 1, 2)
        if self._how.is_bgr:
            pixels = pixels[:, [2, 1, 0]]
        return pixels * self.product + self.sum


def read_preprocessing(name: str, settings: Mapping[str, Any]) -> Preprocessing:
    """Understand the settings of an image processor.

    Args:
        name: The model, for errors.
        settings: The content of `preprocessor_config.json`.

    Raises:
        InputError: A key says something that is not done here; the message names it.

    >>> read_preprocessing("m", {"size": {"shortest_edge": 256}, "crop_size": 224, "do_center_crop": True}).seen
    224
    """
    where = f"{name}: {FILE}"
    for key, value in settings.items():
        if key not in _MEANT | _NO_MATTER and value not in (None, False):
            raise InputError(
                f"{where}: '{key}' is not supported. Expected resize, center crop, rescale, normalize "
                "and channel order alone."
            )
    if not settings.get("do_resize", True):
        raise InputError(f"{where}: 'do_resize' is false. Expected true: crops have one size.")
    side, seen = _sizes(where, settings)
    number = settings.get("resample", 2)
    if number not in _RESAMPLES:
        known = ", ".join(f"{at} ({one})" for at, one in _RESAMPLES.items())
        raise InputError(f"{where}: 'resample' is {number}. Expected {known}.")
    is_normalized = settings.get("do_normalize", True) and "image_mean" in settings
    return Preprocessing(
        side=side,
        seen=seen,
        resample=_RESAMPLES[number],
        factor=_factor(where, settings),
        mean=_three(where, settings, "image_mean") if is_normalized else (0.0, 0.0, 0.0),
        std=_three(where, settings, "image_std") if is_normalized else (1.0, 1.0, 1.0),
        is_bgr=bool(settings.get("do_flip_channel_order")),
    )


def _sizes(where: str, settings: Mapping[str, Any]) -> tuple[int, int]:
    """Side of a square picture after resizing, and of its middle that is kept."""
    side = _square(where, settings, "size")
    seen = _square(where, settings, "crop_size") if settings.get("do_center_crop") else side
    if settings.get("crop_pct") is not None:
        kind = settings.get("image_processor_type") or settings.get("feature_extractor_type") or ""
        if not kind.startswith("ConvNext"):
            raise InputError(
                f"{where}: 'crop_pct' is not supported but for ConvNextImageProcessor."
            )
        if side < _CONVNEXT_WHOLE:
            side, seen = int(side / settings["crop_pct"]), side
    if seen > side:
        raise InputError(
            f"{where}: 'crop_size' is {seen}, above 'size' {side}. Expected at most that: nothing is padded."
        )
    if not _SIDES[0] <= side <= _SIDES[1]:
        raise InputError(f"{where}: 'size' is {side}. Expected {_SIDES[0]} to {_SIDES[1]} pixels.")
    return side, seen


def _square(where: str, settings: Mapping[str, Any], key: str) -> int:
    """Pixels of a side, written as a number, as shortest edge, or as height and width."""
    size = settings.get(key)
    found = set(size.values()) if isinstance(size, dict) else {size}
    is_known = not isinstance(size, dict) or set(size) in ({"shortest_edge"}, {"height", "width"})
    (side, *others) = found or {None}
    if others or not is_known or not isinstance(side, int) or isinstance(side, bool):
        raise InputError(
            f"{where}: '{key}' is {size}. Expected a number, shortest_edge, or height and width that are equal."
        )
    return side


def _factor(where: str, settings: Mapping[str, Any]) -> float:
    if not settings.get("do_rescale", True):
        return 1.0
    factor = settings.get("rescale_factor", 1 / 255)
    if not isinstance(factor, int | float) or not factor > 0:
        raise InputError(f"{where}: 'rescale_factor' is {factor}. Expected a number above 0.")
    return float(factor)


def _three(where: str, settings: Mapping[str, Any], key: str) -> tuple[float, float, float]:
    found = settings.get(key)
    try:
        red, green, blue = (float(one) for one in found or ())
    except (TypeError, ValueError):
        raise InputError(f"{where}: '{key}' is {found}. Expected three numbers.") from None
    if key == "image_std" and not min(red, green, blue) > 0:
        raise InputError(f"{where}: 'image_std' is {found}. Expected numbers above 0.")
    return red, green, blue
