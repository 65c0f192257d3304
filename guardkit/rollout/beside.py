"""A candidate beside the live policy: two decisions on the same traffic, one enforced."""

from __future__ import annotations

import functools
import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from guardkit.decision import Decision
from guardkit.guard import Guard
from guardkit.rollout.diff import compared
from guardkit.types import Context

_log = logging.getLogger(__name__)
_Job = tuple[Decision, Callable[[], Decision]]


@dataclass(frozen=True, slots=True)
class Pair:
    """What two policies said of one text."""

    live: Decision
    """The one that was enforced."""
    candidate: Decision
    """The other one; nobody acted on it."""

    @property
    def why(self) -> tuple[str, ...]:
        """Why they differ, in sentences; nothing when they do not."""
        return compared(self.live, self.candidate)


class Beside:
    """Checks with the live guard, and lets a candidate check the same afterwards, on a thread of its own.

    The candidate takes no part in an answer: not in what it says, nor when; where it is too slow, texts are left out
    (`dropped`), and where it fails, the log says so (`failed`).
    """

    def __init__(
        self, live: Guard, candidate: Guard, tell: Callable[[Pair], None], *, waiting: int = 1024
    ) -> None:
        """Put a candidate beside a guard.

        Args:
            live: Decides.
            candidate: Has the stages that are asked for; for others, it fails.
            tell: Gets both decisions; called on the candidate's thread, one after the other.
            waiting: Texts that may wait for the candidate; they are held in memory.
        """
        self.live = live
        self.candidate = candidate
        self.dropped = 0
        """Texts the candidate was not asked about, for too many waited."""
        self.failed = 0
        """Texts of which it, or `tell`, raised an error."""
        self._counting = threading.Lock()
        self._tell = tell
        self._jobs: queue.Queue[_Job | None] = queue.Queue(waiting)
        self._thread = threading.Thread(target=self._work, name="guardkit-candidate", daemon=True)
        self._thread.start()

    def check_prompt(self, text: str, context: Context | None = None) -> Decision:
        """`Guard.check_prompt` of the live guard."""
        decision = self.live.check_prompt(text, context)
        self._ask(decision, functools.partial(self.candidate.check_prompt, text, context))
        return decision

    def check_output(self, *, text: str, context: Context | None = None) -> Decision:
        """`Guard.check_output` of the live guard, on a text."""
        decision = self.live.check_output(text=text, context=context)
        ask = functools.partial(self.candidate.check_output, text=text, context=context)
        self._ask(decision, ask)
        return decision

    async def acheck_prompt(self, text: str, context: Context | None = None) -> Decision:
        """`check_prompt` without blocking the event loop."""
        decision = await self.live.acheck_prompt(text, context)
        self._ask(decision, functools.partial(self.candidate.check_prompt, text, context))
        return decision

    async def acheck_output(self, *, text: str, context: Context | None = None) -> Decision:
        """`check_output` without blocking the event loop."""
        decision = await self.live.acheck_output(text=text, context=context)
        ask = functools.partial(self.candidate.check_output, text=text, context=context)
        self._ask(decision, ask)
        return decision

    def close(self) -> None:
        """Wait until the candidate has said what it was asked, and end its thread."""
        self._jobs.put(None)
        self._thread.join()

    def _ask(self, decision: Decision, ask: Callable[[], Decision]) -> None:
        try:
            self._jobs.put_nowait((decision, ask))
        except queue.Full:
            with self._counting:
                self.dropped += 1

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            decision, ask = job
            try:
                self._tell(Pair(decision, ask()))
            except Exception as e:  # noqa: BLE001  a failure boundary: a candidate must not disturb anyone
                self.failed += 1
                _log.warning("the candidate failed: %s", type(e).__name__)
