"""The steps a policy can name beside artifacts: one table."""

from __future__ import annotations

BLOCKLIST = "blocklist"
IDENTIFIERS = "identifiers"
PUBLIC_FIGURES = "public-figures"
ANONYMIZE = "anonymize"
REWRITE = "rewrite"
PII_TAGGER = "pii-tagger"
REWRITER = "prompt-rewriter"
REWRITER_DECODER = "prompt-rewriter-decoder"
GROUND = "ground"

SCORERS: dict[str, str] = {
    PUBLIC_FIGURES: "scores 1 for public-figure when the text holds the name of a person known the world over",
    BLOCKLIST: "scores 1 for the topic of a list when the text holds one of its words or phrases",
    IDENTIFIERS: "scores 1 for privacy when the text holds personal data that has a form: e-mail addresses, phone and "
    "card numbers, addresses, secrets and the like; names have none",
}
EDITORS: dict[str, str] = {
    "cut": "takes the spans of the rules that named it out of the text",
    ANONYMIZE: "replaces personal data, as `anonymize.mode` says; a vault leads back where the mode allows it",
    REWRITE: "makes the text harmless with a rewriter of your own, or the model `prompt-rewriter`, which does not ship yet",
    GROUND: "gives people of whom a prompt leaves gender, ethnicity or age open one, from a shuffle bag (`ground.attributes`), and "
    "makes vague phrases specific (`ground.specific`); never somebody named, historic or ill spoken of",
    "redact": "puts [removed] in place of the spans of the rules that named it",
}
