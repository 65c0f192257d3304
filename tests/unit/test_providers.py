"""What was asked for is what runs, or an error says what is missing."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from guardkit.artifacts import Artifact, Manifest, RunnerOptions, TensorRT
from guardkit.errors import PolicyError, ProviderError
from guardkit.policy.load import load_policy, policy_from_dict
from guardkit.runtime.base import open_runner
from guardkit.runtime.providers import NAMES, providers_for
from guardkit.text.encode import LONGEST_CONTEXT

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
