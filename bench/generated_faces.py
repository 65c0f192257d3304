"""Faces of nobody: `python -m bench.generated_faces gan_face_generate-1.1.1-py3-none-any.whl --out FOLDER --count 900`.

The generator of the package gan-face-generate 1.1.1 (MIT; `pip download --no-deps gan-face-generate==1.1.1`), a DCGAN that its author trained on
DigiFace1M, itself drawn by a computer: 64x64 pixels. Only its weights are read, out of the wheel, and no pickled code.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from guardkit.errors import InputError

_SHA256 = "24102f4be41d164e44251168ede0458a45e498a888c81493e2aea48529640569"
_WEIGHTS = "gan_face_generate/weights.tar"
_LATENT = 100
_LAYERS = (0, 3, 6, 9, 12)  # its transposed convolutions; a batch norm follows each but the last
_BATCH = 50


def main() -> int:
    """Draw, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=900)
    parser.add_argument("--seed", type=int, default=6)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    faces = generated_faces(arguments.wheel, count=arguments.count, seed=arguments.seed)
    for number, pixels in enumerate(faces):
        Image.fromarray(pixels).save(arguments.out / f"face-{number:04}.png")
    return 0


def generated_faces(wheel: Path, *, count: int, seed: int) -> NDArray[np.uint8]:
    """Draw faces: uint8 RGB [count, 64, 64, 3]; the same for one seed.

    Raises:
        InputError: It is another file than the wheel named above.
    """
    content = wheel.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != _SHA256:
        raise InputError(f"{wheel}: SHA-256 {found[:12]}..., expected {_SHA256[:12]}...")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return drawn_faces(io.BytesIO(archive.read(_WEIGHTS)), count=count, seed=seed)


def drawn_faces(file: BinaryIO | Path, *, count: int, seed: int) -> NDArray[np.uint8]:
    """As `generated_faces`, of the package's `weights.tar`; tensors are read by name, nothing else is unpickled."""
    weights = torch.load(file, map_location="cpu", weights_only=True)["netG_state_dict"]
    latent = torch.randn(count, _LATENT, generator=torch.Generator().manual_seed(seed))
    drawn = [_drawn(weights, latent[at : at + _BATCH]) for at in range(0, count, _BATCH)]
    return np.concatenate(drawn)


def _drawn(weights: dict[str, Tensor], latent: Tensor) -> NDArray[np.uint8]:
    x = latent[:, :, None, None]
    with torch.no_grad():
        for layer in _LAYERS:
            stride, padding = (1, 0) if layer == _LAYERS[0] else (2, 1)
            kernel = weights[f"main.{layer}.weight"]
            x = functional.conv_transpose2d(x, kernel, stride=stride, padding=padding)
            if layer != _LAYERS[-1]:
                mean, variance, scale, shift = (
                    weights[f"main.{layer + 1}.{name}"]
                    for name in ("running_mean", "running_var", "weight", "bias")
                )
                x = functional.relu(functional.batch_norm(x, mean, variance, scale, shift))
    levels = ((torch.tanh(x) + 1) * 127.5).round().clamp(0, 255).byte()
    pixels: NDArray[np.uint8] = levels.permute(0, 2, 3, 1).numpy()
    return pixels


if __name__ == "__main__":
    sys.exit(main())
