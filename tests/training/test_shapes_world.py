"""Shapes world's training and export, on a few steps; and forgetting, on a generator in the plane."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from guardkit.artifacts import RunnerOptions
from guardkit.export.shapes_world import export_shapes_world
from guardkit.runtime.base import open_runner
from guardkit.shapes.captions import read_caption, token_ids
from guardkit.shapes.concepts import Forbidden, asked, is_held_out
from guardkit.shapes.generator import NoisyClassifier, ShapesGenerator
from guardkit.steer import distillation_loss, distillation_scale, score_loss
from guardkit.train import shapes_model
from guardkit.train.shapes_classifier import ClassifierSettings, WithGradients, train_classifier
from guardkit.train.shapes_unlearn import Method, UnlearnSettings, unlearn
from guardkit.train.shapes_world import (
    ShapesModel,
    ShapesSettings,
    draw_pool,
    drawn_captions,
    train_shapes_world,
)

SETTINGS = ShapesSettings(steps=4, batch=8, pool=64)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training of four steps leaves."""
    work = tmp_path_factory.mktemp("shapes")
    train_shapes_world(work, SETTINGS)
    train_classifier(work, ClassifierSettings(steps=2, batch=8, pool=64))
    return work


def test_which_word_comes_first_is_seen_from_the_start() -> None:
    """With places much smaller than words it was not learnt in 1.5M pictures."""
    torch.manual_seed(1)
    texts = ("a red circle above a blue square", "a blue square above a red circle", "a green star above a yellow triangle")  # fmt: skip
    with torch.no_grad():
        one, turned, other = shapes_model.TextEncoder()(torch.from_numpy(token_ids(texts))).mean(1)
    assert (one - turned).norm() > 0.05 * (one - other).norm()


def test_the_gradients_that_are_written_out_are_those_of_autograd() -> None:
    torch.manual_seed(1)
    model = shapes_model.NoisyClassifier(len(Forbidden))
    x_t, level = torch.randn(5, 3, 16, 16, requires_grad=True), torch.rand(5)
    logits, gradients = WithGradients(model)(x_t, level)
    for concept in range(len(Forbidden)):
        (expected,) = torch.autograd.grad(model(x_t, level)[:, concept].sum(), x_t)
        torch.testing.assert_close(gradients[:, concept], expected)
    torch.testing.assert_close(logits, model(x_t, level))


def test_the_exported_networks_give_what_the_trained_ones_give(
    trained: Path, tmp_path: Path
) -> None:
    artifacts = export_shapes_world(trained, tmp_path, version="0.0.1")
    for artifact in artifacts:
        artifact.verify()
    encoder, denoiser, classifier = (open_runner(one, RunnerOptions()) for one in artifacts)
    pictures = ShapesGenerator(encoder, denoiser).generate(
        ["a red star", "two blue squares"], [1, 2]
    )
    assert pictures is not None
    assert pictures.shape == (2, 16, 16, 3)
    noisy = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32)
    logits, gradients = NoisyClassifier(classifier).logits_and_gradients(noisy, 0.5)
    assert logits.shape == (2, len(Forbidden))
    assert gradients.shape == (2, len(Forbidden), 3, 16, 16)


def test_a_training_that_was_cut_short_goes_on_to_the_same_weights(
    trained: Path, tmp_path: Path
) -> None:
    train_shapes_world(tmp_path, SETTINGS)
    once = load_file(trained / "shapes.safetensors")
    (tmp_path / "shapes.safetensors").unlink()
    train_shapes_world(tmp_path, SETTINGS)  # from its checkpoint
    again = load_file(tmp_path / "shapes.safetensors")
    for name, weights in once.items():
        torch.testing.assert_close(again[name], weights)


def test_no_held_out_caption_is_trained_on_and_what_a_scene_shows_is_told() -> None:
    captions = list(drawn_captions(500, np.random.default_rng(3)))
    assert not any(map(is_held_out, captions))
    assert 30 < sum(bool(asked(caption)) for caption in captions) < 110  # 13 % are drawn
    assert draw_pool(200, 3).shows.any(axis=1).mean() == pytest.approx(0.13, abs=0.08)


@pytest.mark.parametrize("method", Method)
def test_forgetting_lowers_its_loss_and_leaves_the_model_it_began_from(method: Method) -> None:
    torch.manual_seed(4)
    model = ShapesModel().eval()
    nn.init.normal_(
        model.denoiser.out.weight, std=0.05
    )  # it begins at nothing, where nothing is to forget
    before = {name: weights.clone() for name, weights in model.state_dict().items()}
    pairs = [("a red star", "a red circle"), ("two blue squares", "two blue circles")]
    assert all(
        asked(read_caption(harmful)) and not asked(read_caption(safe)) for harmful, safe in pairs
    )
    found = unlearn(model, draw_pool(64, 5), pairs, method, UnlearnSettings(steps=3, batch=4))
    after = model.state_dict()
    assert all(torch.equal(after[name], weights) for name, weights in before.items())
    moved = {
        name
        for name, weights in found.state_dict().items()
        if not torch.equal(weights, before[name])
    }
    assert moved
    assert not any(name.startswith("encoder.") for name in moved)
    if method is Method.MOSAIC:
        assert all(name.startswith("denoiser.attentions.") for name in moved)


# --- score forgetting distillation in the plane: three modes, whose scores are known -----------------------------------

MODES = torch.tensor([[3.0, 0.0], [-1.5, 2.6], [-1.5, -2.6]])
SPREAD = 0.2
FORGET, SAFE = 0, 1


def teacher(x_t: Tensor, a: Tensor, b: Tensor, mode: Tensor) -> Tensor:
    """D_p, E[x_0 | x_t, mode], of a Gaussian around the mode."""
    gain = a * SPREAD**2 / (a**2 * SPREAD**2 + b**2)
    return MODES[mode] + gain * (x_t - a * MODES[mode])


class _Net(nn.Module):
    def __init__(self, inside: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inside + 3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2)
        )

    def forward(self, x: Tensor, mode: Tensor) -> Tensor:
        return self.layers(torch.cat([x, nn.functional.one_hot(mode, 3).float()], dim=1))


def test_a_one_step_generator_forgets_one_mode_and_remembers_the_others() -> None:
    torch.manual_seed(6)
    generator, follower = _Net(2), _Net(3)
    slow, fast = (torch.optim.Adam(net.parameters(), 2e-3) for net in (generator, follower))
    for step in range(1500):
        for optimizer in (slow, fast):
            optimizer.param_groups[0]["lr"] = 2e-3 * (1 - step / 1500)
        mode = torch.randint(3, (128,))
        taught = torch.where(mode == FORGET, torch.tensor(SAFE), mode)  # the override
        x_0 = generator(torch.randn(128, 2), mode)
        u = torch.rand(128, 1) * 1.2 + 0.2
        a, b, noise = torch.cos(u), torch.sin(u), torch.randn(128, 2)
        predicted = follower(torch.cat([a * x_0.detach() + b * noise, u], 1), mode)
        fast.zero_grad()
        score_loss(noise, (a * x_0.detach() + b * noise - a * predicted) / b).backward()
        nn.utils.clip_grad_norm_(follower.parameters(), 1.0)
        fast.step()
        x_t = a * x_0 + b * noise
        with torch.no_grad():
            p, sg = teacher(x_t, a, b, taught), follower(torch.cat([x_t, u], 1), mode)
        omega = distillation_scale(p, x_0)
        slow.zero_grad()
        (distillation_loss(x_0, p, sg, omega=omega, alpha=1.0) / len(x_0)).backward()
        nn.utils.clip_grad_norm_(generator.parameters(), 1.0)
        slow.step()
    with torch.no_grad():
        means = torch.stack(
            [generator(torch.randn(500, 2), torch.full((500,), mode)).mean(0) for mode in range(3)]
        )
    expected = MODES[torch.tensor([SAFE, 1, 2])]
    assert (means - expected).norm(dim=1).max() < 0.5
