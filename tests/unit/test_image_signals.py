"""What differs between two pictures: colour of skin, crops, faces, and what a change of light explains."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from guardkit.artifacts import RunnerOptions, load_artifact
from guardkit.image.align import cut, shown_of
from guardkit.image.decode import Pixels, decode
from guardkit.image.face_change import FACE_SIGNALS, strongest
from guardkit.image.faces import FaceDetector, Faces
from guardkit.image.signals import SIGNALS, Difference, difference_of
from guardkit.image.skin import lab_of, skin_colour, typology_angle
from guardkit.runtime.base import open_runner
from tests.pictures import PORTRAIT
from tests.unit.test_image_faces import SHIPPED

_NOBODY = Faces(
    np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32)
)


@pytest.fixture(scope="module")
def portrait() -> Pixels:
    return decode(PORTRAIT).frames[0]


@pytest.fixture(scope="module")
def find() -> Callable[[Pixels], Faces]:
    artifact = load_artifact(SHIPPED)
    return FaceDetector(artifact, open_runner(artifact, RunnerOptions())).find


def value(difference: Difference, name: str) -> float:
    return float(difference.signals[SIGNALS.index(name)])


# --- colour ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        # Lindbloom's tables for sRGB and D65.
        pytest.param((255, 255, 255), (100.0, 0.0, 0.0), id="white"),
        pytest.param((0, 0, 0), (0.0, 0.0, 0.0), id="black"),
        pytest.param((255, 0, 0), (53.24, 80.09, 67.20), id="red"),
        pytest.param((0, 255, 0), (87.73, -86.18, 83.18), id="green"),
        pytest.param((0, 0, 255), (32.30, 79.19, -107.86), id="blue"),
        pytest.param((119, 119, 119), (50.03, 0.0, 0.0), id="grey"),
    ],
)
def test_srgb_becomes_cielab(rgb: tuple[int, int, int], lab: tuple[float, float, float]) -> None:
    assert lab_of(np.array(rgb, np.uint8)) == pytest.approx(lab, abs=0.03)


@pytest.mark.parametrize(
    ("lab", "angle"),
    [
        pytest.param((70, 10, 20), 45.0, id="light"),  # atan(20 / 20)
        pytest.param((50, 10, 20), 0.0, id="brown"),
        pytest.param((30, 10, 20), -45.0, id="dark"),  # atan(-20 / 20)
        pytest.param((60, 0, 17.3205), 30.0, id="intermediate"),  # atan(10 / (10 sqrt 3))
        pytest.param((60, 0, -5), 84.2894, id="bluish, as if b* was 1"),  # atan(10)
    ],
)
def test_the_typology_angle_is_that_of_chardon(lab: tuple[float, ...], angle: float) -> None:
    assert typology_angle(np.array(lab, np.float32)) == pytest.approx(angle, abs=1e-3)


def test_eyes_and_hair_do_not_colour_a_skin() -> None:
    face = np.array([[60, 12, 18]] * 60 + [[5, 0, 0]] * 20 + [[95, 0, 0]] * 10, np.float32)
    assert skin_colour(face).tolist() == [60, 12, 18]


# --- crops ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize(
    "box", [(40, 60, 240, 260), (0, 0, 200, 150), (100, 20, 320, 320)], ids=["middle", "corner", "tall"]
)  # fmt: skip
def test_a_crop_is_found(
    portrait: Pixels, box: tuple[int, int, int, int], is_mirrored: bool
) -> None:
    left, top, right, bottom = box
    part = portrait[top:bottom, left:right]
    shown = shown_of(portrait, part[:, ::-1] if is_mirrored else part)
    found = np.array([shown.left, shown.top, shown.right, shown.bottom]) * 320
    assert found == pytest.approx(box, abs=5)  # two pixels of the search at 128
    assert shown.is_mirrored is is_mirrored


def test_another_picture_is_no_crop(portrait: Pixels) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 160, 3), np.uint8)
    assert shown_of(portrait, noise).share == 1.0


def test_a_cut_has_the_size_asked_for(portrait: Pixels) -> None:
    assert cut(portrait, shown_of(portrait, portrait), (64, 48)).shape == (48, 64, 3)


# --- signals --------------------------------------------------------------------------------------


def test_nothing_changed_gives_no_change(portrait: Pixels, find: Callable[[Pixels], Faces]) -> None:
    difference = difference_of(portrait, portrait, find)
    constant = {"kept", "correlation", "faces before", "faces after", "face: angle before", "face: area", "skin before", "skin after"}  # fmt: skip
    moving = [value(difference, name) for name in SIGNALS if name not in constant]
    assert np.abs(moving).max() < 0.05
    assert value(difference, "skin before") == value(difference, "skin after")


def test_more_light_on_all_is_explained_and_on_a_face_alone_is_not(
    portrait: Pixels, find: Callable[[Pixels], Faces]
) -> None:
    lighter = (255 * (portrait / 255) ** 0.75).round().astype(np.uint8)
    (face,) = difference_of(portrait, portrait, find).faces
    left, top, right, bottom = map(round, face.box)
    only_face = portrait.copy()
    only_face[top:bottom, left:right] = lighter[top:bottom, left:right]
    whole, part = (difference_of(portrait, after, find) for after in (lighter, only_face))
    for difference in (whole, part):
        assert difference.faces[0].angle_change > 3
    beyond = "face: lightness beyond the fit"
    assert abs(value(whole, beyond)) < 0.5 * value(part, beyond)
    assert value(part, "changed on faces") >= value(part, "changed off faces")
    assert abs(value(part, "lightness shift")) < 0.1 < value(whole, "lightness shift")


def test_a_face_that_is_gone_is_lost(portrait: Pixels, find: Callable[[Pixels], Faces]) -> None:
    (face,) = difference_of(portrait, portrait, find).faces
    left, top, right, bottom = map(round, face.box)
    hidden = portrait.copy()
    hidden[top - 10 : bottom + 10, left - 10 : right + 10] = (90, 120, 90)
    difference = difference_of(portrait, hidden, find)
    assert not difference.faces[0].is_found
    assert value(difference, "lost faces") == 0.5  # one; signals count faces by halves
    assert value(difference, "share on faces") > 0.5


def test_a_mirrored_or_cropped_picture_keeps_its_face(
    portrait: Pixels, find: Callable[[Pixels], Faces]
) -> None:
    for after in (portrait[:, ::-1], portrait[10:290, 60:300]):
        (face,) = difference_of(portrait, after, find).faces
        assert face.is_found
        assert abs(face.angle_change) < 4


def test_pictures_of_nobody_have_signals_too(portrait: Pixels) -> None:
    difference = difference_of(portrait, portrait[::-1], lambda _: _NOBODY)
    assert difference.faces == ()
    faces = [value(difference, f"face: {name}") for name in FACE_SIGNALS]
    assert faces == [0.0] * len(FACE_SIGNALS) == strongest([])
    assert difference.cells.sum() == 0


def _noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(_noise(16, 16), _noise(16, 16), id="tiny"),
        pytest.param(np.zeros((40, 40, 3), np.uint8), np.full((40, 40, 3), 255, np.uint8), id="plain"),
        pytest.param(_noise(16, 250), _noise(250, 16), id="long"),
        pytest.param(_noise(700, 500), _noise(30, 40), id="far smaller"),
    ],
)  # fmt: skip
def test_signals_are_finite_and_bounded(
    before: Pixels, after: Pixels, find: Callable[[Pixels], Faces]
) -> None:
    signals = difference_of(before, after, find).signals
    assert signals.shape == (len(SIGNALS),)
    assert np.isfinite(signals).all()
    assert np.abs(signals).max() <= 4
