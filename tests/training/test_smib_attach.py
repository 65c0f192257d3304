"""A bottleneck as an artifact, between two graphs, and inside a torch module."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from torch import Tensor, nn

from guardkit.artifacts import Artifact, load_artifact
from guardkit.cli.main import main
from guardkit.errors import InputError, ManifestError, ParityError
from guardkit.export.artifact import write_manifest
from guardkit.export.smib import AboutBottleneck, export_smib
from guardkit.export.verify import verify
from guardkit.integrations.bottleneck import attach
from guardkit.steer.bottleneck import Bottleneck
from guardkit.train import smib_model
from guardkit.train.smib_model import Form
from tests.tiny import TinyText, build_tiny_artifact

D = 12
ABOUT = AboutBottleneck("smib-tiny", "0.1.0", "Apache-2.0", base="tiny", layer="layers.1")


def layer_of(form: Form) -> smib_model.Bottleneck:
    """A layer whose weights were drawn, as if it had been trained."""
    torch.manual_seed(0)
    layer = smib_model.Bottleneck(D, form=form, width=8)
    layer.standardize(torch.randn(D), torch.rand(D) * 50)
    for one in layer.layers:
        nn.init.normal_(one.weight, std=one.in_features**-0.5)
        nn.init.normal_(one.bias, std=0.3)
    return layer.eval()


@pytest.fixture
def layer() -> smib_model.Bottleneck:
    """A residual one."""
    return layer_of(Form.RESIDUAL)


@pytest.fixture
def artifact(layer: smib_model.Bottleneck, tmp_path: Path) -> Artifact:
    """The same as an artifact."""
    return export_smib(layer, tmp_path, ABOUT)


class Tower(nn.Module):
    """Three layers that give a tensor, a tuple, and numbers that are no floats."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Identity(), _Pair(), _Places()])

    def forward(self, states: Tensor) -> Tensor:
        """What the second layer gives, once the third has read it."""
        states, _ = self.layers[1](self.layers[0](states))
        self.layers[2](states)
        return states


class _Pair(nn.Module):
    def forward(self, states: Tensor) -> tuple[Tensor, str]:
        return states, "cache"


class _Places(nn.Module):
    def forward(self, states: Tensor) -> Tensor:
        return states.argmax(-1)


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("shape", [(D,), (1, D), (7, D), (2, 7, D)])
def test_the_artifact_gives_what_the_layer_gives(
    form: Form, shape: tuple[int, ...], tmp_path: Path
) -> None:
    layer = layer_of(form)
    features = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    with torch.no_grad():
        expected = layer(torch.from_numpy(features)).numpy()
    found = Bottleneck(export_smib(layer, tmp_path, ABOUT))(features)
    assert found.shape == shape
    assert found == pytest.approx(expected, abs=1e-3)  # values of up to a hundred


def test_the_artifact_says_where_it_belongs_and_holds_to_its_card(artifact: Artifact) -> None:
    again = load_artifact(artifact.path)
    assert again.manifest.bottleneck is not None
    assert (again.manifest.bottleneck.width, again.manifest.bottleneck.layer) == (D, "layers.1")
    assert verify(again).holds


def test_another_layer_behind_the_card_is_noticed(artifact: Artifact, tmp_path: Path) -> None:
    other = layer_of(Form.RESIDUAL)
    nn.init.zeros_(other.layers[-1].weight)
    graph = export_smib(other, tmp_path / "other", ABOUT)
    (artifact.path / "1" / "model.onnx").write_bytes((graph.path / "1" / "model.onnx").read_bytes())
    files = artifact.manifest.files | {"1/model.onnx": graph.manifest.files["1/model.onnx"]}
    changed = write_manifest(artifact.path, replace(artifact.manifest, files=files))
    with pytest.raises(ParityError, match="features differ"):
        verify(changed)


@pytest.mark.parametrize("place", ["layers.0", "layers.1"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_hook_filters_the_layer_it_names_and_goes_away(
    place: str, dtype: torch.dtype, layer: smib_model.Bottleneck, artifact: Artifact
) -> None:
    tower, states = Tower(), torch.randn(2, 3, D).to(dtype)
    with torch.no_grad():
        expected = layer(states.float()).to(dtype)
        for bottleneck in (layer, Bottleneck(artifact)):
            with attach(tower, place, bottleneck):
                found = tower(states)
            assert found.dtype == dtype
            assert torch.allclose(found.float(), expected.float(), rtol=1e-2, atol=1e-3)
            assert torch.equal(tower(states), states)


def test_gradients_pass_a_layer_that_is_a_module(layer: smib_model.Bottleneck) -> None:
    tower = Tower()
    with attach(tower, "layers.0", layer):
        tower(torch.randn(1, 2, D)).sum().backward()
    assert layer.layers[0].weight.grad is not None


def test_a_name_that_does_not_exist_is_refused_with_the_nearest(
    layer: smib_model.Bottleneck,
) -> None:
    with pytest.raises(InputError, match=r"'layer\.1'.*layers\.1"):
        attach(Tower(), "layer.1", layer)
    with pytest.raises(InputError, match="layers"):
        attach(Tower(), "", layer)


@pytest.mark.parametrize(
    ("place", "states", "words"),
    [
        pytest.param("layers.0", torch.zeros(1, 2, D + 1), "Expected", id="width"),
        pytest.param("layers.0", torch.full((1, 2, D), torch.nan), "NaN", id="nan"),
        pytest.param("layers.0", torch.full((1, 2, D), torch.inf), "infinity", id="infinity"),
        pytest.param("layers.0", torch.zeros(1, 1, 2, D), "Expected", id="rank"),
        pytest.param("layers.2", torch.zeros(1, 2, D), "Expected states", id="no-floats"),
    ],
)
def test_states_it_was_not_made_for_are_refused(
    place: str, states: Tensor, words: str, layer: smib_model.Bottleneck
) -> None:
    tower = Tower()
    with attach(tower, place, layer), pytest.raises(InputError, match=words):
        tower(states)


@pytest.mark.parametrize(
    ("features", "words"),
    [
        pytest.param(np.zeros((2, D + 1), np.float32), "Expected", id="width"),
        pytest.param(np.full((2, D), np.nan, np.float32), "NaN", id="nan"),
        pytest.param(np.zeros((0, D), np.float32), "Expected", id="empty"),
        pytest.param(np.zeros((1, 1, 1, D), np.float32), "Expected", id="rank"),
    ],
)
def test_features_it_was_not_made_for_are_refused(
    features: np.ndarray, words: str, artifact: Artifact
) -> None:
    with pytest.raises(InputError, match=words):
        Bottleneck(artifact)(features)


def test_an_artifact_of_another_task_is_no_bottleneck(tmp_path: Path) -> None:
    other = load_artifact(build_tiny_artifact(tmp_path / "text", TinyText()))
    with pytest.raises(ManifestError, match="bottleneck"):
        Bottleneck(other)


def test_the_commands_train_and_export(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "f.npz", states=rng.normal(size=(40, 3, D)), toxic=np.arange(40) % 2 == 0)
    work, out = tmp_path / "work", tmp_path / "models"
    trained = ["train", "smib", "--features", str(tmp_path / "f.npz"), "--work", str(work), "--steps", "3"]  # fmt: skip
    assert main([*trained, "--width", "4"]) == 0
    exported = ["export", "smib", "--work", str(work), "--name", "mine", "--base", "b", "--layer", "l"]  # fmt: skip
    assert main([*exported, "--out", str(out)]) == 0
    assert Bottleneck(load_artifact(out / "smib-mine"))(np.zeros((2, D), np.float32)).shape == (2, D)  # fmt: skip
    assert main(["models", "verify", str(out / "smib-mine")]) == 0


def test_a_folder_without_a_layer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="guardkit train smib"):
        smib_model.load_bottleneck(tmp_path)
