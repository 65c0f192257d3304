"""A text's score is its worst window's, calibrated; unusable output never becomes a score."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from guardkit.artifacts import Artifact, Calibration, RunnerOptions
from guardkit.errors import ManifestError, RunError
from guardkit.runtime.base import Arrays, open_runner
from guardkit.runtime.fake import FakeRunner
from guardkit.text.normalize import normalize
from guardkit.text.score import TextScorer, calibrate, whole_words
from guardkit.types import Scored, Span

# The tiny artifact's scores by hand: 1 / (1 + exp(-logit)) for logits 4, 0 and -4.
HARSH, EVEN, CALM = 0.982014, 0.5, 0.017986
WORDS = frozenset({"idiot", "kill"})


@pytest.fixture(scope="session")
def scorer(tiny_artifact: Artifact) -> TextScorer:
    return TextScorer(tiny_artifact, open_runner(tiny_artifact, RunnerOptions()))


def score(scorer: TextScorer, text: str) -> Scored:
    (scored,) = scorer.score([normalize(text, words=WORDS)])
    return scored


def constant(logit: float) -> Callable[[Arrays], Arrays]:
    """A graph that answers every token and window with one logit."""

    def run(inputs: Arrays) -> Arrays:
        windows, tokens = inputs["input_ids"].shape
        return {
            "logits": np.full((windows, 2), logit, np.float32),
            "token_logits": np.full((windows, tokens, 2), logit, np.float32),
        }

    return run


@pytest.mark.parametrize(
    ("logit", "scale", "shift", "expected"),
    [
        # 1 / (1 + e^-x): x = 0 -> 0.5; ln 3 -> 3/4; -ln 3 -> 1/4; 1 -> 0.731059
        pytest.param(0.0, 1.0, 0.0, 0.5, id="even"),
        pytest.param(1.0986123, 1.0, 0.0, 0.75, id="log-three"),
        pytest.param(0.5493061, 2.0, 0.0, 0.75, id="scale"),
        pytest.param(0.0, 1.0, -1.0986123, 0.25, id="shift"),
        pytest.param(1.0, 2.0, -1.0, 0.731059, id="scale-then-shift"),
        pytest.param(1e9, 1.0, 0.0, 1.0, id="huge"),
        pytest.param(-1e9, 1.0, 0.0, 0.0, id="tiny"),
    ],
)
def test_calibration_is_platt_scaling(
    logit: float, scale: float, shift: float, expected: float
) -> None:
    assert calibrate(logit, Calibration(scale, shift)) == pytest.approx(expected, abs=1e-6)


def test_each_category_has_its_own_calibration(tiny_artifact: Artifact) -> None:
    calibration = {"insult": Calibration(1.0, 1.0986123), "threat": Calibration(1.0, -1.0986123)}
    manifest = msgspec.structs.replace(tiny_artifact.manifest, calibration=calibration)
    artifact = msgspec.structs.replace(tiny_artifact, manifest=manifest)
    scores = score(TextScorer(artifact, FakeRunner(constant(0.0))), "hello").scores
    assert dict(scores) == pytest.approx({"insult": 0.75, "threat": 0.25}, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "insult", "threat"),
    [
        pytest.param("", CALM, CALM, id="empty"),
        pytest.param("hello world", CALM, CALM, id="calm"),
        pytest.param("you idiot", HARSH, CALM, id="insult"),
        pytest.param("i will kill you", CALM, HARSH, id="threat"),
        pytest.param("kill the idiot", HARSH, HARSH, id="both"),
        pytest.param("you fool", EVEN, CALM, id="even"),
        pytest.param("you 1d10t", HARSH, CALM, id="disguised"),
    ],
)
def test_a_text_scores_as_its_worst_token(
    scorer: TextScorer, text: str, insult: float, threat: float
) -> None:
    expected = {"insult": insult, "threat": threat}
    assert dict(score(scorer, text).scores) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("before", [0, 9, 10, 12, 13, 14, 23, 24, 60, 500])
def test_a_bad_word_is_found_wherever_it_stands_in_a_long_text(
    scorer: TextScorer, before: int
) -> None:
    text = "hello " * before + "idiots" + " hello" * 30  # two tokens: idiot, ##s
    scored = score(scorer, text)
    assert scored.scores["insult"] == pytest.approx(HARSH, abs=1e-6)
    at = 6 * before
    assert scored.spans == (Span(at, at + 6, "insult", 0.982, "text-safety"),)


def test_a_bad_word_at_the_very_end_of_a_long_text_is_found(scorer: TextScorer) -> None:
    assert score(scorer, "hello " * 300 + "kill").scores["threat"] == pytest.approx(HARSH, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("you idiot!", ["idiot"], id="plain"),
        pytest.param("you IDIOT!", ["IDIOT"], id="capitals"),
        pytest.param("an i.d.i.o.t!", ["i.d.i.o.t"], id="dotted"),
        pytest.param("an ｉｄｉｏｔ!", ["ｉｄｉｏｔ"], id="full-width"),
        pytest.param("😀 id\u200biot 😀", ["id\u200biot"], id="zero-width-between-emoji"),
        pytest.param("idiot and idiot", ["idiot", "idiot"], id="twice"),
        pytest.param("idiot idiot", ["idiot idiot"], id="neighbours-join"),
        pytest.param("you fool", ["fool"], id="exactly-at-the-threshold"),
        pytest.param("hello", [], id="none"),
    ],
)
def test_spans_lead_back_to_the_original(scorer: TextScorer, text: str, found: list[str]) -> None:
    assert [text[span.start : span.end] for span in score(scorer, text).spans] == found


@pytest.mark.parametrize(("text", "found"), [("an idiot fool", ["idiot"]), ("hello", [])])
def test_what_is_scored_has_a_place_where_no_word_reaches_the_threshold(
    tiny_artifact: Artifact, text: str, found: list[str]
) -> None:
    assert tiny_artifact.manifest.text is not None
    options = msgspec.structs.replace(tiny_artifact.manifest.text, span_threshold=0.999)
    manifest = msgspec.structs.replace(tiny_artifact.manifest, text=options)
    artifact = msgspec.structs.replace(tiny_artifact, manifest=manifest)
    spans = score(TextScorer(artifact, open_runner(artifact, RunnerOptions())), text).spans
    assert [text[span.start : span.end] for span in spans] == found


def test_a_span_carries_its_category_its_score_and_its_model(scorer: TextScorer) -> None:
    assert score(scorer, "kill the idiot").spans == (
        Span(9, 14, "insult", 0.982, "text-safety"),
        Span(0, 4, "threat", 0.982, "text-safety"),
    )


def test_a_text_scores_alike_alone_and_in_company(scorer: TextScorer) -> None:
    prompts = [normalize(text) for text in ("idiot", "hello " * 50, "kill")]
    assert scorer.score(prompts) == [scorer.score([prompt])[0] for prompt in prompts]


def logits_of(windows: int, tokens: int) -> dict[str, np.ndarray]:
    return {
        "logits": np.zeros((windows, 2), np.float32),
        "token_logits": np.zeros((windows, tokens, 2), np.float32),
    }


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        pytest.param({"logits": None}, "no output 'logits'", id="no-logits"),
        pytest.param({"token_logits": None}, "no output 'token_logits'", id="no-token-logits"),
        pytest.param({"logits": np.zeros((1, 3))}, r"has shape \(1, 3\)", id="too-many-categories"),
        pytest.param({"logits": np.zeros((2, 2))}, r"has shape \(2, 2\)", id="too-many-windows"),
        pytest.param({"logits": np.zeros(2)}, r"has shape \(2,\)", id="a-dimension-short"),
        pytest.param(
            {"token_logits": np.zeros((1, 9, 2))}, r"expected \(1, 3, 2\)", id="too-many-tokens"
        ),
        pytest.param({"logits": np.array([[0.0, np.nan]])}, "NaN or infinity", id="nan"),
        pytest.param({"logits": np.array([[-np.inf, 0.0]])}, "NaN or infinity", id="infinity"),
        pytest.param(
            {"token_logits": np.full((1, 3, 2), np.nan)}, "NaN or infinity", id="nan-tokens"
        ),
    ],
)
def test_unusable_output_is_an_error(
    tiny_artifact: Artifact, spoilt: dict[str, np.ndarray | None], message: str
) -> None:
    outputs = {**logits_of(1, 3), **spoilt}  # "hello" is three tokens: [CLS] hello [SEP]
    answer = {name: array for name, array in outputs.items() if array is not None}
    scorer = TextScorer(tiny_artifact, FakeRunner(lambda _: answer))
    with pytest.raises(RunError, match=message):
        scorer.score([normalize("hello")])


def test_a_logit_of_minus_infinity_never_passes_for_calm(tiny_artifact: Artifact) -> None:
    scorer = TextScorer(tiny_artifact, FakeRunner(constant(-np.inf)))
    with pytest.raises(
        RunError, match=r"text-safety@0\.0\.1: output 'logits' holds NaN or infinity"
    ):
        scorer.score([normalize("hello")])


def test_an_artifact_without_text_options_scores_no_text(tiny_artifact: Artifact) -> None:
    manifest = msgspec.structs.replace(tiny_artifact.manifest, text=None, task="image-scores")
    artifact = msgspec.structs.replace(tiny_artifact, manifest=manifest)
    with pytest.raises(ManifestError, match="task 'image-scores' does not score text"):
        TextScorer(artifact, FakeRunner(constant(0.0)))


def test_a_very_long_text_runs_in_bounded_batches_and_its_last_word_counts(
    tiny_artifact: Artifact,
) -> None:
    real = open_runner(tiny_artifact, RunnerOptions())
    sizes: list[int] = []

    def count(inputs: Arrays) -> Arrays:
        sizes.append(len(inputs["input_ids"]))
        return real.run(inputs)

    # 16-token windows hold 14 words and share 4: one takes 14, each further one 10 more. 40 windows.
    scored = score(TextScorer(tiny_artifact, FakeRunner(count)), "hello " * 403 + "idiot")
    assert sizes == [16, 16, 8]
    assert scored.scores["insult"] == pytest.approx(HARSH, abs=1e-6)
    assert [(span.start, span.end) for span in scored.spans] == [(2418, 2423)]


@pytest.mark.parametrize(
    ("text", "token", "expected"),
    [
        pytest.param("you idiots", (4, 9), [(4, 10)], id="widened-to-the-word"),
        pytest.param("you idiot", (3, 9), [(4, 9)], id="the-space-before-is-left-out"),
        pytest.param("这个白痴走了", (2, 4), [(2, 4)], id="chinese-has-no-spaces"),
        pytest.param("a  b", (1, 3), [], id="spaces-alone"),
    ],
)
def test_spans_are_words_where_there_are_words(
    text: str, token: tuple[int, int], expected: list[tuple[int, int]]
) -> None:
    assert [(start, end) for start, end, _ in whole_words(text, [(list(token), 1.0)])] == expected
