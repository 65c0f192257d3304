"""Prompts of image generators: their syntax, and what several of them add up to (methods: arXiv 2404.13706)."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardkit import Decision, Stage
from guardkit.errors import InputError
from guardkit.text.composition import Concept, check_composition
from guardkit.text.prompt_syntax import parse_prompt
from guardkit.types import Action, Scores

STEPS = 10
WORDS = {"": (0, 0, 0), "boat": (1, 0, 0), "target boat": (1, 1, 0), "fog": (0, 0, 1), "mist": (0.3, 0.4, 0.3)}  # fmt: skip
TARGET = Concept("target", np.array([0.0, 1.0, 0.0]), 0.8)


def embed(text: str) -> Any:
    return np.array(WORDS[text], float) + 5  # the null condition is not 0


def decided(text: str) -> Decision:
    action = Action.BLOCK if "harm" in text.split() else Action.ALLOW
    return Decision(action=action, stage=Stage.PROMPT, scores=Scores())


def seen(prompt: str, steps: int = STEPS) -> list[str]:
    """The texts of each step, in order, each new one once."""
    found = [
        text
        for step in range(1, steps + 1)
        for one in parse_prompt(prompt).subprompts
        for text in one.texts_at(step, steps)
    ]
    return list(dict.fromkeys(found))


# Read by hand from the rules in modules/prompt_parser.py of stable-diffusion-webui, whose docstrings hold such examples.
SYNTAX = [
    pytest.param("a boat", ["a boat"], id="plain"),
    pytest.param("", [""], id="empty"),
    pytest.param("(a) ((boat))", ["a boat"], id="stronger"),
    pytest.param("(a:1.3) [boat]", ["a boat"], id="weighted-and-weaker"),
    pytest.param("(har:1.2)(bour:1)", ["harbour"], id="a-word-in-two"),
    pytest.param("h(a(r:1.1)b:1.3)our", ["harbour"], id="nested"),
    pytest.param("a (boat: with sails)", ["a boat: with sails"], id="a-colon-is-no-weight"),
    pytest.param(r"a \(boat\) \[x\|y\]", ["a (boat) [x|y]"], id="escaped"),
    pytest.param("a (boat", ["a (boat"], id="never-closed"),
    pytest.param("a boat)] [", ["a boat)] ["], id="never-opened"),
    pytest.param("(a [boat) x]", ["a [boat x]"], id="crossed"),
    pytest.param("[dog|cat] on a mat", ["dog on a mat", "cat on a mat"], id="turns"),
    pytest.param("[a|b|] x", ["a x", "b x", "x"], id="turns-with-nothing"),
    pytest.param("a [dog:cat:0.5]", ["a dog", "a cat"], id="schedule"),
    pytest.param("a [cat:3]", ["a", "a cat"], id="added-later"),
    pytest.param("a [dog::3]", ["a dog", "a"], id="taken-away"),
    pytest.param("a [dog:cat:99]", ["a dog"], id="after-the-last-step"),
    pytest.param("[a [b|c]:d:0.5]", ["a b", "a c", "d"], id="turns-in-a-schedule"),
    pytest.param("a BREAK boat", ["a boat"], id="break"),
    pytest.param("har<lora:style:0.8>bour", ["harbour"], id="network"),
    pytest.param("a boat AND fog :0.5", ["a boat", "fog"], id="and"),
    pytest.param("SAND", ["SAND"], id="and-within-a-word"),
    pytest.param("harm (less:0)", ["harm less", "harm"], id="a-word-that-does-not-count"),
    pytest.param("harm ((less:0.6):0.7)", ["harm less", "harm"], id="faint-together"),
    pytest.param("harm (less:-1)", ["harm less", "harm"], id="a-negative-word"),
]


@pytest.mark.parametrize(("prompt", "texts"), SYNTAX)
def test_a_prompt_is_read_as_a_generator_reads_it(prompt: str, texts: list[str]) -> None:
    assert seen(prompt) == texts


@pytest.mark.parametrize(
    ("when", "first"), [("0.5", 6), ("3", 4), ("0.25", 3), ("0", 1), ("1.0", 2)]
)
def test_a_schedule_changes_after_its_step(when: str, first: int) -> None:
    (one,) = parse_prompt(f"[dog:cat:{when}]").subprompts
    said = [one.texts_at(step, STEPS)[0] for step in range(1, STEPS + 1)]
    assert said == ["dog"] * (first - 1) + ["cat"] * (STEPS - first + 1)


def test_the_prompts_that_and_joins_have_weights_and_networks_have_names() -> None:
    parsed = parse_prompt("a boat :1.2 AND fog AND rain:-0.5 <lora:style:0.8>")
    assert [one.weight for one in parsed.subprompts] == [1.2, 1.0, -0.5]
    assert parsed.networks == ("style",)


def test_deep_brackets_are_refused_and_no_brackets_take_long() -> None:
    with pytest.raises(InputError, match="nested deeper than 50"):
        parse_prompt("(" * 60 + "a" + ")" * 60)
    began = time.process_time()
    for text in (
        "(" * 10_000,
        "[" * 5_000 + ")" * 5_000,
        "(a:1)" * 2_000,
        "[a|" * 3_000,
        " " * 20_000,
        "<a:" * 7_000,
        ": " * 9_000,
    ):
        parse_prompt(text)
    assert time.process_time() - began < 2


@given(st.text("ab ()[]|:\\.15AND<>", max_size=60))
def test_anything_can_be_read_and_spaces_are_single(prompt: str) -> None:
    parsed = parse_prompt(prompt)
    texts = {t for one in parsed.subprompts for s in range(1, 61) for t in one.texts_at(s, 60)}
    assert all(text == " ".join(text.split()) for text in texts)


@given(st.lists(st.sampled_from(["a", "b", "c", "harm"]), min_size=1, max_size=6))
def test_a_prompt_without_syntax_is_itself(words: list[str]) -> None:
    assert seen(" ".join(words)) == [" ".join(words)]


@pytest.mark.parametrize(
    ("prompts", "weights"),
    [
        pytest.param(["a boat", "harm"], [1, -1], id="negative"),
        pytest.param(["a boat", "harm"], None, id="no-weights"),
        pytest.param(["a boat AND harm :0.1"], None, id="and"),
        pytest.param(["a [boat|harm]"], None, id="turns"),
        pytest.param(["a [boat:harm:0.9]"], None, id="late"),
        pytest.param(["(ha:1.2)(rm:1.1) boat"], None, id="a-word-in-two"),
    ],
)
def test_every_text_that_has_a_say_is_checked(prompts: list[str], weights: Any) -> None:
    assert check_composition(prompts, weights, check=decided).action is Action.BLOCK


@pytest.mark.parametrize(
    ("prompts", "weights"),
    [
        pytest.param(["a boat", "harm"], [1, 0], id="no-weight"),
        pytest.param(["a boat AND harm :0"], None, id="and-without-weight"),
        pytest.param(["a [boat:harm:99]"], None, id="after-the-last-step"),
        pytest.param([""], None, id="nothing"),
    ],
)
def test_what_has_no_say_is_not_checked(prompts: list[str], weights: Any) -> None:
    assert check_composition(prompts, weights, check=decided).action is Action.ALLOW


def composed(prompts: list[str], weights: list[float] | None = None) -> Any:
    return check_composition(
        prompts, weights, check=decided, embed=embed, concepts=[TARGET], steps=STEPS
    )


def test_parts_that_pass_and_add_up_to_a_concept_are_blocked() -> None:
    """(target + boat) minus boat is the target: cosine 1; each part alone has at most sqrt(1/2)."""
    assert composed(["target boat"]).cosines["target"] == pytest.approx(0.5**0.5)
    for part in ("target boat", "boat", "fog", "mist"):
        assert composed([part]).action is Action.ALLOW
    sum_of_parts = composed(["target boat", "boat"], [1, -1])
    assert sum_of_parts.cosines["target"] == pytest.approx(1)
    assert (sum_of_parts.near, sum_of_parts.action) == (("target",), Action.BLOCK)


def test_a_concept_that_is_near_at_one_step_only_is_found() -> None:
    assert composed(["[boat|target boat] AND boat :-1"]).near == ("target",)
    assert composed(["boat AND boat :-1"]).cosines["target"] == 0  # a sum of nothing points nowhere


def test_the_order_of_prompts_means_nothing() -> None:
    parts = [("target boat", 1.0), ("boat", -0.7), ("fog", 0.2), ("mist", 0.4)]
    found = {
        (one.cosines["target"], one.action, one.near)
        for order in itertools.permutations(parts)
        for one in [composed([text for text, _ in order], [weight for _, weight in order])]
    }
    assert len(found) == 1


@pytest.mark.parametrize(
    ("prompts", "more", "problem"),
    [
        pytest.param("a boat", {}, "prompts: expected a list", id="a-str"),
        pytest.param([], {}, "prompts: expected a list", id="none"),
        pytest.param(["a"], {"weights": [1, 2]}, "found 2 for 1 prompts", id="too-many-weights"),
        pytest.param(["a"], {"weights": [float("nan")]}, "Expected a finite", id="nan"),
        pytest.param(["a"], {"steps": 0}, "steps is 0", id="no-steps"),
        pytest.param(["a"], {"concepts": [TARGET]}, "without embed", id="no-embed"),
        pytest.param(
            ["boat"],
            {"concepts": [TARGET], "embed": lambda _: np.ones(2)},
            r"concept 'target': found \[3\]\. Expected finite numbers, \[2\]",
            id="other-size",
        ),
        pytest.param(
            ["boat"],
            {"concepts": [Concept("none", np.zeros(3), 0.5)], "embed": embed},
            "a direction that is not 0",
            id="no-direction",
        ),
    ],
)
def test_what_cannot_be_composed_is_refused(prompts: Any, more: Any, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        check_composition(prompts, check=decided, **more)
