"""Pixels to an image file: nothing but pixels, so what a camera noted of place and time is gone."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from guardkit.errors import InputError
from guardkit.image.decode import Pixels

_KINDS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_QUALITY = 92  # of a JPEG or WebP; chosen: no loss to the eye


def check_target(path: Path) -> None:
    """Refuse a file that could not be written, before any work is done for it.

    Raises:
        InputError: Its ending names no format that is written, or its folder is missing.
    """
    if path.suffix.lower() not in _KINDS:
        raise InputError(f"{path}: ending '{path.suffix}'. Expected one of {', '.join(_KINDS)}.")
    if not path.parent.is_dir():
        raise InputError(f"{path}: no folder {path.parent}. Make it first.")


def write_image(pixels: Pixels, path: Path) -> None:
    """Write uint8 RGB [H, W, 3] in the format that the ending names.

    Raises:
        InputError: As in `check_target`, or the file cannot be written.
    """
    check_target(path)
    try:
        Image.fromarray(pixels).save(path, _KINDS[path.suffix.lower()], quality=_QUALITY)
    except OSError as e:
        raise InputError(f"{path}: cannot be written ({e.strerror or type(e).__name__}).") from e


def as_png(pixels: Pixels) -> bytes:
    """The bytes of a PNG of uint8 RGB [H, W, 3]."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
