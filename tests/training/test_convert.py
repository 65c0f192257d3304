"""Twins in other precisions: as close to the artifact as the card says, or a clear refusal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from guardkit.artifacts import Artifact, RunnerOptions, load_artifact
from guardkit.cli.main import main
from guardkit.errors import InputError
from guardkit.export.convert import convert
from guardkit.export.image_parity import drawn_crops, scores_of
from guardkit.export.verify import TEXTS, outputs_of, verify
from guardkit.runtime.base import open_runner
from tests.tiny_image import SIDE, build_tiny_images


@pytest.fixture(scope="module")
def int8(models: Path) -> Artifact:
    return load_artifact(models / "text-safety")


@pytest.fixture(scope="module")
def fp32(int8: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return convert(int8, "fp32", tmp_path_factory.mktemp("fp32"))[0]


def logits(artifact: Artifact) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return outputs_of(artifact, open_runner(artifact, RunnerOptions()), TEXTS)[0]


def test_the_fp32_twin_is_the_model_that_was_trained(
    int8: Artifact, fp32: Artifact, work: Path
) -> None:
    trained = load_artifact(work / "fp32" / "text-safety")
    # int8 rounds a weight to 1/127 of its channel's largest; the logits of this model reach 10.
    np.testing.assert_allclose(logits(fp32), logits(trained), atol=0.3)
    assert fp32.manifest.precision == "fp32"
    assert fp32.manifest.calibration == int8.manifest.calibration


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_twin_of_fp32_is_close_to_it(fp32: Artifact, tmp_path: Path, precision: str) -> None:
    twin, card = convert(fp32, precision, tmp_path)
    assert np.abs(logits(twin) - logits(fp32)).max() == pytest.approx(card.worst, abs=0.02)
    assert card.worst < {"fp16": 0.05, "int8": 1.0}[precision]
    assert verify(twin).holds
    # Inputs and outputs are the same, so whatever runs one runs the other.
    assert (twin.manifest.inputs, twin.manifest.outputs) == (fp32.manifest.inputs, fp32.manifest.outputs)  # fmt: skip


@pytest.mark.parametrize("precision", ["int8", "nothing"])
def test_a_precision_without_a_way_is_refused(
    int8: Artifact, tmp_path: Path, precision: str
) -> None:
    with pytest.raises(InputError, match=f"int8 to {precision}: no way. Known: int8 to fp32"):
        convert(int8, precision, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_of_images_has_a_twin_in_half_precision(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = load_artifact(build_tiny_images(tmp_path / "models") / "image-safety")
    folder, out = str(whole.path), tmp_path / "out"
    assert main(["export", "onnx", folder, "--precision", "fp16", "--out", str(out)]) == 0
    assert "scores within 0." in capsys.readouterr().out
    twin = load_artifact(out / "image-safety")
    assert (twin.manifest.precision, twin.manifest.image) == ("fp16", whole.manifest.image)
    assert verify(twin).holds
    crops = drawn_crops(4, SIDE)
    ours, theirs = (
        scores_of(one, open_runner(one, RunnerOptions()), crops) for one in (whole, twin)
    )
    assert 0 < np.abs(ours - theirs).max() < 0.01
    with pytest.raises(InputError, match="fp32 to int8: no way"):
        convert(whole, "int8", tmp_path / "int8")


def test_a_folder_that_is_taken_is_left_alone(int8: Artifact, tmp_path: Path) -> None:
    (tmp_path / "text-safety").mkdir()
    with pytest.raises(InputError, match="exists already"):
        convert(int8, "fp32", tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["text-safety"]


def test_the_command_says_how_close_it_came(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = str(models / "text-safety"), str(tmp_path)
    assert main(["export", "onnx", folder, "--precision", "fp16", "--out", out]) == 0
    assert "logits within 0." in capsys.readouterr().out
