"""What is written in an image is scored as text; with a reader made of a function (RapidOCR itself: tests/ocr)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest

from guardkit import Guard, Policy
from guardkit.errors import PolicyError
from guardkit.image.decode import Picture, Pixels, decode
from guardkit.image.reading import Line, TextInImages, upright_box
from guardkit.policy.rules import StagePolicy
from guardkit.types import Action, Status
from tests.fake_steps import rule
from tests.pictures import RED, WHITE, plain

TOP, LOW = Line("you", (4, 4, 60, 16)), Line("idiot", (4, 40, 60, 52))
SCORES = {"you": 0.1, "idiot": 0.8, "you idiot": 0.9, "go": 0.1, "away": 0.2, "go away": 0.7}


def score(texts: Sequence[str]) -> list[float]:
    return [SCORES.get(text, 0.0) for text in texts]


def reading(*lines: Line) -> TextInImages:
    return TextInImages(lambda _: lines, score)


def only(scorer: TextInImages, picture: Picture) -> tuple[float | None, list[int]]:
    """The score, and where its regions begin."""
    (scored,) = scorer.score([picture])
    return scored.scores["text"], [region.top for region in scored.regions]


PICTURE = decode(plain(WHITE))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param((), (0.0, []), id="nothing"),
        pytest.param((LOW,), (0.8, [40]), id="one-line"),
        pytest.param((TOP, LOW), (0.9, [40]), id="the-line-to-blame"),
        pytest.param((Line("go", TOP.box), Line("away", LOW.box)), (0.7, [4, 40]), id="together"),
        pytest.param((Line("hello", TOP.box),), (0.0, [4]), id="harmless"),
    ],
)
def test_the_worst_line_or_all_of_them_count(
    lines: tuple[Line, ...], expected: tuple[float, list[int]]
) -> None:
    assert only(reading(*lines), PICTURE) == expected


def test_the_worst_frame_counts() -> None:
    frames = (plain(WHITE), plain(RED))
    scorer = TextInImages(lambda pixels: [LOW] if pixels[0, 0, 1] == 0 else [], score)
    assert only(scorer, Picture(frames, 64, 64)) == (0.8, [40])


def test_regions_are_in_pixels_of_the_whole_image() -> None:
    (scored,) = reading(LOW).score([Picture((plain(WHITE),), 256, 256)])
    (region,) = scored.regions
    assert (region.left, region.top, region.right, region.bottom) == (16, 160, 240, 208)


@pytest.mark.parametrize(
    ("corners", "box"),
    [
        pytest.param([[2.5, 3], [9, 1.2], [9, 8], [2.5, 9.1]], (2, 1, 9, 10), id="slanted"),
        pytest.param([[-3, -3], [99, -3], [99, 99], [-3, 99]], (0, 0, 20, 30), id="beyond"),
        pytest.param([[25, 5], [25, 5], [25, 5], [25, 5]], (19, 5, 20, 6), id="outside"),
    ],
)
def test_four_corners_become_an_upright_box(
    corners: list[list[float]], box: tuple[int, ...]
) -> None:
    assert upright_box(np.array(corners), (20, 30)) == box


def hiding(pixels: Pixels) -> list[Line]:
    """Reads its line as long as there is something darker than white."""
    return [LOW] if (pixels[40:52, 4:60] < 200).any() else []


def test_a_line_is_hidden_and_read_again() -> None:
    picture = plain(WHITE)
    picture[44:48, 8:56:8] = 0
    stage = StagePolicy(
        ("image-text",), editors=("fill",), rules=(rule("text", Action.EDIT, "fill"),)
    )
    guard = Guard(Policy("p", output_image=stage), image_scorers=[TextInImages(hiding, score)])
    decision = guard.check_output(image=picture)
    assert (decision.action, decision.status) == (Action.EDIT, Status.OK)
    assert [region.editor for region in decision.regions] == ["fill"]
    assert np.array_equal(decision.image[:30], picture[:30])


def test_text_in_images_is_for_images() -> None:
    with pytest.raises(PolicyError, match="'image-text' reads images, the stage has text"):
        Guard(Policy("wrong", prompt=StagePolicy(scorers=("image-text",))))


def test_without_its_package_one_sentence_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['rapidocr'] = None\n"
        "from guardkit import Guard, Policy\n"
        "from guardkit.policy.rules import StagePolicy\n"
        "Guard(Policy('p', output_image=StagePolicy(scorers=('image-text',))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith(
        "reading text in an image needs the extra 'ocr', which is not installed. "
        'Run: pip install "guardkit[ocr]"'
    )
