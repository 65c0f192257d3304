"""The tagger: what its tokens become, and what it leaves to others."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest

from guardkit import Action, Guard, Policy
from guardkit.artifacts import Artifact, RunnerOptions, load_artifact
from guardkit.errors import InputError, ManifestError
from guardkit.policy.rules import Anonymize, Rule, StagePolicy, When
from guardkit.runtime.base import open_runner
from guardkit.text.normalize import normalize
from guardkit.text.ordinary_words import OrdinaryWords
from guardkit.text.public_figures import names_of
from guardkit.text.tagger import WORDS, Tagger
from tests.tiny import HARSH, build_tiny_artifact, build_tiny_tagger, change_manifest, file_entry

PRIVACY = Rule("private", When("privacy", 0.5), Action.EDIT, using="anonymize")
FIGURES = names_of(["albert einstein"])
HARSH_SCORE = 1 / (1 + math.exp(-HARSH))


@pytest.fixture
def artifact(tiny_models: Path) -> Artifact:
    """The tiny tagger."""
    return load_artifact(tiny_models / "pii-tagger")


def tagger(artifact: Artifact, **options: object) -> Tagger:
    return Tagger(artifact, open_runner(artifact, RunnerOptions()), figures=FIGURES, **options)  # type: ignore[arg-type]


def found(artifact: Artifact, text: str, **options: object) -> list[tuple[str, str]]:
    return [(one.kind, text[one.start : one.end]) for one in tagger(artifact, **options).find(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a portrait of Jane Roe.", [("PERSON", "Jane Roe")], id="a name"),
        pytest.param("JANE's neighbour", [("PERSON", "JANE")], id="a possessive stays outside"),
        pytest.param("jane, roe", [("PERSON", "jane"), ("PERSON", "roe")], id="two people"),
        pytest.param("the maple, yard!", [("ADDRESS", "maple, yard")], id="parts of one address"),
        pytest.param("jane of maple", [("PERSON", "jane"), ("ADDRESS", "maple")], id="two kinds"),
        pytest.param("hello Lyon", [], id="a place alone is nobody's"),
        pytest.param("albert einstein", [], id="a public figure is left to others"),
        pytest.param("albert roe", [("PERSON", "albert roe")], id="a namesake is not"),
        pytest.param("🙂 jane 🙂", [("PERSON", "jane")], id="beside emoji"),
        pytest.param("j\u0301ane roe", [("PERSON", "j\u0301ane roe")], id="combining marks inside"),
        pytest.param("ja\u200bne", [("PERSON", "ja\u200bne")], id="an invisible character inside"),
        pytest.param("", [], id="nothing"),
    ],
)  # fmt: skip
def test_tokens_become_spans_of_the_original(
    artifact: Artifact, text: str, expected: list[tuple[str, str]]
) -> None:
    assert found(artifact, text) == expected


def test_a_policy_says_which_kinds_count(artifact: Artifact) -> None:
    kinds = ("PLACE",)
    assert found(artifact, "jane of Lyon", kinds=kinds) == [("PLACE", "Lyon")]


def test_the_score_is_that_of_the_surest_token_that_counts(artifact: Artifact) -> None:
    one = tagger(artifact)
    texts = ("hello jane", "hello sea", "hello albert einstein", "hello lyon")
    scores = [scored.scores["privacy"] for scored in one.score([normalize(text) for text in texts])]
    assert scores == pytest.approx([HARSH_SCORE, *[1 - HARSH_SCORE] * 3])


def test_ordinary_words_are_nobodys_name_and_cost_no_run(tmp_path: Path) -> None:
    folder = build_tiny_tagger(tmp_path / "pii-tagger")
    (folder / WORDS).write_bytes(OrdinaryWords.packed(["a", "hello", "maple", "portrait", "roe"]))
    files = {**load_artifact(folder).manifest.files, WORDS: file_entry(folder / WORDS)}
    listed = {name: msgspec.to_builtins(entry) for name, entry in files.items()}
    with_list = load_artifact(change_manifest(folder, {"files": listed}))
    assert found(with_list, "jane and a roe") == [("PERSON", "jane")]
    assert found(with_list, "jane roe") == [("PERSON", "jane roe")]
    scorer = tagger(with_list)
    texts = ["a portrait", "a jane", "hello roe", "maple"]
    scores = [one.scores["privacy"] for one in scorer.score([normalize(text) for text in texts])]
    assert scores[1] == pytest.approx(HARSH_SCORE, abs=1e-3)
    assert (scores[0], scores[2], scores[3]) == (0, 0, 0)


def test_an_unknown_kind_is_refused(artifact: Artifact) -> None:
    with pytest.raises(ManifestError, match=r"unknown kinds .*SHOE.*PERSON, ADDRESS, PLACE"):
        tagger(artifact, kinds=("SHOE",))


def test_an_artifact_without_kinds_is_no_tagger(tmp_path: Path) -> None:
    plain = load_artifact(build_tiny_artifact(tmp_path / "text-safety"))
    with pytest.raises(ManifestError, match="a tagger has kinds"):
        Tagger(plain, open_runner(plain, RunnerOptions()))


def private(**changes: object) -> Guard:
    stage = StagePolicy(scorers=("pii-tagger",), editors=("anonymize",), rules=(PRIVACY,))
    return Guard(Policy("private", prompt=stage, **changes))  # type: ignore[arg-type]


@pytest.mark.usefixtures("use_tiny_models")
def test_a_policy_anonymizes_names() -> None:
    decision = private().check_prompt("a portrait of jane roe of maple yard")
    assert decision.text == "a portrait of <PERSON_1> of <ADDRESS_1>"
    assert decision.vault is not None
    assert decision.vault.restore(decision.text) == "a portrait of jane roe of maple yard"


@pytest.mark.usefixtures("use_tiny_models")
def test_a_policy_may_count_places() -> None:
    models = {"pii-tagger": RunnerOptions(kinds=("PERSON", "PLACE"))}
    decision = private(models=models, anonymize=Anonymize("generic")).check_prompt("jane of lyon")
    assert decision.text == "a person of a place"


@pytest.mark.usefixtures("use_tiny_models")
def test_anonymize_finds_names_whatever_the_policy_names() -> None:
    guard = Guard(Policy("other", prompt=StagePolicy(scorers=("text-safety",))))
    text, vault = guard.anonymize("jane roe, ada@example.org")
    assert text == "<PERSON_1>, <EMAIL_1>"
    assert vault.restore(text) == "jane roe, ada@example.org"


@pytest.mark.usefixtures("use_tiny_models")
def test_a_text_that_is_too_long_is_not_anonymized_in_part() -> None:
    with pytest.raises(InputError, match=r"has 9000 characters\. Expected at most 8000"):
        private().anonymize("jane " * 1800)


def test_a_tagger_of_another_shape_is_a_clear_error(tmp_path: Path, artifact: Artifact) -> None:
    folder = build_tiny_artifact(tmp_path / "pii-tagger")
    changes = {"kinds": ["PERSON", "ADDRESS", "PLACE"], "categories": ["privacy"], "calibration": {"privacy": {"scale": 1.0, "shift": 0.0}}}  # fmt: skip
    wrong = load_artifact(change_manifest(folder, changes))
    with pytest.raises(Exception, match="token_logits"):
        Tagger(wrong, open_runner(wrong, RunnerOptions())).find("jane")
