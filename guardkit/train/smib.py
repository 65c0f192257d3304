"""Train a bottleneck (SMIB): a small map on features that keeps what they are for and loses whether they are toxic.

    guardkit train smib --features FEATURES.npz --work FOLDER                  # minutes
    guardkit train smib --features FEATURES.npz --work FOLDER --steps 50       # a look
    guardkit train smib ... --form published --loss tovilag_release --rate 1e-5 --task-weight 1 --weight .01   # as released

In: `states` f32 [N, T, d] or [N, d], `toxic` [N], and, where there are any, `mask` [N, T] and `targets` [N].
Out, in --work: `checkpoint.pt` while it runs (start the command again to go on), then `bottleneck.safetensors` and
`bottleneck.json`, which `guardkit export smib` turns into an artifact.

Task:  L_task = mean |(f(h) - h) / s|^2 over tokens; with targets + CE(linear(mean f(h)), y); or the caller's, which stands in for -SMI(y; z)
Total: theta: L_task + weight * L_tox(p_phi(a | f(h))) + spread_weight * mean |V^T (mean f(h) - m)|^2          phi: CE(p_phi(a | f(h)), a)
They take turns: theta with phi held, then phi `adversary_steps` times with theta held. Batches are half toxic, so p(a) = 1/2.

An adversary's own loss proves nothing: it falls with any training. What is left is measured by a *fresh* probe (`guardkit.train.probe`)
and by `guardkit.metrics.information.lsmi`.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from guardkit.errors import InputError
from guardkit.train.erasure import fit_eraser
from guardkit.train.smib_features import Features
from guardkit.train.smib_losses import LOSSES, Loss
from guardkit.train.smib_model import Bottleneck, Form, ToxicityHead, pooled, save_bottleneck

_log = logging.getLogger(__name__)
_CHECKPOINT = "checkpoint.pt"
_CHUNK = 128  # rows in f32 at a time


@dataclass(frozen=True, slots=True)
class SmibSettings:
    """What one training is made of."""

    form: Form = Form.RESIDUAL
    width: int = 128
    """Inner width of the residual form."""
    loss: Loss = Loss.PLUGIN
    weight: float = 20.0
    """Of L_tox; the release has .01 beside a language model's cross-entropy."""
    task_weight: float = 1.0
    steps: int = 1500
    batch: int = 64
    """Rows, half of them toxic."""
    rate: float = 1e-3
    """Of theta; falls to 0 along a cosine."""
    adversary_rate: float = 3e-4
    smoothing: float = 0.3
    """Of the labels in phi's cross-entropy: where p_phi is 0 or 1 the losses are flat, and theta would learn nothing."""
    adversary_steps: int = 3
    """Of phi, for one of theta."""
    erased: bool = True
    """Whether a residual layer begins at the linear erasure of toxicity (`guardkit.train.erasure`) instead of at f(h) = h."""
    erased_after: bool = True
    """Whether it ends with one too, of what the training left: adversaries that took turns with it overlook some. Two more inner units."""
    spread: int = 0
    """Directions in which toxic and clean texts spread differently that the first erasure takes along: what classifiers with hidden layers read. Each takes two
    inner units; the last erasure takes none, for nothing is trained behind it that could bring back what they carried."""
    spread_weight: float = 0.0
    """Of what theta brings back along the directions of the first erasure: the mean square of texts' means there, before it 1."""
    adversaries: int = 2
    """Classifiers p_phi; the layer is held to their mean, so it cannot hide from the habits of one."""
    restart_steps: int = 300
    """One of them in turn begins anew that often: a layer that only follows its adversary falls back then."""
    seed: int = 20261127
    threads: int = 1
    checkpoint_steps: int = 200


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of the features, as the losses see them."""

    rows: Tensor
    """int64 [B]: their places."""
    states: Tensor
    """f32 [B, T, d], before the layer."""
    mask: Tensor
    toxic: Tensor


Task = Callable[[Tensor, Batch], Tensor]
"""L_task of the filtered states f32 [B, T, d] of a batch; smaller is better."""


def train_smib(
    features: Features, work: Path, settings: SmibSettings, *, task: Task | None = None
) -> Bottleneck:
    """Train a bottleneck and leave it in `work`; called again, it goes on from the last checkpoint.

    Args:
        features: What it is trained on.
        work: Checkpoints and the result go here.
        settings: How.
        task: What is to be kept; None: the features themselves, and their targets where there are any.

    Returns:
        The layer, in eval mode.

    Raises:
        InputError: The features cannot be used, or a spread is to be erased where nothing begins at an erasure.
    """
    features.check("features")
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    work.mkdir(parents=True, exist_ok=True)
    layer = Bottleneck(features.width, form=settings.form, width=settings.width)
    layer.standardize(*features.moments())
    means = features.means()
    taken = None
    if settings.erased and settings.form is Form.RESIDUAL:
        eraser = fit_eraser(means, features.toxic, spread=settings.spread)
        layer.start_from(eraser, means.mean(0))
        taken = _Taken(torch.as_tensor(eraser.v, dtype=torch.float32), means.mean(0))
    elif settings.spread or settings.spread_weight:
        raise InputError("spread: this training begins at no erasure. Expected form residual, and erased.")  # fmt: skip
    kept = _KeepFeatures(features, layer.scale)
    run = _Run(layer, features, settings, kept if task is None else task, kept, taken)
    for step in range(run.resume(work), settings.steps):
        run.step(step)
        if (step + 1) % settings.checkpoint_steps == 0:
            run.save(work, step + 1)
    if settings.erased_after and settings.form is Form.RESIDUAL:
        layer = _erased(layer, features)
    save_bottleneck(layer, work)
    (work / "trained.json").write_text(json.dumps(asdict(settings), indent=1) + "\n")
    return layer.eval()


def _erased(layer: Bottleneck, features: Features) -> Bottleneck:
    """The layer, and behind it the linear erasure of what is still there."""
    chunks = zip(features.states.split(_CHUNK), features.mask.split(_CHUNK), strict=True)
    with torch.no_grad():
        means = torch.cat([pooled(layer(states.float()), mask) for states, mask in chunks])
    return layer.then_erase(fit_eraser(means, features.toxic), means.mean(0))


class _KeepFeatures(nn.Module):
    """The task of features without a decoder."""

    def __init__(self, features: Features, scale: Tensor) -> None:
        super().__init__()
        self._targets, self._scale = features.targets, scale
        classes = 2 if features.targets is None else int(features.targets.max()) + 1
        self.head = nn.Linear(features.width, classes)

    def forward(self, z: Tensor, batch: Batch) -> Tensor:
        """Mean squared change, in standard deviations, and the cross-entropy of the targets."""
        change = (((z - batch.states) / self._scale).square().mean(-1) * batch.mask).sum()
        loss = change / batch.mask.sum()
        if self._targets is None:
            return loss
        return loss + cross_entropy(self.head(pooled(z, batch.mask)), self._targets[batch.rows])


@dataclass(frozen=True, slots=True)
class _Taken:
    """What the first erasure took."""

    v: Tensor
    """f32 [d, k]."""
    middle: Tensor

    def back(self, z: Tensor, mask: Tensor) -> Tensor:
        """How much of it filtered states hold again: 1 where nothing was taken."""
        return ((pooled(z, mask) - self.middle) @ self.v).square().mean()


class _Run:
    """A training on its way: the networks, their optimizers, and what a step does."""

    def __init__(
        self,
        layer: Bottleneck,
        features: Features,
        settings: SmibSettings,
        task: Task,
        kept: _KeepFeatures,
        taken: _Taken | None,
    ) -> None:
        self.layer, self.features, self.settings, self.task = layer, features, settings, task
        self.prior, self._scale = torch.tensor([0.5, 0.5]), features.means().std(0)
        self.kept, self.taken = kept, taken
        self.theta = torch.optim.AdamW([*layer.parameters(), *kept.parameters()], settings.rate, weight_decay=0.0)  # fmt: skip
        self.heads = [self._new_head() for _ in range(settings.adversaries)]
        self.phi = [self._new_optimizer(head) for head in self.heads]
        self._by_class = [torch.nonzero(features.toxic == a).squeeze(1) for a in (0, 1)]

    def step(self, step: int) -> None:
        """One step of theta, and the adversaries' answer."""
        batches = self._batches(step)
        for group in self.theta.param_groups:
            group["lr"] = self.settings.rate * 0.5 * (1 + math.cos(math.pi * step / self.settings.steps))  # fmt: skip
        task, toxicity = self._update_theta(next(batches))
        if self.settings.adversaries and (step + 1) % self.settings.restart_steps == 0:
            at = (step + 1) // self.settings.restart_steps % len(self.heads)
            self.heads[at] = self._new_head()
            self.phi[at] = self._new_optimizer(self.heads[at])
        losses = [self._update_phi(batch) for batch in batches]
        if (step + 1) % 50 == 0:
            _log.info("step %d of %d: task %.4f, L_tox %.4f, adversaries' CE %.3f", step + 1, self.settings.steps, task, toxicity, np.mean(losses))  # fmt: skip

    def _update_theta(self, batch: Batch) -> tuple[float, float]:
        z = self.layer(batch.states)
        estimate = LOSSES[self.settings.loss]
        losses = [
            estimate(torch.softmax(head(z, batch.mask), 1), batch.toxic, self.prior)
            for head in self.heads
        ]
        toxicity = torch.stack(losses).mean()
        task = self.task(z, batch)
        self.theta.zero_grad()
        total = self.settings.task_weight * task + self.settings.weight * toxicity
        if self.taken is not None and self.settings.spread_weight:
            total = total + self.settings.spread_weight * self.taken.back(z, batch.mask)
        total.backward()
        nn.utils.clip_grad_norm_(self.layer.parameters(), 1.0)
        self.theta.step()
        return task.item(), toxicity.item()

    def _update_phi(self, batch: Batch) -> float:
        with torch.no_grad():
            z = self.layer(batch.states)
        total = 0.0
        for head, optimizer in zip(self.heads, self.phi, strict=True):
            loss = cross_entropy(
                head(z, batch.mask), batch.toxic, label_smoothing=self.settings.smoothing
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() / len(self.heads)
        return total

    def _batches(self, step: int) -> Iterator[Batch]:
        """Theta's batch, then phi's; the same ones when a run goes on after a crash."""
        rng = np.random.default_rng([self.settings.seed, step])
        half = self.settings.batch // 2
        for _ in range(1 + self.settings.adversary_steps):
            rows = torch.cat([places[rng.integers(0, len(places), half)] for places in self._by_class])  # fmt: skip
            mask = self.features.mask[rows]
            longest = int(mask.sum(1).max())  # padding is on the right
            yield Batch(
                rows,
                self.features.states[rows, :longest].float(),
                mask[:, :longest],
                self.features.toxic[rows],
            )

    def _new_head(self) -> ToxicityHead:
        head = ToxicityHead(self.features.width)
        head.standardize(self.layer.mean, self._scale)
        return head

    def _new_optimizer(self, head: ToxicityHead) -> torch.optim.Optimizer:
        return torch.optim.AdamW(head.parameters(), self.settings.adversary_rate)

    def save(self, work: Path, step: int) -> None:
        """Keep what a run needs to go on from a step."""
        torch.save({"step": step, **self._state()}, work / "checkpoint.tmp")
        (work / "checkpoint.tmp").replace(work / _CHECKPOINT)

    def _state(self) -> dict[str, Any]:
        parts = {"layer": self.layer, "kept": self.kept, "theta": self.theta}
        for at, (head, optimizer) in enumerate(zip(self.heads, self.phi, strict=True)):
            parts |= {f"head{at}": head, f"phi{at}": optimizer}
        return {name: part.state_dict() for name, part in parts.items()}

    def resume(self, work: Path) -> int:
        """Load the last checkpoint, if any; returns the steps already done."""
        path = work / _CHECKPOINT
        if not path.is_file():
            return 0
        state = torch.load(path, weights_only=True)
        self.layer.load_state_dict(state["layer"])
        self.kept.load_state_dict(state["kept"])
        self.theta.load_state_dict(state["theta"])
        for at, (head, optimizer) in enumerate(zip(self.heads, self.phi, strict=True)):
            head.load_state_dict(state[f"head{at}"])
            optimizer.load_state_dict(state[f"phi{at}"])
        _log.info("resumed at step %d", state["step"])
        return int(state["step"])
