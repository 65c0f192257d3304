"""Whatever holds an image becomes upright RGB, or one error that says what to do."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from guardkit.errors import ImageError, InputError
from guardkit.image.decode import decode, shrunk
from guardkit.policy.rules import ImageLimits
from tests.pictures import (
    BLUE,
    RED,
    WHITE,
    animated,
    animated_bomb,
    declared_png,
    encoded,
    halves,
    plain,
    sixteen_bit_png,
)

LOSSY = 12  # levels that a JPEG or a colour conversion may move a plain colour by


def colour_at(pixels: np.ndarray[Any, Any], row: int, column: int) -> tuple[int, ...]:
    return tuple(int(level) for level in pixels[row, column])


def is_close(found: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    return all(abs(a - b) <= LOSSY for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_bytes_of_every_format_become_rgb(kind: str) -> None:
    (frame,) = decode(encoded(halves(), kind)).frames
    assert (frame.shape, frame.dtype) == ((64, 64, 3), np.uint8)
    assert is_close(colour_at(frame, 32, 8), RED)
    assert is_close(colour_at(frame, 32, 56), BLUE)


@pytest.mark.parametrize("as_type", [str, Path])
def test_a_path_is_read(as_type: type, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(plain()))
    assert colour_at(decode(as_type(path)).frames[0], 0, 0) == RED


def test_a_pil_image_and_an_array_are_taken_as_they_are() -> None:
    pixels = halves()
    assert np.array_equal(decode(Image.fromarray(pixels)).frames[0], pixels)
    assert decode(pixels).frames[0] is pixels


@pytest.mark.parametrize(
    ("orientation", "corner"),
    # EXIF 2.32: where row 0 and column 0 of the stored picture are seen.
    [
        pytest.param(1, (0, 0), id="upright"),
        pytest.param(2, (0, -1), id="mirrored"),
        pytest.param(3, (-1, -1), id="half-turn"),
        pytest.param(4, (-1, 0), id="mirrored-half-turn"),
        pytest.param(5, (0, 0), id="transposed"),
        pytest.param(6, (0, -1), id="quarter-turn"),
        pytest.param(7, (-1, -1), id="transversed"),
        pytest.param(8, (-1, 0), id="three-quarter-turn"),
        pytest.param(99, (0, 0), id="unknown"),
    ],
)
def test_exif_orientation_is_undone(orientation: int, corner: tuple[int, int]) -> None:
    pixels = plain(WHITE, width=64, height=32)
    pixels[:8, :8] = RED
    exif = Image.Exif()
    exif[0x0112] = orientation
    (frame,) = decode(encoded(pixels, exif=exif)).frames
    assert colour_at(frame, *corner) == RED
    assert frame.shape[:2] == ((64, 32) if orientation in (5, 6, 7, 8) else (32, 64))


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_of_many_bands_is_what_pillow_makes_of_it_whole(
    orientation: int, mode: str
) -> None:
    levels = np.random.default_rng(3).integers(0, 256, (200, 90, 4), np.uint8)
    stored = Image.fromarray(levels).convert("RGB" if mode == "P" else "RGBA").convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded(stored, exif=exif))))
    expected = Image.new("RGB", upright.size, WHITE)
    expected.paste(upright, mask=upright.getchannel("A") if mode == "RGBA" else None)
    (frame,) = decode(encoded(stored, exif=exif)).frames
    np.testing.assert_array_equal(frame, np.asarray(expected))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")
def test_a_broken_orientation_does_not_break_the_picture() -> None:
    assert decode(encoded(plain(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")).frames


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(encoded(np.dstack([plain(), np.zeros((64, 64), np.uint8)])), id="rgba"),
        pytest.param(encoded(Image.new("LA", (64, 64), (0, 0))), id="grey-with-alpha"),
        pytest.param(encoded(Image.new("P", (64, 64), 0), transparency=0), id="palette"),
        pytest.param(encoded(plain(), transparency=RED), id="one-colour-transparent"),
    ],
)
def test_transparent_pixels_are_white(content: bytes) -> None:
    assert colour_at(decode(content).frames[0], 5, 5) == WHITE


def test_half_transparent_pixels_are_half_white() -> None:
    pixels = np.dstack([plain(), np.full((64, 64), 128, np.uint8)])
    # 255 * (1 - 128 / 255) = 127 of the white shines through
    assert is_close(colour_at(decode(encoded(pixels)).frames[0], 0, 0), (255, 127, 127))


def test_a_transparent_picture_in_the_hand_is_not_changed() -> None:
    image = Image.fromarray(np.dstack([plain(), np.zeros((64, 64), np.uint8)]))
    decode(image)
    assert (image.mode, image.getpixel((0, 0))) == ("RGBA", (255, 0, 0, 0))


def test_sixteen_bits_keep_their_upper_eight() -> None:
    levels = np.full((32, 32), 0x80FF, np.uint16)
    assert colour_at(decode(encoded(levels)).frames[0], 0, 0) == (0x80,) * 3


def test_three_channels_of_sixteen_bits_keep_their_upper_eight() -> None:
    content = sixteen_bit_png((0xFFFF, 0x80FF, 0x0100))
    assert is_close(colour_at(decode(content).frames[0], 0, 0), (0xFF, 0x80, 0x01))


def test_a_palette_and_a_grey_become_colours() -> None:
    palette = Image.fromarray(halves()).convert("P")
    assert is_close(colour_at(decode(encoded(palette)).frames[0], 0, 0), RED)
    grey = Image.new("1", (64, 64), 1)
    assert colour_at(decode(encoded(grey)).frames[0], 0, 0) == WHITE


@pytest.mark.parametrize("profile", [b"", b"no profile at all", bytes(5000)], ids=len)
def test_a_broken_profile_does_not_break_a_cmyk_picture(profile: bytes) -> None:
    content = encoded(Image.new("CMYK", (64, 64), (0, 255, 255, 0)), "JPEG", icc_profile=profile)
    assert is_close(colour_at(decode(content).frames[0], 32, 32), RED)


def test_cmyk_with_a_profile_becomes_rgb() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    content = encoded(Image.new("CMYK", (64, 64), (0, 255, 255, 0)), "JPEG", icc_profile=profile)
    assert is_close(colour_at(decode(content).frames[0], 32, 32), RED)


# --- animations -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_frames_are_sampled_from_the_first_to_the_last(kind: str) -> None:
    picture = decode(animated(11, kind), ImageLimits(frames=3))
    reds = [colour_at(frame, 0, 0)[0] for frame in picture.frames]
    # of 0 to 255 in 11 steps: the first, the sixth, the last
    assert reds == pytest.approx([0, 128, 255], abs=LOSSY)


def test_one_frame_is_the_first() -> None:
    (frame,) = decode(animated(5), ImageLimits(frames=1)).frames
    assert colour_at(frame, 0, 0) == (0, 0, 0)


def test_fewer_frames_than_asked_for_are_all_taken() -> None:
    assert len(decode(animated(5)).frames) == 5


# --- draft mode -----------------------------------------------------------------------------------


def test_a_jpeg_is_decoded_no_larger_than_needed() -> None:
    content = encoded(halves(width=1024, height=1024), "JPEG")
    picture = decode(content, shortest=224)
    assert picture.frames[0].shape == (256, 256, 3)  # a quarter: an eighth would be 128
    assert (picture.width, picture.height) == (1024, 1024)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_every_format_comes_at_the_same_size(kind: str) -> None:
    content = encoded(halves(width=900, height=500), kind)
    assert decode(content, shortest=224).frames[0].shape == (250, 450, 3)


def test_a_reduced_picture_is_the_mean_of_its_blocks() -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, ::2] = 200  # every other column: a mean of 100
    for image in (pixels, Image.fromarray(pixels), encoded(pixels)):
        (frame,) = decode(image, shortest=32).frames
        assert frame.shape == (32, 32, 3)
        assert set(frame.ravel().tolist()) == {100}


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
@pytest.mark.parametrize("factor", [1, 2, 8])
def test_bands_are_reduced_as_pillow_reduces_the_whole(mode: str, factor: int) -> None:
    random = np.random.default_rng(3)
    image = Image.fromarray(random.integers(0, 256, (1301, 77, 4), np.uint8)).convert(mode)
    expected = np.asarray(image.reduce(factor))
    np.testing.assert_array_equal(np.asarray(shrunk(image, factor)), expected)
    if mode == "RGB":
        np.testing.assert_array_equal(np.asarray(shrunk(np.asarray(image), factor)), expected)


def test_a_tall_picture_keeps_every_row() -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (1301, 40, 3), np.uint8)
    limits = ImageLimits(max_ratio=100)
    np.testing.assert_array_equal(decode(encoded(pixels), limits).frames[0], pixels)


def test_reducing_a_large_picture_takes_a_fraction_of_its_memory() -> None:
    size = 27_000_000  # bytes; a copy of Pillow's would be 36 MB
    code = (
        "import resource, numpy as np; from guardkit.image.decode import shrunk; "
        "pixels = np.zeros((3000, 3000, 3), np.uint8); pixels += 1; "
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; before = peak(); "
        "shrunk(pixels, 8); print(peak() - before)"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(ran.stdout) * 1024 < size / 2


def test_a_small_jpeg_is_decoded_whole() -> None:
    assert decode(encoded(plain(), "JPEG"), shortest=224).frames[0].shape == (64, 64, 3)


# --- what cannot be read --------------------------------------------------------------------------

JPEG = encoded(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), "JPEG")
CONTENTS = [
    pytest.param(b"", "0 bytes", id="zero-byte"),
    pytest.param(b"a plain text, renamed to .png", "no image of a known format", id="text-file"),
    pytest.param(JPEG[: len(JPEG) // 2], "damaged or cut short", id="truncated-jpeg"),
    pytest.param(encoded(halves())[:60], "damaged or cut short", id="truncated-png"),
    pytest.param(declared_png(64, 64), "damaged or cut short", id="too-few-pixels-for-its-header"),
    pytest.param(declared_png(30000, 30000), r"more than \d+ pixels", id="bomb"),
    pytest.param(declared_png(9000, 9000), "9000x9000 pixels", id="smaller-bomb"),
    pytest.param(encoded(plain(width=1, height=1)), "1x1 pixels", id="one-pixel"),
    pytest.param(encoded(plain(width=640, height=16)), "640x16 pixels", id="ribbon"),
    pytest.param(b"GIF89a", "damaged or cut short|no image", id="gif-signature-alone"),
    pytest.param(b"BM" + bytes(60), "no image of a known format", id="bitmap"),
]


@pytest.mark.parametrize(("content", "told"), CONTENTS)
def test_bytes_that_are_no_picture_get_one_error(content: bytes, told: str) -> None:
    with pytest.raises(ImageError, match=f"^image: .*({told})") as caught:
        decode(content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("content", "told"), CONTENTS)
def test_the_error_of_a_file_names_it(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=told) as caught:
        decode(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(declared_png(9000, 9000), id="png"),
        pytest.param(declared_png(30000, 30000), id="larger-png"),
        pytest.param(animated_bomb(4000, 4000, 60), id="animated"),
        pytest.param(animated_bomb(200, 200, 3000), id="animated-long"),
        pytest.param(animated_bomb(30000, 30000, 2), id="animated-large"),
    ],
)
def test_a_bomb_is_refused_before_memory_is_taken(content: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ImageError):
            decode(content)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        pytest.param(ImageLimits(max_frames=10), "11 frames", id="frames"),
        pytest.param(ImageLimits(max_animated_pixels=11_000), "11264 pixels", id="all-pixels"),
        pytest.param(ImageLimits(max_bytes=100), "Allowed: 100;", id="bytes"),
        pytest.param(ImageLimits(max_pixels=1000), "32x32 pixels", id="pixels"),
    ],
)
def test_an_animation_over_a_limit_is_refused(limits: ImageLimits, told: str) -> None:
    with pytest.raises(ImageError, match=told):
        decode(animated(11), limits)


def test_a_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(bytes(2000))
    with pytest.raises(ImageError, match=r"2000 bytes\. Allowed: 1000"):
        decode(path, ImageLimits(max_bytes=1000))


def test_an_animation_of_single_pixels_within_the_limits_is_decoded() -> None:
    assert [one.shape for one in decode(animated_bomb(64, 48, 12)).frames] == [(48, 64, 3)] * 8


def test_a_later_gif_frame_may_not_outgrow_the_limit() -> None:
    content = bytearray(animated(3))
    at = content.rindex(b"\x2c")  # the last image descriptor: left, top, width, height
    content[at + 5 : at + 9] = (9000).to_bytes(2, "little") * 2
    with pytest.raises(ImageError):
        decode(bytes(content))


@pytest.mark.parametrize(
    ("image", "told"),
    [
        pytest.param(np.full((64, 64, 3), np.nan), "dtype float64.*uint8", id="nan"),
        pytest.param(np.zeros((64, 64, 3), np.float32), "dtype float32", id="floats"),
        pytest.param(np.zeros((64, 64, 3), np.int64), "dtype int64", id="wrong-dtype"),
        pytest.param(np.zeros((64, 64), np.uint8), r"shape \[64, 64\]", id="grey-array"),
        pytest.param(np.zeros((64, 64, 4), np.uint8), r"shape \[64, 64, 4\]", id="alpha-array"),
        pytest.param(np.zeros((2, 64, 64, 3), np.uint8), r"shape \[2, ", id="batch"),
        pytest.param(Image.new("F", (64, 64)), "mode F", id="pil-floats"),
        pytest.param(None, "NoneType", id="none"),
        pytest.param([1, 2], "list", id="list"),
        pytest.param("/nowhere/picture.png", "no such file", id="missing-file"),
        pytest.param("https://example.org/a.png", "nothing is downloaded", id="address"),
        pytest.param("a\0b", "cannot be read|no such file", id="nul-in-the-path"),
        pytest.param("x" * 5000, "cannot be read|no such file", id="endless-path"),
    ],
)
def test_what_is_no_image_at_all_is_the_callers_mistake(image: Any, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        decode(image)
    assert not isinstance(caught.value, ImageError)


def test_a_directory_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a directory"):
        decode(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="no such file"):
        decode(tmp_path / "pipe")


def test_a_pil_image_that_cannot_be_loaded_is_an_image_error(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    path.write_bytes(JPEG[: len(JPEG) // 2])
    with Image.open(path) as image, pytest.raises(ImageError, match="cut short"):
        decode(image)


def test_an_empty_array_is_too_small() -> None:
    with pytest.raises(ImageError, match="0x0 pixels"):
        decode(np.zeros((0, 0, 3), np.uint8))


def test_an_image_error_survives_pickling() -> None:
    error = ImageError("image", "0 bytes.")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes
    assert (str(again), again.problem) == ("image: 0 bytes.", "0 bytes.")


def test_a_file_that_was_read_is_not_held_beside_its_pixels(tmp_path: Path) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (1500, 1000, 3), np.uint8)  # not compressible
    path = tmp_path / "noise.png"
    path.write_bytes(encoded(noise))
    limits = ImageLimits(max_bytes=path.stat().st_size)  # Python sets aside as much to read it
    tracemalloc.start()
    (frame,) = decode(path, limits).frames
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(frame, noise)
    assert peak < 1.5 * frame.nbytes  # twice that, were both held
