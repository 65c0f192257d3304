"""The loop that trainings share: AdamW, a rate that rises and falls, checkpoints to go on from."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_log = logging.getLogger(__name__)
B = TypeVar("B")
_LENGTH_NOISE = 6  # tokens: which texts share a batch is not their length alone


@dataclass(frozen=True, slots=True)
class Plan:
    """How a run goes, whatever it trains."""

    steps: int
    batch: int
    encoder_rate: float
    """Peak learning rate of what the model has under `encoder`."""
    head_rate: float
    """Of all the rest."""
    warmup: float
    """Share of the steps."""
    decay: float
    checkpoint_steps: int


def fit(
    model: nn.Module,
    batches: Iterable[B],
    loss_of: Callable[[B], Tensor],
    work: Path,
    plan: Plan,
) -> None:
    """Train a model, from the last checkpoint in `work` on if there is one.

    Args:
        model: Has a part `encoder`, already trained, and others that are new.
        batches: In the same order each time, for a run that goes on skips those it has seen.
        loss_of: The loss of one batch.
        work: Checkpoints go here.
        plan: How long, how fast.
    """
    heads = [p for name, p in model.named_parameters() if not name.startswith("encoder.")]
    encoder = [p for p in model.encoder.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": encoder, "lr": plan.encoder_rate},
            {"params": heads, "lr": plan.head_rate},
        ],
        weight_decay=plan.decay,
        fused=True,
    )
    steps, warmup = plan.steps, max(1, int(plan.steps * plan.warmup))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warmup, max(0.0, (steps - step) / (steps - warmup + 1))),
    )
    done = _resume(model, optimizer, schedule, work)
    model.train()
    started, recent = time.monotonic(), 0.0
    for step, batch in enumerate(batches):
        if step < done:
            continue
        loss = loss_of(batch)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        recent = 0.98 * recent + 0.02 * loss.item() if recent else loss.item()
        if (step + 1) % plan.checkpoint_steps == 0:
            rate = (step + 1 - done) * plan.batch / (time.monotonic() - started)
            _log.info(
                "step %d of %d, loss %.4f, %.0f texts a second", step + 1, steps, recent, rate
            )
            _checkpoint(step + 1, model, optimizer, schedule, work)


def freeze_lower_half(encoder: nn.Module) -> None:
    """Leave an encoder's table of words and the first half of its layers as they are: they know words already, and cost time.

    Args:
        encoder: Has `embeddings` and `encoder.layer`, as BERT and MPNet of transformers do.
    """
    layers = encoder.encoder.layer
    for part in (encoder.embeddings, *layers[: len(layers) // 2]):
        part.requires_grad_(False)


def of_similar_length(
    lengths: Sequence[int], *, batch: int, seed: int
) -> Iterator[NDArray[np.int64]]:
    """Rows in batches of similar length, the batches shuffled: padding costs a third otherwise."""
    rng = np.random.default_rng(seed)
    order = np.argsort([length + rng.random() * _LENGTH_NOISE for length in lengths])
    groups = [order[at : at + batch] for at in range(0, len(order), batch)]
    for group in rng.permutation(len(groups)):
        yield groups[group]


def _checkpoint(
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
    work: Path,
) -> None:
    """Keep what a run needs to go on from a step."""
    state = {
        "step": step,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
    }
    torch.save(state, work / "checkpoint.tmp")
    (work / "checkpoint.tmp").replace(work / "checkpoint.pt")


def _resume(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
    work: Path,
) -> int:
    """Load the last checkpoint, if any; returns the steps already done."""
    path = work / "checkpoint.pt"
    if not path.is_file():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    _log.info("resumed at step %d", state["step"])
    return int(state["step"])
