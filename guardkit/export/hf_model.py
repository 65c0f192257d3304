"""A Hugging Face classifier of texts or of tokens: read from a folder or the hub, its labels as categories.

The log-odds of a category, from the logits z of the labels L that it is mapped to:

    sigmoid head (labels are independent):     max_{l in L} z_l
    softmax head (labels exclude each other):  logsumexp_{l in L} z_l - logsumexp_{l not in L} z_l

A classifier of tokens gives them for every token; the text's are the highest of its tokens. The tokens of a
context before the text ([CLS] context [SEP] text [SEP]) and the special ones do not count.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from guardkit.errors import InputError
from guardkit.text.encode import LONGEST_CONTEXT

_LARGEST = 2**31 - 2**24  # bytes of weights: an onnx file holds 2 GiB, graph and tensors together
# What transformers raises, by file and version, when something is missing, malformed or out of reach.
_READING = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    ImportError,
    SafetensorError,
)
_AROUND = ("one before", "one behind it")
_NOT_THE_TEXT = -30.0  # log-odds of a token that does not count: a probability of 1e-13
_HUB_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")


class Task(Enum):
    """What a classifier gives its labels to, in Hugging Face's words."""

    TEXT = "text-classification"
    TOKENS = "token-classification"

    @property
    def architecture(self) -> str:
        """How the name of its architectures ends."""
        return {Task.TEXT: "ForSequenceClassification", Task.TOKENS: "ForTokenClassification"}[self]

    @property
    def outputs(self) -> tuple[str, ...]:
        """What its graph gives."""
        return {Task.TEXT: ("logits",), Task.TOKENS: ("logits", "token_logits")}[self]


class Head(Enum):
    """How the labels of a classifier relate."""

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"


@dataclass(frozen=True, slots=True)
class Classifier:
    """A classifier as it comes."""

    model: nn.Module
    """Takes input_ids and attention_mask, int64 [windows, tokens]; `.logits` f32 [windows, labels], or
    [windows, tokens, labels]."""
    task: Task
    tokenizer: Tokenizer
    labels: tuple[str, ...]
    head: Head
    positions: int | None
    """Tokens it can tell the place of; None: any number."""


def read_classifier(name: str, task: Task = Task.TEXT) -> Classifier:
    """Read a classifier from a local folder, or the hub.

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
    tokenizer = _read_tokenizer(name)
    model = _read_model(name, task)
    return Classifier(
        model=model,
        task=task,
        tokenizer=tokenizer.backend_tokenizer,
        labels=tuple(label for _, label in sorted(config.id2label.items())),
        head=head,
        positions=_positions(model),
    )


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
            "tokenizer."
        )
    if not folder.is_dir() and not _HUB_NAME.match(name):
        raise InputError(f"{name}: no such folder, and no name of the hub (owner/model).")
    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=False)
    except _READING as e:
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
    except _READING as e:
        raise InputError(f"{name}: no tokenizer can be read ({type(e).__name__}). {hint}") from e
    if not tokenizer.is_fast:
        raise InputError(f"{name}: its tokenizer {type(tokenizer).__name__} is not fast. {hint}")
    return tokenizer


def _read_model(name: str, task: Task) -> nn.Module:
    automatic = {
        Task.TEXT: AutoModelForSequenceClassification,
        Task.TOKENS: AutoModelForTokenClassification,
    }[task]
    try:
        model, report = automatic.from_pretrained(
            name,
            attn_implementation="eager",  # the others hide masks in kernels that torch cannot export
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except _READING as e:
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


class CategoryModel(nn.Module):
    """A classifier whose logits are log-odds of categories; see the module docstring."""

    def __init__(self, plain: Classifier, columns: Mapping[str, Sequence[int]]) -> None:
        """Put the sums over labels behind a classifier.

        Args:
            plain: The classifier.
            columns: Category -> the columns of its logits that mean the category.
        """
        super().__init__()
        self.model = plain.model
        self.task = plain.task
        self._columns = [list(one) for one in columns.values()]
        self._others = [
            [at for at in range(len(plain.labels)) if at not in one] for one in self._columns
        ]
        self._odds = {Head.SOFTMAX: self._softmax_odds, Head.SIGMOID: self._sigmoid_odds}[
            plain.head
        ]
        self._separator = _separator(plain) if plain.task is Task.TOKENS else None
        parameters = inspect.signature(plain.model.forward).parameters
        self._takes_types = "token_type_ids" in parameters

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """int64 [windows, tokens] twice to f32 [windows, categories], and [windows, tokens, categories]."""
        types = {"token_type_ids": torch.zeros_like(input_ids)} if self._takes_types else {}
        z = self.model(input_ids=input_ids, attention_mask=attention_mask, **types).logits
        odds = self._odds(z)
        if self._separator is None:
            return (odds,)
        is_text = self._is_text(input_ids, attention_mask).unsqueeze(-1)
        odds = torch.where(is_text, odds, torch.full_like(odds, _NOT_THE_TEXT))
        return odds.amax(1), odds

    def _is_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Bool [windows, tokens]: between the last two special tokens."""
        is_separator = ((input_ids == self._separator) & (attention_mask == 1)).to(torch.int64)
        before = is_separator.cumsum(1)
        has_context = before.amax(1, keepdim=True) - 1
        is_first = torch.arange(input_ids.shape[1], device=input_ids.device) == 0
        is_inside = (before == has_context) & (is_separator == 0) & (attention_mask == 1)
        return is_inside & ~is_first

    def _sigmoid_odds(self, z: Tensor) -> Tensor:
        return torch.stack([z[..., own].amax(-1) for own in self._columns], -1)

    def _softmax_odds(self, z: Tensor) -> Tensor:
        pairs = zip(self._columns, self._others, strict=True)
        odds = [z[..., own].logsumexp(-1) - z[..., rest].logsumexp(-1) for own, rest in pairs]
        return torch.stack(odds, -1)


def _separator(plain: Classifier) -> int:
    """The token that ends a text: the last one the tokenizer puts around nothing.

    Raises:
        InputError: It puts none.
    """
    nothing = plain.tokenizer.encode("")
    around = [
        one for one, is_real in zip(nothing.ids, nothing.attention_mask, strict=True) if is_real
    ]
    if len(around) != len(_AROUND):
        raise InputError(
            f"its tokenizer puts {len(around)} special tokens around a text. Expected "
            f"{' and '.join(_AROUND)}, as BERT's and RoBERTa's do."
        )
    return int(around[-1])
