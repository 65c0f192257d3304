"""The way back from placeholders to what they replaced."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import NoReturn

from guardkit.errors import InputError


class Vault:
    """Placeholders and the originals behind them; immutable, never printed, never serialised.

    Safe to share between threads. It can end by itself, and can belong to one conversation: `<EMAIL_1>` of
    another one is somebody else's.

    >>> vault = Vault({"<PERSON_1>": "Ada"})
    >>> vault.restore("Dear <PERSON_1>!")
    'Dear Ada!'
    >>> vault
    Vault(1 placeholder)
    """

    __slots__ = ("_clock", "_conversation", "_ends_s", "_originals", "_pattern", "_reversible")

    def __init__(
        self,
        originals: Mapping[str, str],
        *,
        is_reversible: bool = True,
        lifetime_s: float | None = None,
        conversation: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep the originals.

        Args:
            originals: Placeholder -> what it replaced.
            is_reversible: False for one-way modes; `restore` then refuses.
            lifetime_s: Seconds after which the originals are forgotten; None: never.
            conversation: Which conversation it belongs to; None: any.
            clock: Tells the time, in seconds.
        """
        self._originals = dict(originals)
        self._reversible = is_reversible
        self._conversation = conversation
        self._clock = clock
        self._ends_s = None if lifetime_s is None else clock() + lifetime_s
        longest_first = sorted(self._originals, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if originals else None

    @property
    def is_reversible(self) -> bool:
        """Whether `restore` gives back the original text."""
        return self._reversible

    @property
    def is_expired(self) -> bool:
        """Whether its time is over; the originals are then gone."""
        if self._ends_s is not None and self._clock() >= self._ends_s:
            self._originals = {}  # not cleared: another thread may be reading it
            self._pattern = None
            return True
        return False

    def restore(self, text: str, *, conversation: str | None = None) -> str:
        """Put the originals back wherever their placeholders stand, in one pass.

        Raises:
            InputError: The vault belongs to a one-way mode, is expired, or is of another conversation.
        """
        originals, pattern = self.originals(conversation=conversation), self._pattern
        if pattern is None:
            return text
        return pattern.sub(lambda match: originals[match.group()], text)

    def originals(self, *, conversation: str | None = None) -> Mapping[str, str]:
        """A copy of what it holds, to go on with in the next text of a conversation; errors as in `restore`."""
        if not self._reversible:
            raise InputError("vault: made by a one-way mode, so nothing can be restored.")
        held = dict(self._originals)  # before the question: its answer may empty them
        if self.is_expired:
            raise InputError("vault: expired, and what it held is forgotten.")
        if self._conversation is not None and conversation != self._conversation:
            raise InputError(
                "vault: of another conversation; nothing was restored. Pass the conversation it was made for."
            )
        return held

    def __len__(self) -> int:
        return 0 if self.is_expired else len(self._originals)

    def __repr__(self) -> str:
        count = len(self)
        return f"Vault({count} placeholder{'' if count == 1 else 's'})"

    def __reduce__(self) -> NoReturn:
        raise InputError(
            "vault: holds what was anonymized and cannot be pickled or copied to disk."
        )
