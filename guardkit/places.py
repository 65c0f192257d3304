"""Where shipped files are looked for: one order for models and for policies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PACKAGE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Place:
    """A kind of shipped files and the folders that may hold it."""

    folder: str
    environment_variable: str
    entry_points: str
    """Group under which a data-only wheel names a function that returns its folder."""

    def folders(self) -> Iterator[Path]:
        """Folders in the order they are searched.

        The environment variable (several, separated as in PATH), the installed package, data-only
        wheels, the checkout.
        """
        configured = os.environ.get(self.environment_variable, "")
        yield from (Path(folder) for folder in configured.split(os.pathsep) if folder)
        yield _PACKAGE / self.folder
        # Here: 25 ms of CPU that most starts never need, for they are answered above.
        from importlib.metadata import entry_points

        for entry in entry_points(group=self.entry_points):
            yield Path(entry.load()())
        yield _PACKAGE.parent / self.folder


MODELS = Place("exported_models", "GUARDKIT_MODELS", "guardkit.models")
POLICIES = Place("policies", "GUARDKIT_POLICIES", "guardkit.policies")
