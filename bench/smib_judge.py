"""The judge of the SmolLM2 study: another base and other data than the scorer that labels what SMIB is trained on.

That scorer is the shipped `text-safety` (MiniLM-L6), trained on the pool's `train` rows without the OpenRAIL++ sources. The judge reads
states of multilingual-e5-small, frozen (mean and maximum of the last layer's tokens, mean of the middle one's), with a network of its own, trained on what that scorer was
not trained on: English rows of `textdetox_multilingual` and the pool's `valid` rows with a label of toxicity. A twelfth is held back to measure it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import AutoModel

_log = logging.getLogger(__name__)
_BASE, _PREFIX, _MOST_TOKENS, _SEED = "e5-small-multi", "query: ", 48, 20261127
_ROWS, _MOST_CHARACTERS = 6000, 160  # as short as what is judged
_EPOCHS, _MIDDLE = 12, 8


class Judge:
    """Probability that a text is toxic."""

    def __init__(self, bases: Path) -> None:
        self.encoder = AutoModel.from_pretrained(bases / _BASE, dtype=torch.bfloat16).eval()
        d = self.encoder.config.hidden_size
        self.head = nn.Sequential(nn.LayerNorm(3 * d), nn.Dropout(0.3), nn.Linear(3 * d, 256), nn.ReLU(), nn.Dropout(0.3), nn.Linear(256, 1))  # fmt: skip
        self._tokenizer = Tokenizer.from_file(str(bases / _BASE / "tokenizer.json"))
        self._tokenizer.enable_truncation(_MOST_TOKENS)
        self._tokenizer.enable_padding(pad_id=1)

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """What the head reads: f32 [texts, 3d]."""
        order = np.argsort([len(text) for text in texts])
        found = np.zeros((len(texts), 3 * self.encoder.config.hidden_size), np.float32)
        for at in range(0, len(order), 64):
            rows = order[at : at + 64]
            encoded = self._tokenizer.encode_batch([_PREFIX + texts[row] for row in rows])
            ids = torch.tensor([one.ids for one in encoded])
            mask = torch.tensor([one.attention_mask for one in encoded])
            layers = self.encoder(input_ids=ids, attention_mask=mask, output_hidden_states=True)
            last, middle = (layers.hidden_states[place].float() for place in (-1, _MIDDLE))
            means = [(one * mask[..., None]).sum(1) / mask.sum(1, keepdim=True) for one in (last, middle)]  # fmt: skip
            most = last.masked_fill(mask[..., None] == 0, -1e9).amax(1)
            found[rows] = torch.cat([*means, most], 1).numpy()
            if at % 640 == 0:
                _log.info("judge: %d of %d texts", at, len(texts))
        return found

    def score_states(self, states: NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities f64 [texts] of what `embed` gave."""
        with torch.inference_mode():
            logits = self.head.eval()(torch.from_numpy(states)).squeeze(1)
        found: NDArray[np.float64] = torch.sigmoid(logits).double().numpy()
        return found


def open_judge(bases: Path, data: Path, run: Path) -> Judge:
    """The trained judge; it is trained where the folder of the run has none."""
    judge, weights = Judge(bases), run / "judge.safetensors"
    if not weights.is_file():
        texts, labels = rows_of(data)
        held = len(texts) // 12
        kept = run / "judge.npy"
        if not kept.is_file():
            np.save(kept, judge.embed(texts))
        states = torch.from_numpy(np.load(kept))
        _fit(judge.head, states[held:], torch.from_numpy(labels[held:]))
        about = _measured(judge.head, states[:held], labels[:held] > 0)
        (run / "judge.json").write_text(json.dumps({"rows": len(texts) - held, "held back": held} | about) + "\n")  # fmt: skip
        save_file(judge.head.state_dict(), weights)
    judge.head.load_state_dict(load_file(weights))
    return judge


def rows_of(data: Path) -> tuple[list[str], NDArray[np.float32]]:
    """As many toxic as clean rows, shuffled by a hash of their texts."""
    table = pq.read_table(data / "text" / "unified.parquet").to_pylist()
    toxic, clean = list[str](), list[str]()
    for row in sorted(table, key=lambda one: hashlib.sha256(one["text"].encode()).hexdigest()):
        unseen = row["split"] == "valid" or row["source"] == "textdetox_multilingual"
        label = row["toxicity"]
        if row["lang"] != "en" or not unseen or label is None or label != label:
            continue
        if len(row["text"]) > _MOST_CHARACTERS:
            continue
        if label >= 0.7:
            toxic.append(row["text"])
        elif label <= 0.2:
            clean.append(row["text"])
    each = min(_ROWS // 2, len(toxic), len(clean))
    texts = toxic[:each] + clean[:each]
    labels = np.repeat(np.array([1, 0], np.float32), each)
    order = np.random.default_rng(_SEED).permutation(len(texts))
    return [texts[at] for at in order], labels[order]


def _fit(head: nn.Module, states: torch.Tensor, labels: torch.Tensor) -> None:
    torch.manual_seed(_SEED)
    optimizer = torch.optim.AdamW(head.parameters(), 5e-4, weight_decay=0.05)
    head.train()
    for _ in range(_EPOCHS):
        for rows in torch.randperm(len(states)).split(64):
            loss = binary_cross_entropy_with_logits(head(states[rows]).squeeze(1), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def _measured(head: nn.Module, states: torch.Tensor, toxic: NDArray[np.bool_]) -> dict[str, float]:
    with torch.no_grad():
        found = head.eval()(states).squeeze(1).numpy() >= 0
    return {
        "accuracy": round(float((found == toxic).mean()), 4),
        "toxic found": round(float(found[toxic].mean()), 4),
        "clean flagged": round(float(found[~toxic].mean()), 4),
    }
