"""A Hugging Face classifier, read from a folder or the hub as it comes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from guardkit.errors import InputError
from guardkit.text.encode import LONGEST_CONTEXT

_LARGEST = 2**31 - 2**24  # bytes of weights: an onnx file holds 2 GiB, graph and tensors together
# What transformers raises, by file and version, when something is missing, malformed or out of reach.
READING = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    ImportError,
    SafetensorError,
)
_HUB_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")


class Task(Enum):
    """What a classifier gives its labels to, in Hugging Face's words."""

    TEXT = "text-classification"
    TOKENS = "token-classification"
    IMAGES = "image-classification"

    @property
    def architecture(self) -> str:
        """How the name of its architectures ends."""
        return {
            Task.TEXT: "ForSequenceClassification",
            Task.TOKENS: "ForTokenClassification",
            Task.IMAGES: "ForImageClassification",
        }[self]

    @property
    def outputs(self) -> tuple[str, ...]:
        """What its graph gives."""
        return ("logits", "token_logits") if self is Task.TOKENS else ("logits",)


class Head(Enum):
    """How the labels of a classifier relate."""

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"


@dataclass(frozen=True, slots=True)
class Network:
    """The network of a classifier, and what its logits stand for."""

    model: nn.Module
    task: Task
    labels: tuple[str, ...]
    head: Head


@dataclass(frozen=True, slots=True)
class Classifier(Network):
    """A classifier of texts or tokens: its network takes input_ids and attention_mask, int64 [windows, tokens].

    `.logits` are f32 [windows, labels], or [windows, tokens, labels].
    """

    tokenizer: Tokenizer
    positions: int | None
    """Tokens it can tell the place of; None: any number."""


def read_classifier(name: str, task: Task = Task.TEXT) -> Classifier:
    """Read a classifier of texts or tokens; see `read_network`.

    Raises:
        InputError: There is none, or it cannot be used; the message says why.
    """
    network = read_network(name, task)
    return Classifier(
        model=network.model,
        task=task,
        labels=network.labels,
        head=network.head,
        tokenizer=_read_tokenizer(name).backend_tokenizer,
        positions=_positions(network.model),
    )


def read_network(name: str, task: Task) -> Network:
    """Read the network of a classifier from a local folder, or the hub.

    Nothing of it is run but its weights: no code that comes with a model, no pickles.

    Raises:
        InputError: There is none, or it cannot be used; the message says why.
    """
    config = _read_config(name)
    found = config.architectures or ["none"]
    if not all(one.endswith(task.architecture) for one in found):
        raise InputError(
            f"{name}: not for {task.value}: its architecture is {', '.join(found)}. Expected one that "
            f"ends in {task.architecture}. Fine-tune it for that first, or name another --task."
        )
    head = head_of(name, config)
    labels = tuple(label for _, label in sorted(config.id2label.items()))
    return Network(_read_model(name, task), task, labels, head)


def check_window(name: str, positions: int | None, max_tokens: int) -> None:
    """Hold a window, and a context before it, to what the model can read.

    Raises:
        InputError: It is too long.
    """
    if positions is not None and max_tokens + LONGEST_CONTEXT > positions:
        raise InputError(
            f"{name}: reads {positions} tokens, and a window of --max-tokens {max_tokens} with a "
            f"context before it takes {max_tokens + LONGEST_CONTEXT}. Expected --max-tokens of at "
            f"most {positions - LONGEST_CONTEXT}. Lower it; longer texts take several windows."
        )


def head_of(name: str, config: Any) -> Head:
    """What transformers itself makes of a head: sigmoid for several labels at once, or for one.

    Raises:
        InputError: It gives no probability.
    """
    if config.problem_type == "regression":
        raise InputError(
            f"{name}: problem_type is 'regression', which gives no probability. Expected "
            "'single_label_classification' or 'multi_label_classification' in config.json."
        )
    is_sigmoid = config.problem_type == "multi_label_classification" or config.num_labels == 1
    return Head.SIGMOID if is_sigmoid else Head.SOFTMAX


def _read_config(name: str) -> Any:
    folder = Path(name)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise InputError(
            f"{name}: no config.json. Expected a folder that save_pretrained wrote, for model and "
            "tokenizer, or image processor."
        )
    if not folder.is_dir() and not _HUB_NAME.match(name):
        raise InputError(f"{name}: no such folder, and no name of the hub (owner/model).")
    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=False)
    except READING as e:
        if folder.is_dir():
            raise InputError(
                f"{folder / 'config.json'}: transformers cannot use it ({type(e).__name__}). "
                "Expected one that save_pretrained wrote, of a model that needs no code of its own."
            ) from e
        raise InputError(
            f"{name}: no such folder here, and the hub could not be reached, or has no such model "
            "that this machine may read. Download it elsewhere and name its folder."
        ) from e


def _read_tokenizer(name: str) -> Any:
    hint = "Expected a tokenizer.json beside the model: AutoTokenizer...save_pretrained writes it."
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, use_fast=True, trust_remote_code=False)
    except READING as e:
        raise InputError(f"{name}: no tokenizer can be read ({type(e).__name__}). {hint}") from e
    if not tokenizer.is_fast:
        raise InputError(f"{name}: its tokenizer {type(tokenizer).__name__} is not fast. {hint}")
    return tokenizer


def _read_model(name: str, task: Task) -> nn.Module:
    automatic = {
        Task.TEXT: AutoModelForSequenceClassification,
        Task.TOKENS: AutoModelForTokenClassification,
        Task.IMAGES: AutoModelForImageClassification,
    }[task]
    # The others hide masks in kernels that torch cannot export; networks of convolutions have none at all.
    attention = {} if task is Task.IMAGES else {"attn_implementation": "eager"}
    try:
        model, report = automatic.from_pretrained(
            name,
            **attention,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except READING as e:
        raise InputError(
            f"{name}: its weights cannot be read ({type(e).__name__}). Expected model.safetensors "
            "that fits config.json; load the model with transformers and save_pretrained it."
        ) from e
    if missing := sorted(report["missing_keys"]):
        raise InputError(
            f"{name}: its weights lack {', '.join(missing[:3])} ({len(missing)} in all), which would "
            "be random. Save the fine-tuned classifier with save_pretrained."
        )
    model = model.float().eval()
    size = sum(one.numel() * one.element_size() for one in model.parameters())
    if size > _LARGEST:
        raise InputError(
            f"{name}: {size} bytes of fp32 weights, an onnx file holds {_LARGEST}. Use a smaller model."
        )
    return model


def _positions(model: nn.Module) -> int | None:
    """Longest input. RoBERTa and its kin start to count behind the padding token's place."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            first = 0 if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - first
    config: Any = model.config
    return config.max_position_embeddings if hasattr(config, "max_position_embeddings") else None
