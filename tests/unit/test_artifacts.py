"""Artifacts: where they are found, and that nothing but what the manifest describes is used."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import guardkit
from guardkit.artifacts import (
    Artifact,
    RunnerOptions,
    artifact_names,
    find_artifact,
    list_artifacts,
    load_artifact,
)
from guardkit.errors import DigestError, ManifestError, MissingArtifactError
from guardkit.runtime.base import open_runner
from tests.tiny import TinyText, build_tiny_artifact, change_manifest, file_entry

MODEL = "1/model.onnx"
PACKAGE = Path(guardkit.__file__).parent


# --- where ----------------------------------------------------------------------------------------


def test_an_artifact_is_found_under_its_name(use_tiny_models: Path) -> None:
    artifact = find_artifact("text-safety")
    assert artifact.path == use_tiny_models / "text-safety"
    assert artifact.manifest.id == "text-safety@0.0.1"


def test_the_first_folder_of_the_variable_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("a", "b"):
        build_tiny_artifact(tmp_path / folder / "text-safety")
    folders = [tmp_path / "empty", tmp_path / "b", tmp_path / "a"]
    monkeypatch.setenv("GUARDKIT_MODELS", os.pathsep.join(map(str, folders)))
    assert find_artifact("text-safety").path == tmp_path / "b" / "text-safety"


def test_a_path_of_the_policy_goes_before_every_folder(
    use_tiny_models: Path, own_artifact: Path
) -> None:
    assert find_artifact("text-safety", path=own_artifact).path == own_artifact


def test_a_missing_artifact_names_every_place_that_was_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUARDKIT_MODELS", f"{tmp_path / 'a'}{os.pathsep}{tmp_path / 'b'}")
    with pytest.raises(MissingArtifactError) as caught:
        find_artifact("no-such")
    # product.md section 5: the variable, the package, (data-only wheels), the checkout.
    places = [tmp_path / "a", tmp_path / "b", PACKAGE / "exported_models"]
    places.append(PACKAGE.parent / "exported_models")
    positions = [str(caught.value).index(str(place / "no-such")) for place in places]
    assert positions == sorted(positions)
    assert "GUARDKIT_MODELS" in str(caught.value)
    assert "models.no-such.path" in str(caught.value)


def test_a_path_without_an_artifact_is_not_searched_for_elsewhere(
    use_tiny_models: Path, tmp_path: Path
) -> None:
    with pytest.raises(MissingArtifactError, match="cannot be read"):
        find_artifact("text-safety", path=tmp_path)


def test_every_artifact_is_listed_once(use_tiny_models: Path) -> None:
    assert [one.path for one in list_artifacts() if one.path.is_relative_to(use_tiny_models)] == [
        use_tiny_models / "pii-tagger",
        use_tiny_models / "text-safety",
    ]
    assert artifact_names() == [one.path.name for one in list_artifacts()]


# --- files ----------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(flip, "SHA-256", id="flipped-bit"),
        pytest.param(truncate, "bytes, the manifest says", id="truncated"),
        pytest.param(Path.unlink, "cannot be read", id="missing"),
    ],
)
@pytest.mark.parametrize("name", [pytest.param(n, id=n) for n in (MODEL, "1/tokenizer.json")])
def test_a_file_that_is_not_the_one_described_is_refused(
    own_artifact: Path, spoil: Callable[[Path], None], message: str, name: str
) -> None:
    artifact = load_artifact(own_artifact)
    artifact.verify()
    spoil(own_artifact / name)
    with pytest.raises(DigestError, match=message) as caught:
        artifact.verify()
    assert str(own_artifact / name) in str(caught.value)


def test_reading_gives_the_bytes_that_were_checked(tiny_artifact: Artifact) -> None:
    assert tiny_artifact.read(MODEL) == (tiny_artifact.path / MODEL).read_bytes()


def test_a_file_the_manifest_does_not_list_is_not_read(own_artifact: Path) -> None:
    (own_artifact / "extra.bin").write_bytes(b"x")
    with pytest.raises(ManifestError, match=r"lists no file 'extra\.bin'"):
        load_artifact(own_artifact).read("extra.bin")


def test_opening_a_changed_model_is_refused(own_artifact: Path) -> None:
    flip(own_artifact / MODEL)
    with pytest.raises(DigestError):
        open_runner(load_artifact(own_artifact), RunnerOptions())


# --- the manifest ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut-off"),
        pytest.param(b"[]", id="a-list"),
        pytest.param(b"{}", id="nothing-in-it"),
        pytest.param(b"\xff\xfe", id="not-utf-8"),
        pytest.param(b"[" * 100_000, id="nested-without-end"),
    ],
)
def test_a_malformed_manifest_is_refused(own_artifact: Path, content: bytes) -> None:
    (own_artifact / "manifest.json").write_bytes(content)
    with pytest.raises(ManifestError) as caught:
        load_artifact(own_artifact)
    assert str(own_artifact / "manifest.json") in str(caught.value)


ENTRY = {"sha256": "0" * 64, "size_bytes": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"format": 2}, "format 2, this guardkit reads 1", id="unknown-format"),
        pytest.param({"surprise": 1}, "unknown field `surprise`", id="unknown-key"),
        pytest.param({"name": "Not Kebab"}, "name", id="bad-name"),
        pytest.param({"categories": ["insult", "treat"]}, "unknown categories", id="category"),
        pytest.param({"categories": ["insult", "insult"]}, "listed twice", id="category-twice"),
        pytest.param({"calibration": {}}, "no calibration for", id="no-calibration"),
        pytest.param(
            {"calibration": {"insult": {"scale": 0.0, "shift": 0.0}}},
            "scale",
            id="flat-calibration",
        ),
        pytest.param({"files": {}}, "not listed under files", id="model-not-listed"),
        pytest.param({"model": "1/other.onnx"}, "not listed under files", id="other-model"),
        pytest.param({"text": {"max_tokens": 16, "overlap": 14}}, "overlap", id="overlap"),
        pytest.param({"files": {MODEL: {"sha256": "xyz", "size_bytes": 1}}}, "sha256", id="digest"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    own_artifact: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ManifestError, match=message):
        load_artifact(change_manifest(own_artifact, changes))


@pytest.mark.parametrize(
    "name", [pytest.param("../secret", id="above"), pytest.param("/etc/hostname", id="absolute")]
)
def test_a_file_outside_the_artifact_is_refused(own_artifact: Path, name: str) -> None:
    listed = {file: file_entry(own_artifact / file) for file in (MODEL, "1/tokenizer.json")}
    change_manifest(own_artifact, {"files": {**listed, name: ENTRY}})
    with pytest.raises(ManifestError, match="outside the artifact"):
        load_artifact(own_artifact)


INPUTS = [
    {"name": name, "dtype": "int64", "shape": ["windows", "tokens"]}
    for name in ("input_ids", "attention_mask")
]
LOGITS = {"name": "logits", "dtype": "float32", "shape": ["windows", 2]}
TOKEN_LOGITS = {"name": "token_logits", "dtype": "float32", "shape": ["windows", "tokens", 2]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param(
            {"inputs": [{**INPUTS[0], "dtype": "int32"}, INPUTS[1]]},
            "input 'input_ids' has dtype int64, the manifest says int32",
            id="input-dtype",
        ),
        pytest.param(
            {"inputs": [{**INPUTS[0], "shape": ["windows"]}, INPUTS[1]]},
            "input 'input_ids' has shape",
            id="input-rank",
        ),
        pytest.param({"inputs": INPUTS[:1]}, "the graph has inputs", id="input-unknown"),
        pytest.param(
            {"inputs": [*INPUTS, {**INPUTS[0], "name": "token_type_ids"}]},
            "the graph has inputs",
            id="input-missing",
        ),
        pytest.param(
            {"outputs": [{**LOGITS, "dtype": "float16"}, TOKEN_LOGITS]},
            "output 'logits' has dtype float32, the manifest says float16",
            id="output-dtype",
        ),
        pytest.param(
            {"outputs": [{**LOGITS, "shape": ["windows", 3]}, TOKEN_LOGITS]},
            "output 'logits' has shape",
            id="output-width",
        ),
        pytest.param({"outputs": [LOGITS]}, "the graph has outputs", id="output-unknown"),
    ],
)
def test_a_manifest_that_disagrees_with_its_graph_is_refused(
    own_artifact: Path, changes: dict[str, Any], message: str
) -> None:
    artifact = load_artifact(change_manifest(own_artifact, changes))
    with pytest.raises(ManifestError, match=message) as caught:
        open_runner(artifact, RunnerOptions())
    assert str(own_artifact / MODEL) in str(caught.value)


def test_a_word_in_a_shape_agrees_with_any_size(own_artifact: Path) -> None:
    outputs = [{**LOGITS, "shape": ["windows", "categories"]}, TOKEN_LOGITS]
    open_runner(load_artifact(change_manifest(own_artifact, {"outputs": outputs})), RunnerOptions())


@pytest.mark.parametrize(
    "tiny",
    [
        pytest.param(TinyText(input_dtype="int32"), id="int32-inputs"),
        pytest.param(TinyText(output_dtype="float16"), id="float16-outputs"),
        pytest.param(TinyText(categories=("threat", "insult")), id="another-order"),
    ],
)
def test_a_manifest_that_agrees_with_its_graph_opens(tmp_path: Path, tiny: TinyText) -> None:
    artifact = load_artifact(build_tiny_artifact(tmp_path / "a", tiny))
    assert open_runner(artifact, RunnerOptions()).info.name == "text-safety"
