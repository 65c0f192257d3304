"""Tiny Hugging Face classifiers with random weights, and what torch itself makes of texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

LABELS = ["fine", "toxic", "hate", "hate/threatening"]
MAP = "toxicity: toxic\nhate: [hate, hate/threatening]\n"
TEXTS = [
    "you are the idiot",
    "a nice photo of the sea",
    "obey",
    "will you hurt the friend of a friend of a friend of the idiot",
]
WORDS = [
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
_VOCABULARY = len(_SPECIAL + WORDS)
_HEADS = {"softmax": "single_label_classification", "sigmoid": "multi_label_classification"}
BERT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "initializer_range": 0.4,
    "vocab_size": _VOCABULARY,
}
_DISTIL: dict[str, Any] = {
    "dim": 32,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_dim": 64,
    "initializer_range": 0.4,
}
_GPT: dict[str, Any] = {"n_embd": 32, "n_layer": 1, "n_head": 2, "vocab_size": _VOCABULARY}


def save_tokenizer(folder: Path) -> None:
    """A fast tokenizer over seventeen tokens, with padding and truncation as files in the wild have."""
    words = {word: at for at, word in enumerate(_SPECIAL + WORDS)}
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


def build(folder: Path, family: str, head: str, **changes: Any) -> Path:
    """A classifier with random weights that are large enough for texts to differ, as a folder."""
    common: dict[str, Any] = {
        "num_labels": len(LABELS),
        "id2label": dict(enumerate(LABELS)),
        "label2id": {label: at for at, label in enumerate(LABELS)},
        "problem_type": _HEADS[head],
        "pad_token_id": 1,
    } | changes
    torch.manual_seed(7)
    if family == "bert-tokens":
        model = BertForTokenClassification(BertConfig(**BERT, **common))
    elif family == "bert":
        model = BertForSequenceClassification(BertConfig(**BERT, **common))
    elif family == "roberta":
        config = RobertaConfig(**BERT, max_position_embeddings=514, type_vocab_size=1, **common)
        model = RobertaForSequenceClassification(config)
    elif family == "gpt2":
        model = GPT2ForSequenceClassification(GPT2Config(**_GPT, **common))
    else:
        config = DistilBertConfig(**_DISTIL, vocab_size=_VOCABULARY, **common)
        model = DistilBertForSequenceClassification(config)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


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


def torch_token_scores(folder: Path, text: str) -> NDArray[np.float32]:
    """f32 [words, labels], probabilities, as transformers itself gives them."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        p = model(**tokenizer(text, return_tensors="pt", truncation=False)).logits[0].softmax(-1)
    scores: NDArray[np.float32] = p[1:-1].numpy()
    return scores


def command(model: Path | str, labels: Path, models: Path, *more: str) -> list[str]:
    """`guardkit export hf` for an artifact `mine`."""
    named = ["--labels", str(labels), "--name", "mine", "--out", str(models)]
    return ["export", "hf", str(model), *named, *more]
