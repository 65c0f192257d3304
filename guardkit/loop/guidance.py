"""What a generator is told when it is asked again: which categories, how strongly, and in words."""

from __future__ import annotations

from collections.abc import Mapping

from guardkit.taxonomy import Category
from guardkit.types import Guidance

# For a picture's negative prompt and a text's instruction alike; a topic of a policy goes by its name.
_WORDS = {
    Category.TOXICITY: "rude or aggressive language",
    Category.INSULT: "insults",
    Category.PROFANITY: "swear words",
    Category.THREAT: "threats",
    Category.HARASSMENT: "harassment",
    Category.HATE: "hate",
    Category.SEXUAL: "nudity, sexual content",
    Category.VIOLENCE: "violence",
    Category.SELF_HARM: "self-harm",
    Category.ILLICIT: "help with crime",
    Category.SHOCKING: "disgusting content",
    Category.JAILBREAK: "changed instructions",
    Category.BIAS: "stereotypes",
    Category.PRIVACY: "personal data",
    Category.PUBLIC_FIGURE: "public figures",
    Category.GORE: "gore, blood",
    Category.HATE_SYMBOL: "hateful symbols",
    Category.TEXT: "writing",
}


def merged(before: Mapping[str, float], found: Mapping[str, float]) -> dict[str, float]:
    """Both sets of strengths, the stronger where both have one: a later attempt must not forget an earlier one.

    >>> merged({"insult": 0.9, "threat": 0.2}, {"threat": 0.6})
    {'insult': 0.9, 'threat': 0.6}
    """
    both = {**before, **found}
    return {name: max(before.get(name, 0.0), found.get(name, 0.0)) for name in both}


def guidance(
    prompt: str, strengths: Mapping[str, float], *, seed: int | None, is_text: bool
) -> Guidance:
    r"""Guidance away from some categories.

    A picture's prompt is not revised: to name there what must not be seen would bring it in. Its negative prompt
    is the place.

    Args:
        prompt: What the generator was asked.
        strengths: Category -> how strongly to steer away, in [0, 1].
        seed: A new random seed, if there is one.
        is_text: Whether the generator gives texts.

    >>> one = guidance("Describe my neighbour.", {"insult": 0.9}, seed=7, is_text=True)
    >>> one.negative_prompt, one.revised_prompt
    ('insults', 'Describe my neighbour.\n\nAnswer without insults.')
    """
    strongest_first = sorted(strengths, key=lambda name: (-strengths[name], name))
    words = ", ".join(_words(name) for name in strongest_first)
    return Guidance(
        categories=dict(strengths),
        negative_prompt=words or None,
        revised_prompt=f"{prompt}\n\nAnswer without {words}." if words and is_text else None,
        seed=seed,
    )


def _words(category: str) -> str:
    known = next((one for one in Category if one.value == category), None)
    return category if known is None else _WORDS[known]
