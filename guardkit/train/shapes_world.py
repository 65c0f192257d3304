"""Train the generator of shapes world: a text encoder and a denoiser, together, on scenes drawn as it goes.

    guardkit train shapes-world --work FOLDER --workers 2            # a worker a core
    guardkit train shapes-world --work FOLDER --steps 200            # a look

Start it again to go on from the last checkpoint. `guardkit export shapes-world` then writes the artifacts.

Loss: ||v_hat - v||^2, v = cos(u) eps - sin(u) x_0, x_t = cos(u) x_0 + sin(u) eps, u uniform in (0, pi/2), so that
abar = cos(u)^2; x_0 is a picture in [-1, 1]. A tenth of the captions are left empty, for guidance without a classifier.
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed, nn
from torch.multiprocessing import spawn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from guardkit.shapes.captions import Caption, all_captions, draw_scene, token_ids
from guardkit.shapes.concepts import Forbidden, asked, is_held_out, shown
from guardkit.shapes.scene import render
from guardkit.train.loop import Plan, fit
from guardkit.train.shapes_model import Denoiser, TextEncoder

_log = logging.getLogger(__name__)
WEIGHTS = "shapes.safetensors"


@dataclass(frozen=True, slots=True)
class ShapesSettings:
    """What one training run is made of."""

    steps: int = 6_000
    batch: int = 96
    rate: float = 1.5e-3
    empty: float = 0.1
    """Share of the captions left empty."""
    seed: int = 20261127
    workers: int = 1
    """Processes of one thread each, which share every batch; a second thread would wait more than it works."""
    pool: int = 40_000
    """Different scenes of all workers; each is seen several times, with another noise."""


@dataclass(frozen=True, slots=True)
class ScenePool:
    """Captions and pictures that they may mean."""

    ids: NDArray[np.int64]
    """[scenes, 10]"""
    pictures: NDArray[np.uint8]
    """[scenes, 3, 16, 16]"""
    shows: NDArray[np.bool_]
    """[scenes, concepts]: which forbidden concepts are in the picture."""


class ShapesModel(nn.Module):
    """Both networks; `encoder` and the rest, as the loop wants them."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = TextEncoder()
        self.denoiser = Denoiser()

    def forward(self, ids: Tensor, x_0: Tensor) -> Tensor:
        """The loss of one batch: int64 [B, T], f32 [B, 3, 16, 16] in [-1, 1]."""
        x_t, u, eps = noised(x_0)
        wanted = torch.cos(u) * eps - torch.sin(u) * x_0
        found = self.denoiser(x_t, torch.cos(u).flatten() ** 2, self.encoder(ids))
        return ((found - wanted) ** 2).mean()


def noised(x_0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures with noise, its angle u [B, 1, 1, 1], and the noise."""
    u, eps = torch.rand(len(x_0), 1, 1, 1) * (math.pi / 2), torch.randn_like(x_0)
    return torch.cos(u) * x_0 + torch.sin(u) * eps, u, eps


def train_shapes_world(work: Path, settings: ShapesSettings) -> None:
    """Train the generator and leave its weights in `work`."""
    work.mkdir(parents=True, exist_ok=True)
    if settings.workers == 1:
        _train(0, work, settings)
        return
    with tempfile.TemporaryDirectory() as meeting:  # where the workers find one another
        spawn(_train_beside, (work, settings, meeting), nprocs=settings.workers)


def _train_beside(worker: int, work: Path, settings: ShapesSettings, meeting: str) -> None:
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("guardkit").setLevel(logging.INFO if worker == 0 else logging.WARNING)
    distributed.init_process_group(
        "gloo", f"file://{meeting}/meeting", world_size=settings.workers, rank=worker
    )
    _train(worker, work, settings)
    distributed.destroy_process_group()


def _train(worker: int, work: Path, settings: ShapesSettings) -> None:
    """What one worker does; the first one's weights count, and those of all are the same."""
    torch.manual_seed(settings.seed)
    torch.set_num_threads(1)
    model = ShapesModel()
    torch.manual_seed(settings.seed + worker)  # of the noise
    pool = draw_pool(settings.pool // settings.workers, settings.seed + worker)
    _log.info("drew %d scenes, %d with a forbidden concept", len(pool.ids), pool.shows.any(1).sum())
    own = work / f"worker-{worker}" if worker else work
    own.mkdir(exist_ok=True)
    plan = Plan(
        steps=settings.steps,
        batch=settings.batch,
        encoder_rate=settings.rate,
        head_rate=settings.rate,
        warmup=0.05,
        decay=0.01,
        checkpoint_steps=min(50, settings.steps),
    )
    fit(model, _batches(pool, settings, worker), _Loss(model, settings), own, plan)
    if worker == 0:
        save_file(model.state_dict(), work / WEIGHTS)


class _Loss:
    """The loss of a batch; now and then, before it, every worker's weights become the mean of all."""

    def __init__(self, model: ShapesModel, settings: ShapesSettings) -> None:
        self._model, self._workers = model, settings.workers
        self._calls = 0

    def __call__(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        if self._workers > 1 and self._calls % _APART_STEPS == 0:
            with torch.no_grad():
                weights = parameters_to_vector(self._model.parameters())
                distributed.all_reduce(weights)
                vector_to_parameters(weights / self._workers, self._model.parameters())
        self._calls += 1
        loss: Tensor = self._model(*batch)
        return loss


_APART_STEPS = 10  # that workers take on their own: on a busy machine, waiting for the slowest at each costs a third


def load_shapes_model(work: Path) -> ShapesModel:
    """What `train_shapes_world` left."""
    model = ShapesModel()
    model.load_state_dict(load_file(work / WEIGHTS))
    return model.eval()


def draw_pool(count: int, seed: int) -> ScenePool:
    """Captions, a scene for each, and what it shows."""
    rng = np.random.default_rng(seed)
    captions = list(drawn_captions(count, rng))
    scenes = [draw_scene(caption, rng) for caption in captions]
    pictures = np.stack([np.round(render(scene) * 255).astype(np.uint8) for scene in scenes])
    concepts = [shown(scene) for scene in scenes]
    return ScenePool(
        token_ids([str(rng.choice(caption.wordings())) for caption in captions]),
        pictures.transpose(0, 3, 1, 2),
        np.array([[concept in found for concept in Forbidden] for found in concepts]),
    )


_SHARES = (0.2, 0.12, 0.55, 0.13)  # chosen: counts and pairs are harder, the last are few


def drawn_captions(count: int, rng: np.random.Generator) -> Iterator[Caption]:
    """Single things, several, pairs, and forbidden ones, in these shares."""
    known = [caption for caption in all_captions() if not is_held_out(caption)]
    groups: list[list[Caption]] = [[], [], [], []]
    for caption in known:
        is_forbidden = bool(asked(caption))
        groups[3 if is_forbidden else 2 if caption.second else caption.count > 1].append(caption)
    for kind in rng.choice(4, size=count, p=_SHARES):
        yield groups[kind][rng.integers(len(groups[kind]))]


def _batches(
    pool: ScenePool, settings: ShapesSettings, worker: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """A worker's share of each batch."""
    rng = np.random.default_rng([settings.seed, worker])
    for _ in range(settings.steps):
        rows = rng.integers(len(pool.ids), size=settings.batch // settings.workers)
        ids = pool.ids[rows] * (rng.random((len(rows), 1)) >= settings.empty)
        x_0 = torch.from_numpy(pool.pictures[rows]).float() / 127.5 - 1
        yield torch.from_numpy(ids), x_0
