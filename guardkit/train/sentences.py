"""Requests as `image-transform` reads them: a sentence encoder's vectors, and what text-safety says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModel

from guardkit.artifacts import RunnerOptions
from guardkit.image.transform import log_odds_of
from guardkit.runtime.base import open_runner
from guardkit.steps import TEXT_SAFETY
from guardkit.text.encode import Encoder
from guardkit.text.normalize import normalize
from guardkit.text.opening import open_model
from guardkit.train.edit_prompts import Request
from guardkit.train.transform_head import Said

MAX_TOKENS, OVERLAP = 64, 16
_TINY = 1e-6
_TOGETHER = 64


class SentenceEncoder(nn.Module):
    """An encoder of tokens, its states averaged to one vector of length 1."""

    def __init__(self, base: str | Path) -> None:
        """Read it from a local folder, or by its name on the hub."""
        super().__init__()
        self.encoder = AutoModel.from_pretrained(
            base, add_pooling_layer=False, attn_implementation="eager"
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """int64 [b, tokens] twice to f32 [b, width]."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask)[0]
        weights = attention_mask.unsqueeze(-1).to(states.dtype)
        mean = (states * weights).sum(1) / weights.sum(1)
        return mean / (mean.norm(dim=1, keepdim=True) + _TINY)


def encoder_of(base: Path) -> Encoder:
    """The tokenizer of a base in a local folder, cut as the artifact cuts."""
    content = (base / "tokenizer.json").read_bytes()
    return Encoder(content, max_tokens=MAX_TOKENS, overlap=OVERLAP)


def read_requests(requests: Sequence[Request], base: Path, *, kept: Path | None = None) -> Said:
    """Read sentences, each short enough for one window.

    Args:
        requests: What to read.
        base: The sentence encoder's folder.
        kept: An .npz file with what was read before; where it holds other sentences they are read, and it is written.
    """
    texts = np.array([one.text for one in requests])
    kinds = tuple(one.kind for one in requests)
    if kept is not None and kept.is_file():
        with np.load(kept) as stored:
            if np.array_equal(stored["texts"], texts):
                return Said(kinds, stored["vectors"], stored["log_odds"])
    said = _read(requests, base)
    if kept is not None:
        np.savez(kept, texts=texts, vectors=said.vectors, log_odds=said.log_odds)
    return said


def _read(requests: Sequence[Request], base: Path) -> Said:
    model, encoder = SentenceEncoder(base).eval(), encoder_of(base)
    safety = open_model(TEXT_SAFETY, RunnerOptions(), open_runner)
    prompts = [normalize(one.text, words=safety.words()) for one in requests]
    vectors = []
    for prompt in prompts:
        inputs = encoder.encode([prompt.text]).inputs
        ids, mask = (torch.tensor(inputs[name]) for name in ("input_ids", "attention_mask"))
        with torch.no_grad():
            vectors.append(model(ids, mask)[0].numpy())
    scored = [one for at in range(0, len(prompts), _TOGETHER) for one in safety.score(prompts[at : at + _TOGETHER])]  # fmt: skip
    odds = [log_odds_of(one.scores, safety.categories) for one in scored]
    return Said(tuple(one.kind for one in requests), np.stack(vectors), np.stack(odds))
