"""Classifiers of somebody's own: tiny ones with random weights, and everything that can be wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
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

from guardkit import Guard
from guardkit.artifacts import load_artifact
from guardkit.cli.main import main
from guardkit.errors import InputError, ParityError
from guardkit.export.hf import Request, export_hf
from guardkit.export.label_map import TEXT_CATEGORIES
from guardkit.export.verify import load_card, verify
from guardkit.policy.load import policy_from_dict

LABELS = ["fine", "toxic", "hate", "hate/threatening"]
MAP = "toxicity: toxic\nhate: [hate, hate/threatening]\n"
TEXTS = [
    "you are the idiot",
    "a nice photo of the sea",
    "obey",
    "will you hurt the friend of a friend of a friend of the idiot",
]
_WORDS = "a the idiot friend you are nice sea will hurt photo of obey".split()
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
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "gpt2"])
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
