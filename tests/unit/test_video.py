"""What is made of the frames of a video, and what a policy may say of it; frames themselves: tests/video."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

from guardkit import Guard, Policy
from guardkit.errors import DeadlineError, ImageError, MissingExtraError
from guardkit.image.measure import MeasuredImage, MeasuredVideo
from guardkit.policy.load import policy_from_dict
from guardkit.policy.rules import StagePolicy
from guardkit.types import Scores
from tests.conftest import WriteFile
from tests.faults import only_fault
from tests.tiny_image import build_tiny_images


def video_of(*scores: float | None) -> MeasuredVideo:
    """A frame a second; None: its scorer failed."""
    measured = MeasuredVideo()
    for second, score in enumerate(scores):
        failed = frozenset({"gore"} if score is None else ())
        frame = MeasuredImage(Scores({"gore": score}), failed=failed)
        measured.frames.append((float(second), frame))
    return measured


@pytest.mark.parametrize(
    ("scores", "agreeing", "expected"),
    [
        pytest.param((0.1, 0.9, 0.5), 1, 0.9, id="any"),
        pytest.param((0.1, 0.9, 0.5), 2, 0.5, id="two-of-three"),
        pytest.param((0.1, 0.9, 0.5), 3, 0.1, id="all"),
        pytest.param((0.4, 0.9), 5, 0.4, id="fewer-frames-than-must-agree"),
        pytest.param((None, 0.9, 0.5), 2, 0.5, id="a-failed-frame-hides-nothing"),
        pytest.param((None, 0.9), 2, None, id="too-few-numbers"),
    ],
)
def test_a_video_scores_what_enough_frames_score(
    scores: tuple[float | None, ...], agreeing: int, expected: float | None
) -> None:
    whole = video_of(*scores).whole(agreeing)
    assert whole.scores == {"gore": expected}
    assert whole.failed == ({"gore"} if None in scores else set())


def test_what_breaks_in_the_middle_fails_and_what_was_seen_counts() -> None:
    measured = video_of(0.2, 0.9)
    measured.break_off(ImageError("video", "damaged."), ["gore", "sexual"])
    whole = measured.whole(1)
    assert whole.scores == {"gore": 0.9, "sexual": None}
    assert (whole.failed, whole.late) == ({"gore", "sexual"}, frozenset())
    assert whole.problem == "damaged."


def test_what_ran_out_of_time_is_late() -> None:
    measured = video_of()
    measured.break_off(DeadlineError("decode: no answer."), ["gore"])
    whole = measured.whole(1)
    assert (whole.scores, whole.late, whole.problem) == ({"gore": None}, {"gore"}, None)


def test_the_first_moment_is_that_of_any_threshold() -> None:
    measured = video_of(0.2, None, 0.6, 0.9)
    assert measured.first_at_s({"gore": 0.6}) == 2.0
    assert measured.first_at_s({"gore": 0.95, "sexual": 0.1}) is None
    assert measured.first_at_s({}) is None


HEAD = "policy: mine\nlimits:\n"


@pytest.mark.parametrize(
    ("videos", "path", "problem"),
    [
        pytest.param("{frames: 4, agreeing: 5}", "agreeing", "5 frames are to agree, 4", id="more"),
        pytest.param("{agreeing: 17}", "agreeing", "17 frames are to agree, 16", id="than-default"),
        pytest.param("{frames: 0}", "frames", "Expected 1 to 1000", id="none"),
        pytest.param("{agree: 2}", "agree", "Did you mean 'agreeing'?", id="unknown"),
    ],
)
def test_limits_that_make_no_sense_are_refused(
    write_file: WriteFile, videos: str, path: str, problem: str
) -> None:
    fault = only_fault(write_file("mine.yaml", f"{HEAD}  videos: {videos}\n"))
    assert fault.path == f"limits.videos.{path}"
    assert problem in fault.problem


def test_a_policy_without_videos_keeps_its_digest() -> None:
    assert b"videos" not in msgspec.json.encode(policy_from_dict({"policy": "mine"}))


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUARDKIT_MODELS", str(build_tiny_images(tmp_path / "models")))
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.delitem(sys.modules, "guardkit.image.video", raising=False)
    guard = Guard(Policy("films", output_image=StagePolicy(("image-safety",))))
    with pytest.raises(MissingExtraError, match=r"guardkit\[video\]"):
        guard.check_output(video=b"anything")
