"""The labels of somebody's classifier as categories of ours.

The log-odds of a category, from the logits z of the labels L that it is mapped to:

    sigmoid head (labels are independent):     max_{l in L} z_l
    softmax head (labels exclude each other):  logsumexp_{l in L} z_l - logsumexp_{l not in L} z_l

A classifier of tokens gives them for every token; the text's are the highest of its tokens. The tokens of a
context before the text ([CLS] context [SEP] text [SEP]) and the special ones do not count.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from guardkit.errors import InputError
from guardkit.export.hf_model import Classifier, Head, Network, Task

_AROUND = ("one before", "one behind it")
_NOT_THE_TEXT = -30.0  # log-odds of a token that does not count: a probability of 1e-13


class CategoryOdds:
    """Logits of labels, f32 [..., labels], to log-odds of categories, f32 [..., categories]."""

    def __init__(self, plain: Network, columns: Mapping[str, Sequence[int]]) -> None:
        """Prepare the sums over labels.

        Args:
            plain: The classifier.
            columns: Category -> the columns of its logits that mean the category.
        """
        self._columns = [list(one) for one in columns.values()]
        self._others = [
            [at for at in range(len(plain.labels)) if at not in one] for one in self._columns
        ]
        self._is_sigmoid = plain.head is Head.SIGMOID

    def __call__(self, z: Tensor) -> Tensor:
        """Log-odds; see the module docstring."""
        if self._is_sigmoid:
            return torch.stack([z[..., own].amax(-1) for own in self._columns], -1)
        pairs = zip(self._columns, self._others, strict=True)
        odds = [z[..., own].logsumexp(-1) - z[..., rest].logsumexp(-1) for own, rest in pairs]
        return torch.stack(odds, -1)


class CategoryModel(nn.Module):
    """A classifier of texts or tokens whose logits are log-odds of categories."""

    def __init__(self, plain: Classifier, columns: Mapping[str, Sequence[int]]) -> None:
        """Put the sums over labels behind a classifier; arguments as of `CategoryOdds`."""
        super().__init__()
        self.model = plain.model
        self.task = plain.task
        self._odds = CategoryOdds(plain, columns)
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
