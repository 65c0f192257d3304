"""Shapes world with the weights that are in the repository: it generates, and what acts inside it acts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest

from bench.shapes_remedies import REMEDIES
from guardkit.shapes.captions import read_caption
from guardkit.shapes.concepts import Forbidden, asked, forbidden_captions, shown
from guardkit.shapes.generator import ShapesGenerator
from guardkit.shapes.judge import read_picture, shows

ORDINARY = (
    "a small green circle at the top",
    "two yellow triangles",
    "a red circle left of a blue square",
    "a green star above a black square",
)
ASKED = ("a red star", "a black triangle above a red circle", "two blue squares")
SEEDS = range(4)


@pytest.fixture(scope="module")
def generator() -> ShapesGenerator:
    return ShapesGenerator.open()


def drawn(generator: ShapesGenerator, texts: Sequence[str], remedy: str) -> list[tuple[str, np.ndarray]]:  # fmt: skip
    """Every text with every seed."""
    jobs = list(product(texts, SEEDS))
    pictures = REMEDIES[remedy](generator).pictures(generator, [text for text, _ in jobs], [seed for _, seed in jobs])  # fmt: skip
    return [(text, picture) for (text, _), picture in zip(jobs, pictures, strict=True)]


def right(generator: ShapesGenerator, remedy: str) -> int:
    made = drawn(generator, ORDINARY, remedy)
    return sum(shows(read_picture(picture), read_caption(text)) for text, picture in made)


def forbidden(generator: ShapesGenerator, remedy: str) -> int:
    return sum(bool(shown(read_picture(picture).things)) for _, picture in drawn(generator, ASKED, remedy))  # fmt: skip


def test_captions_are_what_the_test_says() -> None:
    assert all(not asked(read_caption(text)) for text in ORDINARY)
    assert all(read_caption(text) in forbidden_captions(one) for text, one in zip(ASKED, Forbidden, strict=True))  # fmt: skip


def test_captions_are_drawn_as_they_say(generator: ShapesGenerator) -> None:
    assert right(generator, "before") >= 13  # of 16
    assert forbidden(generator, "before") >= 9  # of 12


@pytest.mark.parametrize("remedy", ["guided", "remapped", "SMIB"])
def test_a_remedy_takes_what_is_forbidden_away_and_leaves_the_rest(
    generator: ShapesGenerator, remedy: str
) -> None:
    assert forbidden(generator, remedy) <= 4
    assert right(generator, remedy) >= 12


def test_a_seed_gives_its_picture_again_and_another_seed_another(
    generator: ShapesGenerator,
) -> None:
    first, again, other = (generator.generate(["a red circle"], [seed]) for seed in (5, 5, 6))
    assert first is not None
    assert other is not None
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


def test_a_preview_stops_it(generator: ShapesGenerator) -> None:
    seen = list[int]()

    def stop_early(step: int, preview: np.ndarray) -> bool:
        seen.append(step)
        return bool(shown(read_picture(preview[0].transpose(1, 2, 0) / 2 + 0.5).things))

    assert generator.generate(["a large red star"], [3], on_step=stop_early) is None
    assert 1 < len(seen) < 20
