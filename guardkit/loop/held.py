"""A text checked while it is written: nothing comes out that was not checked as part of a whole prefix.

The text is checked at cuts, each on a space, at least `hold` characters apart; where they are depends on the text
alone, never on how it is chunked. Every check is that of `check_output`, of all the text up to its cut.

    text      |---------- cut 1 ---------- cut 2 ---------- cut 3 ...
    check 1   ===========                                        nothing is out yet
    check 2   ============================                       comes out: what check 1 gave
    check 3   =============================================      comes out: what check 2 gave

What a check gave (the text, or what the editors made of it) comes out when the next one agrees, that is, gives it
as its own beginning: an edit across a cut is waited for. So what is out at any moment is a text that the guard itself
allowed, and nothing shorter than `hold` is out before all of it was seen. A model reads the whole prefix each time, so
that no window of its has to be waited for.

A check that says no ends the text only when the next ones say so too (`patience`): a model may take half a sentence
amiss that it finds harmless as a whole. Nothing comes out meanwhile.

The cost is a check every `hold` characters, of a prefix that grows: 6 times one check at the end for 216 tokens
(bench/stream.py). From 16 times `hold` on, a cut is a sixteenth of its prefix after the last one, so that however long the
text, all checks together score at most about 17 times what the last one does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from msgspec.structs import replace

from guardkit.decision import Decision
from guardkit.errors import InputError
from guardkit.policy.rules import Policy, StagePolicy
from guardkit.taxonomy import Stage
from guardkit.types import Action, Guidance, Scores, Status

HOLD = 96
"""Characters: about 21 tokens, so that checks, and those after edits, stay rarer than one in 16 tokens."""
PATIENCE = 2
"""Checks. With 0, the preset `chat` ends 18 of 48 harmless texts of 200 tokens that it allows as a whole, with 2 none
(python -m bench.stream)."""
# A letter and a gap of up to five (text/normalize.py): how far the entry of a list may be spread.
_DISGUISED = 6
# Of a prefix: what the next cut is after it, at least. The sum of 1, 16/17, (16/17)^2, ... is 17.
_GROWTH = 1 / 16
_SPACE = re.compile(r"\s")
# Chunks in a row; chosen: a source that gives nothing for so long gives nothing.
_MOST_EMPTY = 10_000
# Halves of a character, the first and the second: what languages of UTF-16 may cut it into.
_HIGH = ("\ud800", "\udbff")
_LOW = ("\udc00", "\udfff")


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """The last event of a stream."""

    decision: Decision
    """On the whole text, or on the prefix that ended it; its vault leads back from all that came out."""
    is_complete: bool
    """All of the text came out, or what the editors made of it."""
    received: int
    """Characters taken from the source."""
    emitted: int
    """Characters that came out."""
    checks: int
    """How often a prefix was checked."""


class Held:
    """A text on its way: what came in, what was checked of it, what is out."""

    def __init__(self, policy: Policy, hold: int, patience: int) -> None:
        """Begin with nothing.

        Args:
            policy: It has a stage `output-text`.
            hold: Characters between two cuts, at least; more where an entry of a list is longer.
            patience: Checks in a row that may say no before the text is ended; nothing comes out meanwhile.

        Raises:
            InputError: `hold` is below 1, `patience` below 0, or the policy has no such stage.
        """
        stage = policy.output_text
        if stage is None:
            raise InputError(f"policy '{policy.policy}' has no stage 'output-text'.")
        if hold < 1 or patience < 0:
            raise InputError(
                f"hold is {hold}, patience {patience}. Expected at least 1 character, and 0 checks."
            )
        self._stage: StagePolicy = stage
        self._policy = policy
        entries = (entry for one in policy.lists.values() for entry in one.block)
        self._hold = max([hold, *(len(entry) * _DISGUISED for entry in entries)])
        self._patience = patience
        self._refused = 0  # checks in a row
        self._text = ""
        self._half = ""  # of a character: the other one is to come
        self._chunks = self._empty = self._checks = 0
        self._cut = 0  # what was checked last ends here
        self._given = ""  # by the last check
        self._out = ""
        self._decision: Decision | None = None
        self.is_stopped = False
        """Nothing more will come out."""
        self._is_complete = False

    def add(self, token: object) -> None:
        """Take some more of the text.

        Raises:
            InputError: It is no str, or the source gave nothing for too long.
        """
        self._chunks += 1
        if not isinstance(token, str):
            hint = (
                " Decode it with codecs.getincrementaldecoder." if isinstance(token, bytes) else ""
            )
            kind = type(token).__name__
            raise InputError(f"tokens: number {self._chunks} is {kind}. Expected str.{hint}")
        self._empty = 0 if token else self._empty + 1
        if self._empty > _MOST_EMPTY:
            raise InputError(f"tokens: {_MOST_EMPTY} of them in a row were empty.")
        token = self._half + token
        self._half = token[-1:] if _HIGH[0] <= token[-1:] <= _HIGH[1] else ""
        self._text += _whole(token[: len(token) - len(self._half)])

    def due(self) -> str | None:
        """The prefix to check next; None: more has to come."""
        if self.is_stopped:
            return None
        step = max(self._hold, int(self._cut * _GROWTH))
        first, last = self._cut + step, self._cut + 2 * step
        space = _SPACE.search(self._text, first, last)
        if space is None and len(self._text) < last:
            return None
        self._cut = last if space is None else space.start()
        return self._text[: self._cut]

    def rest(self) -> str | None:
        """The whole text, once the source has ended; None when the stream has, too."""
        if self.is_stopped:
            return None
        self._text += _whole(self._half)
        self._cut = len(self._text)
        return self._text

    def take(self, decision: Decision, *, is_last: bool = False) -> str:
        """Take the decision on what was to be checked; what comes out."""
        self._checks += 1
        self._decision = decision
        given = decision.text
        if given is not None and not given.startswith(self._out):
            given = self._too_late(decision)
        if given is None:
            self._refused += 1
            self.is_stopped = is_last or self._refused > self._patience
            return ""
        self._refused = 0
        agreed = given if is_last else self._given if given.startswith(self._given) else self._out
        self._given = given
        self._is_complete = self.is_stopped = is_last
        new, self._out = agreed[len(self._out) :], agreed
        return new

    def end(self) -> StreamEnd:
        """What came of it."""
        assert self._decision is not None  # noqa: S101  the rest was checked, or what stopped it
        return StreamEnd(
            self._decision, self._is_complete, len(self._text), len(self._out), self._checks
        )

    def broken(self, error: Exception) -> StreamEnd:
        """What came of it when the source failed: nothing more comes out."""
        action = Action.REGENERATE if self._policy.on_failure == "regenerate" else Action.BLOCK
        kind = type(error).__name__
        decision = Decision(
            action=action,
            stage=Stage.OUTPUT_TEXT,
            scores=Scores() if self._decision is None else self._decision.scores,
            status=Status.ERROR,
            reasons=(
                f"the source raised {kind} after {len(self._text)} characters: {action.value}",
            ),
            guidance=Guidance({}) if action is Action.REGENERATE else None,
            policy_id=self._policy.id,
        )
        self._decision = decision
        return self.end()

    def _too_late(self, decision: Decision) -> str | None:
        """What answers when something is out that would have to be edited now: `after_edit`."""
        action = Action(self._stage.after_edit)
        why = f"after edit, what it changes is out already: {action.value}"
        steer = Guidance({one.category: one.score for one in decision.fired})
        text = self._text[: self._cut] if action is Action.ALLOW else None
        if text is not None and not text.startswith(self._out):
            action, text = (
                Action.BLOCK,
                None,
            )  # an earlier edit is out: there is no way back to the text as it was
        self._decision = replace(
            decision,
            action=action,
            text=text,
            edits=(),
            vault=None,
            reasons=(*decision.reasons, why),
            guidance=steer if action is Action.REGENERATE else None,
        )
        return text


def _whole(text: str) -> str:
    """Halves of characters put together; one that is left alone becomes U+FFFD."""
    if text.isascii() or not any(_HIGH[0] <= one <= _LOW[1] for one in text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
