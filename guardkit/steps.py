"""The steps a policy can name beside artifacts: one table."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

BLOCKLIST = "blocklist"
IDENTIFIERS = "identifiers"
PUBLIC_FIGURES = "public-figures"
ANONYMIZE = "anonymize"
REWRITE = "rewrite"
PII_TAGGER = "pii-tagger"
REWRITER = "prompt-rewriter"
REWRITER_DECODER = "prompt-rewriter-decoder"
GROUND = "ground"

FACE_DETECTOR = "face-detector"
IMAGE_TEXT = "image-text"
TEXT_SAFETY = "text-safety"
IMAGE_TRANSFORM = "image-transform"

SCORERS: dict[str, str] = {
    PUBLIC_FIGURES: "scores 1 for public-figure when the text holds the name of a person known the world over; under output-image, as much as "
    "a face is seen where the prompt that the image was made of holds such a name",
    IMAGE_TEXT: "reads what is written in an image (extra `ocr`) and scores `text`: the worst harm that text-safety sees in it",
    BLOCKLIST: "scores 1 for the topic of a list when the text holds one of its words or phrases",
    IDENTIFIERS: "scores 1 for privacy when the text holds personal data that has a form: e-mail addresses, phone and "
    "card numbers, addresses, secrets and the like; names have none",
}
EDITORS: dict[str, str] = {
    "cut": "takes the spans of the rules that named it out of the text",
    ANONYMIZE: "replaces personal data, as `anonymize.mode` says; a vault leads back where the mode allows it",
    REWRITE: "makes the text harmless with the model `prompt-rewriter`, or with a rewriter of your own; what comes of it is scored again",
    GROUND: "gives people of whom a prompt leaves gender, ethnicity or age open one, from a shuffle bag (`ground.attributes`), and "
    "makes vague phrases specific (`ground.specific`); never somebody named, historic or ill spoken of",
    "redact": "puts [removed] in place of the spans of the rules that named it",
}


@dataclass(frozen=True, slots=True)
class ImageEditor:
    """An editor of images."""

    meaning: str
    change: str
    """`blur`, `pixelate` or `fill`."""
    is_of_faces: bool = False
    """Whether it changes faces, whatever the rules that named it blame."""


_BLAMED = "the regions of the rules that named it: those their scorers point at, else what the score depends on"
IMAGE_EDITORS: dict[str, ImageEditor] = {
    "blur": ImageEditor(f"blurs {_BLAMED}", "blur"),
    "pixelate": ImageEditor(f"turns into a few blocks {_BLAMED}", "pixelate"),
    "fill": ImageEditor(f"fills with one colour {_BLAMED}", "fill"),
    "blur-faces": ImageEditor("blurs every face", "blur", is_of_faces=True),
    "pixelate-faces": ImageEditor(
        "turns every face into a few blocks", "pixelate", is_of_faces=True
    ),
    "fill-faces": ImageEditor("fills every face with one colour", "fill", is_of_faces=True),
}
"""Those of the stages output-image and edit."""


def needs_faces(scorers: Collection[str], editors: Collection[str]) -> bool:
    """Whether a step of an image stage uses the artifact `face-detector`.

    >>> needs_faces(["image-safety"], ["blur-faces"]), needs_faces(["image-safety"], ["blur"])
    (True, False)
    """
    hides = any(of.is_of_faces for name, of in IMAGE_EDITORS.items() if name in editors)
    return hides or not {FACE_DETECTOR, PUBLIC_FIGURES, IMAGE_TRANSFORM}.isdisjoint(scorers)
