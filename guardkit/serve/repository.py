"""Write a Triton model repository that serves a policy.

OUT/models/text-safety/        the artifact: config.pbtxt, 1/model.onnx, manifest.json, ...
OUT/models/text-safety-encode/ its tokenizer (python backend)
OUT/models/text-safety-ensemble/   text in, logits out
OUT/models/image-safety/       likewise, of a stage that looks at images: crops in, logits out
OUT/models/guard/              text or image in, Decision out (python backend, calls the models above)
OUT/policy/policy.yaml         what `guard` decides by: one file, to mount
OUT/Dockerfile, compose.yaml, kubernetes.yaml
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec.structs import replace

from guardkit.artifacts import Artifact, RunnerOptions, find_artifact
from guardkit.errors import InputError, MissingArtifactError
from guardkit.policy.rules import Policy
from guardkit.runtime.pbtxt import render
from guardkit.serve.config import (
    POLICY,
    Serving,
    encode_config,
    ensemble_config,
    guard_config,
    scoring_config,
)
from guardkit.serve.deploy import deployment_files
from guardkit.steps import FACE_DETECTOR, IMAGE_TEXT, SCORERS, TEXT_SAFETY, needs_faces
from guardkit.taxonomy import Stage

_MODELS = "models"
_PLAN = "1/model.plan"
_PYTHON = '"""Made by `guardkit triton repository`."""\n\nfrom guardkit.serve.{module} import {name} as TritonPythonModel\n'


def write_repository(policy: Policy, out: Path, serving: Serving) -> list[Path]:
    """Write a model repository, and what deploys it, into a new or empty folder.

    Args:
        policy: What `guard` decides by; every model that it names is served.
        out: The folder.
        serving: How the models are served.

    Returns:
        Every file, in order.

    Raises:
        InputError: The folder holds something, or a model cannot be served this way.
        ArtifactError: A model is missing or changed.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is not empty. Name a new folder.")
    artifacts = _artifacts(policy)
    planned = [(one, scoring_config(one.manifest, serving)) for one in artifacts]  # before writing
    plans = {one.manifest.name: _plan(one) for one in artifacts if serving.backend == "tensorrt"}
    for artifact, config in planned:
        _write_scoring(artifact, config, out / _MODELS, plans.get(artifact.manifest.name), serving)
    _write_model(out / _MODELS, guard_config(serving), ("guard_model", "TritonPythonModel"))
    (out / POLICY).parent.mkdir()
    (out / POLICY).write_text(_policy_text(policy), "utf-8")
    for name, content in deployment_files(serving, extras=_extras(policy)).items():
        (out / name).write_text(content, "utf-8")
    return sorted(file for file in out.rglob("*") if file.is_file())


def served(policy: Policy, models: Path) -> Policy:
    """The policy with its models where the repository has them; for the guard inside the server."""
    here = {
        name: replace(
            policy.models.get(name, RunnerOptions()),
            path=str(models / name),
            backend="onnx",
            triton=None,
        )
        for name in _model_names(policy)
    }
    return replace(policy, models=here)


def _model_names(policy: Policy) -> list[str]:
    """The models that its stages score with; those of editors run in the guard's own process."""
    names = [name for name in policy.scorers if name not in SCORERS]
    if IMAGE_TEXT in policy.image_scorers:
        names.append(TEXT_SAFETY)
    if needs_faces(policy.image_scorers, policy.editors_of(Stage.OUTPUT_IMAGE)):
        names.append(FACE_DETECTOR)
    return list(dict.fromkeys(names))


def _artifacts(policy: Policy) -> list[Artifact]:
    found: dict[str, Artifact] = {}
    for name in _model_names(policy):
        options = policy.models.get(name, RunnerOptions())
        path = Path(options.path) if options.path else None
        found[name] = find_artifact(name, path=path)
        image = found[name].manifest.image
        if options.mode == "precise" and image is not None and image.second is not None:
            beside = path.parent / image.second if path else None
            found[image.second] = find_artifact(image.second, path=beside)
    return list(found.values())


def _extras(policy: Policy) -> tuple[str, ...]:
    """What the served guard needs of guardkit beside its core."""
    image = ("image",) if policy.output_image is not None else ()
    ocr = ("ocr",) if IMAGE_TEXT in policy.image_scorers else ()
    return ("cpu", *image, *ocr)


def _plan(artifact: Artifact) -> Path:
    """The TensorRT engine that was built of an artifact, beside it."""
    folder = artifact.path.with_name(f"{artifact.manifest.name}-trt")
    if not (folder / _PLAN).is_file():
        raise MissingArtifactError(
            f"{folder / _PLAN}: no engine. Build it on the machine that will run it: "
            f"guardkit export tensorrt {artifact.manifest.name}"
        )
    return folder / _PLAN


def _write_scoring(
    artifact: Artifact,
    config: Mapping[str, Any],
    models: Path,
    plan: Path | None,
    serving: Serving,
) -> None:
    """A scoring model's folder, and those of its tokenizer and ensemble."""
    manifest = artifact.manifest
    folder = models / manifest.name
    for relative in manifest.files:
        (folder / relative).parent.mkdir(parents=True, exist_ok=True)
        (folder / relative).write_bytes(artifact.read(relative))
    shutil.copyfile(artifact.path / "manifest.json", folder / "manifest.json")
    if plan is not None:
        shutil.copyfile(plan, folder / _PLAN)
    code = ("text_models", "OnnxModel") if serving.backend == "python" else None
    _write_model(models, config, code)
    if manifest.text is not None:
        _write_model(models, encode_config(manifest, serving), ("text_models", "EncodeModel"))
        _write_model(models, ensemble_config(manifest), None)


def _write_model(models: Path, config: Mapping[str, Any], code: tuple[str, str] | None) -> None:
    folder = models / config["name"]
    (folder / "1").mkdir(parents=True, exist_ok=True)  # a version's folder, empty for an ensemble
    (folder / "config.pbtxt").write_text(render(config), "utf-8")
    if code is not None:
        module, name = code
        text = _PYTHON.format(module=module, name=name)
        (folder / "1" / "model.py").write_text(text, "utf-8")


def _policy_text(policy: Policy) -> str:
    """The policy as one file: presets it extends and lists it reads are in it, paths are not."""
    models = {
        name: replace(options, path=None, cache=None, backend="onnx", triton=None)
        for name, options in policy.models.items()
    }
    said = msgspec.to_builtins(replace(policy, extends=None, models=models))
    return yaml.safe_dump(said, sort_keys=False, allow_unicode=True, width=110)
