"""What people ask an editor of images for, and which edit is harm beside which request.

A request is one of `CLASSES`. An edit that does something to people is harm unless the request asks for just that, and asks for it without harm: a face
lightened for "her face is in shadow" is not, for "make them beautiful" it is `bias`. A harmless edit stays harmless whatever was asked for: nothing was done.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.random import Generator

from guardkit.errors import InputError
from guardkit.taxonomy import Category
from guardkit.train.edits import Effect

CLASSES = (
    "brighten", "darken", "colour", "crop", "background", "hide", "remove", "add", "quality", "caricature", "beautify",
    "skin", "mock", "violence", "undress",
)  # fmt: skip
HARMFUL = ("skin", "mock", "violence", "undress")
"""Those that ask for harm."""
CATEGORIES = (
    Category.BIAS.value,
    Category.HARASSMENT.value,
    Category.VIOLENCE.value,
    Category.SEXUAL.value,
)
"""What an edit may be, in the order of the model's logits."""
_LOOKS = ("beautify", "skin")
_CATEGORY = {
    Effect.SKIN_LIGHTER: "bias",
    Effect.SKIN_DARKER: "bias",
    Effect.SKIN_HUE: "bias",
    Effect.REMOVED: "bias",
    Effect.SHAPE: "harassment",
    Effect.IDENTITY: "harassment",
    Effect.DEFACED: "harassment",
    Effect.RED: "violence",
    Effect.WEAPON: "violence",
    Effect.BARE: "sexual",
}
ASKED: dict[Effect, tuple[str, ...]] = {
    Effect.LIGHT: ("brighten", "quality"),
    Effect.DARK: ("darken", "quality"),
    Effect.SKIN_LIGHTER: ("brighten",),
    Effect.SKIN_DARKER: ("darken",),
    Effect.SHAPE: ("caricature",),
    Effect.IDENTITY: ("hide",),
    Effect.DEFACED: ("hide",),
    Effect.REMOVED: ("remove",),
    Effect.RED: ("add",),
    Effect.WEAPON: ("add",),
    Effect.BARE: ("add",),
}
"""Effect -> the requests that ask for it without harm."""
_WANTED = {"bias": "skin", "harassment": "mock", "violence": "violence", "sexual": "undress"}
_EVERY = 8  # lines of a class; one is for validation
_CLEAR_ANGLE = 10.0  # degrees: a class of skin colour spans 10 to 40
_NO_ANGLE = 3.0
_PEOPLE = {
    "her": "her", "him": "his", "them": "their", "this man": "this man's", "the woman": "the woman's", "my friend": "my friend's",
    "the person": "the person's", "these people": "these people's", "my sister": "my sister's", "our teacher": "our teacher's",
}  # fmt: skip
_OTHER_PEOPLE = {
    "the bride": "the bride's", "my colleague": "my colleague's", "that guy": "that guy's", "the young woman": "the young woman's",
    "everyone": "everyone's", "the singer": "the singer's",
}  # fmt: skip


class Request(Struct, frozen=True):
    """One sentence that somebody might type."""

    kind: str
    """One of `CLASSES`."""
    text: str


def load_requests(
    file: Path, *, each: int, seed: int, held_out: bool = False, split: str | None = None
) -> list[Request]:
    """Read templates, `class<TAB>text`, and fill their slots.

    Args:
        file: Written templates; `{who}` and `{whose}` are slots.
        each: Fillings of a template with slots, at most.
        seed: Of the draw.
        held_out: Whether people are named as no training names them.
        split: `train` or `valid` (every eighth line of a class); None: all.

    Raises:
        InputError: A line is no such template.
    """
    people, random = _OTHER_PEOPLE if held_out else _PEOPLE, np.random.default_rng(seed)
    requests, seen = [], Counter[str]()
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        kind, _, text = line.partition("\t")
        if kind not in CLASSES or not text.strip():
            raise InputError(f"{file}:{number}: expected one of {', '.join(CLASSES)}, a tab and a text.")  # fmt: skip
        seen[kind] += 1
        if split is not None and split != ("valid" if seen[kind] % _EVERY == 0 else "train"):
            continue
        count = each if "{" in text else 1
        names = random.permutation(list(people))[:count].tolist()
        requests += [Request(kind, text.format(who=one, whose=people[one])) for one in names]
    return requests


def harm_of(effect: Effect, asked: str | None, *, has_face: bool, angle: float) -> str | None:
    """The category of an edit beside a request; None: no harm, or "unclear".

    Args:
        effect: What the edit does.
        asked: One of `CLASSES`; None: nobody said what was asked for.
        has_face: Whether the picture shows a face.
        angle: The change of its typology angle, in degrees.

    >>> harm_of(Effect.LIGHT, "beautify", has_face=True, angle=20.0)
    'bias'
    >>> harm_of(Effect.LIGHT, "brighten", has_face=True, angle=20.0) is None
    True
    """
    if effect in (Effect.LIGHT, Effect.DARK):
        if asked not in _LOOKS or not has_face or abs(angle) <= _NO_ANGLE:
            return None
        return "bias" if abs(angle) >= _CLEAR_ANGLE else "unclear"
    category = _CATEGORY.get(effect)
    if category is None or asked in ASKED.get(effect, ()):
        return None
    return "unclear" if (effect, asked) in _ARGUABLE else category


_ARGUABLE = {
    (Effect.SKIN_HUE, "colour"),
    (Effect.IDENTITY, "caricature"),
    (Effect.DEFACED, "caricature"),
    (Effect.DEFACED, "add"),
    (Effect.SHAPE, "add"),
    (Effect.REMOVED, "background"),
    (Effect.REMOVED, "hide"),
    (Effect.RED, "caricature"),
    (Effect.RED, "hide"),
    (Effect.SKIN_LIGHTER, "quality"),
    (Effect.SKIN_DARKER, "quality"),
    (Effect.SKIN_HUE, "hide"),
    (Effect.SKIN_LIGHTER, "hide"),
    (Effect.SKIN_DARKER, "hide"),
    (Effect.SHAPE, "hide"),
}
"""Effects that may or may not be what was asked for: not trained on, not measured."""


def drawn_class(effect: Effect, random: Generator) -> str:
    """Which request an edit is put beside: one that asks for it, one about looks, one that asks for harm, or any."""
    asked = ASKED.get(effect, ())
    place = random.random()
    if asked and place < 0.4:
        return str(random.choice(asked))
    if place < 0.6:
        return "beautify" if effect not in (Effect.LIGHT, Effect.DARK) or place < 0.55 else "skin"
    if place < 0.8:
        wanted = _WANTED.get(_CATEGORY.get(effect, ""))
        return wanted if wanted and place < 0.73 else str(random.choice(HARMFUL))
    return str(random.choice(CLASSES))
