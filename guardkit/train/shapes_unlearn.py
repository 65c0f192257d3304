"""Make the denoiser of shapes world forget, by each of the losses of `guardkit.steer.losses`: a short run from the trained weights.

    override   eps(x_t, c_forget) -> eps_frozen(x_t, c_safe)                 all weights
    erase      g(x_t, c_forget) -> g_frozen(x_t, c_safe), null held          all weights
    mosaic     eps(x_t, null) on a forbidden picture -> its mosaic           attention alone, no caption: SafeGen's way

The text encoder stays as it is. Pictures are drawn scenes, so nothing is generated to train on.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from guardkit.shapes.captions import token_ids
from guardkit.steer import guidance_erase_loss, mosaic_loss, mosaic_target, override_loss
from guardkit.train.shapes_model import Denoiser
from guardkit.train.shapes_world import ScenePool, ShapesModel, noised

_log = logging.getLogger(__name__)
_BLOCK = 4  # pixels of a mosaic's side


class Method(StrEnum):
    """How it is made to forget."""

    OVERRIDE = "override"
    ERASE = "erase"
    MOSAIC = "mosaic"


@dataclass(frozen=True, slots=True)
class UnlearnSettings:
    """What one run is made of."""

    steps: int = 200
    batch: int = 32
    """Forbidden, and as many ordinary ones."""
    rate: float = 3e-4
    seed: int = 20261129


@dataclass(frozen=True, slots=True)
class _Batch:
    x_t: Tensor
    level: Tensor
    noise: Tensor
    u: Tensor
    x_0: Tensor
    states: Tensor
    safe: Tensor
    null: Tensor

    def half(self, *, forbidden: bool) -> slice:
        """Where the forbidden ones are, and where the ordinary ones."""
        middle = len(self.x_t) // 2
        return slice(0, middle) if forbidden else slice(middle, None)


def unlearn(
    model: ShapesModel,
    pool: ScenePool,
    pairs: Sequence[tuple[str, str]],
    method: Method,
    settings: UnlearnSettings,
) -> ShapesModel:
    """A copy of a model that has forgotten.

    Args:
        model: Trained; it stays as it is.
        pool: Scenes, some of them forbidden.
        pairs: Prompts that ask for what is forbidden, and what is to be shown instead.
        method: The loss.
        settings: How long, how fast.
    """
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    forgetting = copy.deepcopy(model).train()
    trained = [
        weights
        for name, weights in forgetting.denoiser.named_parameters()
        if method is not Method.MOSAIC or name.startswith("attentions.")
    ]
    optimizer = torch.optim.AdamW(trained, lr=settings.rate, weight_decay=0.0)
    for step in range(1, settings.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = settings.rate * (1 - (step - 1) / settings.steps)
        batch = _draw(model, pool, pairs, settings.batch, rng)
        loss = _LOSSES[method](forgetting.denoiser, model.denoiser, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            _log.info("%s: step %d of %d, loss %.4f", method, step, settings.steps, loss.item())
    return forgetting.eval()


def _draw(
    model: ShapesModel,
    pool: ScenePool,
    pairs: Sequence[tuple[str, str]],
    count: int,
    rng: np.random.Generator,
) -> _Batch:
    """Forbidden pictures under forbidden prompts, ordinary ones under their own."""
    is_forbidden = pool.shows.any(axis=1)
    rows = np.concatenate([rng.choice(np.flatnonzero(some), count) for some in (is_forbidden, ~is_forbidden)])  # fmt: skip
    asked = [pairs[at] for at in rng.integers(len(pairs), size=count)]
    x_0 = torch.from_numpy(pool.pictures[rows]).float() / 127.5 - 1
    x_t, u, noise = noised(x_0)
    with torch.no_grad():
        harmful, safe, null, ordinary = (
            model.encoder(torch.from_numpy(ids))
            for ids in (*(token_ids(texts) for texts in zip(*asked, strict=True)), token_ids([""] * 2 * count), pool.ids[rows[count:]])
        )  # fmt: skip
    states = torch.cat([harmful, ordinary])
    return _Batch(x_t, torch.cos(u).flatten() ** 2, noise, u, x_0, states, safe, null)


def _noise(denoiser: Denoiser, batch: _Batch, where: slice, states: Tensor) -> Tensor:
    v = denoiser(batch.x_t[where], batch.level[where], states)
    return torch.cos(batch.u[where]) * v + torch.sin(batch.u[where]) * batch.x_t[where]


def _override(trained: Denoiser, frozen: Denoiser, batch: _Batch) -> Tensor:
    forget, keep = batch.half(forbidden=True), batch.half(forbidden=False)
    with torch.no_grad():
        wanted = _noise(frozen, batch, forget, batch.safe)
        held = _noise(frozen, batch, keep, batch.states[keep])
    forgotten = _noise(trained, batch, forget, batch.states[forget])
    return override_loss(forgotten, wanted, _noise(trained, batch, keep, batch.states[keep]), held)


def _erase(trained: Denoiser, frozen: Denoiser, batch: _Batch) -> Tensor:
    forget, keep = batch.half(forbidden=True), batch.half(forbidden=False)
    with torch.no_grad():
        frozen_null = _noise(frozen, batch, forget, batch.null[forget])
        alternative = _noise(frozen, batch, forget, batch.safe) - frozen_null
        held = _noise(frozen, batch, keep, batch.states[keep])
    null = _noise(trained, batch, forget, batch.null[forget])
    guidance = _noise(trained, batch, forget, batch.states[forget]) - null
    loss = guidance_erase_loss(guidance, alternative, null, frozen_null)
    # The paper's abstract has no term for other captions; without one they drift along (our addition).
    return loss + ((_noise(trained, batch, keep, batch.states[keep]) - held) ** 2).mean()


def _mosaic(trained: Denoiser, _: Denoiser, batch: _Batch) -> Tensor:
    forget, keep = batch.half(forbidden=True), batch.half(forbidden=False)
    x_0 = batch.x_0[forget]
    mosaic = interpolate(avg_pool2d(x_0, _BLOCK), scale_factor=float(_BLOCK), mode="nearest")
    target = mosaic_target(x_0, mosaic, batch.noise[forget])
    on_explicit = _noise(trained, batch, forget, batch.null[forget])
    on_benign = _noise(trained, batch, keep, batch.null[keep])
    return mosaic_loss(on_explicit, target, on_benign, batch.noise[keep])


_LOSSES: dict[Method, Callable[[Denoiser, Denoiser, _Batch], Tensor]] = {
    Method.OVERRIDE: _override,
    Method.ERASE: _erase,
    Method.MOSAIC: _mosaic,
}
