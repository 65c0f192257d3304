"""Everything that can be wrong with a classifier of somebody's own, or with what is said about it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertModel,
)

from guardkit.artifacts import RunnerOptions
from guardkit.cli.main import main
from guardkit.errors import InputError, ParityError
from guardkit.export.hf import check_faithful, export_hf
from guardkit.export.hf_request import Examples, Request
from guardkit.export.verify import TEXTS as PARITY_TEXTS
from guardkit.export.verify import outputs_of
from guardkit.runtime.base import open_runner
from tests.training.tiny_hf import BERT, WORDS, build, command, torch_scores


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        pytest.param(["bias", "1"], "no labels for toxicity, hate", id="other-category"),
        pytest.param(
            ["hate", *"11110"], "'hate': 4 positive and 1 negative examples", id="too-few"
        ),
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
    texts = [f"{one} {two}" for one in WORDS for two in WORDS]
    scores = torch_scores(bert, texts, "softmax")[:, 0]
    truth = {"toxicity": scores < np.median(scores)}
    known = {"toxicity": np.ones(len(texts), np.bool_)}
    examples = Examples("labelled.csv", texts, truth, known)
    with pytest.raises(InputError, match="examples labelled 1 score lower than those labelled 0"):
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
    BertModel(BertConfig(**BERT)).save_pretrained(folder)


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
        pytest.param(_save_encoder, r"not for text-classification: its architecture is BertModel\. Expected one that ends in ForSequenceClassification", id="encoder"),
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
