"""Shapes world's sampler on networks whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from guardkit.errors import InputError
from guardkit.runtime.base import Arrays
from guardkit.runtime.fake import FakeRunner
from guardkit.shapes.generator import (
    Condition,
    Edit,
    Sampling,
    ShapesGenerator,
    _before,
    of_whole_captions,
    schedule,
)
from guardkit.steer import noised_back

Floats = NDArray[np.float32]
RNG = np.random.default_rng(4)
TARGETS = RNG.uniform(-0.9, 0.9, size=(40, 3, 16, 16)).astype(np.float32)
"""What a fake denoiser heads for, by the first word of the caption."""


def encode(inputs: Arrays) -> Arrays:
    return {"states": np.repeat(inputs["input_ids"][..., None], 4, axis=2).astype(np.float32)}


def denoise(inputs: Arrays) -> Arrays:
    """The noise that leaves the target of the caption's first word."""
    level = inputs["alpha_bar"][:, None, None, None]
    target = TARGETS[inputs["states"][:, 0, 0].astype(int)]
    return {"noise": (inputs["x_t"] - np.sqrt(level) * target) / np.sqrt(1 - level)}


FAKE = ShapesGenerator(FakeRunner(encode), FakeRunner(denoise))


def pixels(target: Floats) -> Floats:
    return target.transpose(1, 2, 0) / 2 + 0.5


@pytest.mark.parametrize("steps", [2, 20])
def test_a_denoiser_that_knows_the_picture_lands_on_it(steps: int) -> None:
    found = FAKE.generate(["red", "two"], [1, 2], sampling=Sampling(steps=steps, guidance=1.0))
    assert found is not None
    ids = [FAKE.encode([word])[0, 0, 0].astype(int) for word in ("red", "two")]
    np.testing.assert_allclose(found, [pixels(TARGETS[at]) for at in ids], atol=1e-4)


def test_weights_add_up_as_composable_guidance_says() -> None:
    states = [FAKE.encode([word]) for word in ("red", "blue", "star")]
    weights = (0.3, 0.4, -0.2)
    seen: list[Floats] = []
    FAKE.compose(
        [Condition(one, weight) for one, weight in zip(states, weights, strict=True)],
        [5],
        adjust=lambda x_t, noise, level: seen.append((x_t - np.sqrt(1 - level) * noise) / np.sqrt(level)) or noise,
        steps=2,
    )  # fmt: skip
    null, *parts = (TARGETS[int(one[0, 0, 0])] for one in (FAKE.encode([""]), *states))
    expected = null + sum(w * (part - null) for w, part in zip(weights, parts, strict=True))
    np.testing.assert_allclose(seen[0][0], expected, atol=1e-3)


def test_only_pictures_that_were_adjusted_take_their_steps_again() -> None:
    levels: list[tuple[float, int]] = []

    def adjust(x_t: Floats, noise: Floats, level: float) -> Floats:
        levels.append((level, len(x_t)))
        return noise + 1e-3 * (np.arange(len(x_t)) == 1)[:, None, None, None] * (len(x_t) == 2)

    sampling = Sampling(steps=3, guidance=1.0, recurrence=3)
    found = FAKE.generate(["red", "two"], [1, 2], adjust=adjust, sampling=sampling)
    plain = FAKE.generate(["red", "two"], [1, 2], sampling=sampling)
    assert found is not None
    assert plain is not None
    assert levels == [(one, count) for one in schedule(3) for count in (2, 1, 1)]
    np.testing.assert_array_equal(found[0], plain[0])
    assert np.any(found[1] != plain[1])
    np.testing.assert_allclose(found[1], plain[1], atol=1e-2)


def test_a_step_is_taken_back_as_the_formula_says() -> None:
    made, noise = RNG.standard_normal((2, 1, 3, 16, 16)).astype(np.float32)
    np.testing.assert_allclose(_before(made, noise, 0.3, 0.8), noised_back(made, noise, 0.8, to=0.3), atol=1e-6)  # fmt: skip


def test_a_picture_does_not_depend_on_its_company() -> None:
    alone = FAKE.generate(["red star"], [7])
    beside = FAKE.generate(["blue star", "red star"], [3, 7])
    assert alone is not None
    assert beside is not None
    np.testing.assert_allclose(alone[0], beside[1], atol=1e-6)


def test_an_edit_reaches_the_caption_and_the_null_condition() -> None:
    seen: list[Floats] = []
    FAKE.generate(["red"], [1], edit=lambda states: seen.append(states) or states)
    assert [float(one[0, 0, 0]) for one in seen] == [
        float(FAKE.encode([t])[0, 0, 0]) for t in ("red", "")
    ]


def test_an_edit_of_whole_captions_sees_their_words_one_after_the_other() -> None:
    states = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    seen: list[Floats] = []
    edit = of_whole_captions(lambda captions: seen.append(captions) or captions[..., ::-1])
    np.testing.assert_array_equal(edit(states)[0].ravel(), [5, 4, 3, 2, 1, 0])
    np.testing.assert_array_equal(seen[0][:, 0], [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]])


def test_a_step_can_stop_it_and_nothing_is_made() -> None:
    steps: list[int] = []
    found = FAKE.generate(["red"], [1], on_step=lambda step, _: steps.append(step) or step == 3)
    assert found is None
    assert steps == [1, 2, 3]


def test_the_schedule_rises_from_nearly_all_noise() -> None:
    levels = schedule(10)
    assert levels == sorted(levels)
    assert 0 < levels[0] < 0.01 < 0.9 < levels[-1] < 1


@pytest.mark.parametrize(
    ("texts", "seeds", "sampling"),
    [
        pytest.param(["red"], [1, 2], None, id="a seed too many"),
        pytest.param([], [], None, id="nothing to make"),
        pytest.param(["red"], [1], Sampling(steps=1), id="one step"),
    ],
)
def test_what_cannot_be_made_is_refused(
    texts: list[str], seeds: list[int], sampling: Sampling | None
) -> None:
    with pytest.raises(InputError, match="Expected as many"):
        FAKE.generate(texts, seeds, sampling=sampling)


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda states: states[..., :2], id="states of another width"),
        pytest.param(lambda states: states * np.nan, id="NaN"),
    ],
)
def test_an_edit_that_gives_no_states_is_refused(edit: Edit) -> None:
    with pytest.raises(InputError, match="finite states of the same shape"):
        FAKE.generate(["red"], [1], edit=edit)
