"""The artifacts that look at images, and the policies that name them, for guardkit to find."""

from pathlib import Path

_HERE = Path(__file__).parent


def models() -> Path:
    """The folder that holds the artifacts' folders."""
    return _HERE / "models"


def policies() -> Path:
    """The folder that holds the policies."""
    return _HERE / "policies"
