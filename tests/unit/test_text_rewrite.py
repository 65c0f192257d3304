"""The rewriter: decoding, spelling, what is given up; and rewriters of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from guardkit import Action, Guard, Policy
from guardkit.artifacts import Artifact, load_artifact
from guardkit.errors import ManifestError
from guardkit.policy.rules import Limits, Rule, StagePolicy, When
from guardkit.runtime.base import Arrays
from guardkit.runtime.fake import FakeRunner
from guardkit.text.rewrite import (
    END,
    NOWHERE,
    START,
    LanguageModelRewriter,
    ModelRewriter,
    Rewriter,
    check_pair,
    edits_between,
    passages,
    read_answer,
)
from guardkit.types import Span
from tests.fake_steps import NO_THREATS
from tests.tiny import build_tiny_artifact, change_manifest, file_entry

PIECES = ("[CLS]", "[SEP]", "sea", "sky", ".", "##s", ",")
WRITE = {piece: at for at, piece in enumerate(PIECES)}
Steps = Mapping[int, int | str]
"""Source position copied last (0: none yet; negative: a piece, by its place) -> what is next: a position or a piece."""


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    """A tiny text artifact with a vocabulary of written pieces."""
    folder = build_tiny_artifact(tmp_path / "prompt-rewriter")
    tokenizer = (folder / "1" / "tokenizer.json").read_text()
    assert "idiot" in tokenizer
    (folder / "1" / "pieces.txt").write_text(
        "".join(f"{100 + at} {one}\n" for at, one in enumerate(PIECES))
    )
    names = ("1/model.onnx", "1/tokenizer.json", "1/pieces.txt")
    return load_artifact(
        change_manifest(folder, {"files": {name: file_entry(folder / name) for name in names}})
    )


class Script:
    """A decoder that does what a table says; counts its runs."""

    def __init__(self, steps: Steps, *, end: int) -> None:
        self.steps, self.end, self.runs = steps, end, 0

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        self.runs += 1
        copied, written = inputs["copied"][0], inputs["written"][0]
        best = [self._next(int(p), int(w)) for p, w in zip(copied, written, strict=True)]
        places = inputs["past"].shape[3] + len(best)
        return {"best": np.array([best], np.int64), "kept": np.zeros((1, 2, 1, places, 4))}

    def _next(self, place: int, column: int) -> int:
        state = place if place != NOWHERE else -column if column not in (START, END) else 0
        step = self.steps.get(state, place + 1 if place != NOWHERE else 1)
        if isinstance(step, str):
            return WRITE[step]
        return END if step >= self.end else len(PIECES) + step


def rewriter(
    artifact: Artifact, script: Script, *, similarity: float = 1.0, risk: float = 1.0
) -> ModelRewriter:
    seen: list[int] = []

    def encode(inputs: Arrays) -> dict[str, np.ndarray]:
        """The first text lies along one axis, the second at an angle to it."""
        seen.append(0)
        other = (similarity, (1 - similarity**2) ** 0.5)
        embedding = np.array([(1.0, 0.0) if len(seen) == 1 else other], np.float32)
        states = np.zeros((*inputs["input_ids"].shape, 2), np.float32)
        return {"states": states, "embedding": embedding, "risk": np.array([risk], np.float32)}

    return ModelRewriter(artifact, FakeRunner(encode), FakeRunner(script), past=(2, 1, 4))


@pytest.mark.parametrize(
    ("text", "steps", "expected"),
    [
        pytest.param("a portrait of my sea", {}, "a portrait of my sea", id="copied"),
        pytest.param("A  portrait,of my SEA!", {}, "A  portrait,of my SEA!", id="as it stands"),
        pytest.param("a portrait of my idiot neighbour", {4: 6}, "a portrait of my neighbour", id="a word left out"),
        pytest.param("Idiot, hello world", {0: 3}, "Hello world", id="the first word left out"),
        pytest.param("hello idiot", {1: 3}, "hello", id="the last word left out"),
        pytest.param("a portrait of my idiot", {4: "sky", -3: 6}, "a portrait of my sky", id="a word replaced"),
        pytest.param("idiot neighbour", {0: "sky", -3: 2}, "sky neighbour", id="the first word replaced"),
        pytest.param("Kill sea", {0: "sky", -3: 2}, "Sky sea", id="with its capital"),
        pytest.param("KILL SEA", {0: "sky", -3: 2}, "SKY SEA", id="in capitals"),
        pytest.param("my sea", {2: "##s", -5: 3}, "my seas", id="a word goes on"),
        pytest.param("my sea", {2: ".", -4: 3}, "My sea.", id="a stop"),
        pytest.param("my sea", {1: ",", -6: 2}, "my, sea", id="a comma"),
    ],
)  # fmt: skip
def test_a_text_is_copied_but_for_what_is_changed(
    artifact: Artifact, text: str, steps: Steps, expected: str
) -> None:
    count = len(text.replace(",", " , ").replace("!", " ! ").split()) + 1
    assert rewriter(artifact, Script(steps, end=count)).rewrite(text) == expected


def test_copying_takes_one_run_an_edit_not_one_a_word(artifact: Artifact) -> None:
    script = Script({4: 6}, end=10)
    rewriter(artifact, script).rewrite("a portrait of my idiot neighbour . hello world")
    assert script.runs == 2


class Watched(Script):
    """Notes what it may not copy, and what it is asked anew."""

    def __init__(self, steps: Steps, *, end: int) -> None:
        super().__init__(steps, end=end)
        self.banned: list[list[float]] = []
        self.asked: list[tuple[int, int]] = []

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        self.banned.append(inputs["banned"][0].tolist())
        self.asked.append((inputs["past"].shape[3], inputs["written"].shape[1]))
        return super().__call__(inputs)


IDIOT = [Span(17, 22, "insult", 0.9, "demo")]


def test_what_is_blamed_may_not_be_copied_where_the_model_would(artifact: Artifact) -> None:
    watched = Watched({}, end=7)
    rewriter(artifact, watched).rewrite("a portrait of my idiot neighbour", IDIOT)
    assert watched.banned[0] == [0] * 8
    assert watched.banned[-1] == [0, 0, 0, 0, 0, 1, 0, 0]


def test_what_the_model_changes_by_itself_is_not_written_again(artifact: Artifact) -> None:
    watched, text = Watched({4: 6}, end=7), "a portrait of my idiot neighbour"
    assert rewriter(artifact, watched).rewrite(text, IDIOT) == "a portrait of my neighbour"
    assert set(map(tuple, watched.banned)) == {(0,) * 8}


def test_a_run_is_asked_for_nothing_that_an_earlier_one_found(artifact: Artifact) -> None:
    watched = Watched({2: "sky", -3: 4}, end=7)
    rewriter(artifact, watched).rewrite("a portrait of my idiot neighbour")
    assert watched.asked == [(0, 7), (3, 5), (4, 3)]


def test_spans_reach_the_passage_they_stand_in(artifact: Artifact) -> None:
    watched = Watched({}, end=3)
    first, second = "ab" * 145 + ". ", "my idiot neighbour"
    assert passages(first + second) == [first, second]
    start = len(first) + 3
    blamed = [Span(start, start + 5, "insult", 0.9, "demo")]
    rewriter(artifact, watched).rewrite(first + second, blamed)
    assert watched.banned[0] == [0, 0, 0, 0]
    assert watched.banned[-1] == [0, 0, 1, 0, 0]


def test_what_nobody_blames_and_the_model_finds_nothing_wrong_with_stays(
    artifact: Artifact,
) -> None:
    script = Script({4: 6}, end=7)
    calm = rewriter(artifact, script, risk=-0.1)
    assert calm.rewrite("a portrait of my idiot neighbour") == "a portrait of my idiot neighbour"
    assert script.runs == 0
    blamed = [Span(17, 22, "insult", 0.9, "test")]
    assert calm.rewrite("a portrait of my idiot neighbour", blamed) == "a portrait of my neighbour"


def test_what_lost_its_meaning_is_not_used(artifact: Artifact) -> None:
    script = Script({4: 6}, end=7)
    text = "a portrait of my idiot neighbour"
    assert rewriter(artifact, script, similarity=0.49).rewrite(text) is None
    assert rewriter(artifact, script, similarity=0.51).rewrite(text) is not None


def test_a_model_that_never_ends_is_given_up(artifact: Artifact) -> None:
    script = Script({1: "sea", -2: "sea"}, end=9)
    assert rewriter(artifact, script).rewrite("hello world") is None
    assert script.runs <= 24


def test_what_the_model_has_no_other_words_for_is_left_out(artifact: Artifact) -> None:
    endless = Script({1: "sea", -2: "sea"}, end=7)
    assert rewriter(artifact, endless).rewrite("a portrait of my idiot neighbour", IDIOT) == "a portrait of my neighbour"  # fmt: skip
    same, blamed = Script({4: "sea", -2: 6}, end=6), [Span(17, 20, "insult", 0.9, "demo")]
    assert rewriter(artifact, same).rewrite("a portrait of my sea", blamed) == "a portrait of my"


def test_a_passage_that_does_not_fit_is_given_up(artifact: Artifact) -> None:
    assert rewriter(artifact, Script({}, end=99)).rewrite("sea " * 40) is None


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_nothing_stays_nothing(artifact: Artifact, text: str) -> None:
    assert rewriter(artifact, Script({}, end=1)).rewrite(text) == text


def test_passages_are_the_text() -> None:
    text = "One two. " * 60 + "\n\nThree? Four!" + "five" * 200
    parts = passages(text)
    assert "".join(parts) == text
    assert len(parts) > 1
    assert passages("") == []


def test_a_decoder_of_another_model_is_refused(artifact: Artifact) -> None:
    with pytest.raises(ManifestError, match="was not made for text-safety@"):
        check_pair(artifact, artifact)


def test_edits_say_what_changed_where_it_stood() -> None:
    edits = edits_between("my idiot neighbour!", "my neighbour.")
    assert [(one.start, one.end, one.replacement) for one in edits] == [(3, 9, ""), (18, 19, ".")]


# --- a language model of one's own ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"label": "rewritten", "text": "a calm sea"}', "a calm sea"),
        ('  {"label": "rewritten", "text": "x", "explanation": "why"}\n', "x"),
        ('{"label": "safe", "text": ""}', "hello idiot"),
        ('{"label": "refused", "text": ""}', None),
        ('{"label": "rewritten", "text": "  "}', None),
        ('{"label": "K0", "text": "x"}', None),
        ('{"text": "x"}', None),
        ('{"label": "safe", "text": "", "also": 1}', None),
        ('Sure: {"label": "safe", "text": ""}', None),
        ('{"label": "safe", "te', None),
        ("", None),
        ("\ud800", None),
    ],
)
def test_only_a_readable_answer_counts(answer: str, expected: str | None) -> None:
    assert LanguageModelRewriter(lambda _: answer).rewrite("hello idiot") == expected


def test_an_answer_that_is_no_text_is_none() -> None:
    assert read_answer(None) is None


def test_the_model_is_given_the_text() -> None:
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return ""

    LanguageModelRewriter(ask).rewrite("50 % of {x}")
    assert "\n50 % of {x}\n" in asked[0]


# --- under a policy ----------------------------------------------------------------------------------------


class Fixed:
    """A rewriter that always gives the same."""

    def __init__(self, answer: str | None) -> None:
        self.answer = answer

    def rewrite(self, text: str, spans: Sequence[Span] = ()) -> str | None:
        return self.answer


INSULTS = Rule("insults-are-rewritten", When("insult", 0.5), Action.EDIT, using="rewrite")


def guarded(answer: str | None) -> Guard:
    stage = StagePolicy(scorers=("text-safety",), editors=("rewrite",), rules=(INSULTS, NO_THREATS))
    return Guard(Policy("repair", prompt=stage), rewriter=Fixed(answer))


pytestmark = pytest.mark.usefixtures("use_tiny_models")


@pytest.mark.parametrize(
    ("answer", "action", "text", "made"),
    [
        pytest.param("my neighbour", Action.EDIT, "my neighbour", "my neighbour", id="mended"),
        pytest.param(None, Action.BLOCK, None, None, id="given up"),
        pytest.param("  ", Action.BLOCK, None, None, id="nothing left"),
        pytest.param("my idiot neighbour", Action.BLOCK, None, None, id="unchanged"),
        pytest.param("my fool neighbour", Action.BLOCK, None, None, id="still an insult"),
        pytest.param("i will kill you", Action.BLOCK, None, None, id="now a threat"),
    ],
)
def test_what_is_rewritten_is_scored_again(
    answer: str | None, action: Action, text: str | None, made: str | None
) -> None:
    guard = guarded(answer)
    decision = guard.check_prompt("my idiot neighbour")
    assert (decision.action, decision.text) == (action, text)
    assert guard.rewrite("my idiot neighbour") == made


def test_what_the_policy_allows_the_rewriter_may_still_mend() -> None:
    assert guarded("a calm neighbour").rewrite("my neighbour") == "a calm neighbour"
    assert guarded(None).rewrite("my neighbour") is None
    assert guarded("my neighbour").rewrite("my neighbour") == "my neighbour"


class Stepwise:
    """Takes one rude word away at a time."""

    def rewrite(self, text: str, spans: Sequence[Span] = ()) -> str | None:
        word = "idiot" if "idiot" in text else "fool"
        return text.replace(f"{word} ", "", 1)


@pytest.mark.parametrize(
    ("rounds", "action", "edits"),
    [
        pytest.param(1, Action.BLOCK, 0, id="one round leaves one"),
        pytest.param(2, Action.EDIT, 2, id="two rounds"),
        pytest.param(3, Action.EDIT, 2, id="no more rounds than needed"),
    ],
)
def test_what_rewriting_left_gets_another_round(rounds: int, action: Action, edits: int) -> None:
    stage = StagePolicy(scorers=("text-safety",), editors=("rewrite",), rules=(INSULTS,))
    policy = Policy("repair", prompt=stage, limits=Limits(edits=rounds))
    decision = Guard(policy, rewriter=Stepwise()).check_prompt("my idiot fool neighbour")
    assert (decision.action, len(decision.edits)) == (action, edits)
    assert decision.text == ("my neighbour" if edits else None)


class Worse(Stepwise):
    """Takes one rude word away, and then makes it worse."""

    def rewrite(self, text: str, spans: Sequence[Span] = ()) -> str | None:
        return super().rewrite(text) if "fool" in text and "idiot" in text else "my idiot neighbour"


class Tired(Stepwise):
    """Takes one rude word away, and then fails."""

    def rewrite(self, text: str, spans: Sequence[Span] = ()) -> str | None:
        if "idiot" in text:
            return super().rewrite(text)
        raise RuntimeError


@pytest.mark.parametrize(
    ("rewriter", "rounds", "text"),
    [
        pytest.param(Stepwise(), 1, "my fool neighbour", id="one round"),
        pytest.param(Stepwise(), 3, "my neighbour", id="the next takes what is only just allowed"),
        pytest.param(Worse(), 3, "my fool neighbour", id="the most harmless counts"),
        pytest.param(Tired(), 3, "my fool neighbour", id="what was allowed stays"),
    ],
)
def test_what_is_rewritten_anyway_is_to_stay_clear_of_the_thresholds(
    rewriter: Rewriter, rounds: int, text: str
) -> None:
    rule = msgspec.structs.replace(INSULTS, when=When("insult", 0.6))  # a fool scores .5
    stage = StagePolicy(scorers=("text-safety",), editors=("rewrite",), rules=(rule,))
    policy = Policy("repair", prompt=stage, limits=Limits(edits=rounds))
    guard = Guard(policy, rewriter=rewriter)
    decision = guard.check_prompt("my idiot fool neighbour")
    assert (decision.action, decision.text) == (Action.EDIT, text)
    assert guard.check_prompt("my fool neighbour").action is Action.ALLOW


def test_the_text_that_is_returned_is_the_most_harmless_one() -> None:
    rule = Rule("no-insults", When("insult", 0.6), Action.BLOCK)
    stage = StagePolicy(scorers=("text-safety",), rules=(rule,))
    policy = Policy("repair", prompt=stage)
    asked = "my idiot fool neighbour"
    assert Guard(policy, rewriter=Stepwise()).rewrite(asked) == "my neighbour"
    assert Guard(policy, rewriter=Worse()).rewrite(asked) == "my fool neighbour"


def test_the_decision_says_what_changed() -> None:
    decision = guarded("my neighbour").check_prompt("my idiot neighbour")
    assert [(one.editor, one.start, one.end) for one in decision.edits] == [("rewrite", 3, 9)]


def test_a_rewriter_that_fails_lets_nothing_pass() -> None:
    class Broken:
        def rewrite(self, text: str, spans: Sequence[Span] = ()) -> str | None:
            raise RuntimeError(text)

    stage = StagePolicy(scorers=("text-safety",), editors=("rewrite",), rules=(INSULTS,))
    decision = Guard(Policy("repair", prompt=stage), rewriter=Broken()).check_prompt("you idiot")
    assert decision.action is Action.BLOCK
    assert "idiot" not in " ".join(decision.reasons)
