"""What is written out and read again is equal: policies and manifests."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardkit.artifacts import (
    Artifact,
    Calibration,
    FileEntry,
    Manifest,
    TensorSpec,
    TextOptions,
    load_artifact,
)
from guardkit.policy.load import load_policy, policy_from_dict
from guardkit.policy.rules import Policy
from guardkit.taxonomy import TAXONOMY
from tests.property.policies import names, policies

# The fixtures only point at the tiny models and at a file that each example writes anew.
shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


class QuotingDumper(yaml.SafeDumper):
    """Writes every text in quotes: guardkit is stricter than YAML about text without them."""


QuotingDumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)

digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
entries = st.builds(FileEntry, digests, st.integers(0, 10**12))
specs = st.builds(
    TensorSpec,
    st.text(max_size=8),
    st.sampled_from(["int64", "float32"]),
    st.lists(st.integers(1, 999) | st.sampled_from(["windows", "tokens"]), max_size=3).map(tuple),
)
calibrations = st.builds(
    Calibration,
    st.floats(1e-6, 1e6),
    st.floats(allow_nan=False, allow_infinity=False),
)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Any manifest that does not contradict itself."""
    categories = draw(st.lists(st.sampled_from(sorted(TAXONOMY)), unique=True).map(tuple))
    text = draw(st.none() | st.builds(TextOptions, st.integers(64, 512), st.integers(0, 32)))
    return Manifest(
        format=1,
        name=draw(names),
        version=draw(st.text(max_size=8)),
        task="text-scores",
        precision=draw(st.sampled_from(["fp32", "fp16", "int8"])),
        licence=draw(st.text(max_size=8)),
        categories=categories,
        calibration={name: draw(calibrations) for name in categories},
        inputs=draw(st.lists(specs, max_size=2).map(tuple)),
        outputs=draw(st.lists(specs, max_size=2).map(tuple)),
        files={name: draw(entries) for name in ("1/model.onnx", "1/tokenizer.json")},
        text=text,
    )


@pytest.mark.usefixtures("use_tiny_models")
@shared
@given(policies())
def test_a_policy_written_as_json_loads_equal(tmp_path: Path, policy: Policy) -> None:
    path = tmp_path / "policy.yaml"
    path.write_bytes(msgspec.json.encode(policy))  # JSON is YAML
    loaded = load_policy(path)
    assert loaded == policy
    assert loaded.digest == policy.digest


@pytest.mark.usefixtures("use_tiny_models")
@shared
@given(policies())
def test_a_policy_written_as_yaml_loads_equal(tmp_path: Path, policy: Policy) -> None:
    path = tmp_path / "policy.yaml"
    plain = msgspec.json.decode(msgspec.json.encode(policy))
    path.write_text(yaml.dump(plain, Dumper=QuotingDumper, sort_keys=False), "utf-8")
    assert load_policy(path) == policy


@pytest.mark.usefixtures("use_tiny_models")
@shared
@given(policies())
def test_a_policy_as_plain_values_loads_equal(policy: Policy) -> None:
    assert policy_from_dict(msgspec.to_builtins(policy)) == policy


@shared
@given(manifests())
def test_a_manifest_written_out_loads_equal(tmp_path: Path, manifest: Manifest) -> None:
    (tmp_path / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    assert load_artifact(tmp_path) == Artifact(tmp_path, manifest)
