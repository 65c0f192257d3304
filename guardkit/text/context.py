"""The situation a text stands in, as words the classifier reads before the text.

One fixed template, the same in training and in use (after COBRA frames, arXiv 2306.01985, which puts
situation, speaker and listener before the statement, and CensorChat, arXiv 2309.09749, which marks roles):

    This is <situation>. <speaker> speaks to <listener>. Read by <audience>. <role>: <text> ...
"""

from __future__ import annotations

from guardkit.types import Context

_MOST_TURNS = 4  # the encoder keeps the last 64 tokens; older turns would not fit


def describe(context: Context) -> str:
    """Render a context; "" when it holds nothing that the classifier reads.

    `language` is not part of it: it chooses the model instead.

    >>> describe(Context(situation="a chess club", speaker="a coach", listener="a pupil"))
    'This is a chess club. a coach speaks to a pupil.'
    """
    parts: list[str] = []
    if context.situation:
        parts.append(f"This is {context.situation}.")
    if context.speaker or context.listener:
        parts.append(f"{context.speaker or 'somebody'} speaks to {context.listener or 'somebody'}.")
    if context.audience:
        parts.append(f"Read by {context.audience}.")
    parts += [f"{turn.role}: {turn.text}" for turn in context.turns[-_MOST_TURNS:]]
    return " ".join(parts)
