"""Sample from a causal language model, many prompts at once, with random numbers that do not depend on the model.

Row (prompt, k) at step t draws the number that its own seed gives, so two variants of a model are compared on equal luck.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sampling:
    """How texts are drawn."""

    k: int = 5
    """Generations a prompt."""
    tokens: int = 20
    """New tokens, at most: a text ends earlier at the end token."""
    top_p: float = 0.9
    """Of the nucleus; temperature 1."""
    seed: int = 20261127
    prompts: int = 48
    """Of them in one batch, each k times."""


def sample(
    model: Any, tokenizer: Any, prompts: Sequence[tuple[int, str]], how: Sampling
) -> Iterator[tuple[int, list[str]]]:
    """Continue prompts.

    Args:
        model: A causal language model of transformers, in eval mode.
        tokenizer: Its tokenizer.
        prompts: (number, text); the number is part of each row's seed.
        how: How.

    Yields:
        (number, its k continuations without the prompt), in batches of similar length.
    """
    encoded = [(number, tokenizer(text)["input_ids"]) for number, text in prompts]
    encoded.sort(key=lambda one: len(one[1]))
    for at in range(0, len(encoded), how.prompts):
        batch = encoded[at : at + how.prompts]
        drawn = _continue(model, [ids for _, ids in batch], _luck([n for n, _ in batch], how), how)
        end = tokenizer.eos_token_id
        texts = [tokenizer.decode(_before(row, end), skip_special_tokens=True) for row in drawn]
        for row, (number, _) in enumerate(batch):
            yield number, texts[row * how.k : (row + 1) * how.k]


def _luck(numbers: Sequence[int], how: Sampling) -> Tensor:
    """Uniform numbers in [0, 1): f32 [prompts * k, tokens], prompt by prompt."""
    return torch.from_numpy(
        np.concatenate(
            [np.random.default_rng([how.seed, n]).random((how.k, how.tokens), np.float32) for n in numbers]
        )
    )  # fmt: skip


@torch.inference_mode()
def _continue(model: Any, prompts: list[list[int]], luck: Tensor, how: Sampling) -> Tensor:
    """Draw int64 [prompts * k, tokens]; what follows an end token is to be cut."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(one)) + one for one in prompts])
    mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in prompts])
    position = (mask.cumsum(1) - 1).clamp(min=0)
    out = model(input_ids=ids, attention_mask=mask, position_ids=position, use_cache=True, logits_to_keep=1)  # fmt: skip
    cache = out.past_key_values
    cache.batch_repeat_interleave(how.k)
    logits = out.logits[:, -1].repeat_interleave(how.k, 0)
    mask, position = mask.repeat_interleave(how.k, 0), position[:, -1:].repeat_interleave(how.k, 0)
    drawn = []
    for step in range(how.tokens):
        drawn.append(_draw(logits.float(), luck[:, step], how.top_p))
        if step + 1 == how.tokens:
            break
        mask, position = torch.cat([mask, mask[:, :1] | 1], 1), position + 1
        out = model(input_ids=drawn[-1][:, None], attention_mask=mask, position_ids=position, past_key_values=cache, use_cache=True)  # fmt: skip
        logits = out.logits[:, -1]
    return torch.stack(drawn, 1)


def _draw(logits: Tensor, luck: Tensor, top_p: float) -> Tensor:
    """One token a row out of its nucleus: the smallest set of the likeliest tokens that holds `top_p`."""
    most = 1024  # of 49152: a nucleus is cut to them where it is larger; sorting all costs as much as the model
    values, tokens = logits.topk(most)
    p = (values - logits.logsumexp(-1, keepdim=True)).exp()
    p = p * ((p.cumsum(-1) - p) < top_p)
    p = p / p.sum(-1, keepdim=True)
    place = (p.cumsum(-1) < luck[:, None]).sum(-1).clamp(max=most - 1)
    return tokens.gather(1, place[:, None]).squeeze(1)


def _before(row: Tensor, end: int) -> list[int]:
    ids: list[int] = row.tolist()
    return ids[: ids.index(end)] if end in ids else ids
