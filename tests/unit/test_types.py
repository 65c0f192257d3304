"""The shared values: order of actions, and scores that cannot lie."""

from __future__ import annotations

import itertools
import json
import math
import pickle
from typing import Any

import numpy as np
import pytest

from guardkit.errors import InputError
from guardkit.types import Action, Attempt, Context, Edit, Guidance, RunResult, Scores, Turn
from tests.unit.test_errors import DECISION

SECRET = "my secret words"
ATTEMPT = Attempt(DECISION, Guidance({}, revised_prompt=SECRET), error=ValueError(SECRET))


@pytest.mark.parametrize(
    ("lenient", "strict"),
    [
        # product.md section 2: ALLOW < EDIT < REGENERATE < BLOCK.
        pytest.param(a, b, id=f"{a.value}-{b.value}")
        for a, b in itertools.combinations(
            [Action.ALLOW, Action.EDIT, Action.REGENERATE, Action.BLOCK], 2
        )
    ],
)
def test_actions_are_ordered_by_strictness(lenient: Action, strict: Action) -> None:
    assert lenient < strict
    assert strict > lenient
    assert max(lenient, strict) is strict


def test_an_action_does_not_compare_with_text() -> None:
    with pytest.raises(TypeError):
        assert Action.ALLOW < "block"


@pytest.mark.parametrize(
    "score",
    [
        pytest.param(-0.001, id="below-zero"),
        pytest.param(1.001, id="above-one"),
        pytest.param(math.nan, id="nan"),
        pytest.param(math.inf, id="infinite"),
    ],
)
def test_a_score_that_is_no_probability_is_refused(score: float) -> None:
    with pytest.raises(InputError, match=r"'insult' is .* Expected a probability"):
        Scores({"insult": score})


@pytest.mark.parametrize(
    "score",
    [pytest.param(0.0, id="zero"), pytest.param(1.0, id="one"), pytest.param(None, id="none")],
)
def test_the_ends_of_the_range_and_none_are_scores(score: float | None) -> None:
    assert Scores({"insult": score})["insult"] == score


def test_scores_do_not_follow_the_mapping_they_were_made_of() -> None:
    values = {"insult": 0.1}
    scores = Scores(values)
    values["insult"] = 0.9
    assert scores == {"insult": 0.1}


def test_scores_refuse_to_be_changed() -> None:
    with pytest.raises(TypeError):
        Scores({"insult": 0.1})["insult"] = 0.0  # type: ignore[index]


def test_scores_of_a_numpy_number_are_json() -> None:
    # 0.25 is exact in binary, so float32 to float keeps it.
    measured: Any = {"insult": np.float32(0.25)}
    assert json.dumps(dict(Scores(measured))) == '{"insult": 0.25}'


def test_scores_survive_pickle() -> None:
    scores = Scores({"insult": 0.25, "threat": None})
    assert pickle.loads(pickle.dumps(scores)) == scores  # noqa: S301  our own bytes


@pytest.mark.parametrize(
    ("values", "worst"),
    [
        pytest.param({"insult": 0.1, "threat": 0.9}, ("threat", 0.9), id="highest"),
        pytest.param({"insult": None, "threat": 0.2}, ("threat", 0.2), id="none-is-left-out"),
        pytest.param({"insult": None}, None, id="nothing-measured"),
        pytest.param({}, None, id="empty"),
    ],
)
def test_the_worst_is_the_highest_measured_score(
    values: dict[str, float | None], worst: tuple[str, float] | None
) -> None:
    assert Scores(values).worst == worst


@pytest.mark.parametrize(
    ("mine", "other", "merged"),
    [
        pytest.param(0.2, 0.7, 0.7, id="higher-counts"),
        pytest.param(0.7, 0.2, 0.7, id="in-either-order"),
        pytest.param(None, 0.7, 0.7, id="a-number-beats-none"),
        pytest.param(0.7, None, 0.7, id="in-either-order-too"),
        pytest.param(None, None, None, id="none-when-nobody-knows"),
    ],
)
def test_merging_keeps_the_stricter_of_two_scores(
    mine: float | None, other: float | None, merged: float | None
) -> None:
    assert Scores({"insult": mine}).merged({"insult": other}) == {"insult": merged}


def test_merging_keeps_what_only_one_side_has() -> None:
    assert Scores({"insult": 0.1}).merged({"threat": 0.2}) == {"insult": 0.1, "threat": 0.2}


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(Turn("user", SECRET), id="turn"),
        pytest.param(Context(situation=SECRET, speaker=SECRET, listener=SECRET), id="context"),
        pytest.param(Context(turns=(Turn("user", SECRET),)), id="context-turns"),
        pytest.param(Edit("cut", 0, 3, SECRET), id="edit"),
        pytest.param(RunResult(SECRET, DECISION, (ATTEMPT,), DECISION), id="run-result"),
    ],
)
def test_a_repr_holds_no_content(value: object) -> None:
    assert SECRET not in repr(value)
