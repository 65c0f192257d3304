"""The steps a policy can name beside artifacts: one table."""

from __future__ import annotations

BLOCKLIST = "blocklist"

SCORERS: dict[str, str] = {
    BLOCKLIST: "scores 1 for the topic of a list when the text holds one of its words or phrases",
}
EDITORS: dict[str, str] = {
    "cut": "takes the spans of the rules that named it out of the text",
    "redact": "puts [removed] in place of the spans of the rules that named it",
}
