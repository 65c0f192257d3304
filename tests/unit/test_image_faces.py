"""Faces: maps read as CenterFace's own code reads them, in pixels of the whole picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from guardkit import Guard, Policy
from guardkit.artifacts import RunnerOptions, load_artifact
from guardkit.errors import ManifestError, RunError
from guardkit.image.decode import decode
from guardkit.image.faces import FaceDetector, Faces, apart, decoded
from guardkit.policy.rules import StagePolicy
from guardkit.runtime.base import open_runner
from guardkit.runtime.fake import FakeRunner
from guardkit.types import Action, Region, Status
from tests.fake_steps import rule
from tests.pictures import BLUE, PORTRAIT, RED, encoded, plain
from tests.tiny import change_manifest
from tests.tiny_image import build_tiny_faces, build_tiny_images

SHIPPED = Path(__file__).parents[2] / "exported_models" / "face-detector"
STAGE = StagePolicy(scorers=("face-detector",), rules=(rule("privacy", Action.BLOCK),))
POLICY = Policy("faces", output_image=STAGE)


@pytest.fixture
def face_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = build_tiny_faces(build_tiny_images(tmp_path / "face_models"))
    monkeypatch.setenv("GUARDKIT_MODELS", str(folder))
    return folder


def detector(folder: Path) -> FaceDetector:
    artifact = load_artifact(folder)
    return FaceDetector(artifact, open_runner(artifact, RunnerOptions()))


def dotted(*corners: tuple[int, int], side: int = 128, dot: int = 4) -> NDArray[np.uint8]:
    """Blue with red dots: (left, top) of each."""
    picture = plain(BLUE, width=side, height=side)
    for left, top in corners:
        picture[top : top + dot, left : left + dot] = RED
    return picture


def boxes_of(faces: Faces) -> list[list[float]]:
    return [[round(float(edge), 1) for edge in box] for box in faces.boxes]


# --- reading the maps -----------------------------------------------------------------------------


def test_a_cell_is_read_as_centerface_reads_it() -> None:
    maps = np.zeros((15, 4, 6), np.float32)
    maps[:, 2, 3] = [0.9, np.log(2), np.log(3), 0.25, -0.25, *[0.25, 0.5] * 5]
    faces = decoded(maps, stride=4, at_least=0.5)
    # Centre across 4 * (3 - 0.25 + 0.5) = 13, down 4 * (2 + 0.25 + 0.5) = 11; 12 wide, 8 high.
    assert boxes_of(faces) == [[7.0, 7.0, 19.0, 15.0]]
    assert faces.scores.tolist() == pytest.approx([0.9])
    # Down a quarter of 8 from 7, across a half of 12 from 7.
    assert faces.landmarks == pytest.approx(np.full((1, 5, 2), [13.0, 9.0]))


def test_a_face_over_the_edge_starts_at_the_edge() -> None:
    maps = np.zeros((15, 2, 2), np.float32)
    maps[:5, 0, 0] = [0.9, np.log(4), np.log(4), 0, 0]  # 16x16 around (2, 2)
    assert boxes_of(decoded(maps, stride=4, at_least=0.5)) == [[0.0, 0.0, 16.0, 16.0]]


def test_a_face_beyond_measure_is_still_a_number() -> None:
    maps = np.full((15, 1, 1), 500, np.float32)
    faces = apart(decoded(maps, stride=4, at_least=0.5))
    assert np.isfinite(faces.boxes).all()


@pytest.mark.parametrize(
    ("shift", "kept"),
    [
        pytest.param(0, [0.9], id="the-same"),
        pytest.param(5, [0.9], id="a-third-shared"),  # 5x10 of 150: 0.333
        pytest.param(6, [0.9, 0.8], id="a-quarter-shared"),  # 4x10 of 160: 0.25
        pytest.param(20, [0.9, 0.8], id="apart"),
    ],
)
def test_of_faces_that_overlap_the_surest_stays(shift: int, kept: list[float]) -> None:
    boxes = np.array([[shift, 0, shift + 10, 10], [0, 0, 10, 10]], np.float32)
    scores = np.array([0.8, 0.9], np.float32)
    faces = apart(Faces(boxes, scores, np.zeros((2, 5, 2), np.float32)))
    assert faces.scores.tolist() == pytest.approx(kept)


def test_no_face_is_no_box() -> None:
    faces = apart(decoded(np.zeros((15, 2, 2), np.float32), stride=4, at_least=0.5))
    assert (faces.boxes.shape, faces.landmarks.shape) == ((0, 4), (0, 5, 2))


# --- the detector ---------------------------------------------------------------------------------


def test_boxes_are_in_pixels_of_the_picture(face_models: Path) -> None:
    tiny = detector(face_models / "face-detector")
    assert boxes_of(tiny.find(dotted((64, 40)))) == [[50.0, 26.0, 82.0, 58.0]]
    larger = dotted((128, 80), side=256, dot=8)  # shrunk to 128: all of it doubles
    (box,) = tiny.find(larger).boxes
    assert box == pytest.approx([100, 52, 164, 116], abs=1)


def test_a_small_picture_is_enlarged_and_a_narrow_one_padded(face_models: Path) -> None:
    tiny = detector(face_models / "face-detector")
    picture = plain(BLUE, width=40, height=20)  # to 64x32
    picture[10:14, 20:24] = RED
    (box,) = tiny.find(picture, at_least=0.5).boxes
    assert box == pytest.approx([12, 2, 32, 20], abs=2.5)  # 20 a side, cut at the edge


def test_a_face_in_the_margin_is_none(face_models: Path) -> None:
    tiny = detector(face_models / "face-detector")
    faces = tiny.find(plain(RED, width=70, height=70), at_least=0.5)  # padded to 96
    assert (faces.boxes[:, 2:] <= 70).all()
    assert (faces.boxes[:, :2] < faces.boxes[:, 2:]).all()


@pytest.mark.parametrize(
    "maps",
    [
        pytest.param({}, id="none"),
        pytest.param({"maps": np.zeros((1, 15, 3, 3), np.float32)}, id="another-size"),
        pytest.param({"maps": np.full((1, 15, 32, 32), np.nan, np.float32)}, id="nan"),
    ],
)
def test_unusable_maps_are_an_error(face_models: Path, maps: dict[str, Any]) -> None:
    artifact = load_artifact(face_models / "face-detector")
    with pytest.raises(RunError, match=r"face-detector@0\.0\.1: (no )?output 'maps'"):
        FaceDetector(artifact, FakeRunner(lambda _: maps)).find(dotted())


def test_another_artifact_is_no_detector(face_models: Path) -> None:
    with pytest.raises(ManifestError, match="does not detect faces"):
        detector(face_models / "image-safety")


def test_other_tensors_are_refused(face_models: Path) -> None:
    spec = {"name": "pixels", "dtype": "float32", "shape": ["pictures", "height", "width", 3]}
    change_manifest(face_models / "face-detector", {"inputs": [spec]})
    with pytest.raises(ManifestError, match="float32"):
        Guard(POLICY)


def test_precise_is_for_models_that_vote(face_models: Path) -> None:
    policy = Policy(
        "p", output_image=STAGE, models={"face-detector": RunnerOptions(mode="precise")}
    )
    with pytest.raises(ManifestError, match="Expected mode: fast"):
        Guard(policy)


def test_the_shipped_detector_finds_the_face_and_its_landmarks() -> None:
    """Against a box and landmarks that were read off the picture by hand."""
    pixels = decode(PORTRAIT).frames[0]
    faces = detector(SHIPPED).find(pixels)
    assert len(faces.boxes) == 1
    assert faces.scores[0] > 0.8
    assert faces.boxes[0] == pytest.approx([113, 45, 185, 146], abs=8)
    by_hand = [(130, 80), (167, 80), (147, 98), (133, 114), (162, 114)]
    assert faces.landmarks[0] == pytest.approx(np.array(by_hand), abs=5)


@pytest.mark.parametrize("height", [200, 900])
def test_the_shipped_detector_takes_any_size(height: int) -> None:
    pixels = np.repeat(decode(PORTRAIT).frames[0], 3, axis=0)[:height]
    assert detector(SHIPPED).find(np.ascontiguousarray(pixels)).boxes.shape[1:] == (4,)


def test_the_shipped_detector_finds_nothing_where_nothing_is() -> None:
    noise = np.random.default_rng(3).integers(0, 256, (300, 400, 3), np.uint8)
    assert len(detector(SHIPPED).find(noise).boxes) == 0


# --- in a policy ----------------------------------------------------------------------------------


def test_a_policy_can_ask_for_faces(face_models: Path) -> None:
    guard = Guard(POLICY)
    decision = guard.check_output(image=dotted((64, 40)))
    assert (decision.action, decision.status) == (Action.BLOCK, Status.OK)
    assert decision.flagged is False  # a face is no harm
    (region,) = decision.regions
    assert region == Region(50, 26, 82, 58, "privacy", region.score, "face-detector", "FACE")
    assert decision.models == ("face-detector@0.0.1",)
    assert decision.to_dict()["regions"][0]["left"] == 50
    assert guard.check_output(image=dotted()).action is Action.ALLOW


def test_regions_are_in_pixels_of_the_upright_picture(face_models: Path) -> None:
    picture = dotted((512, 320), side=1024, dot=64)  # decoded at an eighth
    picture = picture[:512]
    (region,) = Guard(POLICY).check_output(image=encoded(picture)).regions
    found = (region.left, region.top, region.right, region.bottom)
    assert found == pytest.approx((416, 224, 672, 480), abs=40)
    turned = np.rot90(picture)  # counterclockwise; orientation 6 is undone clockwise
    exif = {"exif": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"}
    (same,) = Guard(POLICY).check_output(image=encoded(turned, "JPEG", **exif)).regions
    assert (same.left, same.top, same.right, same.bottom) == pytest.approx(found, abs=40)


def test_no_region_of_a_rule_that_did_not_fire(face_models: Path) -> None:
    picture = dotted((64, 40))
    picture[40:44, 64:68] = (130, 0, 255)  # logit 0.16: 0.54
    stage = StagePolicy(
        scorers=("face-detector", "image-safety"), rules=(rule("gore", Action.BLOCK),)
    )
    decision = Guard(Policy("p", output_image=stage)).check_output(image=picture)
    assert decision.action is Action.ALLOW
    assert decision.regions == ()
