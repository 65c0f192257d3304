"""SMIB on synthetic features z = [task | toxicity]: methods 1.5 and 1.6."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from guardkit.errors import InputError
from guardkit.metrics.information import lsmi
from guardkit.train.erasure import fit_eraser
from guardkit.train.probe import Probe, advantage, probe_accuracy
from guardkit.train.smib import SmibSettings, train_smib
from guardkit.train.smib_features import Features, read_features
from guardkit.train.smib_losses import LOSSES, Loss, smi_plugin, tovilag_release
from guardkit.train.smib_model import Bottleneck, Form, load_bottleneck

PRIOR = torch.tensor([0.5, 0.5])
POSTERIORS = (0.0, 0.25, 0.5, 0.75, 1.0)
TASKS, D = 4, 16
SETTINGS = SmibSettings(
    width=32, steps=400, restart_steps=100, adversary_rate=1e-3, erased=False, erased_after=False
)


def synthetic(
    rows: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """Features f64 [rows, 16]: one of four tasks in 8 of them, toxicity in the others, turned by a fixed rotation."""
    rng = np.random.default_rng(seed)
    toxic, task = rng.random(rows) < 0.5, rng.integers(0, TASKS, rows)
    z = rng.normal(size=(rows, D))
    z[:, :8] += 3 * np.random.default_rng(1).normal(size=(TASKS, 8))[task]
    z[:, 8:] += 2 * (2 * toxic[:, None] - 1)
    rotation, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(D, D)))
    return z @ rotation, toxic, task


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Bottleneck:
    """A layer trained on 2000 synthetic rows."""
    z, toxic, task = synthetic(2000, 3)
    features = Features.of(z, toxic, targets=task)
    return train_smib(features, tmp_path_factory.mktemp("smib"), SETTINGS)


def filtered(layer: Bottleneck, z: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the layer makes of features."""
    with torch.no_grad():
        return layer(torch.as_tensor(z, dtype=torch.float32)).numpy().astype(np.float64)


@pytest.mark.parametrize(
    ("loss", "toxic", "expected"),
    [
        # (2p - 1)^2 / 2
        pytest.param(Loss.PLUGIN, 1, (0.5, 0.125, 0.0, 0.125, 0.5), id="plugin"),
        # 2p - p^2 - (1-p)^2 - 1/2 for a toxic text, its mirror for a clean one
        pytest.param(Loss.DUAL, 1, (-1.5, -0.625, 0.0, 0.375, 0.5), id="dual-toxic"),
        pytest.param(Loss.DUAL, 0, (0.5, 0.375, 0.0, -0.625, -1.5), id="dual-clean"),
        # -4p^2 + 6p - 2, methods 1.5
        pytest.param(Loss.TOVILAG_RELEASE, 1, (-2.0, -0.75, 0.0, 0.25, 0.0), id="release"),
    ],
)
def test_losses_have_the_values_of_their_formulas(
    loss: Loss, toxic: int, expected: tuple[float, ...]
) -> None:
    found = [
        LOSSES[loss](torch.tensor([[1 - p, p]]), torch.tensor([toxic]), PRIOR).item()
        for p in POSTERIORS
    ]
    assert found == pytest.approx(expected, abs=1e-6)


def test_the_released_loss_pushes_a_sure_classifier_up_where_smi_pushes_it_down() -> None:
    p = torch.tensor(0.9, requires_grad=True)
    for loss, sign in ((tovilag_release, -1), (lambda one: smi_plugin(one, PRIOR), 1)):
        (slope,) = torch.autograd.grad(loss(torch.stack([1 - p, p])[None]), p)
        assert slope.item() * sign > 0


def test_a_fresh_probe_finds_little_toxicity_behind_the_layer(trained: Bottleneck) -> None:
    (z, toxic, _), (held, held_toxic, _) = synthetic(1500, 4), synthetic(1500, 5)
    how = Probe(epochs=30)
    before = probe_accuracy(z, toxic, held, held_toxic, how)
    after = probe_accuracy(filtered(trained, z), toxic, filtered(trained, held), held_toxic, how)
    assert before > 0.97  # eight features 4 standard deviations apart
    assert advantage(after) < 0.4 * advantage(before)


def test_the_task_stays_behind_the_layer(trained: Bottleneck) -> None:
    (z, _, task), (held, _, held_task) = synthetic(1500, 6), synthetic(1500, 7)
    before, after = (
        probe_accuracy(make(z), task < 2, make(held), held_task < 2, Probe(epochs=30))
        for make in (np.asarray, lambda one: filtered(trained, one))
    )
    assert after > before - 0.03


def test_an_estimator_without_a_classifier_sees_the_information_fall(trained: Bottleneck) -> None:
    z, toxic, _ = synthetic(1000, 8)
    before, after = (lsmi(one, toxic, seed=1) for one in (z, filtered(trained, z)))
    assert before > 0.35
    assert after < 0.4 * before


def test_a_layer_begins_where_no_linear_map_tells_toxicity(tmp_path: Path) -> None:
    (z, toxic, task), (held, held_toxic, _) = synthetic(1000, 10), synthetic(1000, 11)
    settings = SmibSettings(width=32, steps=0)
    layer = train_smib(Features.of(z, toxic, targets=task), tmp_path, settings)
    told = probe_accuracy(filtered(layer, z), toxic, filtered(layer, held), held_toxic)
    assert told < 0.65  # two Gaussians of one covariance: nothing is left once their means agree


def test_classes_that_differ_in_spread_alone_are_told_by_a_network_until_that_is_erased() -> None:
    rng = np.random.default_rng(5)
    toxic = np.arange(2000) % 2 == 0
    z = rng.standard_normal((2000, D))
    z[:, :2] *= np.where(toxic, 3.0, 0.5)[:, None]
    turned, _ = np.linalg.qr(rng.standard_normal((D, D)))
    h = torch.as_tensor(z @ turned, dtype=torch.float32)
    means = erased(h, toxic, spread=0)
    both = erased(h, toxic, spread=2)
    assert probe_accuracy(means[:1500], toxic[:1500], means[1500:], toxic[1500:]) > 0.85
    assert probe_accuracy(both[:1500], toxic[:1500], both[1500:], toxic[1500:]) < 0.58


def erased(h: torch.Tensor, toxic: np.ndarray, *, spread: int) -> np.ndarray:
    layer = Bottleneck(D, width=8)
    layer.standardize(h.mean(0), h.std(0))
    eraser = fit_eraser(h, torch.as_tensor(toxic).long(), spread=spread)
    assert eraser.rank == 1 + spread
    layer.start_from(eraser, h.mean(0))
    with torch.no_grad():
        return layer(h).double().numpy()


def test_a_layer_is_held_to_bring_back_less_of_the_spread_the_more_it_weighs(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(6)
    toxic = np.arange(2000) % 2 == 0
    z = rng.standard_normal((2000, D)).astype(np.float32)
    z[:, :2] *= np.where(toxic, 3.0, 0.5)[:, None]
    features = Features.of(z, toxic)
    told = []
    for weight in (0.0, 30.0):
        settings = SmibSettings(width=16, steps=150, weight=0.0, spread=2, spread_weight=weight, erased_after=False)  # fmt: skip
        after = filtered(train_smib(features, tmp_path / str(weight), settings), z)
        told.append(probe_accuracy(after[:1500], toxic[:1500], after[1500:], toxic[1500:]))
    assert told[1] < 0.65 < 0.8 < told[0]


@pytest.mark.parametrize("how", [{"form": Form.PUBLISHED}, {"erased": False}], ids=["published", "not erased"])  # fmt: skip
@pytest.mark.parametrize("asked", [{"spread": 2}, {"spread_weight": 1.0}], ids=["spread", "weight"])
def test_a_spread_that_nothing_would_erase_is_refused(
    tmp_path: Path, how: dict[str, Any], asked: dict[str, Any]
) -> None:
    z, toxic, _ = synthetic(100, 12)
    with pytest.raises(InputError, match="begins at no erasure"):
        train_smib(Features.of(z, toxic), tmp_path, SmibSettings(steps=1, **how, **asked))


def test_an_erasure_needs_two_inner_units_a_direction() -> None:
    z, toxic, _ = synthetic(100, 12)
    features = Features.of(z, toxic)
    eraser = fit_eraser(features.means(), features.toxic, spread=4)
    with pytest.raises(InputError, match="rank 5 takes 10 inner units"):
        Bottleneck(D, width=8).start_from(eraser, features.means().mean(0))


def test_the_released_map_cannot_begin_at_an_erasure() -> None:
    z, toxic, _ = synthetic(100, 12)
    features = Features.of(z, toxic)
    eraser = fit_eraser(features.means(), features.toxic)
    with pytest.raises(InputError, match="residual"):
        Bottleneck(D, form=Form.PUBLISHED).start_from(eraser, features.means().mean(0))


def test_an_untrained_residual_layer_changes_nothing() -> None:
    z = torch.randn(2, 5, 8)
    assert torch.equal(Bottleneck(8)(z), z)


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("loss", Loss)
def test_tokens_of_padding_change_nothing(tmp_path: Path, form: Form, loss: Loss) -> None:
    rng = np.random.default_rng(0)
    states, toxic = rng.normal(size=(40, 6, 8)).astype(np.float32), np.arange(40) % 2 == 0
    mask = (np.arange(6) < 3)[None].repeat(40, 0)
    short = Features.of(states[:, :3], toxic)
    settings = SmibSettings(form=form, loss=loss, width=4, steps=5, batch=8)
    padded = train_smib(Features.of(states, toxic, mask=mask), tmp_path / "padded", settings)
    plain = train_smib(short, tmp_path / "short", settings)
    for one, other in zip(padded.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_run_that_was_cut_off_goes_on_to_the_same_layer(tmp_path: Path) -> None:
    z, toxic, _ = synthetic(100, 9)
    features = Features.of(z, toxic)
    settings = SmibSettings(
        width=4, steps=12, batch=8, restart_steps=100, checkpoint_steps=6, adversaries=1
    )
    whole = train_smib(features, tmp_path / "whole", settings)
    cut = tmp_path / "cut"
    train_smib(features, cut, settings)
    state = torch.load(cut / "checkpoint.pt", weights_only=True)
    assert state["step"] == 12
    again = train_smib(features, cut, settings)  # nothing is left to do
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    assert load_bottleneck(cut).width == 4 + 2  # of the erasure behind it


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        pytest.param({"states": np.full((40, 3), np.nan), "toxic": np.arange(40) % 2}, "NaN", id="nan"),
        pytest.param({"states": np.zeros((40, 3)), "toxic": np.zeros(40)}, "0 toxic rows", id="one-class"),
        pytest.param({"states": np.zeros(40), "toxic": np.arange(40) % 2}, "Expected [N, d]", id="flat"),
        pytest.param({"states": np.zeros((40, 3)), "toxic": np.arange(30) % 2}, "Expected [N, T, d]", id="lengths"),
        pytest.param({"states": np.zeros((40, 3))}, "has no ['toxic']", id="missing"),
    ],
)  # fmt: skip
def test_features_that_cannot_be_used_are_refused(
    tmp_path: Path, arrays: dict[str, NDArray[np.float64]], words: str
) -> None:
    np.savez(tmp_path / "features.npz", **arrays)
    with pytest.raises(InputError) as caught:
        read_features(tmp_path / "features.npz")
    assert words in str(caught.value)
    assert "features.npz" in str(caught.value)


@pytest.mark.parametrize("spread", [0, 3])
def test_an_erasure_behind_a_layer_is_again_a_layer(spread: int) -> None:
    torch.manual_seed(0)
    layer = Bottleneck(D, width=8)
    layer.standardize(torch.randn(D), torch.rand(D) + 0.5)
    torch.nn.init.normal_(layer.layers[-1].weight)
    torch.nn.init.normal_(layer.layers[-1].bias)
    z, toxic, _ = synthetic(400, 13)
    h = torch.as_tensor(z, dtype=torch.float32)
    with torch.no_grad():
        made = layer(h)
        eraser = fit_eraser(made, torch.as_tensor(toxic).long(), spread=spread)
        v, u = (torch.as_tensor(one, dtype=torch.float32) for one in (eraser.v, eraser.u))
        expected = made - (made - made.mean(0)) @ v @ u.T
        found = layer.then_erase(eraser, made.mean(0))(h)
    assert torch.allclose(found, expected, atol=1e-4)
    means = [found[torch.as_tensor(toxic) == one].mean(0) for one in (True, False)]
    assert torch.allclose(*means, atol=1e-3)  # no linear classifier tells two classes of one mean
