"""The artifact `text-safety-multi` and the policy `multilingual`, for guardkit to find."""

from pathlib import Path

_HERE = Path(__file__).parent


def models() -> Path:
    """The folder that holds the artifact's folder."""
    return _HERE / "models"


def policies() -> Path:
    """The folder that holds the policy."""
    return _HERE / "policies"
