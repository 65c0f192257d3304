"""Train `text-safety-fast`: static token embeddings and one convolution, distilled from `text-safety`.

    guardkit train text-safety-fast --data FOLDER --work FOLDER                 # 60k texts
    guardkit train text-safety-fast --data FOLDER --work FOLDER --rows 3000     # a look

Texts are scored with the shipped `text-safety` first (two cores: 60k in about four minutes, kept in
--work), training takes at most six more. `guardkit.export.text_safety_fast` then writes the artifact.

Model: x_t = s_id q_id [D] (int8 row q, scale s);  y_t = relu(sum_k W_k x_{t+k} + b), k in {-1, 0, 1} [H];
       pooled = [max_t y_t ; mean_t y_t] [2H];  logit = A relu(B pooled + c) + d [C]
Loss:  BCE(logit_c, p_c) + 3 BCE(max_c (logit_c - l_c), sigmoid(max_c (logit p_c - l_c))), where p is the
       full model's score and l_c the logit of the lowest threshold: the second part is what clears.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import dropout

from guardkit.artifacts import Artifact
from guardkit.train.start import weights_of
from guardkit.train.teacher import Taught

_log = logging.getLogger(__name__)

Floats = NDArray[np.float32]
_EMBEDDINGS = "encoder.embeddings.word_embeddings.weight"
_WEIGHTS, _ABOUT = "fast.safetensors", "fast.json"
_STEEPEST = 12.0  # a logit beyond it says no more


@dataclass(frozen=True, slots=True)
class FastSettings:
    """What one training run is made of."""

    width: int = 128
    """Numbers a token; 30k tokens at int8: 4 MB."""
    channels: int = 192
    hidden: int = 96
    epochs: int = 8
    limit_s: float = 330.0
    """Training ends here, its learning rate gone to 0, however far it came."""
    batch: int = 128
    rate: float = 1e-3
    decay: float = 0.02
    word_dropout: float = 0.1
    """Share of the tokens that a step does not see."""
    any_weight: float = 3.0
    """Weight of the second part of the loss."""
    seed: int = 20261124
    threads: int = 1
    """Two spin, and are slower, when the machine is busy."""


class FastModel(nn.Module):
    """Static embeddings, a convolution over three tokens, two poolings, a small head."""

    def __init__(self, vocabulary: int, categories: int, settings: FastSettings) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, settings.width)
        self.convolution = nn.Conv1d(settings.width, settings.channels, 3, padding=1)
        self.inner = nn.Linear(2 * settings.channels, settings.hidden)
        self.outer = nn.Linear(settings.hidden, categories)
        self._word_dropout = settings.word_dropout

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Score tokens int64 [B, T]: returns logits [B, C]."""
        mask = attention_mask.unsqueeze(1).float()  # [B, 1, T]
        x = self.embedding(input_ids).transpose(1, 2) * mask
        if self.training:
            x = x * (torch.rand_like(mask) >= self._word_dropout)
        y = torch.relu(self.convolution(x)) * mask
        pooled = torch.cat([y.amax(2), y.sum(2) / mask.sum(2).clamp(min=1)], dim=1)
        inner = torch.relu(self.inner(dropout(pooled, 0.2, self.training)))
        return self.outer(dropout(inner, 0.2, self.training))


def train_fast(
    taught: Taught,
    scores: Floats,
    thresholds: Sequence[float | None],
    full: Artifact,
    work: Path,
    settings: FastSettings,
) -> None:
    """Distil the full model and leave the result in `work`.

    Args:
        taught: Windows to learn from.
        scores: f32 [windows, categories], the full model's calibrated scores.
        thresholds: The lowest threshold of each category; None: no policy asks for it.
        full: The full model, whose embeddings it starts from.
        work: The weights go here.
        settings: What the run is made of.
    """
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    start = _start_embeddings(full, settings.width)
    model = FastModel(len(start), scores.shape[1], settings)
    with torch.no_grad():
        model.embedding.weight.copy_(torch.from_numpy(start))
        prior = np.clip(scores.mean(axis=0), 1e-4, 0.99)
        model.outer.bias.copy_(torch.from_numpy(np.log(prior / (1 - prior))))
    _fit(model, taught, torch.from_numpy(scores), _Margins(thresholds), settings)
    save_file(model.state_dict(), work / _WEIGHTS)
    about = {"settings": asdict(settings), "windows": len(taught.ids), "teacher": full.manifest.id}
    (work / _ABOUT).write_text(json.dumps(about, indent=1) + "\n")


def load_fast(work: Path) -> dict[str, Floats]:
    """The weights that `train_fast` left, under their names in `FastModel`."""
    return {name: tensor.numpy() for name, tensor in load_file(work / _WEIGHTS).items()}


def _start_embeddings(full: Artifact, width: int) -> Floats:
    """The full model's token embeddings on their first principal axes, f32 [vocabulary, width]."""
    graph = onnx.load_from_string(full.read(full.manifest.model))
    table = weights_of(graph)[_EMBEDDINGS]
    table = table - table.mean(axis=0)
    _, axes = np.linalg.eigh(table.T @ table)
    width_found = min(width, table.shape[1])
    reduced = table @ axes[:, ::-1][:, :width_found]
    padded = np.zeros((len(table), width), np.float32)
    padded[:, :width_found] = reduced / reduced.std() * 0.3  # chosen: as a fresh layer expects
    return padded


class _Margins:
    """How far the closest category is above its threshold, in logits."""

    def __init__(self, thresholds: Sequence[float | None]) -> None:
        ruled = [(at, value) for at, value in enumerate(thresholds) if value is not None]
        self._columns = torch.tensor([at for at, _ in ruled])
        self._bars = torch.logit(torch.tensor([value for _, value in ruled]), eps=1e-6)

    def __call__(self, logits: Tensor) -> Tensor:
        """[B, C] to [B]."""
        return (logits[:, self._columns] - self._bars).amax(1)


def _fit(
    model: FastModel, taught: Taught, scores: Tensor, margins: _Margins, settings: FastSettings
) -> None:
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.rate, weight_decay=settings.decay, fused=True
    )
    steps = settings.epochs * max(1, len(taught.ids) // settings.batch)
    started, recent = time.monotonic(), 0.0
    model.train()
    for step, rows in enumerate(_batches(taught, settings)):
        progress = max(step / steps, (time.monotonic() - started) / settings.limit_s)
        if progress >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = settings.rate * min(1.0, (step + 1) / 50) * (1 - progress)
        ids, mask = _padded([taught.ids[row] for row in rows])
        logits, wanted = model(ids, mask), scores[torch.from_numpy(rows)]
        teacher = torch.logit(wanted, eps=1e-6).clamp(-_STEEPEST, _STEEPEST)
        loss = bce(logits, wanted)
        loss = loss + settings.any_weight * bce(margins(logits), torch.sigmoid(margins(teacher)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        recent = 0.98 * recent + 0.02 * loss.item() if recent else loss.item()
        if step % 200 == 199:
            _log.info("step %d of %d, %.0f %%, loss %.4f", step + 1, steps, 100 * progress, recent)
    model.eval()


def _batches(taught: Taught, settings: FastSettings) -> Iterator[NDArray[np.int64]]:
    """Windows of like length, in a new order every epoch, without end."""
    rng = np.random.default_rng(settings.seed)
    lengths = np.array([len(ids) for ids in taught.ids])
    while True:
        order = np.argsort(lengths + rng.random(len(lengths)) * 8)
        batches = [order[at : at + settings.batch] for at in range(0, len(order), settings.batch)]
        for index in rng.permutation(len(batches)):
            yield batches[index]


def _padded(rows: Sequence[NDArray[np.int64]]) -> tuple[Tensor, Tensor]:
    ids = torch.zeros((len(rows), max(map(len, rows))), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.from_numpy(row)
        mask[index, : len(row)] = 1
    return ids, mask
