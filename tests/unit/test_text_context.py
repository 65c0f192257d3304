"""A context is words before the text: a fixed template, bounded, and never part of a span."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from guardkit import Context, Guard, Scores, Turn
from guardkit.artifacts import Artifact, RunnerOptions
from guardkit.policy.load import policy_from_dict
from guardkit.policy.meaning import Known
from guardkit.runtime.base import open_runner
from guardkit.text.context import describe
from guardkit.text.encode import Encoder
from guardkit.text.normalize import Prompt, normalize
from guardkit.text.score import TextScorer
from guardkit.types import Scored

CLS, SEP = 2, 3
MOST_CONTEXT_TOKENS = 64


@pytest.fixture(scope="session")
def encoder(tiny_artifact: Artifact) -> Encoder:
    return Encoder(tiny_artifact.read("1/tokenizer.json"), max_tokens=16, overlap=4)


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        pytest.param(Context(), "", id="nothing"),
        pytest.param(Context(language="de"), "", id="language-chooses-the-model-instead"),
        pytest.param(Context(situation="a chess club"), "This is a chess club.", id="situation"),
        pytest.param(Context(speaker="a coach"), "a coach speaks to somebody.", id="speaker"),
        pytest.param(Context(listener="a pupil"), "somebody speaks to a pupil.", id="listener"),
        pytest.param(Context(audience="children"), "Read by children.", id="audience"),
        pytest.param(
            Context(situation="a game", turns=(Turn("user", "hi"), Turn("assistant", "hello"))),
            "This is a game. user: hi assistant: hello",
            id="turns",
        ),
    ],
)
def test_the_template(context: Context, expected: str) -> None:
    assert describe(context) == expected


def test_only_the_last_turns_are_read() -> None:
    turns = tuple(Turn("user", str(number)) for number in range(9))
    assert describe(Context(turns=turns)) == "user: 5 user: 6 user: 7 user: 8"


def test_a_context_stands_before_the_text(encoder: Encoder) -> None:
    alone = encoder.encode(["hello world"]).inputs["input_ids"][0].tolist()
    context = encoder.encode(["my neighbour"]).inputs["input_ids"][0].tolist()
    both = encoder.encode(["hello world"], ["my neighbour"])
    assert both.inputs["input_ids"][0].tolist() == [CLS, *context[1:-1], SEP, *alone[1:]]
    assert both.offsets[0].tolist() == [[0, 0]] * 4 + [[0, 5], [6, 11], [0, 0]]


def test_no_context_changes_nothing(encoder: Encoder) -> None:
    plain, empty = encoder.encode(["a", "the sea"]), encoder.encode(["a", "the sea"], ["", ""])
    assert (plain.inputs["input_ids"] == empty.inputs["input_ids"]).all()


def test_every_window_of_a_long_text_gets_the_context(encoder: Encoder) -> None:
    windows = encoder.encode(["sea " * 40, "sky"], ["my", ""])
    firsts = windows.inputs["input_ids"][:, 1].tolist()
    my, sky = (encoder.encode([word]).inputs["input_ids"][0, 1] for word in ("my", "sky"))
    assert len(firsts) > 2
    assert firsts == [my] * (len(firsts) - 1) + [sky]


def test_a_long_context_keeps_its_end(tiny_artifact: Artifact) -> None:
    encoder = Encoder(tiny_artifact.read("1/tokenizer.json"), max_tokens=128, overlap=4)
    ids = encoder.encode(["sky"], ["sea " * 90 + "hello"]).inputs["input_ids"][0].tolist()
    hello = int(encoder.encode(["hello"]).inputs["input_ids"][0, 1])
    assert ids.index(SEP) == MOST_CONTEXT_TOKENS + 1
    assert ids[MOST_CONTEXT_TOKENS] == hello


def test_spans_lie_in_the_text_and_never_in_the_context(tiny_artifact: Artifact) -> None:
    scorer = TextScorer(tiny_artifact, open_runner(tiny_artifact, RunnerOptions()))
    prompt = Prompt("you idiot", "you idiot", context="idiot idiot")
    (scored,) = scorer.score([prompt])
    assert [(span.start, span.end) for span in scored.spans] == [(4, 9)]


class Listening:
    """A scorer that tells what context it was given."""

    name = "listening"
    categories = ("insult",)

    def __init__(self) -> None:
        self.heard: list[str] = []

    def score(self, prompts: Sequence[Prompt]) -> list[Scored]:
        self.heard += [prompt.context for prompt in prompts]
        return [Scored(Scores({"insult": 0.0})) for _ in prompts]


def test_a_check_hands_its_context_to_every_scorer() -> None:
    scorer = Listening()
    known = Known({"listening": ("insult",)}, frozenset())
    policy = policy_from_dict({"policy": "p", "prompt": {"scorers": ["listening"]}}, known=known)
    guard = Guard(policy, scorers=[scorer])
    guard.check_prompt("hello")
    guard.check_prompt("hello", Context(situation="a q\u200buiet room"))
    assert scorer.heard == ["", "This is a quiet room."]


def test_normalising_leaves_the_context_out() -> None:
    assert normalize("hello").context == ""
