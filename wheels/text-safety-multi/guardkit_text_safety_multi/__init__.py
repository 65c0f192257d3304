"""The artifact `text-safety-multi`, for `guardkit.artifacts.find_artifact`."""

from pathlib import Path


def folder() -> Path:
    """The folder that holds the artifact's folder."""
    return Path(__file__).parent / "models"
