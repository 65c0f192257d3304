"""Decisions on record: a line of JSON each, without content."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from guardkit.decision import Decision
from guardkit.errors import InputError
from guardkit.types import RunResult

_log = logging.getLogger(__name__)


class Recorder:
    """Appends decisions to a file; safe to share between threads, and between processes on a local disk."""

    def __init__(
        self, path: str | Path, *, include_text: bool = False, key: bytes | None = None
    ) -> None:
        """Open the file.

        Args:
            path: A file that is made, or appended to.
            include_text: Record the text as well. Off by default: content does not belong in logs.
            key: Of the digests of texts, which tell equal texts apart from others without telling what they are. None: a
                new one, so that digests mean nothing beside those of another recorder.

        Raises:
            InputError: The file cannot be opened.
        """
        self.path = Path(path)
        self.lost = 0
        """Records that could not be written: a check never fails for its record."""
        self._include_text = include_text
        self._key = key or secrets.token_bytes(32)
        try:
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as e:
            raise InputError(f"{self.path}: cannot be appended to ({type(e).__name__}).") from e

    def write(self, decision: Decision, *, text: str | None = None, note: str = "") -> None:
        """Record a decision.

        Args:
            decision: On a text or an image.
            text: What it is on; its keyed digest and its length are recorded.
            note: A word of the caller's, for example a request id; it is recorded as it is.
        """
        self._append(
            {**self._head(text, note), **decision.to_dict(include_text=self._include_text)}
        )

    def write_run(self, result: RunResult, *, prompt: str | None = None, note: str = "") -> None:
        """Record a run: its last decision, and every attempt."""
        self._append({**self._head(prompt, note), **result.to_dict()})

    def close(self) -> None:
        """Close the file; what is written afterwards is lost, and counted."""
        file, self._file = self._file, -1  # the number may soon be another file's
        os.close(file)

    def _head(self, text: str | None, note: str) -> dict[str, Any]:
        head: dict[str, Any] = {"at": datetime.now(UTC).isoformat(timespec="milliseconds")}
        if note:
            head["note"] = note
        if text is not None:
            content = text.encode("utf-8", "surrogatepass")
            head["digest"] = hmac.new(self._key, content, hashlib.sha256).hexdigest()
            head["characters"] = len(text)
            if self._include_text:
                head["original"] = text
        return head

    def _append(self, record: dict[str, Any]) -> None:
        line = json.dumps(record).encode("ascii") + b"\n"
        try:
            written = os.write(self._file, line)  # one call: lines of several writers do not mix
        except OSError as e:
            written = 0
            _log.error("%s: a decision was not recorded (%s)", self.path.name, type(e).__name__)
        if written != len(line):
            self.lost += 1
