"""Classifiers of somebody's own, exported: tiny ones with random weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from guardkit import Context, Guard, Turn
from guardkit.artifacts import Calibration, RunnerOptions, TextOptions, load_artifact
from guardkit.cli.main import main
from guardkit.errors import InputError
from guardkit.export.hf import export_hf
from guardkit.export.hf_model import Task
from guardkit.export.hf_request import Request
from guardkit.export.verify import load_card, verify
from guardkit.policy.load import policy_from_dict
from guardkit.runtime.base import open_runner
from guardkit.text.normalize import Prompt
from guardkit.text.score import TextScorer
from tests.training.tiny_hf import TEXTS, WORDS, build, command, torch_scores, torch_token_scores


def guard_scores(models: Path, monkeypatch: pytest.MonkeyPatch) -> NDArray[np.float64]:
    """f64 [texts, (toxicity, hate)] as a policy that names the artifact `mine` gives them."""
    monkeypatch.setenv("GUARDKIT_MODELS", str(models))
    guard = Guard(policy_from_dict({"policy": "demo", "prompt": {"scorers": ["mine"]}}))
    scored = guard.score_prompts(TEXTS)
    return np.array([[one["toxicity"], one["hate"]] for one in scored], np.float64)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_guard_gives_the_probabilities_that_torch_gives(
    family: str, head: str, label_map: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build(tmp_path / "model", family, head)
    artifact = export_hf(Request(str(folder), label_map, "mine"), tmp_path / "models")
    assert verify(artifact).holds
    expected = torch_scores(folder, TEXTS, head)
    assert np.ptp(expected, axis=0).min() > 0.002  # twenty times what is allowed below
    np.testing.assert_allclose(guard_scores(tmp_path / "models", monkeypatch), expected, atol=1e-4)


def test_int8_verifies_and_stays_near_torch(
    bert: Path, label_map: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(str(bert), label_map, "mine", precision="int8")
    artifact = export_hf(request, tmp_path / "models")
    assert verify(artifact).holds
    assert artifact.manifest.precision == load_card(artifact).precision == "int8"
    assert load_card(artifact).worst > 0.001  # it is not the fp32 graph
    scores = guard_scores(tmp_path / "models", monkeypatch)
    np.testing.assert_allclose(scores, torch_scores(bert, TEXTS, "softmax"), atol=0.1)


def test_the_artifact_says_what_the_command_said(
    bert: Path, label_map: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = tmp_path / "models"
    options = ["--languages", "en", "de", "--licence", "MIT", "--version", "1.2.3"]
    windows = ["--max-tokens", "64", "--overlap", "8"]
    assert main(command(bert, label_map, models, *options, *windows)) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines() == [
        f"wrote {models / 'mine'}",
        "toxicity: as the model gives it",
        "hate: as the model gives it",
    ]
    assert [path.name for path in models.iterdir()] == ["mine"]
    manifest = load_artifact(models / "mine").manifest
    assert (manifest.id, manifest.task, manifest.licence) == ("mine@1.2.3", "text-scores", "MIT")
    assert (manifest.categories, manifest.languages) == (("toxicity", "hate"), ("en", "de"))
    assert manifest.text == TextOptions(max_tokens=64, overlap=8)
    assert manifest.calibration == dict.fromkeys(manifest.categories, Calibration(1.0, 0.0))
    assert [one.name for one in manifest.outputs] == ["logits"]
    assert (models / "mine" / "labels.txt").read_text() == "toxicity\nhate\n"
    assert 'name: "mine"' in (models / "mine" / "config.pbtxt").read_text()


def test_long_texts_take_several_windows_and_the_highest_counts(
    bert: Path, label_map: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(str(bert), label_map, "mine", max_tokens=8, overlap=2)
    export_hf(request, tmp_path / "models")
    monkeypatch.setenv("GUARDKIT_MODELS", str(tmp_path / "models"))
    guard = Guard(policy_from_dict({"policy": "demo", "prompt": {"scorers": ["mine"]}}))
    words = ["you", "are", "the", "idiot", "of", "a", "nice", "photo", "of", "the", "sea"]
    (scored,) = guard.score_prompts([" ".join(words)])
    # Six words fit beside <s> and </s>; two neighbours share two.
    windows = [" ".join(words[at : at + 6]) for at in (0, 4, 8)]
    expected = torch_scores(bert, windows, "softmax").max(0)
    np.testing.assert_allclose([scored["toxicity"], scored["hate"]], expected, atol=1e-4)


def test_a_context_before_a_text_fits_the_model(
    label_map: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build(tmp_path / "model", "bert", "softmax", max_position_embeddings=32 + 65)
    request = Request(str(folder), label_map, "mine", max_tokens=32, overlap=4)
    export_hf(request, tmp_path / "models")
    monkeypatch.setenv("GUARDKIT_MODELS", str(tmp_path / "models"))
    guard = Guard(policy_from_dict({"policy": "demo", "prompt": {"scorers": ["mine"]}}))
    context = Context(turns=(Turn("user", "sea " * 90),))
    decision = guard.check_prompt("you are nice " * 20, context=context)
    assert decision.status == "ok"
    with pytest.raises(InputError, match=r"reads 97 tokens.*Expected --max-tokens of at most 32"):
        export_hf(replace(request, name="longer", max_tokens=33), tmp_path / "models")


def test_labelled_texts_calibrate_and_other_categories_stay(
    bert: Path, label_map: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [f"{one} {two}" for one in WORDS for two in WORDS]
    order = np.argsort(torch_scores(bert, texts, "softmax")[:, 0])
    labels = np.zeros(len(texts), int)
    labels[order[-20:]] = 1  # only the highest twenty are harmful: the scores have to come down
    data = tmp_path / "labelled.csv"
    rows = [f"{text},{label}" for text, label in zip(texts, labels, strict=True)]
    data.write_text("text,toxicity\n" + "\n".join(rows) + "\n")
    models = tmp_path / "models"
    assert main(command(bert, label_map, models, "--data", str(data))) == 0
    assert "toxicity: calibrated\nhate: as the model gives it" in capsys.readouterr().out
    artifact = load_artifact(models / "mine")
    assert verify(artifact).holds
    assert artifact.manifest.calibration["hate"] == Calibration(1.0, 0.0)
    bar = np.sort(torch_scores(bert, texts, "softmax")[:, 0])[-20]
    by = artifact.manifest.calibration["toxicity"]
    middle = 1 / (1 + np.exp(by.shift / by.scale))  # the model's probability that becomes one half
    assert middle == pytest.approx(bar, abs=0.02)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of tokens."""
    return build(tmp_path_factory.mktemp("tokens"), "bert-tokens", "softmax")


def test_a_text_is_as_harmful_as_its_worst_token(
    tokens: Path, label_map: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(str(tokens), label_map, "mine", task=Task.TOKENS)
    artifact = export_hf(request, tmp_path / "models")
    assert verify(artifact).holds
    assert [one.name for one in artifact.manifest.outputs] == ["logits", "token_logits"]
    found = [torch_token_scores(tokens, text) for text in TEXTS]
    expected = np.array([(p[:, 1].max(), p[:, 2:].sum(1).max()) for p in found])
    assert np.ptp(expected, axis=0).min() > 0.002
    np.testing.assert_allclose(guard_scores(tmp_path / "models", monkeypatch), expected, atol=1e-4)


def test_the_words_whose_tokens_are_harmful_are_spans(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = tmp_path / "half.yaml"
    half.write_text("hate: [fine, hate]\n")  # two of four labels: some words pass, some do not
    export_hf(Request(str(tokens), half, "mine", task=Task.TOKENS), tmp_path / "models")
    monkeypatch.setenv("GUARDKIT_MODELS", str(tmp_path / "models"))
    rule = {"name": "no-hate", "when": {"category": "hate", "at_least": 0.5}, "action": "block"}
    policy = {"policy": "demo", "prompt": {"scorers": ["mine"], "rules": [rule]}}
    guard = Guard(policy_from_dict(policy))
    shares = []
    for text in TEXTS:
        worst = torch_token_scores(tokens, text)[:, [0, 2]].sum(1)
        words = {word for word, score in zip(text.split(), worst, strict=True) if score >= 0.5}
        found = {text[span.start : span.end] for span in guard.check_prompt(text).spans}
        assert {word for run in found for word in run.split()} == words
        shares.append(len(words) / len(set(text.split())))
    assert 0 < np.mean(shares) < 1


def test_the_tokens_of_a_context_are_not_the_texts(
    tokens: Path, label_map: Path, tmp_path: Path
) -> None:
    artifact = export_hf(Request(str(tokens), label_map, "mine", task=Task.TOKENS), tmp_path)
    scorer = TextScorer(artifact, open_runner(artifact, RunnerOptions()))
    windows = scorer.encode(Prompt("you are nice", "you are nice", context="the idiot"))
    logits = scorer.run(windows.inputs)["token_logits"][0, :, 0]
    # <s> the idiot </s> you are nice </s>
    counts = [False] * 4 + [True] * 3 + [False]
    assert [bool(value > -30) for value in logits] == counts


def test_a_classifier_of_texts_is_none_of_tokens(
    bert: Path, label_map: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--task", "token-classification"]
    assert main(command(bert, label_map, tmp_path, *options)) == 2
    assert "ends in ForTokenClassification" in capsys.readouterr().err
