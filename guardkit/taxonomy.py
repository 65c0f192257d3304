"""The taxonomy: one table, one row a category."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """Where in the conversation a check happens."""

    PROMPT = "prompt"
    OUTPUT_TEXT = "output-text"
    OUTPUT_IMAGE = "output-image"
    EDIT = "edit"
    TURN = "turn"


IMAGE_STAGES = frozenset({Stage.OUTPUT_IMAGE, Stage.EDIT})
"""Stages whose scorers look at images; those of the others read text."""


class Category(StrEnum):
    """One kind of harm (or, for a few, of sensitive content); the values are the names in YAML."""

    TOXICITY = "toxicity"
    INSULT = "insult"
    PROFANITY = "profanity"
    THREAT = "threat"
    HARASSMENT = "harassment"
    HATE = "hate"
    SEXUAL = "sexual"
    VIOLENCE = "violence"
    SELF_HARM = "self-harm"
    ILLICIT = "illicit"
    SHOCKING = "shocking"
    JAILBREAK = "jailbreak"
    BIAS = "bias"
    PRIVACY = "privacy"
    PUBLIC_FIGURE = "public-figure"
    GORE = "gore"
    HATE_SYMBOL = "hate-symbol"
    TEXT = "text"


_TEXT = frozenset({Stage.PROMPT, Stage.OUTPUT_TEXT, Stage.TURN})
_TEXT_AND_EDIT = _TEXT | {Stage.EDIT}
_IMAGE = frozenset({Stage.OUTPUT_IMAGE, Stage.EDIT})
_BOTH = _TEXT | _IMAGE


@dataclass(frozen=True, slots=True)
class CategoryRow:
    """What is known of one category."""

    category: Category
    definition: str
    stages: frozenset[Stage]
    scored_by: tuple[str, ...]
    """Artifacts meant to score it; the ones installed say in their manifest what they really score."""
    is_harm: bool = True
    """False for content that is sensitive without being harmful: it never sets `Decision.flagged`."""
    openai: str | None = None
    perspective: str | None = None
    azure: str | None = None


TAXONOMY: dict[str, CategoryRow] = {
    row.category.value: row
    for row in (
        CategoryRow(Category.TOXICITY, "rude, disrespectful or aggressive enough to make people leave a conversation", _TEXT, ("text-safety",), perspective="TOXICITY"),
        CategoryRow(Category.INSULT, "demeans or mocks a person or a group", _TEXT, ("text-safety",), openai="harassment", perspective="INSULT"),
        CategoryRow(Category.PROFANITY, "swear words and obscene language, whoever they are aimed at", _TEXT, ("text-safety",), perspective="PROFANITY"),
        CategoryRow(Category.THREAT, "announces or wishes injury, death or damage to somebody", _TEXT, ("text-safety",), openai="harassment/threatening", perspective="THREAT", azure="Violence"),
        CategoryRow(Category.HARASSMENT, "attacks or intimidates one person", _TEXT_AND_EDIT, ("text-safety", "image-transform"), openai="harassment"),
        CategoryRow(Category.HATE, "attacks or degrades people for a protected characteristic", _TEXT, ("text-safety",), openai="hate", perspective="IDENTITY_ATTACK", azure="Hate"),
        CategoryRow(Category.SEXUAL, "describes or asks for sexual acts or nudity", _BOTH, ("text-safety", "image-safety", "image-transform"), openai="sexual", perspective="SEXUALLY_EXPLICIT", azure="Sexual"),
        CategoryRow(Category.VIOLENCE, "depicts, glorifies or asks for physical injury or killing", _BOTH, ("text-safety", "image-safety", "image-transform"), openai="violence", azure="Violence"),
        CategoryRow(Category.SELF_HARM, "expresses, encourages or instructs suicide, self-injury or disordered eating", _TEXT, ("text-safety",), openai="self-harm", azure="SelfHarm"),
        CategoryRow(Category.ILLICIT, "asks for or gives help with crime, weapons, drugs, fraud or intrusion", _TEXT, ("text-safety",), openai="illicit"),
        CategoryRow(Category.SHOCKING, "meant to disgust: bodily fluids, mutilation, obscene gestures", _TEXT, ("text-safety",)),
        CategoryRow(Category.JAILBREAK, "tries to override the instructions of the model it is sent to", _TEXT, ("text-safety",)),
        CategoryRow(Category.BIAS, "ties a group of people to animals, objects, crime or a demeaning trait, or changes skin, race or presence of people unasked", _BOTH, ("text-safety", "image-transform")),
        CategoryRow(Category.PRIVACY, "holds personal data of a private person, or shows a face", _BOTH, ("pii-tagger", "face-detector"), is_harm=False),
        CategoryRow(Category.PUBLIC_FIGURE, "names or shows a recognisable public person", _BOTH, ("pii-tagger", "image-safety"), is_harm=False),
        CategoryRow(Category.GORE, "shows severe injury, blood or dead bodies", _IMAGE, ("image-safety",), openai="violence/graphic"),
        CategoryRow(Category.HATE_SYMBOL, "shows a symbol of a hateful ideology", _IMAGE, ("image-safety",)),
        CategoryRow(Category.TEXT, "text read in an image scores as harmful", _IMAGE, ("text-safety",)),
    )
}  # fmt: skip


def is_harm(category: str) -> bool:
    """Whether a category counts as harm; a topic that a policy defines does.

    >>> is_harm("threat"), is_harm("privacy"), is_harm("election")
    (True, False, True)
    """
    row = TAXONOMY.get(category)
    return row is None or row.is_harm
