"""Whatever holds an image to uint8 RGB arrays; every limit is checked before pixels are allocated.

Read are JPEG, PNG, WebP and GIF: more formats would be more decoders that a stranger's bytes can reach.
Colour profiles are ignored, for a profile is code of a stranger's too and moves a score by little.

Imported where an image is read only: Pillow is the extra `image`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from guardkit.errors import ImageError, InputError, MissingExtraError
from guardkit.image.memory import give_back
from guardkit.policy.rules import ImageLimits

try:
    from PIL import ExifTags, Image, UnidentifiedImageError
except ImportError as e:
    raise MissingExtraError("reading an image", "image") from e

ImageInput: TypeAlias = str | Path | bytes | Image.Image | NDArray[np.uint8]
Pixels: TypeAlias = NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
BACKGROUND = (255, 255, 255)
"""What lies behind transparent pixels: white, as in most viewers."""
_SHORTEST_SIDE = 16  # pixels; chosen: below it a picture shows nothing that a model could judge
_ANIMATED = ("PNG", "WEBP", "GIF")  # a JPEG may hold more pictures (MPO), but viewers show one
_GREY_16 = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_CHANNELS = 3
_FACTORS = (8, 4, 2)  # those of a JPEG's decoder
_BAND = 64  # rows of a reduced picture that are made at once; chosen: a few megabytes of what they are made of
_LARGE = 4_000_000  # pixels of a picture that is decoded whole: Pillow takes 16 MB for so many
# EXIF orientation -> upright pixels seen as they are stored (EXIF 2.32, tag 0x0112).
_STORED: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}
_ON_ITS_SIDE = (5, 6, 7, 8)


class Picture(Struct, frozen=True):
    """A decoded image."""

    frames: tuple[Pixels, ...]
    """uint8 RGB [H, W, 3] each, upright: one, or some of an animation, spread evenly over it."""
    width: int
    """Pixels of the image as it is stored; `frames` may be smaller, or turned."""
    height: int
    prompt: str | None = None
    """What it was made of; None: the caller did not say."""
    before: Picture | None = None
    """The picture that it was made of by an edit; None: it was not, or the caller did not say."""

    @property
    def scale(self) -> int:
        """How many pixels of the whole image one of `frames` stands for, along a side: 1, 2, 4 or 8."""
        longest: int = max(self.frames[0].shape[:2])
        return round(max(self.width, self.height) / longest)

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height of the whole image, upright."""
        height, width = self.frames[0].shape[:2]
        is_turned = (width - height) * (self.width - self.height) < 0
        return (self.height, self.width) if is_turned else (self.width, self.height)


def decode(
    image: ImageInput, limits: ImageLimits | None = None, *, shortest: int | None = None
) -> Picture:
    """Decode an image to upright RGB.

    Args:
        image: A path, the bytes of a file, a PIL image (the frame it stands at), or a uint8 array
            [H, W, 3].
        limits: A policy's `limits.images`; None: the defaults.
        shortest: The pixels that the shorter side needs. The picture then comes at 1/2, 1/4 or 1/8 of its size where
            that is enough: a JPEG is decoded no larger, which is twice as quick, and all else is averaged the
            same way. None: every pixel.

    Raises:
        ImageError: It cannot be decoded, or is over a limit.
        InputError: It is none of the above, or there is no such file.

    >>> decode(np.zeros((32, 48, 3), np.uint8)).frames[0].shape
    (32, 48, 3)
    """
    limits = limits or ImageLimits()
    if isinstance(image, np.ndarray):
        return _of_array(image, limits, shortest)
    if isinstance(image, Image.Image):
        return _of_pillow(image, limits, shortest)
    where, file = _content_of(image, limits)
    picture = _of_content(file, limits, where=where, shortest=shortest)
    if _is_large((picture.width, picture.height), shortest):
        give_back()  # here, where Pillow's own copy is gone
    return picture


# --- an array, a PIL image ------------------------------------------------------------------------


def _of_array(array: NDArray[Any], limits: ImageLimits, shortest: int | None) -> Picture:
    if array.dtype != np.uint8:
        raise InputError(
            f"image: an array of dtype {array.dtype}. Expected uint8, 0 to 255. "
            "For values from 0 to 1: (array * 255).round().astype(np.uint8)."
        )
    if array.ndim != _CHANNELS or array.shape[-1] != _CHANNELS:
        raise InputError(
            f"image: an array of shape {list(array.shape)}. Expected [height, width, 3], RGB; "
            "one image a call."
        )
    height, width = array.shape[:2]
    check_size(width, height, limits, where="image")
    if (factor := factor_for((width, height), shortest)) > 1:
        array = np.asarray(shrunk(array, factor))
    return Picture((array,), width, height)


def _of_pillow(image: Image.Image, limits: ImageLimits, shortest: int | None) -> Picture:
    width, height = image.size
    check_size(width, height, limits, where="image")
    if image.mode == "F":
        raise InputError(
            "image: a PIL image of mode F (floats), whose range nobody knows. Expected RGB or "
            "another mode of 8 or 16 bits; convert it first."
        )
    try:
        return Picture((_upright_rgb(image, shortest),), width, height)
    except Exception as e:  # noqa: BLE001  a failure boundary, as in `_of_content`: it may not be loaded yet
        raise _broken("image", e) from None


# --- a file ---------------------------------------------------------------------------------------


def _content_of(image: object, limits: ImageLimits) -> tuple[str, io.BytesIO]:
    """Where an image comes from, for messages, and its bytes, which are not too many; closed, they are held no more."""
    if isinstance(image, bytes | bytearray | memoryview):
        _check_bytes(len(image), limits, where="image")
        return "image", io.BytesIO(image)
    if isinstance(image, str | Path):
        return str(image), io.BytesIO(_file_content(Path(image), limits))
    raise InputError(
        f"image is {type(image).__name__}. Expected a path, bytes, a PIL image or a uint8 array "
        "[height, width, 3]."
    )


def _file_content(path: Path, limits: ImageLimits) -> bytes:
    try:
        if not path.is_file():
            found = "a directory" if path.is_dir() else "no such file"
            raise InputError(
                f"{path}: {found}. Expected an image file on this machine; nothing is downloaded."
            )
        with path.open("rb") as file:
            content = file.read(limits.max_bytes + 1)
        size = path.stat().st_size
    except (OSError, ValueError) as e:  # ValueError: a NUL in the path; InputError is one, too
        if isinstance(e, InputError):
            raise
        raise InputError(f"image: the file cannot be read ({type(e).__name__}).") from e
    _check_bytes(max(len(content), size), limits, where=str(path))
    return content


def _of_content(
    file: io.BytesIO, limits: ImageLimits, *, where: str, shortest: int | None
) -> Picture:
    size = file.getbuffer().nbytes
    try:
        with Image.open(file, formats=FORMATS) as opened:
            width, height = opened.size
            check_size(width, height, limits, where=where)
            if shortest is not None and opened.format == "JPEG":
                opened.draft(None, (shortest, shortest))
            frames = tuple(_frames(opened, file, limits, shortest, where=where))
    except ImageError:
        raise
    except UnidentifiedImageError as e:
        raise ImageError(
            where,
            f"{size} bytes that are no image of a known format. Expected JPEG, PNG, WebP or GIF.",
        ) from e
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as e:
        raise ImageError(
            where, f"more than {Image.MAX_IMAGE_PIXELS} pixels. {_at_most(limits)}"
        ) from e
    except Exception as e:  # noqa: BLE001  a failure boundary: on a stranger's bytes a decoder may raise anything
        raise _broken(where, e) from None
    return Picture(frames, width, height)


def _frames(
    opened: Image.Image,
    file: io.BytesIO,
    limits: ImageLimits,
    shortest: int | None,
    *,
    where: str,
) -> Iterator[Pixels]:
    """The frames to look at: the first, the last, and others evenly between them; closes the file at the last."""
    count = opened.n_frames if opened.format in _ANIMATED else 1  # type: ignore[attr-defined]
    _check_frames(count, opened.size, limits, where=where)
    chosen = set(np.linspace(0, count - 1, min(count, limits.frames)).round().astype(int).tolist())
    for index in range(count):
        if index:  # one by one: each may enlarge a GIF's canvas, and is drawn over those before it
            opened.seek(index)
            check_size(*opened.size, limits, where=where)
        if index in chosen:
            yield _upright_rgb(opened, shortest, file if index == count - 1 else None)


# --- pixels ---------------------------------------------------------------------------------------


def _upright_rgb(
    image: Image.Image, shortest: int | None, file: io.BytesIO | None = None
) -> Pixels:
    """Upright pixels; a file that has nothing more to give is closed, for it may be as large as they are."""
    if _is_large(image.size, shortest):
        give_back()
    image.load()
    if file is not None:
        file.close()
    turn = _orientation(image)
    return _pixels(_reduced(image, shortest), turn)


def _is_large(size: tuple[int, int], shortest: int | None) -> bool:
    return shortest is None and size[0] * size[1] >= _LARGE


def _pixels(image: Image.Image, turn: int) -> Pixels:
    """Upright pixels, band by band: of 20 megapixels, every step that made a picture of its own would take 80 MB.

    Args:
        image: Of any mode.
        turn: Its EXIF orientation.
    """
    width, height = image.size
    is_on_its_side = turn in _ON_ITS_SIDE
    upright = np.empty(
        (*((width, height) if is_on_its_side else (height, width)), _CHANNELS), np.uint8
    )
    stored = _STORED.get(turn, _as_it_is)(upright)
    for top in range(0, height, _BAND):
        bottom = min(top + _BAND, height)
        band = image if height <= _BAND else image.crop((0, top, width, bottom))
        stored[top:bottom] = np.asarray(_flat(_eight_bits(band)))
    return upright


def _as_it_is(pixels: Pixels) -> Pixels:
    return pixels


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation; 1, upright, where viewers could not read it either."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001  a broken note about a picture does not break the picture
        return 1


def _eight_bits(image: Image.Image) -> Image.Image:
    """RGB of any mode, RGBA where there are transparent pixels."""
    if image.mode in _GREY_16:
        levels = np.asarray(image).astype(np.int64) >> 8
        return Image.fromarray(levels.clip(0, 255).astype(np.uint8)).convert("RGB")
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _reduced(image: Image.Image, shortest: int | None) -> Image.Image:
    """The mean of whole blocks of pixels, as a JPEG's decoder gives it; as it is where no pixel is too many."""
    factor = factor_for(image.size, shortest)
    return image if factor == 1 else shrunk(_eight_bits(image), factor)


def shrunk(image: Image.Image | Pixels, factor: int) -> Image.Image:
    """Every block of `factor` pixels a side as its mean, in bands, so that no copy of the whole is made.

    Pillow holds an RGB pixel in 4 bytes, and a transparent picture a second time while it is reduced: of 20 megapixels 80 MB each.

    Args:
        image: Of Pillow, or uint8 RGB [H, W, 3].
        factor: 1 or more; blocks at the right and lower edge may be smaller.

    >>> shrunk(np.full((4, 6, 3), 7, np.uint8), 2).size
    (3, 2)
    """
    width, height = image.size if isinstance(image, Image.Image) else image.shape[1::-1]
    if factor == 1:
        return image if isinstance(image, Image.Image) else Image.fromarray(image)
    rows = _BAND * factor
    bands = []
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        if isinstance(image, Image.Image):
            bands.append(image.crop((0, top, width, bottom)).reduce(factor))
        else:
            bands.append(Image.fromarray(image[top:bottom]).reduce(factor))
    small = Image.new(bands[0].mode, (bands[0].width, sum(band.height for band in bands)))
    for number, band in enumerate(bands):
        small.paste(band, (0, number * _BAND))
    return small


def factor_for(size: tuple[int, int], shortest: int | None) -> int:
    """By how much a picture of a width and height is reduced when its shorter side needs `shortest` pixels: 1, 2, 4 or 8."""
    if shortest is None:
        return 1
    return next((one for one in _FACTORS if min(size) // one >= shortest), 1)


def _flat(image: Image.Image) -> Image.Image:
    """RGB, with `BACKGROUND` behind transparent pixels."""
    if image.mode == "RGB":
        return image
    flat = Image.new("RGB", image.size, BACKGROUND)
    flat.paste(image, mask=image.getchannel("A"))
    return flat


# --- limits ---------------------------------------------------------------------------------------


def _check_bytes(count: int, limits: ImageLimits, *, where: str) -> None:
    if count == 0:
        raise ImageError(where, "0 bytes. Expected a JPEG, PNG, WebP or GIF file.")
    if count > limits.max_bytes:
        raise ImageError(
            where,
            f"{count} bytes. Allowed: {limits.max_bytes}; send a smaller file or raise limits.images.max_bytes.",
        )


def check_size(width: int, height: int, limits: ImageLimits, *, where: str) -> None:
    """Refuse a picture that is too small, too large or too long.

    Raises:
        ImageError: It is.
    """
    size = f"{width}x{height} pixels"
    short, long = sorted((width, height))
    if short < _SHORTEST_SIDE:
        problem = f"{size}. Expected at least {_SHORTEST_SIDE} a side: less shows nothing that could be judged."
        raise ImageError(where, problem)
    if width * height > limits.max_pixels:
        raise ImageError(where, f"{size}. {_at_most(limits)}")
    if long > limits.max_ratio * short:
        raise ImageError(
            where,
            f"{size}. Allowed: one side at most {limits.max_ratio:g} times the other; cut it or raise limits.images.max_ratio.",
        )


def _check_frames(count: int, size: tuple[int, int], limits: ImageLimits, *, where: str) -> None:
    if count > limits.max_frames:
        raise ImageError(
            where,
            f"{count} frames. Allowed: {limits.max_frames}; shorten it or raise limits.images.max_frames.",
        )
    pixels = count * size[0] * size[1]
    if count > 1 and pixels > limits.max_animated_pixels:
        raise ImageError(
            where,
            f"{count} frames of {size[0]}x{size[1]}, {pixels} pixels. Allowed: {limits.max_animated_pixels}; "
            "shrink it or raise limits.images.max_animated_pixels.",
        )


def _at_most(limits: ImageLimits) -> str:
    return f"Allowed: {limits.max_pixels} pixels; shrink it or raise limits.images.max_pixels."


def _broken(where: str, error: Exception) -> ImageError:
    """A decoder's complaint: its kind, never its words (hence `from None`), which may quote the file."""
    problem = f"damaged or cut short ({type(error).__name__}). Save it again or send another."
    return ImageError(where, problem)
