"""Frames of videos that the tests encode themselves, decided on scores known by hand: make test-video."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from guardkit import Guard, Policy
from guardkit.cli.main import main
from guardkit.errors import ImageError, InputError
from guardkit.image.video import CODECS, Moment, Timeline, read_moments
from guardkit.policy.rules import ImageLimits, Limits, Rule, StagePolicy, VideoLimits, When
from guardkit.types import Action, Status
from tests.pictures import BLUE, GREEN, RED, Colour, encoded, halves, plain
from tests.tiny_image import build_tiny_images

FPS = 10
KINDS = (
    ("mp4", "libx264"),
    ("mov", "libx264"),
    ("matroska", "libx264"),
    ("webm", "libvpx-vp9"),
    ("mp4", "libx265"),
    ("matroska", "libx265"),
    ("mp4", "libsvtav1"),
    ("webm", "libsvtav1"),
)


def video(
    colours: Sequence[Colour],
    kind: str = "mp4",
    codec: str = "libx264",
    *,
    width: int = 64,
    height: int = 64,
    **options: str,
) -> bytes:
    """A frame of one colour each, ten a second."""
    return of_pictures(
        [plain(one, width=width, height=height) for one in colours], kind, codec, **options
    )


def of_pictures(
    pictures: Sequence[np.ndarray[Any, Any]],
    kind: str = "mp4",
    codec: str = "libx264",
    **options: str,
) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=FPS, options=options)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for pixels in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def moments(content: bytes, **limits: Any) -> list[Moment]:
    return list(read_moments(content, limits=VideoLimits(**limits)))


def colour_of(moment: Moment) -> str:
    """The name of the strongest channel."""
    return ("red", "green", "blue")[int(moment.picture.frames[0][8, 8].argmax())]


# --- frames ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "codec"), KINDS, ids=[f"{k}-{c}" for k, c in KINDS])
def test_the_first_the_last_and_others_between_are_decoded(kind: str, codec: str) -> None:
    found = moments(video([BLUE] * 20 + [RED] * 11, kind, codec), frames=4)
    assert [one.at_s for one in found] == pytest.approx([0.0, 1.0, 2.0, 3.0])
    assert [colour_of(one) for one in found] == ["blue", "blue", "red", "red"]
    assert found[0].picture.frames[0].shape == (64, 64, 3)


@pytest.mark.parametrize("every", ["1", "4", "250"])
def test_a_frame_is_the_right_one_wherever_the_key_frames_are(every: str) -> None:
    colours = [(RED, GREEN, BLUE)[index % 3] for index in range(30)]
    found = moments(video(colours, g=every), frames=7)
    expected = [("red", "green", "blue")[round(one.at_s * FPS) % 3] for one in found]
    assert len(found) == 7
    assert [colour_of(one) for one in found] == expected


def test_a_video_of_one_frame_is_one_moment() -> None:
    assert [one.at_s for one in moments(video([RED]))] == [0.0]


def test_a_path_is_read_as_bytes_are(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(video([RED] * 3))
    assert [one.at_s for one in read_moments(path)] == pytest.approx([0.0, 0.1, 0.2])


def test_a_large_frame_is_reduced_to_what_is_needed() -> None:
    (found,) = read_moments(video([RED], width=256, height=128), shortest=32)
    assert found.picture.frames[0].shape == (32, 64, 3)
    assert (found.picture.width, found.picture.height) == (256, 128)


def test_a_video_that_was_held_upright_is_turned() -> None:
    content = of_pictures([halves(RED, BLUE, width=96)] * 2)
    upright = (
        0x10000,
        0,
        0,
        0,
        0x10000,
        0,
        0,
        0,
        0x40000000,
    )  # ISO 14496-12, 8.3.2: the matrix of a track
    clockwise = (0, 0x10000, 0, 0xFFFF0000, 0, 0, 0, 0, 0x40000000)
    old, new = (
        b"".join(one.to_bytes(4, "big") for one in matrix) for matrix in (upright, clockwise)
    )
    at = content.index(b"tkhd")
    place = content.index(old, at)
    turned = content[:place] + new + content[place + len(new) :]
    (found, _) = moments(turned)
    pixels = found.picture.frames[0]
    assert pixels.shape == (96, 64, 3)
    # left goes to the top when a picture is turned clockwise
    assert pixels[8, 32].argmax() == 0
    assert pixels[-8, 32].argmax() == 2


def test_of_a_timeline_the_nearest_key_before_is_found() -> None:
    line = Timeline((0, 1, 2, 3), (0, 2), Fraction(1, FPS))
    assert [line.key_before(moment) for moment in (-1, 0, 1, 2, 3)] == [0, 0, 0, 2, 2]


# --- bad input ------------------------------------------------------------------------------------

PLAYLIST = b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(b"", "0 bytes", id="empty"),
        pytest.param(b"a text, renamed" * 40, "no video, damaged or cut short", id="text"),
        pytest.param(encoded(plain(RED)), "no video, damaged or cut short", id="a-picture"),
        pytest.param(PLAYLIST, "no video, damaged or cut short", id="playlist"),
        pytest.param(video([RED] * 9)[:900], "no pictures in it, or cut short", id="cut"),
        pytest.param(video([RED], "avi", "mpeg4"), "no video, damaged", id="another-format"),
        pytest.param(video([RED], "mp4", "mpeg4"), "its codec is not known", id="another-codec"),
    ],
)
def test_what_is_no_video_is_one_clear_error(content: bytes, problem: str) -> None:
    with pytest.raises(ImageError) as caught:
        moments(content)
    assert caught.value.problem.startswith(problem)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("limits", "images", "problem"),
    [
        pytest.param({"max_bytes": 100}, {}, "Allowed: 100; send a smaller", id="bytes"),
        pytest.param({"max_frames": 29}, {}, "more than 29 frames", id="frames"),
        pytest.param({"max_seconds": 2.5}, {}, "2.9 seconds. Allowed: 2.5;", id="seconds"),
        pytest.param({}, {"max_pixels": 4000}, "64x64 pixels. Allowed: 4000", id="pixels"),
    ],
)
def test_what_is_over_a_limit_is_refused_before_it_is_decoded(
    limits: dict[str, Any], images: dict[str, Any], problem: str
) -> None:
    reading = read_moments(video([RED] * 30), ImageLimits(**images), VideoLimits(**limits))
    with pytest.raises(ImageError) as caught:
        next(reading)
    assert problem in caught.value.problem


def test_a_frame_larger_than_its_header_says_is_not_decoded() -> None:
    content = bytearray(video([RED] * 2, width=256, height=256))
    at = (
        content.index(b"avc1", content.index(b"stsd")) + 28
    )  # ISO 14496-12, 12.1.3: width and height of a sample entry
    assert content[at : at + 4] == bytes([1, 0, 1, 0])
    content[at : at + 4] = bytes([0, 64, 0, 64])
    with pytest.raises(ImageError, match="damaged"):
        list(read_moments(bytes(content), ImageLimits(max_pixels=10_000)))


@pytest.mark.parametrize("seed", range(20))
def test_a_spoiled_video_is_frames_or_one_error(seed: int) -> None:
    random = np.random.default_rng(seed)
    content = np.frombuffer(video([RED, BLUE] * 6), np.uint8).copy()
    content[random.integers(0, len(content), 8)] = random.integers(0, 256, 8)
    with contextlib.suppress(ImageError):
        assert 1 <= len(moments(content.tobytes(), frames=4)) <= 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param(3, "video is int. Expected a path, or bytes.", id="type"),
        pytest.param("none.mp4", "none.mp4: no such file", id="missing"),
        pytest.param("http://example.org/a.mp4", "nothing is downloaded", id="address"),
        pytest.param("a\0b", "no such file|cannot be read", id="nul"),
    ],
)
def test_what_is_not_handed_in_as_a_video_is_refused(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        next(read_moments(given))


def test_every_codec_that_is_named_can_be_decoded() -> None:
    assert all(av.codec.Codec(name, "r") for name in CODECS)


# --- decisions ------------------------------------------------------------------------------------

AGAIN = Rule("again", When("sexual", 0.9), Action.REGENERATE)
BLURRED = Rule("blurred", When("sexual", 0.9), Action.EDIT, "blur")
NEVER = Rule("never", When("gore", 0.9), Action.BLOCK)


@pytest.fixture
def use_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUARDKIT_MODELS", str(build_tiny_images(tmp_path / "models")))


def guard_of(*rules: Rule, **videos: Any) -> Guard:
    editors = tuple(rule.using for rule in rules if rule.using)
    stage = StagePolicy(("image-safety",), editors=editors, rules=rules, after_edit="regenerate")
    limits = Limits(videos=VideoLimits(**videos))
    return Guard(Policy("films", output_image=stage, limits=limits))


def test_one_frame_is_enough_and_its_time_is_told(use_models: None) -> None:
    content = video([BLUE] * 12 + [RED] + [BLUE] * 8)
    decision = guard_of(AGAIN, frames=21).check_output(video=content)
    assert decision.action is Action.REGENERATE
    assert decision.at_s == pytest.approx(1.2)
    assert decision.to_dict()["at_s"] == decision.at_s
    assert decision.video is None
    assert "the video: first reached at 1.20 s" in decision.reasons


def test_a_harmless_video_is_handed_back(use_models: None) -> None:
    content = video([BLUE] * 9)
    decision = guard_of(AGAIN, NEVER).check_output(video=content)
    assert (decision.action, decision.status) == (Action.ALLOW, Status.OK)
    assert decision.video is content
    assert decision.at_s is None
    assert "at_s" not in decision.to_dict()


@pytest.mark.parametrize(
    ("reds", "agreeing", "action"),
    [
        pytest.param(2, 3, Action.ALLOW, id="one-too-few"),
        pytest.param(3, 3, Action.REGENERATE, id="enough"),
        pytest.param(1, 1, Action.REGENERATE, id="any"),
    ],
)
def test_as_many_frames_must_agree_as_the_policy_says(
    use_models: None, reds: int, agreeing: int, action: Action
) -> None:
    content = video([BLUE] * (8 - reds) + [RED] * reds)
    decision = guard_of(AGAIN, frames=8, agreeing=agreeing).check_output(video=content)
    assert decision.action is action


def test_in_a_video_of_fewer_frames_all_must_agree(use_models: None) -> None:
    guard = guard_of(AGAIN, agreeing=3)
    assert guard.check_output(video=video([RED, RED])).action is Action.REGENERATE
    assert guard.check_output(video=video([RED, BLUE])).action is Action.ALLOW


def test_what_cannot_be_decoded_is_answered_by_on_failure(use_models: None) -> None:
    decision = guard_of(AGAIN).check_output(video=b"a text, renamed" * 40)
    assert (decision.action, decision.status) == (Action.BLOCK, Status.ERROR)
    assert decision.scores == {"sexual": None, "gore": None}
    assert decision.reasons[0].startswith("the video: no video, damaged")


def test_a_video_is_not_edited(use_models: None) -> None:
    decision = guard_of(BLURRED).check_output(video=video([RED] * 3))
    assert decision.action is Action.REGENERATE
    assert "after edit, a video cannot be edited: regenerate" in decision.reasons


def test_a_block_is_not_softened_by_an_editor(use_models: None) -> None:
    decision = guard_of(BLURRED, NEVER).check_output(video=video([RED] * 3 + [GREEN] * 3))
    assert decision.action is Action.BLOCK
    assert decision.at_s == 0.0


async def _ask(guard: Guard, content: bytes) -> Action:
    return (await guard.acheck_output(video=content)).action


def test_the_async_twin_says_the_same(use_models: None) -> None:
    import asyncio

    assert asyncio.run(_ask(guard_of(AGAIN), video([RED]))) is Action.REGENERATE


def test_one_thing_is_checked_at_a_time(use_models: None) -> None:
    guard = guard_of(AGAIN)
    with pytest.raises(InputError, match="image and video: both are given"):
        guard.check_output(image=plain(RED), video=b"")
    with pytest.raises(InputError, match="video is list"):
        guard.check_output(video=[])  # type: ignore[arg-type]


def test_the_command_line_tells_when(
    use_models: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy, film = tmp_path / "films.yaml", tmp_path / "a.webm"
    rule = "{name: never, when: {category: sexual, at_least: 0.9}, action: block}"
    stage = f"output-image: {{scorers: [image-safety], rules: [{rule}]}}"
    policy.write_text(f"policy: films\n{stage}\n", "utf-8")
    film.write_bytes(video([BLUE] * 5 + [RED] * 5, "webm", "libvpx-vp9"))
    check = ["check", "--policy", str(policy), "--video", str(film)]
    assert main(check) == 1
    assert (
        "the video: first reached at 0.5" in capsys.readouterr().out
    )  # of 16 frames, 10 there are
    assert main([*check, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["at_s"] == pytest.approx(0.5)
