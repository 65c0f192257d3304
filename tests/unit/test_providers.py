"""What was asked for is what runs, or an error says what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from guardkit.artifacts import Artifact, Manifest, RunnerOptions, TensorRT, load_artifact
from guardkit.cli.main import main
from guardkit.errors import PolicyError, ProviderError, RunError
from guardkit.export.to_tensorrt import export_tensorrt
from guardkit.policy.load import load_policy, policy_from_dict
from guardkit.runtime.base import open_runner
from guardkit.runtime.providers import NAMES, providers_for
from guardkit.text.encode import LONGEST_CONTEXT
from tests.tiny_image import SIDE, build_tiny_images

_ALL = tuple(NAMES.values())


@pytest.fixture
def manifest(tiny_artifact: Artifact) -> Manifest:
    return tiny_artifact.manifest


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_gpu_that_is_not_there_is_an_error_and_no_silent_cpu(
    tiny_artifact: Artifact, provider: str
) -> None:
    options = msgspec.convert({"provider": provider}, RunnerOptions)
    with pytest.raises(ProviderError, match=rf"{provider} was asked for; .*guardkit\[gpu\]"):
        open_runner(tiny_artifact, options)


def test_a_device_is_handed_on(manifest: Manifest) -> None:
    options = RunnerOptions(provider="cuda", device=1)
    assert providers_for(options, manifest, _ALL) == [("CUDAExecutionProvider", {"device_id": "1"})]


def test_an_int8_graph_is_for_the_cpu(manifest: Manifest) -> None:
    int8 = msgspec.structs.replace(manifest, precision="int8")
    assert providers_for(RunnerOptions(), int8, _ALL)
    with pytest.raises(ProviderError, match="fp16 or fp32 artifact"):
        providers_for(RunnerOptions(provider="cuda"), int8, _ALL)


def test_tensorrt_gets_its_shapes_from_the_manifest_and_a_cache_a_graph(manifest: Manifest) -> None:
    options = RunnerOptions(
        provider="tensorrt", tensorrt=TensorRT(cache="engines", most_windows=4, fp16=False)
    )
    ((name, found),) = providers_for(options, manifest, _ALL)
    assert manifest.text is not None
    longest = manifest.text.max_tokens + LONGEST_CONTEXT
    assert name == "TensorrtExecutionProvider"
    assert found["trt_profile_min_shapes"] == "input_ids:1x1,attention_mask:1x1"
    assert found["trt_profile_opt_shapes"] == "input_ids:4x32,attention_mask:4x32"
    assert found["trt_profile_max_shapes"] == f"input_ids:4x{longest},attention_mask:4x{longest}"
    assert found["trt_fp16_enable"] == "0"
    digest = manifest.files[manifest.model].sha256[:16]
    assert found["trt_engine_cache_path"] == f"engines/{digest}"


def test_an_engine_of_an_image_model_takes_a_pictures_crops(tmp_path: Path) -> None:
    images = load_artifact(build_tiny_images(tmp_path) / "image-safety").manifest
    ((_, found),) = providers_for(RunnerOptions(provider="tensorrt"), images, _ALL)
    shapes = [found[f"trt_profile_{name}_shapes"] for name in ("min", "opt", "max")]
    assert shapes == [f"crops:{count}x{SIDE}x{SIDE}x3" for count in (1, 3, 16)]


def test_the_cache_is_meant_from_the_policy_file(tmp_path: Path, use_tiny_models: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "policy: mine\nprompt: {scorers: [text-safety]}\n"
        "models: {text-safety: {provider: tensorrt, tensorrt: {cache: engines}}}\n"
    )
    options = load_policy(file).models["text-safety"]
    assert options.tensorrt.cache == str(tmp_path / "engines")


def test_a_policy_with_an_unknown_provider_is_refused() -> None:
    policy = {
        "policy": "demo",
        "prompt": {"scorers": ["text-safety"]},
        "models": {"text-safety": {"provider": "gpu"}},
    }
    with pytest.raises(PolicyError, match="provider"):
        policy_from_dict(policy)


def test_an_engine_is_built_with_the_shapes_of_the_artifact(
    tiny_artifact: Artifact, tmp_path: Path
) -> None:
    asked: list[dict[str, str]] = []

    def build(graph: bytes, providers: Sequence[tuple[str, dict[str, str]]]) -> None:
        ((_, options),) = providers
        asked.append(options)
        folder = Path(options["trt_engine_cache_path"])
        folder.mkdir()
        (folder / "model_sm90.engine").write_bytes(b"engine")
        Path(options["trt_ep_context_file_path"]).write_bytes(b"context")

    folder = export_tensorrt(tiny_artifact, tmp_path, TensorRT(), available=_ALL, build=build)
    assert folder == tmp_path / "text-safety-trt"
    assert (folder / "1" / "model.plan").read_bytes() == b"engine"
    assert (folder / "1" / "model_ctx.onnx").read_bytes() == b"context"
    assert asked[0]["trt_fp16_enable"] == "1"
    assert asked[0]["trt_profile_max_shapes"].startswith("input_ids:16x")


def test_a_build_that_left_no_engine_is_an_error(tiny_artifact: Artifact, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="left 0 engines"):
        export_tensorrt(tiny_artifact, tmp_path, TensorRT(), available=_ALL, build=lambda *_: None)
    assert list(tmp_path.iterdir()) == []


def test_without_tensorrt_one_sentence_says_what_to_install(
    tiny_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tiny_models / "text-safety")
    assert main(["export", "tensorrt", folder, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "the TensorRT libraries (pip install" in error
    assert error.count("\n") == 1
