"""The Triton wing without a server: what it writes, and what `guard` reads and answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from guardkit import Guard, Policy
from guardkit.artifacts import Artifact, RunnerOptions, Triton, load_artifact
from guardkit.errors import InputError, MissingArtifactError
from guardkit.image.decode import decode
from guardkit.policy.load import load_policy
from guardkit.policy.rules import Rule, StagePolicy, When, WordList
from guardkit.runtime.pbtxt import DIGEST, render
from guardkit.serve.config import Serving, guard_config, scoring_config
from guardkit.serve.protocol import Asked, answer, read_asked, rows_of
from guardkit.serve.repository import served, write_repository
from guardkit.taxonomy import Stage
from guardkit.types import Action, Context, Turn
from tests.fake_steps import CUT_INSULTS, NO_THREATS
from tests.pictures import BLUE, RED, encoded, plain
from tests.tiny import change_manifest
from tests.tiny_image import SIDE, build_tiny_faces, build_tiny_images

POLICY = Policy(
    policy="served",
    prompt=StagePolicy(
        scorers=("blocklist", "text-safety"), editors=("cut",), rules=(CUT_INSULTS, NO_THREATS)
    ),
    lists={"election": WordList(block=("ballot box",))},
)

pytestmark = pytest.mark.usefixtures("use_tiny_models")


def test_a_repository_is_whole(tmp_path: Path) -> None:
    files = write_repository(POLICY, tmp_path / "out", Serving(backend="python"))
    names = {str(file.relative_to(tmp_path / "out")) for file in files}
    assert names >= {
        "models/text-safety/config.pbtxt",
        "models/text-safety/manifest.json",
        "models/text-safety/1/model.onnx",
        "models/text-safety/1/model.py",
        "models/text-safety-encode/1/model.py",
        "models/text-safety-ensemble/config.pbtxt",
        "models/guard/1/model.py",
        "models/guard/config.pbtxt",
        "policy/policy.yaml",
        "Dockerfile",
        "compose.yaml",
        "kubernetes.yaml",
    }
    # Triton wants a folder for every version, an ensemble's too.
    assert (tmp_path / "out/models/text-safety-ensemble/1").is_dir()


def test_the_served_model_is_the_artifact(tmp_path: Path, tiny_artifact: Artifact) -> None:
    write_repository(POLICY, tmp_path / "out", Serving())
    copied = load_artifact(tmp_path / "out/models/text-safety")
    copied.verify()
    assert copied.manifest == tiny_artifact.manifest
    digest = tiny_artifact.manifest.files["1/model.onnx"].sha256
    assert f'key: "{DIGEST}"' in (copied.path / "config.pbtxt").read_text()
    assert digest in (copied.path / "config.pbtxt").read_text()


def test_the_served_policy_is_one_file_and_decides_the_same(tmp_path: Path) -> None:
    write_repository(POLICY, tmp_path / "out", Serving())
    again = load_policy(tmp_path / "out/policy/policy.yaml")
    assert again.id == POLICY.id
    guard = Guard(served(again, tmp_path / "out/models"))
    for text in ("hello world", "you idiot", "i will kill you", "the ballot box"):
        ours, theirs = Guard(POLICY).check_prompt(text), guard.check_prompt(text)
        assert (ours.action, ours.fired, ours.scores) == (
            theirs.action,
            theirs.fired,
            theirs.scores,
        )


def test_a_served_policy_names_no_path_and_no_server(tmp_path: Path, tiny_models: Path) -> None:
    options = RunnerOptions(
        backend="triton",
        triton=Triton(url="inside:8001"),
        path=str(tiny_models / "text-safety"),
        cache=str(tmp_path),
    )
    policy = Policy(policy="p", prompt=POLICY.prompt, models={"text-safety": options})
    write_repository(policy, tmp_path / "out", Serving())
    text = (tmp_path / "out/policy/policy.yaml").read_text()
    assert "inside" not in text
    assert str(tmp_path) not in text


def test_models_of_images_are_served_those_that_vote_and_find_faces_included(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = build_tiny_faces(build_tiny_images(tmp_path / "tiny"))
    monkeypatch.setenv("GUARDKIT_MODELS", str(models))
    stage = StagePolicy(scorers=("image-safety", "public-figures"))
    precise = {"image-safety": RunnerOptions(mode="precise")}
    policy = Policy(policy="p", output_image=stage, models=precise)
    write_repository(policy, tmp_path / "out", Serving(backend="python"))
    names = {one.name for one in (tmp_path / "out/models").iterdir()}
    assert names == {"guard", "image-safety", "image-safety-second", "face-detector"}
    config = (tmp_path / "out/models/image-safety/config.pbtxt").read_text()
    assert f"dims: [{SIDE}, {SIDE}, 3]" in config
    assert "guardkit[cpu,image]==" in (tmp_path / "out/Dockerfile").read_text()
    again = load_policy(tmp_path / "out/policy/policy.yaml")
    guard = Guard(served(again, tmp_path / "out/models"))
    red = np.full((64, 64, 3), (255, 0, 0), np.uint8)
    ours = Guard(policy).check_output(image=red, prompt="a face")
    theirs = guard.check_output(image=red, prompt="a face")
    assert (theirs.action, theirs.scores) == (ours.action, ours.scores)
    assert theirs.models == ours.models


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(InputError, match="is not empty"):
        write_repository(POLICY, tmp_path, Serving())
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]


def test_deployment_files_can_be_read(tmp_path: Path) -> None:
    serving = Serving(device="gpu", instances=3, response_cache=True)
    write_repository(POLICY, tmp_path / "out", serving)
    compose = yaml.safe_load((tmp_path / "out/compose.yaml").read_text())
    triton = compose["services"]["triton"]
    assert "--model-repository=/guardkit/models" in triton["command"]
    assert any("--cache-config" in word for word in triton["command"])
    assert triton["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    deployment, service, budget = yaml.safe_load_all((tmp_path / "out/kubernetes.yaml").read_text())
    assert [one["kind"] for one in (deployment, service, budget)] == [
        "Deployment",
        "Service",
        "PodDisruptionBudget",
    ]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["readinessProbe"]["httpGet"]["path"] == "/v2/models/guard/ready"
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {one["name"] for one in deployment["spec"]["template"]["spec"]["volumes"]}


@pytest.mark.parametrize(
    ("backend", "says"),
    [
        ("onnxruntime", 'backend: "onnxruntime"'),
        ("tensorrt", 'platform: "tensorrt_plan"'),
        ("python", 'backend: "python"'),
    ],
)
def test_a_config_names_its_backend(tiny_artifact: Artifact, backend: str, says: str) -> None:
    text = render(scoring_config(tiny_artifact.manifest, Serving(backend=backend)))  # type: ignore[arg-type]
    assert says in text
    assert ("KIND_GPU" in text) == (backend == "tensorrt")
    assert "max_queue_size: 1024" in text


def test_an_int8_graph_is_not_served_on_a_gpu(own_artifact: Path) -> None:
    artifact = load_artifact(change_manifest(own_artifact, {"precision": "int8"}))
    with pytest.raises(InputError, match="guardkit export onnx text-safety"):
        scoring_config(artifact.manifest, Serving(device="gpu"))


def test_a_missing_engine_says_how_to_build_one(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifactError, match="guardkit export tensorrt text-safety"):
        write_repository(POLICY, tmp_path / "out", Serving(backend="tensorrt"))
    assert not (tmp_path / "out").exists()


def test_only_what_the_guard_reads_is_optional() -> None:
    config = guard_config(Serving())
    assert [(one["name"], one.get("optional", False)) for one in config["input"]] == [
        ("text", False),
        ("context", True),
        ("stage", True),
        ("image", True),
    ]


def test_a_request_is_read_field_by_field() -> None:
    content = b'{"audience": "children", "turns": [{"role": "user", "text": "hi"}]}'
    assert read_asked(b"hello", content, b"output-text") == Asked(
        "hello", Context(audience="children", turns=(Turn("user", "hi"),)), Stage.OUTPUT_TEXT
    )


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ((b"secret \xff",), "text: not UTF-8"),
        ((b"x", b"{secret"), "context: "),
        ((b"x", b'{"secret": 1}'), "context: "),
        ((b"x", b"", b"secret"), "stage: none that"),
        ((b"x", b"", b"edit"), "stage: none that"),
        ((b"x", b"", b"prompt", b"secret"), "image: expected with the stage output-image"),
        ((b"x", b"", b"output-image"), "image: expected with the stage output-image"),
    ],
    ids=["text", "malformed", "field", "stage", "image stage", "image", "no image"],
)
def test_a_request_that_cannot_be_read_is_one_clear_error(
    fields: tuple[bytes, ...], says: str
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        read_asked(*fields)
    # A field's name is told, a value never.
    assert "secret" not in str(caught.value).replace("unknown field `secret`", "")


def test_tensors_of_different_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="Expected 2 each"):
        rows_of(2, [b"a", b"b"], [b"one"])


def test_every_text_of_a_request_gets_its_own_decision() -> None:
    guard = Guard(POLICY)
    asked = [Asked("you idiot"), Asked("hello", Context(audience="x")), Asked("i will kill you")]
    decisions = [json.loads(one.decision) for one in answer(guard, asked)]
    assert [one["action"] for one in decisions] == ["edit", "allow", "block"]
    assert [one["text"] for one in decisions] == ["you", "hello", None]


def test_an_image_is_checked_with_the_prompt_it_was_made_of_and_comes_back_edited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUARDKIT_MODELS", str(build_tiny_faces(tmp_path)))
    when = When(category="privacy", at_least=0.5)
    rule = Rule(name="hide", when=when, action=Action.EDIT, using="blur-faces")
    stage = StagePolicy(scorers=("face-detector",), editors=("blur-faces",), rules=(rule,))
    guard = Guard(Policy(policy="p", output_image=stage))
    pixels = plain(BLUE, width=128, height=128)
    harmless = encoded(pixels)
    pixels[40:44, 64:68] = RED  # the middle of a face, for the tiny detector
    face = encoded(pixels)
    asked = [read_asked(b"a meadow", b"", b"", one) for one in (harmless, face, b"no image")]
    first, second, third = answer(guard, asked)
    said = [json.loads(one.decision) for one in (first, second, third)]
    assert [one["action"] for one in said] == ["allow", "edit", "block"]
    assert {one["stage"] for one in said} == {"output-image"}
    assert said[2]["status"] == "error"
    assert (first.image, third.image) == (b"", b"")
    edited = guard.check_output(image=face, prompt="a meadow").image
    np.testing.assert_array_equal(decode(second.image).frames[0], edited)


def test_a_stage_that_the_policy_does_not_have_is_an_error() -> None:
    with pytest.raises(InputError, match="Expected one of prompt"):
        read_asked(b"x", b"", b"output-text", stages=POLICY.stages)
