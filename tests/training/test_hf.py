"""Classifiers of somebody's own: tiny ones with random weights, and everything that can be wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from guardkit import Context, Guard, Turn
from guardkit.artifacts import Calibration, RunnerOptions, TextOptions, load_artifact
from guardkit.cli.main import main
from guardkit.errors import InputError, ParityError
from guardkit.export.hf import Examples, Request, check_faithful, export_hf
from guardkit.export.verify import TEXTS as PARITY_TEXTS
from guardkit.export.verify import load_card, outputs_of, verify
from guardkit.policy.load import policy_from_dict
from guardkit.runtime.base import open_runner

LABELS = ["fine", "toxic", "hate", "hate/threatening"]
MAP = "toxicity: toxic\nhate: [hate, hate/threatening]\n"
TEXTS = [
    "you are the idiot",
    "a nice photo of the sea",
    "obey",
    "will you hurt the friend of a friend of a friend of the idiot",
]
_WORDS = [
    "a",
    "the",
    "idiot",
    "friend",
    "you",
    "are",
    "nice",
    "sea",
    "will",
    "hurt",
    "photo",
    "of",
    "obey",
]
_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]  # RoBERTa's order: the SDK's padding, 0, is no padding
_VOCABULARY = len(_SPECIAL + _WORDS)
_HEADS = {"softmax": "single_label_classification", "sigmoid": "multi_label_classification"}
_BERT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
_BERT |= {"intermediate_size": 64, "initializer_range": 0.4, "vocab_size": _VOCABULARY}  # type: ignore[dict-item]
_DISTIL = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "initializer_range": 0.4}
_GPT = {"n_embd": 32, "n_layer": 1, "n_head": 2, "vocab_size": _VOCABULARY}


def save_tokenizer(folder: Path) -> None:
    """A fast tokenizer over seventeen words, with padding and truncation as files in the wild have."""
    words = {word: at for at, word in enumerate(_SPECIAL + _WORDS)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.enable_padding(length=128, pad_id=1, pad_token="<pad>")
    tokenizer.enable_truncation(5)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)


def build(folder: Path, family: str, head: str, **changes: object) -> Path:
    """A classifier with random weights that are large enough for texts to differ, as a folder."""
    common = {
        "num_labels": len(LABELS),
        "id2label": dict(enumerate(LABELS)),
        "label2id": {label: at for at, label in enumerate(LABELS)},
        "problem_type": _HEADS[head],
        "pad_token_id": 1,
    } | changes
    torch.manual_seed(7)
    if family == "bert":
        model = BertForSequenceClassification(BertConfig(**_BERT, **common))
    elif family == "roberta":
        config = RobertaConfig(**_BERT, max_position_embeddings=514, type_vocab_size=1, **common)
        model = RobertaForSequenceClassification(config)
    elif family == "gpt2":
        model = GPT2ForSequenceClassification(GPT2Config(**_GPT, **common))
    else:
        config = DistilBertConfig(**_DISTIL, vocab_size=_VOCABULARY, **common)
        model = DistilBertForSequenceClassification(config)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with a softmax head; copy it to spoil it."""
    return build(tmp_path_factory.mktemp("bert"), "bert", "softmax")


@pytest.fixture
def label_map(tmp_path: Path) -> Path:
    """Two categories of the four labels."""
    path = tmp_path / "map.yaml"
    path.write_text(MAP)
    return path


def torch_scores(folder: Path, texts: Sequence[str], head: str) -> NDArray[np.float32]:
    """f32 [texts, (toxicity, hate)] as transformers itself gives them, in probabilities."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    if head == "sigmoid":
        p = logits.sigmoid()
        hate = p[:, 2:].amax(1)
    else:
        p = logits.softmax(1)
        hate = p[:, 2:].sum(1)
    return torch.stack([p[:, 1], hate], 1).numpy()


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


def command(model: Path | str, labels: Path, models: Path, *more: str) -> list[str]:
    """`guardkit export hf` for an artifact `mine`."""
    named = ["--labels", str(labels), "--name", "mine", "--out", str(models)]
    return ["export", "hf", str(model), *named, *more]


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
    texts = [f"{one} {two}" for one in _WORDS for two in _WORDS]
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


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        pytest.param(["bias", "1"], "no column of labels for toxicity, hate", id="other-category"),
        pytest.param(["hate", *"11110"], "'hate': 4 positive and 1 negative texts", id="too-few"),
        pytest.param(["hate", "2"], "column 'hate': found 2", id="no-label"),
    ],
)
def test_examples_that_cannot_calibrate_are_refused(
    rows: list[str], message: str, bert: Path, label_map: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    data = tmp_path / "labelled.csv"
    data.write_text("\n".join(f"{'text' if row == rows[0] else 'sea'},{row}" for row in rows))
    assert main(command(bert, label_map, tmp_path / "models", "--data", str(data))) == 2
    assert message in capsys.readouterr().err


def test_labels_the_wrong_way_round_are_refused(
    bert: Path, label_map: Path, tmp_path: Path
) -> None:
    texts = [f"{one} {two}" for one in _WORDS for two in _WORDS]
    scores = torch_scores(bert, texts, "softmax")[:, 0]
    truth = {"toxicity": scores < np.median(scores)}
    known = {"toxicity": np.ones(len(texts), np.bool_)}
    examples = Examples("labelled.csv", texts, truth, known)
    with pytest.raises(InputError, match="texts labelled 1 score lower than those labelled 0"):
        export_hf(Request(str(bert), label_map, "mine"), tmp_path / "models", examples)
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("toxicty: toxic", r"map\.yaml:1:1: .*'toxicty'.*Did you mean 'toxicity'\?", id="category"),
        pytest.param("gore: toxic", r"unknown category of text 'gore'", id="category-of-images"),
        pytest.param("hate: [hate, hateful]", r"map\.yaml:1:14: hate: the model has no label 'hateful'. Its labels: fine, toxic, hate, hate/threatening. Did you mean 'hate'\?", id="label"),
        pytest.param("hate: []", r"hate: found an empty list\. Expected 'category: label'", id="no-labels"),
        pytest.param("hate:", r"hate: found nothing\. Expected", id="nothing"),
        pytest.param("hate: {hate: 1}", r"hate: found a mapping\. Expected", id="mapping"),
        pytest.param("- hate", r"found a list without entries\. Expected", id="list"),
        pytest.param("{}", r"found a mapping without entries\. Expected", id="no-categories"),
        pytest.param("", r"the file is empty", id="empty"),
        pytest.param("hate: [hate", r"not YAML", id="no-yaml"),
        pytest.param("hate: hate\nhate: toxic", r"duplicate key; first on line 1", id="twice"),
        pytest.param("toxicity: [fine, toxic, hate, hate/threatening]", r"toxicity: mapped to all labels of a softmax head", id="all-labels"),
    ],
)  # fmt: skip
def test_a_faulty_label_map_is_named_with_its_place(
    content: str, message: str, bert: Path, label_map: Path, tmp_path: Path
) -> None:
    label_map.write_text(content)
    with pytest.raises(InputError, match=message):
        export_hf(Request(str(bert), label_map, "mine"), tmp_path / "models")


def test_a_label_map_that_does_not_exist_is_named(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml.*cannot be read \(No such file"):
        export_hf(Request(str(bert), tmp_path / "none.yaml", "mine"), tmp_path / "models")


def test_all_faults_of_a_label_map_come_at_once(
    bert: Path, label_map: Path, tmp_path: Path
) -> None:
    label_map.write_text("hat: hate\nhate: hateful\n")
    with pytest.raises(InputError, match=r"map\.yaml:1:1: (.|\n)*map\.yaml:2:7: "):
        export_hf(Request(str(bert), label_map, "mine"), tmp_path / "models")


def _set_config(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def _save_encoder(folder: Path) -> None:
    BertModel(BertConfig(**_BERT)).save_pretrained(folder)


def _remove_head(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("classifier")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def _remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _pickle_weights(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _make_tokenizer_slow(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text("{}")
    config = {"tokenizer_class": "CTRLTokenizer", "unk_token": "<unk>"}
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "vocab.json").write_text(json.dumps({"<unk>": 0}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(_remove("config.json"), r"no config\.json\. Expected a folder", id="no-config"),
        pytest.param(lambda f: (f / "config.json").write_text("{"), r"config\.json: transformers cannot use it", id="config-malformed"),
        pytest.param(lambda f: _set_config(f, model_type="unheard-of"), r"config\.json: transformers cannot use it", id="unknown-type"),
        pytest.param(_save_encoder, r"no text classifier: its architecture is BertModel\. Expected one that ends in ForSequenceClassification", id="encoder"),
        pytest.param(lambda f: _set_config(f, architectures=None), r"its architecture is none", id="no-architecture"),
        pytest.param(lambda f: _set_config(f, problem_type="regression"), r"problem_type is 'regression', which gives no probability", id="regression"),
        pytest.param(_remove("tokenizer.json"), r"no tokenizer can be read|is not fast", id="no-tokenizer"),
        pytest.param(_make_tokenizer_slow, r"its tokenizer CTRLTokenizer is not fast\. Expected a tokenizer\.json", id="slow-tokenizer"),
        pytest.param(_remove("model.safetensors"), r"its weights cannot be read", id="no-weights"),
        pytest.param(_pickle_weights, r"its weights cannot be read.*Expected model\.safetensors", id="pickle"),
        pytest.param(lambda f: (f / "model.safetensors").write_bytes(b"no"), r"its weights cannot be read", id="weights-malformed"),
        pytest.param(_remove_head, r"its weights lack classifier\.bias, classifier\.weight \(2 in all\)", id="no-head"),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_used_is_refused_with_the_reason(
    spoil: Callable[[Path], None], message: str, bert: Path, label_map: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(bert, tmp_path / "model")
    spoil(folder)
    with pytest.raises(InputError, match=message) as raised:
        export_hf(Request(str(folder), label_map, "mine"), tmp_path / "models")
    assert str(folder) in str(raised.value)


def test_a_model_that_torch_cannot_export_is_refused(label_map: Path, tmp_path: Path) -> None:
    folder = build(tmp_path / "model", "gpt2", "softmax")
    with pytest.raises(InputError, match="cannot export GPT2ForSequenceClassification to onnx"):
        export_hf(Request(str(folder), label_map, "mine"), tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_graph_that_is_not_the_model_is_refused(
    bert: Path, label_map: Path, tmp_path: Path
) -> None:
    artifact = export_hf(Request(str(bert), label_map, "mine"), tmp_path)
    expected, _ = outputs_of(artifact, open_runner(artifact, RunnerOptions()), PARITY_TEXTS)
    check_faithful(artifact, expected)
    expected[-1, 0] += 0.1
    with pytest.raises(ParityError, match=r"texts one by one, its logits differ .* by 0\.1000"):
        check_faithful(artifact, expected)


def test_a_hub_name_without_network_is_one_sentence(
    label_map: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert main(command("nobody/no-such-model", label_map, tmp_path / "models")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nobody/no-such-model: no such folder here, and the hub could not be")


def test_a_folder_that_does_not_exist_is_not_looked_for_on_the_hub(
    label_map: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no such folder, and no name of the hub"):
        export_hf(Request(str(tmp_path / "none"), label_map, "mine"), tmp_path / "models")


@pytest.mark.parametrize(
    ("task", "brings"),
    [("image-classification", "image artifacts"), ("token-classification", "pii artifacts")],
)
def test_other_tasks_say_what_will_bring_them(
    task: str, brings: str, bert: Path, label_map: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert main(command(bert, label_map, tmp_path / "models", "--task", task)) == 2
    assert f"--task {task}: not supported yet; it comes with {brings}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"name": "My_Model"}, "--name 'My_Model': not kebab-case", id="name"),
        pytest.param({"name": "../mine"}, "not kebab-case", id="name-is-a-path"),
        pytest.param(
            {"name": "blocklist"}, "guardkit has a step of that name", id="name-of-a-step"
        ),
        pytest.param({"name": "taken"}, "taken: exists already", id="name-is-taken"),
        pytest.param({"max_tokens": 512}, "Expected --max-tokens of at most 447", id="positions"),
        pytest.param({"max_tokens": 7}, "--max-tokens 7: expected at least 8", id="short-window"),
        pytest.param({"overlap": 126}, "windows of 128 tokens overlap by 0 to 125", id="overlap"),
        pytest.param({"overlap": -1}, "--overlap -1", id="negative-overlap"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused(
    changes: dict[str, Any], message: str, bert: Path, label_map: Path, tmp_path: Path
) -> None:
    (tmp_path / "models" / "taken").mkdir(parents=True)
    with pytest.raises(InputError, match=message):
        export_hf(replace(Request(str(bert), label_map, "mine"), **changes), tmp_path / "models")


def test_positions_of_roberta_start_behind_its_padding(label_map: Path, tmp_path: Path) -> None:
    folder = build(tmp_path / "model", "roberta", "softmax")  # 514 rows, of which 2 are no places
    with pytest.raises(InputError, match=r"reads 512 tokens"):
        export_hf(Request(str(folder), label_map, "mine", max_tokens=448), tmp_path / "models")
