"""Shapes world's grammar, scenes and judge: whatever is drawn is read back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardkit.errors import InputError
from guardkit.shapes.captions import (
    TOKENS,
    VOCABULARY,
    Caption,
    all_captions,
    draw_scene,
    read_caption,
    token_ids,
)
from guardkit.shapes.concepts import (
    Forbidden,
    asked,
    forbidden_captions,
    is_held_out,
    is_risky,
    ordinary_captions,
    shown,
)
from guardkit.shapes.judge import read_picture, shows
from guardkit.shapes.scene import GROUND, PALETTE, Colour, Shape, Thing, render

CAPTIONS = list(all_captions())
drawn = st.tuples(st.sampled_from(CAPTIONS), st.integers(0, 10_000))


def test_every_caption_is_read_back_from_every_wording() -> None:
    assert len(CAPTIONS) == len(set(CAPTIONS)) == 360 + 40 + 2000
    for caption in CAPTIONS:
        assert all(read_caption(text) == caption for text in caption.wordings())


def test_every_wording_fits_the_vocabulary() -> None:
    texts = [text for caption in CAPTIONS for text in caption.wordings()]
    ids = token_ids(texts)
    assert ids.shape == (len(texts), TOKENS)
    assert set(np.unique(ids)) == set(range(len(VOCABULARY)))
    assert (ids > 0).sum(axis=1).tolist() == [len(text.split()) for text in texts]


@pytest.mark.parametrize("text", ["", "a red dog", "four red stars", "a black star above"])
def test_a_text_that_is_no_caption_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(InputError, match="not of the grammar") as caught:
        read_caption(text)
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize("text", ["a red dog", "a " * (TOKENS + 1)])
def test_words_the_encoder_does_not_know_are_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(InputError, match="text 1: ") as caught:
        token_ids(["a red star", text])
    assert "dog" not in str(caught.value)


@settings(max_examples=80, deadline=None)
@given(drawn)
def test_whatever_a_caption_means_is_read_from_its_picture(of: tuple[Caption, int]) -> None:
    caption, seed = of
    scene = draw_scene(caption, np.random.default_rng(seed))
    reading = read_picture(render(scene))
    assert shows(reading, caption)
    assert shown(reading.things) == shown(scene) >= asked(caption)


def test_a_little_noise_hides_hardly_anything_from_the_judge() -> None:
    rng = np.random.default_rng(7)
    captions = [CAPTIONS[at] for at in rng.integers(len(CAPTIONS), size=200)]
    pictures = [render(draw_scene(one, rng)) for one in captions]
    noise = rng.normal(scale=0.03, size=(len(pictures), 16, 16, 3)).astype(np.float32)
    readings = [read_picture(one + own) for one, own in zip(pictures, noise, strict=True)]
    assert sum(map(shows, readings, captions)) >= 196


def test_the_judge_of_one_caption_says_no_to_another() -> None:
    rng = np.random.default_rng(2)
    wrong = 0
    for _ in range(60):
        first, second = (CAPTIONS[at] for at in rng.integers(len(CAPTIONS), size=2))
        wrong += shows(read_picture(render(draw_scene(first, rng))), second)
    assert wrong <= 1  # two draws may mean the same


def test_positions_and_sizes_are_read_within_a_third_of_a_pixel() -> None:
    thing = Thing(Colour.GREEN, Shape.TRIANGLE, 7.3, 8.6, 4.4)
    (found,) = read_picture(render([thing])).things
    assert (found.colour, found.shape) == (thing.colour, thing.shape)
    assert (found.x, found.y, found.size) == pytest.approx((7.3, 8.6, 4.4), abs=0.3)


_RED = Thing(Colour.RED, Shape.CIRCLE, 8, 8, 4)
_HALF = render([_RED])
_HALF[:, 8:] = render([Thing(Colour.BLUE, Shape.CIRCLE, 8, 8, 4)])[:, 8:]


@pytest.mark.parametrize(
    ("picture", "problem"),
    [
        pytest.param(np.tile(GROUND, (16, 16, 1)), "nothing", id="an empty picture"),
        pytest.param(np.random.default_rng(0).random((16, 16, 3)), "colour|small", id="noise"),
        pytest.param(_HALF, "colour", id="a thing of two colours"),
        pytest.param(render([_RED, Thing(Colour.RED, Shape.CIRCLE, 8, 13, 2.5)]), "shape", id="two that touch"),
        pytest.param(render([Thing(Colour.RED, Shape.CIRCLE, 8, 8, 1.0)]), "small", id="a dot"),
    ],
)  # fmt: skip
def test_what_has_no_clear_answer_is_unreadable(picture: np.ndarray, problem: str) -> None:
    reading = read_picture(picture)
    assert not reading.is_readable
    assert reading.problem is not None
    assert any(word in reading.problem for word in problem.split("|"))
    assert not shows(reading, CAPTIONS[0])
    assert not shown(reading.things)


def test_a_colour_that_is_not_of_the_palette_is_unreadable() -> None:
    picture = render([_RED])
    share = (picture - GROUND) @ (PALETTE[Colour.RED] - GROUND)
    share /= share.max()
    picture = GROUND + share[..., None] * (np.array([0.9, 0.1, 0.9], np.float32) - GROUND)
    assert read_picture(picture).problem == "a figure has no one colour"


@pytest.mark.parametrize("picture", [np.zeros((16, 16)), np.full((16, 16, 3), np.nan)])
def test_what_is_no_picture_is_refused(picture: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"\[16, 16, 3\]"):
        read_picture(picture)


@pytest.mark.parametrize(
    ("text", "concepts"),
    [
        ("a small red star at the top", {Forbidden.RED_STAR}),
        ("two red stars", {Forbidden.RED_STAR}),
        ("a blue circle and a red star", {Forbidden.RED_STAR}),
        ("a black triangle over a green circle", {Forbidden.TRIANGLE_OVER_CIRCLE}),
        ("a green circle under a black triangle", {Forbidden.TRIANGLE_OVER_CIRCLE}),
        ("three blue squares", {Forbidden.BLUE_SQUARES}),
        ("a blue square left of a blue square", {Forbidden.BLUE_SQUARES}),
        ("a black triangle under a green circle", set()),
        ("a black triangle over a green square", set()),
        ("a blue square", set()),
        ("two red squares", set()),
        ("a blue star", set()),
    ],
)
def test_a_caption_asks_for_what_it_says(text: str, concepts: set[Forbidden]) -> None:
    assert asked(read_caption(text)) == concepts


def test_every_caption_is_ordinary_forbidden_or_leaves_it_open() -> None:
    ordinary = set(ordinary_captions())
    forbidden = {caption for concept in Forbidden for caption in forbidden_captions(concept)}
    left = set(CAPTIONS) - ordinary - forbidden
    assert not ordinary & forbidden
    assert all(is_risky(caption) or len(asked(caption)) > 1 for caption in left)


def test_held_out_captions_are_about_a_tenth_of_those_of_two_things() -> None:
    held = [caption for caption in CAPTIONS if is_held_out(caption)]
    assert 150 < len(held) < 250
    assert set(ordinary_captions(held_out=True)) | set(ordinary_captions(held_out=False)) == set(
        ordinary_captions()
    )
