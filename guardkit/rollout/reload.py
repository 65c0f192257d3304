"""A policy file in use: read again when it changes, never half-written, never an invalid one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from guardkit.guard import Guard

_log = logging.getLogger(__name__)
_READ = (".yaml", ".yml", ".txt")  # what a policy is made of: itself, what it extends, its lists
_Signature = tuple[tuple[str, int, int, int], ...]


class PolicyFile:
    """The guard of a policy file, replaced as a whole when the file changes; safe to share between threads.

    Ask for `guard` once a request, and use that one to its end: it is immutable, and keeps its policy whatever
    happens to the file.

    >>> from guardkit.policy.load import find_policy
    >>> PolicyFile(find_policy("chat")).guard.policy.policy
    'chat'
    """

    def __init__(
        self, path: str | Path, *, open_guard: Callable[[Path], Guard] = Guard.from_file
    ) -> None:
        """Read the file.

        Args:
            path: The policy. Files beside it, and in folders beside it, count too: what it extends, its lists.
            open_guard: Makes a guard of it; for scorers and editors of your own, a function that hands them over.

        Raises:
            PolicyError: It has faults: the first policy has to be valid.
            ArtifactError: A model is missing.
        """
        self._path = Path(path)
        self._open = open_guard
        self._reading = threading.Lock()
        self._read = self._pending = self._signature()
        self._guard = open_guard(self._path)
        self._stopped = threading.Event()
        self.problem: str | None = None
        """Why the file as it is now is not in use; None: it is."""

    @property
    def guard(self) -> Guard:
        """The guard of the last valid policy."""
        return self._guard

    def reload(self) -> bool:
        """Read the file now; whether another policy is in use since. An invalid one leaves the old one, loudly."""
        with self._reading:
            before = self._signature()
            try:
                guard = self._open(self._path)
            except Exception as e:  # noqa: BLE001  a failure boundary: whatever is wrong, the old policy stays
                self._refuse(str(e), before)
                return False
            if self._signature() != before:
                self.problem = f"{self._path}: changed while it was read"
                return False  # read again when it is still
            self._read, self.problem = before, None
            if guard.policy.digest == self._guard.policy.digest:
                return False
            _log.info("%s: policy %s replaces %s", self._path.name, guard.policy.id, self._guard.policy.id)  # fmt: skip
            self._guard = guard  # one reference: who asks gets the old one or the new one
            return True

    def poll(self) -> bool:
        """Reload when the file changed, and is the same as at the last poll: nobody is writing it any more."""
        signature = self._signature()
        is_still, self._pending = signature == self._pending, signature
        return signature != self._read and is_still and self.reload()

    def watch(self, every_s: float = 2.0) -> None:
        """Poll on a thread of its own until `stop`; a change is in use after two polls. Not kept over a fork."""
        self._stopped.clear()
        threading.Thread(
            target=self._watch, args=(every_s,), name="guardkit-policy", daemon=True
        ).start()

    def stop(self) -> None:
        """Stop watching."""
        self._stopped.set()

    def _watch(self, every_s: float) -> None:
        while not self._stopped.wait(every_s):
            self.poll()

    def _refuse(self, problem: str, signature: _Signature) -> None:
        self._read, self.problem = signature, problem
        _log.error(
            "%s: not reloaded, policy %s stays: %s", self._path.name, self._guard.policy.id, problem
        )

    def _signature(self) -> _Signature:
        """What tells whether any file the policy may be made of was written."""
        found = []
        folder = self._path.parent
        for file in sorted([*folder.glob("*"), *folder.glob("*/*")]):
            if file.suffix in _READ:
                try:
                    stat = file.stat()
                except OSError:  # gone in between; it will be missed, or be back
                    continue
                found.append((str(file), stat.st_mtime_ns, stat.st_size, stat.st_ino))
        return tuple(found)
