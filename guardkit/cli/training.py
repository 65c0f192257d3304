"""What the verbs that train and export have in common."""

from __future__ import annotations

import logging
from importlib.util import find_spec

from guardkit.errors import MissingExtraError


def log_progress() -> None:
    """Show on standard error how far a training is."""
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("guardkit").setLevel(logging.INFO)


def require_torch(feature: str, extra: str) -> None:
    """Say which extra is missing before a long import fails.

    Raises:
        MissingExtraError: torch is not installed.
    """
    if find_spec("torch") is None:
        raise MissingExtraError(feature, extra)
