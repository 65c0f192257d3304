"""The tiny models that every test shares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from guardkit.artifacts import Artifact, load_artifact
from tests.tiny import build_tiny_artifact

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
