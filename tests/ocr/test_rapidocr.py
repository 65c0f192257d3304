"""What is written in a picture is read by RapidOCR itself, scored by the shipped model, and hidden: make test-ocr."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from guardkit import Guard, Policy
from guardkit.image.reading import RapidReader
from guardkit.policy.rules import Rule, StagePolicy, When
from guardkit.types import Action, Status

RUDE, KIND = "YOU ARE AN IDIOT", "a quiet harbour at dawn"
RULE = Rule("rude-lines-are-filled", When("text", 0.6), Action.EDIT, "fill")
POLICY = Policy(
    "written", output_image=StagePolicy(("image-text",), editors=("fill",), rules=(RULE,))
)


def written(*lines: str) -> NDArray[np.uint8]:
    """Black on white, a line every 160 pixels."""
    image = Image.new("RGB", (640, 160 * max(2, len(lines))), "white")
    draw = ImageDraw.Draw(image)
    for row, line in enumerate(lines):
        draw.text((40, 160 * row + 50), line, fill="black", font=ImageFont.load_default(40))
    return np.asarray(image)


@pytest.fixture(scope="module")
def guard() -> Guard:
    return Guard(POLICY)


def test_lines_are_read_where_they_stand() -> None:
    first, second = RapidReader()(written(RUDE, KIND))
    assert (first.text, second.text) == (RUDE, KIND)
    left, top, right, bottom = first.box
    assert 25 < left < 45
    assert 30 < top < 60
    assert 300 < right < 460
    assert 75 < bottom < 110


def test_nothing_is_read_where_nothing_stands() -> None:
    assert RapidReader()(written()) == []


def test_a_rude_line_is_hidden_and_a_kind_one_stays(guard: Guard) -> None:
    picture = written(RUDE, KIND)
    decision = guard.check_output(image=picture)
    assert (decision.action, decision.status, decision.flagged) == (Action.EDIT, Status.OK, True)
    (region,) = decision.regions
    assert region.bottom < 160
    assert np.array_equal(decision.image[180:], picture[180:])
    assert [line.text for line in RapidReader()(decision.image)] == [KIND]
    assert decision.models == ("text-safety@" + decision.models[0].split("@")[1],)


def test_a_kind_picture_passes(guard: Guard) -> None:
    decision = guard.check_output(image=written(KIND))
    assert (decision.action, decision.status) == (Action.ALLOW, Status.OK)
