"""The way back from placeholders to what they replaced."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NoReturn

from guardkit.errors import InputError


class Vault:
    """Placeholders and the originals behind them; immutable, never printed, never serialised.

    >>> vault = Vault({"<PERSON_1>": "Ada"})
    >>> vault.restore("Dear <PERSON_1>!")
    'Dear Ada!'
    >>> vault
    Vault(1 placeholder)
    """

    __slots__ = ("_originals", "_pattern", "_reversible")

    def __init__(self, originals: Mapping[str, str], *, is_reversible: bool = True) -> None:
        """Keep the originals.

        Args:
            originals: Placeholder -> what it replaced.
            is_reversible: False for one-way modes; `restore` then refuses.
        """
        self._originals = dict(originals)
        self._reversible = is_reversible
        longest_first = sorted(self._originals, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if originals else None

    @property
    def is_reversible(self) -> bool:
        """Whether `restore` gives back the original text."""
        return self._reversible

    def restore(self, text: str) -> str:
        """Put the originals back wherever their placeholders stand, in one pass.

        Raises:
            InputError: The vault belongs to a one-way mode.
        """
        if not self._reversible:
            raise InputError("vault: made by a one-way mode, so nothing can be restored.")
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: self._originals[match.group()], text)

    def __len__(self) -> int:
        return len(self._originals)

    def __repr__(self) -> str:
        count = len(self._originals)
        return f"Vault({count} placeholder{'' if count == 1 else 's'})"

    def __reduce__(self) -> NoReturn:
        raise InputError(
            "vault: holds what was anonymized and cannot be pickled or copied to disk."
        )
