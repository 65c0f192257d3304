"""Stream text to a user while it is written: only what was checked comes out, whatever the chunks."""

from collections.abc import Iterator

from guardkit import Guard

CALM = (
    "The harbour is quiet at dawn. Boats lie in the mist, and nobody is awake to see them but a few gulls on "
    "the wall. The first of the fishermen come down with bread in their pockets and nets over their shoulders. "
)
ANSWERS = {
    "harmless": CALM,
    "rude": f"{CALM}Only a stupid idiot would sleep through it. {CALM}",
    "threatening": f"{CALM}I know where you live. I will find you tonight and I will kill you, and nobody will miss "
    f"you, and then I will kill your family as well, one after the other, until nobody is left. {CALM}",
}


def tokens(text: str) -> Iterator[str]:
    """Stands for a language model: three letters at a time."""
    yield from (text[at : at + 3] for at in range(0, len(text), 3))


guard = Guard.from_preset("chat")
for name, answer in ANSWERS.items():
    stream = guard.stream(tokens(answer))
    print(f"\n{name}:")
    for piece in stream:
        print(f"  {piece!r}")
    end = stream.end
    print(f"  {end.decision.action.value}: {end.emitted} of {end.received} characters")
