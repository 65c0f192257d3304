"""The int8 twin of a model of crops, ranges taken from pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from guardkit.artifacts import Artifact, Calibration, RunnerOptions, load_artifact
from guardkit.cli.main import main
from guardkit.export.artifact import MODEL
from guardkit.export.image_artifact import AboutImages, new_artifact, write_image_artifact
from guardkit.export.image_heads import export_crops
from guardkit.export.image_parity import DRAWN, drawn_crops, scores_of
from guardkit.export.verify import verify
from guardkit.runtime.base import open_runner

SIDE = 32


class Network(nn.Module):
    """A small convolutional network with random weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3, stride=2), nn.Conv2d(16, 32, 3, stride=2)
        self.last = nn.Linear(32, 2)

    def forward(self, crops: Tensor) -> Tensor:
        x = torch.relu(self.first(crops.permute(0, 3, 1, 2).float() / 128 - 1))
        return 6 * self.last(torch.relu(self.second(x)).mean(dim=(2, 3)))


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """An fp32 artifact."""
    torch.manual_seed(3)
    network = Network().eval()
    calibration = {"gore": Calibration(1.0, 0.0), "sexual": Calibration(0.7, 0.2)}
    about = AboutImages("seen", "0.1.0", "MIT", calibration, SIDE, second="other")

    def write(folder: Path) -> Artifact:
        export_crops(network, SIDE, folder / MODEL)
        with torch.no_grad():
            expected = network(torch.from_numpy(drawn_crops(DRAWN, SIDE))).sigmoid().numpy()
        return write_image_artifact(folder, about, expected)

    return new_artifact(tmp_path_factory.mktemp("models"), "seen", write)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(1)
    for number in range(24):
        pixels = random.integers(0, 256, (4, 4, 3), np.uint8).repeat(10, axis=0).repeat(10, axis=1)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def command(wide: Artifact, out: Path, *options: str) -> list[str]:
    return ["export", "onnx", str(wide.path), "--out", str(out), *options]


def test_the_twin_computes_in_int8_and_scores_nearly_the_same(
    wide: Artifact, pictures: Path, tmp_path: Path
) -> None:
    assert main(command(wide, tmp_path, "--precision", "int8", "--pictures", str(pictures))) == 0
    twin = load_artifact(tmp_path / "seen")
    assert verify(twin).holds
    assert (twin.manifest.precision, twin.manifest.image) == ("int8", wide.manifest.image)
    assert twin.manifest.calibration == wide.manifest.calibration
    weights = onnx.load(str(twin.path / MODEL)).graph.initializer
    assert sum(one.data_type == onnx.TensorProto.INT8 for one in weights) >= 3
    crops = drawn_crops(24, SIDE)
    both = [scores_of(one, open_runner(one, RunnerOptions()), crops) for one in (wide, twin)]
    assert np.ptp(both[0], axis=0).min() > 0.1
    differences = np.abs(both[0] - both[1])
    assert 0 < differences.max() < 0.1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        pytest.param(["--precision", "fp16"], "are for --precision int8", id="fp16"),
        pytest.param(["--precision", "int8"], "1 pictures. Expected 20", id="too-few"),
    ],
)
def test_what_cannot_be_done_is_said(
    options: list[str],
    told: str,
    wide: Artifact,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "one.png")
    told_pictures = [*options, "--pictures", str(tmp_path)]
    assert main(command(wide, tmp_path / "out", *told_pictures)) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out" / "seen").exists()


def test_without_pictures_a_model_of_images_is_not_converted(
    wide: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(wide, tmp_path, "--precision", "int8")) == 2
    assert "--pictures" in capsys.readouterr().err
