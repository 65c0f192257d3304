"""Classifiers of images of somebody's own, exported: tiny ones with random weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from guardkit import Action, Guard
from guardkit.artifacts import Calibration, ImageOptions, load_artifact
from guardkit.cli.main import main
from guardkit.errors import InputError
from guardkit.export.hf_image import export_hf_images
from guardkit.export.hf_model import Task
from guardkit.export.hf_preprocessing import FILE
from guardkit.export.hf_request import Request
from guardkit.export.image_parity import ImageParityCard, read_card
from guardkit.export.verify import verify
from guardkit.policy.load import policy_from_dict
from tests.training.tiny_hf import build, command
from tests.training.tiny_hf_image import (
    FAMILIES,
    MAP,
    build_images,
    pictures,
    save_pictures,
    torch_image_scores,
)

_TASK = ["--task", "image-classification"]


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of pictures of 32 pixels."""
    return build_images(tmp_path_factory.mktemp("vit") / "model", "vit")


@pytest.fixture
def image_map(tmp_path: Path) -> Path:
    file = tmp_path / "images.yaml"
    file.write_text(MAP)
    return file


def request(folder: Path, labels: Path, **changes: Any) -> Request:
    return Request(str(folder), labels, "mine", task=Task.IMAGES, **changes)


def opened(models: Path, monkeypatch: pytest.MonkeyPatch, *rules: dict[str, Any]) -> Guard:
    """A guard whose policy names the artifact `mine`."""
    monkeypatch.setenv("GUARDKIT_MODELS", str(models))
    stage = {"scorers": ["mine"], "rules": list(rules)}
    return Guard(policy_from_dict({"policy": "demo", "output-image": stage}))


def guard_scores(guard: Guard, drawn: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """f64 [pictures, (gore, sexual)]."""
    return np.array([[one["gore"], one["sexual"]] for one in guard.score_images(drawn)], np.float64)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
@pytest.mark.parametrize("family", FAMILIES)
def test_guard_gives_the_probabilities_that_transformers_gives(
    family: str, head: str, image_map: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build_images(tmp_path / "model", family, head)
    artifact = export_hf_images(request(folder, image_map), tmp_path / "models")
    assert verify(artifact).holds
    side = artifact.manifest.image.side  # type: ignore[union-attr]
    guard = opened(tmp_path / "models", monkeypatch)
    as_large, larger = pictures(6, side), pictures(6, side + side // 2)
    expected = torch_image_scores(folder, as_large, head)
    assert np.ptp(expected, axis=0).min() > 0.02  # twenty times what is allowed below
    np.testing.assert_allclose(guard_scores(guard, as_large), expected, atol=1e-4)
    expected = torch_image_scores(folder, larger, head)
    np.testing.assert_allclose(guard_scores(guard, larger), expected, atol=1e-3)


def test_the_worst_part_of_a_long_picture_counts(
    vit: Path, image_map: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_hf_images(request(vit, image_map), tmp_path / "models")
    guard = opened(tmp_path / "models", monkeypatch)
    left, middle, right = pictures(3, 32)
    expected = torch_image_scores(vit, [left, middle, right]).max(0)
    found = guard_scores(guard, [np.concatenate([left, middle, right], 1)])
    np.testing.assert_allclose(found[0], expected, atol=1e-4)


def test_a_rule_on_its_category_fires(
    vit: Path, image_map: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_hf_images(request(vit, image_map), tmp_path / "models")
    drawn = pictures(6, 32)
    scores = torch_image_scores(vit, drawn)[:, 1]
    bar = float(np.sort(scores)[2:4].mean())
    when = {"category": "sexual", "at_least": bar}
    guard = opened(tmp_path / "models", monkeypatch, {"name": "none", "when": when, "action": "block"})  # fmt: skip
    actions = [guard.check_output(image=one).action for one in drawn]
    assert actions == [Action.BLOCK if score >= bar else Action.ALLOW for score in scores]


def test_int8_is_measured_on_pictures_and_stays_near(
    image_map: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build_images(tmp_path / "model", "resnet")
    paths = save_pictures(tmp_path / "pictures", pictures(40))
    asked = request(folder, image_map, precision="int8")
    artifact = export_hf_images(asked, tmp_path / "models", pictures=paths)
    assert verify(artifact).holds
    card = read_card(artifact, ImageParityCard)
    assert artifact.manifest.precision == card.precision == "int8"
    assert card.worst > 0.001  # it is not the fp32 graph
    kinds = [
        one.data_type for one in onnx.load(artifact.path / "1" / "model.onnx").graph.initializer
    ]
    assert kinds.count(TensorProto.INT8) > 5
    found = guard_scores(opened(tmp_path / "models", monkeypatch), pictures(8))
    np.testing.assert_allclose(found, torch_image_scores(folder, pictures(8)), atol=0.1)
    assert sorted(one.name for one in (artifact.path / "1").iterdir()) == ["model.onnx"]


def test_labelled_pictures_calibrate_and_other_categories_stay(
    vit: Path, image_map: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = pictures(80, 32)
    gore = torch_image_scores(vit, drawn)[:, 0]
    worst = set(np.argsort(gore)[-20:].tolist())
    for name, kept in (("gore", worst), ("safe", set(range(80)) - worst)):
        save_pictures(tmp_path / "data" / name, [drawn[number] for number in sorted(kept)])
    options = [*_TASK, "--data", str(tmp_path / "data"), "--licence", "MIT"]
    assert main(command(vit, image_map, tmp_path / "models", *options)) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "gore: calibrated",
        "sexual: as the model gives it",
    ]
    artifact = load_artifact(tmp_path / "models" / "mine")
    assert verify(artifact).holds
    manifest = artifact.manifest
    assert (manifest.task, manifest.licence) == ("image-scores", "MIT")
    assert manifest.image == ImageOptions(32)
    assert manifest.calibration["sexual"] == Calibration(1.0, 0.0)
    by = manifest.calibration["gore"]
    middle = 1 / (1 + np.exp(by.shift / by.scale))  # the model's probability that becomes one half
    low, high = np.sort(gore)[[-24, -17]]
    assert low < middle < high


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        pytest.param({"do_resize": False}, "'do_resize' is false", id="no-resize"),
        pytest.param({"size": {"height": 32, "width": 48}}, "'size' is {'height': 32, 'width': 48}", id="oblong"),
        pytest.param({"size": {"longest_edge": 32}}, "'size' is {'longest_edge': 32}", id="longest-edge"),
        pytest.param({"size": 8}, "'size' is 8. Expected 16 to 1024", id="tiny"),
        pytest.param({"resample": 5}, "'resample' is 5. Expected 0 (nearest)", id="hamming"),
        pytest.param({"do_pad": True}, "'do_pad' is not supported", id="pad"),
        pytest.param({"rescale_factor": 0}, "'rescale_factor' is 0", id="factor"),
        pytest.param({"image_mean": [0.5]}, "'image_mean' is [0.5]. Expected three", id="grey"),
        pytest.param({"image_std": [0.5, 0, 0.5]}, "'image_std' is", id="no-deviation"),
        pytest.param({"crop_pct": 0.9}, "'crop_pct' is not supported", id="crop-pct"),
        pytest.param({"do_center_crop": True, "crop_size": 40}, "'crop_size' is 40, above 'size' 32", id="padded-crop"),
    ],
)  # fmt: skip
def test_a_preprocessing_that_is_not_ours_is_refused_by_its_key(
    settings: dict[str, Any], told: str, vit: Path, image_map: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(vit, tmp_path / "model")
    content = json.loads((folder / FILE).read_text())
    (folder / FILE).write_text(json.dumps(content | settings))
    with pytest.raises(InputError) as raised:
        export_hf_images(request(folder, image_map), tmp_path / "models")
    assert told in str(raised.value)
    assert str(folder) in str(raised.value)
    assert not (tmp_path / "models").exists()


def _remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _make_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        pytest.param(_remove(FILE), "no image processor can be read", id="no-processor"),
        pytest.param(lambda f: (f / FILE).write_text("{"), "no image processor", id="malformed"),
        pytest.param(_make_pickle, "its weights cannot be read", id="pickle"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused_with_the_reason(
    spoil: Callable[[Path], None], told: str, vit: Path, image_map: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(vit, tmp_path / "model")
    spoil(folder)
    with pytest.raises(InputError, match=told):
        export_hf_images(request(folder, image_map), tmp_path / "models")


def test_a_category_that_images_do_not_have_is_named_with_its_place(
    vit: Path, tmp_path: Path
) -> None:
    file = tmp_path / "map.yaml"
    file.write_text("gore: gore\ninsult: nude\nsexual: naked\n")
    with pytest.raises(InputError) as raised:
        export_hf_images(request(vit, file), tmp_path / "models")
    told = str(raised.value)
    assert "map.yaml:2:1" in told
    assert "unknown category of images 'insult'. Known: " in told
    assert "the model has no label 'naked'" in told


def test_int8_without_pictures_is_refused(vit: Path, image_map: Path, tmp_path: Path) -> None:
    asked = request(vit, image_map, precision="int8")
    with pytest.raises(InputError, match="--precision int8: 0 pictures"):
        export_hf_images(asked, tmp_path / "models")


def test_a_classifier_of_texts_is_none_of_images(
    image_map: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = build(tmp_path / "model", "bert", "softmax")
    assert main(command(folder, image_map, tmp_path / "models", *_TASK)) == 2
    assert "ends in ForImageClassification" in capsys.readouterr().err


def test_a_hub_name_without_network_is_one_sentence(
    image_map: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    line = command("nobody/no-such-model", image_map, tmp_path / "models", *_TASK)
    assert main(line) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("nobody/no-such-model: no such folder here, and the hub could not be")
