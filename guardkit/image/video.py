"""Frames of a video, one after the other: every limit is checked before a frame is decoded.

Read are MP4, MOV, WebM and Matroska with H.264, H.265, VP8, VP9 or AV1: more would be more code that a stranger's bytes can
reach, and playlists among them would name other files and addresses. Three passes: the header; all packets, which are
counted and not decoded, for a header may lie about how long a video is; and the frames that were chosen.

Imported where a video is read only: PyAV is the extra `video`.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from msgspec import Struct

from guardkit.errors import ImageError, InputError, MissingExtraError
from guardkit.image.decode import Picture, Pixels, check_size, decode
from guardkit.policy.rules import ImageLimits, VideoLimits

try:
    import av
except ImportError as e:
    raise MissingExtraError("reading a video", "video") from e

VideoInput: TypeAlias = str | Path | bytes

CODECS = {"h264": "H.264", "hevc": "H.265", "vp8": "VP8", "vp9": "VP9", "av1": "AV1"}
"""FFmpeg's name of a codec -> that for people."""
_FORMATS = "MP4, MOV, WebM or Matroska"
# What FFmpeg is told when it opens a file. Without a codec it knows, it decodes nothing to find out more: the limit on
# pixels, which is set on our own decoder, would come too late.
_OPTIONS = {"format_whitelist": "mov,matroska,webm", "codec_whitelist": "none"}


class Moment(Struct, frozen=True):
    """One frame of a video."""

    at_s: float
    """Seconds from the first frame, at least 0."""
    picture: Picture


class Timeline(Struct, frozen=True):
    """When there are frames; what a file's packets say, in units of `unit` seconds."""

    shown: tuple[int, ...]
    """Ascending; at least one."""
    keys: tuple[int, ...]
    """Ascending: where decoding can begin."""
    unit: Fraction

    def chosen(self, count: int) -> list[int]:
        """The first, the last, and others evenly between, `count` at most.

        >>> Timeline((0, 10, 20, 30, 40), (0,), Fraction(1, 10)).chosen(3)
        [0, 20, 40]
        """
        among = np.linspace(0, len(self.shown) - 1, min(count, len(self.shown)))
        return [self.shown[index] for index in sorted({round(one) for one in among.tolist()})]

    def key_before(self, moment: int) -> int:
        """Where to begin to decode what is shown at a moment."""
        return self.keys[max(bisect_right(self.keys, moment) - 1, 0)]


def read_moments(
    video: VideoInput,
    images: ImageLimits | None = None,
    limits: VideoLimits | None = None,
    *,
    shortest: int | None = None,
) -> Iterator[Moment]:
    """Decode the first and the last frame of a video, and others evenly between them.

    Args:
        video: A path, or the bytes of a file.
        images: A policy's `limits.images`, which hold for each frame; None: the defaults.
        limits: A policy's `limits.videos`; None: the defaults.
        shortest: The pixels that the shorter side needs, as in `decode`.

    Yields:
        `limits.frames` moments at most, in order of time; one frame is held at once.

    Raises:
        ImageError: It cannot be decoded, or is over a limit.
        InputError: It is none of the above, or there is no such file.
    """
    images, limits = images or ImageLimits(), limits or VideoLimits()
    where = str(video) if isinstance(video, str | Path) else "video"
    with closing(_opened(video, limits, where)) as file:
        try:
            yield from _moments(file, images, limits, shortest, where)
        except ImageError:
            raise
        except Exception as e:  # noqa: BLE001  a failure boundary: on a stranger's bytes a decoder may raise anything
            problem = f"no video, damaged or cut short ({type(e).__name__}). Expected {_FORMATS}; save it again or send another."
            raise ImageError(where, problem) from None  # its words may quote the file


# --- the file -------------------------------------------------------------------------------------


def _opened(video: object, limits: VideoLimits, where: str) -> BinaryIO:
    """A file that FFmpeg reads through Python: it is given no name, and so asks no address."""
    if isinstance(video, bytes | bytearray | memoryview):
        _check_bytes(len(video), limits, where)
        return io.BytesIO(video)
    if not isinstance(video, str | Path):
        raise InputError(f"video is {type(video).__name__}. Expected a path, or bytes.")
    path = Path(video)
    try:
        if not path.is_file():
            found = "a directory" if path.is_dir() else "no such file"
            raise InputError(
                f"{where}: {found}. Expected a video file on this machine; nothing is downloaded."
            )
        _check_bytes(path.stat().st_size, limits, where)
        return path.open("rb")
    except (OSError, ValueError) as e:  # ValueError: a NUL in the path; InputError is one, too
        if isinstance(e, InputError):
            raise
        raise InputError(f"video: the file cannot be read ({type(e).__name__}).") from e


def _check_bytes(count: int, limits: VideoLimits, where: str) -> None:
    if count == 0:
        raise ImageError(where, f"0 bytes. Expected {_FORMATS}.")
    if count > limits.max_bytes:
        raise ImageError(
            where,
            f"{count} bytes. Allowed: {limits.max_bytes}; send a smaller file or raise limits.videos.max_bytes.",
        )


# --- the three passes -----------------------------------------------------------------------------


def _moments(
    file: BinaryIO, images: ImageLimits, limits: VideoLimits, shortest: int | None, where: str
) -> Iterator[Moment]:
    with av.open(file, options=_OPTIONS) as container:
        stream = _stream(container, images, where)
        timeline = _timeline(container, stream, limits, where)
        for frame in _frames(container, stream, timeline, limits.frames):
            check_size(frame.width, frame.height, images, where=where)  # it may change on the way
            picture = decode(_upright(frame), images, shortest=shortest)
            yield Moment(float((frame.pts - timeline.shown[0]) * timeline.unit), picture)


def _stream(container: Any, images: ImageLimits, where: str) -> Any:
    """The one stream of pictures, its decoder held to the limit on pixels."""
    streams = container.streams.video
    if not streams:
        raise ImageError(where, f"no pictures in it, or cut short. Expected {_FORMATS}.")
    if len(streams) > 1:
        raise ImageError(
            where, f"{len(streams)} streams of pictures. Expected one; save it with that alone."
        )
    stream = streams[0]
    codec = stream.codec_context
    if codec.codec.canonical_name not in CODECS:
        raise ImageError(
            where, f"its codec is not known. Expected one of {', '.join(CODECS.values())}."
        )
    check_size(codec.width, codec.height, images, where=where)
    codec.options = {"max_pixels": str(images.max_pixels)}
    return stream


def _timeline(container: Any, stream: Any, limits: VideoLimits, where: str) -> Timeline:
    """When every frame is shown, by the packets themselves."""
    shown: list[int] = []
    keys: list[int] = []
    for packet in container.demux(stream):
        if packet.pts is None or packet.is_discard:  # the end; what an edit list leaves out
            continue
        shown.append(packet.pts)
        if packet.is_keyframe:
            keys.append(packet.pts)
        if len(shown) > limits.max_frames:
            raise ImageError(
                where,
                f"more than {limits.max_frames} frames. Cut it or raise limits.videos.max_frames.",
            )
    if not shown or not keys:
        raise ImageError(where, "no frames. Save it again or send another.")
    unit = Fraction(stream.time_base)
    seconds = float((max(shown) - min(shown)) * unit)
    if seconds > limits.max_seconds:
        raise ImageError(
            where,
            f"{seconds:.1f} seconds. Allowed: {limits.max_seconds:g}; cut it or raise limits.videos.max_seconds.",
        )
    return Timeline(tuple(sorted(shown)), tuple(sorted(keys)), unit)


def _frames(container: Any, stream: Any, timeline: Timeline, count: int) -> Iterator[Any]:
    """The chosen frames; from a key frame on, where that is nearer than the last one that was chosen."""
    begin = timeline.key_before(timeline.shown[0])
    decoded = _decoded_from(container, stream, begin)
    for moment in timeline.chosen(count):
        key = timeline.key_before(moment)
        if key > begin:
            begin, decoded = key, _decoded_from(container, stream, key)
        yield next(frame for frame in decoded if frame.pts is not None and frame.pts >= moment)


def _decoded_from(container: Any, stream: Any, key: int) -> Iterator[Any]:
    container.seek(key, stream=stream, backward=True)
    yield from container.decode(stream)


def _upright(frame: Any) -> Pixels:
    """uint8 RGB [H, W, 3], turned as players turn it."""
    pixels: Pixels = frame.to_ndarray(format="rgb24")
    quarters = round(frame.rotation / 90)  # counter-clockwise, as numpy's
    return np.ascontiguousarray(np.rot90(pixels, quarters))
