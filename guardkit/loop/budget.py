"""How often and how long a generator may be asked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from guardkit.errors import InputError

_TOTAL_S = (
    60.0  # chosen: a picture on a CPU takes tens of seconds; a generator that hangs takes for ever
)
_MOST = 16  # as the policy's `limits.regenerations`


@dataclass(frozen=True, slots=True)
class Budget:
    """The bounds of one `Guard.run`; they hold whatever the generator does.

    A generator that cannot be stopped is left behind on its thread. A coroutine is cancelled; one that blocks
    the event loop itself cannot be.
    """

    regenerations: int | None = None
    """Calls after the first one, 0 to 16; None: as the policy's `limits.regenerations` says."""
    total_s: float | None = _TOTAL_S
    """Seconds until the last call has to be over, checks in between included; None: no limit."""
    attempt_s: float | None = None
    """Seconds a call may take; None: what is left of the total."""

    def __post_init__(self) -> None:
        """Refuse what is out of range.

        Raises:
            InputError: Regenerations are not 0 to 16, or a time is not above 0.
        """
        regenerations = self.regenerations
        if regenerations is not None and not 0 <= regenerations <= _MOST:
            raise InputError(f"regenerations is {regenerations}. Expected 0 to {_MOST}, or None.")
        for name, seconds in (("total_s", self.total_s), ("attempt_s", self.attempt_s)):
            if seconds is not None and not 0 < seconds < math.inf:
                raise InputError(f"{name} is {seconds}. Expected seconds above 0, or None.")
