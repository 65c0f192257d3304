"""The tiny models that every test shares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from guardkit import Guard, Policy
from guardkit.artifacts import Artifact, load_artifact
from guardkit.policy.rules import StagePolicy
from tests.fake_steps import AGAIN, CUT_INSULTS, NO_THREATS
from tests.tiny import build_tiny_artifact, build_tiny_tagger

# No limits on an example's time: the machine that runs the tests may be busy with others.
settings.register_profile(
    "guardkit", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("guardkit")

WriteFile = Callable[[str, str], Path]


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for `$GUARDKIT_MODELS` that holds one artifact, `text-safety`; do not change it."""
    folder = tmp_path_factory.mktemp("models")
    build_tiny_artifact(folder / "text-safety")
    build_tiny_tagger(folder / "pii-tagger")
    return folder


@pytest.fixture(scope="session")
def tiny_artifact(tiny_models: Path) -> Artifact:
    """The artifact `text-safety` of `tiny_models`."""
    return load_artifact(tiny_models / "text-safety")


@pytest.fixture
def use_tiny_models(tiny_models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let guardkit find the tiny models; the folder."""
    monkeypatch.setenv("GUARDKIT_MODELS", str(tiny_models))
    return tiny_models


@pytest.fixture
def own_artifact(tmp_path: Path) -> Path:
    """The folder of a fresh `text-safety` that a test may spoil."""
    return build_tiny_artifact(tmp_path / "models" / "text-safety")


@pytest.fixture
def write_file(tmp_path: Path) -> WriteFile:
    """Write a text file into the test's own folder: (name, content) -> path."""

    def write(name: str, content: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, "utf-8")
        return path

    return write


@pytest.fixture
def guard(use_tiny_models: Path) -> Guard:
    """Insults are cut, threats blocked; on outputs an insult means: generate again."""
    names = ("text-safety",)
    prompt = StagePolicy(scorers=names, editors=("cut",), rules=(CUT_INSULTS, NO_THREATS))
    output = StagePolicy(scorers=names, rules=(AGAIN, NO_THREATS))
    return Guard(Policy("tiny", prompt=prompt, output_text=output))
