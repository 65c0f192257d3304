"""The decision: an action and the evidence for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NoReturn

from msgspec import Struct

from guardkit.taxonomy import TAXONOMY, Stage, is_harm
from guardkit.types import Action, Edit, Fired, Guidance, Region, Scores, Span, Status, Tier
from guardkit.vault import Vault


class Decision(Struct, frozen=True, kw_only=True):
    """What to do with a text or an image, and why. Has no truth value: ask for `action`."""

    action: Action
    stage: Stage
    scores: Scores
    fired: tuple[Fired, ...] = ()
    """The rules that were true on the original content, strictest action first."""
    spans: tuple[Span, ...] = ()
    """What carried the scores of fired rules, in characters of the original text."""
    regions: tuple[Region, ...] = ()
    """Likewise for an image, and what was edited, in pixels of the original image, upright."""
    reasons: tuple[str, ...] = ()
    """One sentence a rule, a failed step or a limit."""
    text: str | None = None
    """What to use next: the original or the edited text; None when it must not be used."""
    image: Any = None
    """Likewise for an image: what was handed in, or edited, uint8 [H, W, 3]."""
    video: Any = None
    """Likewise for a video, which no editor edits: what was handed in."""
    at_s: float | None = None
    """Of a video: seconds from its beginning to the first frame that reached the threshold of a rule that fired; None: none did,
    or it is no video."""
    edits: tuple[Edit, ...] = ()
    vault: Vault | None = None
    status: Status = Status.OK
    tier: Tier = Tier.FULL
    language: str | None = None
    """The language the text was scored as: ISO 639-1, `und` when it could not be named; None when
    no scorer cares."""
    guidance: Guidance | None = None
    """Set when the action is `regenerate`."""
    shadow: Action | None = None
    """Under `mode: shadow`, what would have been done; None when the policy is enforced."""
    timings_ms: Mapping[str, float] = {}
    """Wall time a step took, in milliseconds, and `total`."""
    policy_id: str = ""
    models: tuple[str, ...] = ()
    """`name@version` of every artifact that took part."""

    @property
    def flagged(self) -> bool:
        """Whether a rule on a harm category fired; anonymizing or grounding alone does not flag."""
        return any(is_harm(fired.category) for fired in self.fired)

    def __repr__(self) -> str:
        """The evidence in short; never the text, the image or the vault."""
        rules = [fired.rule for fired in self.fired]
        return (
            f"Decision({self.action.value}, stage={self.stage.value}, fired={rules}, {self.scores})"
        )

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "a Decision has no truth value: compare decision.action with Action.ALLOW, "
            "or call guard.enforce(decision)"
        )

    def to_dict(self, *, include_text: bool = False) -> dict[str, Any]:
        """The decision as plain JSON values.

        Args:
            include_text: Add `text` and the replacements of `edits`. Off by default: content does
                not belong in logs. The vault is never included.
        """
        content: dict[str, Any] = {"text": self.text} if include_text else {}
        return {
            "action": self.action.value,
            "flagged": self.flagged,
            "stage": self.stage.value,
            "status": self.status.value,
            "tier": self.tier.value,
            "language": self.language,
            "scores": dict(self.scores),
            "fired": [_fired_to_dict(fired) for fired in self.fired],
            "spans": [_span_to_dict(span) for span in self.spans],
            "regions": [_region_to_dict(region) for region in self.regions],
            "reasons": list(self.reasons),
            **({} if self.at_s is None else {"at_s": self.at_s}),
            "edits": [_edit_to_dict(edit, include_text=include_text) for edit in self.edits],
            "guidance": dict(self.guidance.categories) if self.guidance else None,
            "shadow": self.shadow.value if self.shadow else None,
            "timings_ms": dict(self.timings_ms),
            "policy_id": self.policy_id,
            "models": list(self.models),
            **content,
        }  # fmt: skip

    def to_openai(self) -> dict[str, Any]:
        """The decision in the form of OpenAI's moderation endpoint.

        Only categories that this guard scores and that have a counterpart there appear (table:
        `guardkit.taxonomy`); where several of ours map to one of theirs, the highest score counts.
        """
        scores = self._counterparts("openai")
        fired = {TAXONOMY[f.category].openai for f in self.fired if f.category in TAXONOMY}
        kind = "image" if self.stage is Stage.OUTPUT_IMAGE else "text"
        result = {
            "flagged": self.flagged,
            "categories": {name: name in fired for name in scores},
            "category_scores": scores,
            "category_applied_input_types": {name: [kind] for name in scores},
        }
        return {"id": self.policy_id, "model": ", ".join(self.models), "results": [result]}

    def to_perspective(self) -> dict[str, Any]:
        """The decision in the form of Perspective's `comments:analyze` answer."""
        names = {row.category.value: row.perspective for row in TAXONOMY.values()}
        spans: dict[str, list[dict[str, Any]]] = {}
        for span in self.spans:
            if name := names.get(span.category):
                score = {"value": span.score, "type": "PROBABILITY"}
                spans.setdefault(name, []).append(
                    {"begin": span.start, "end": span.end, "score": score}
                )
        return {
            "attributeScores": {
                name: {
                    "spanScores": spans.get(name, []),
                    "summaryScore": {"value": score, "type": "PROBABILITY"},
                }
                for name, score in self._counterparts("perspective").items()
            }
        }

    def _counterparts(self, taxonomy: str) -> dict[str, float | None]:
        """Our scores under another taxonomy's names; None where a scorer failed."""
        found = Scores()
        for category, score in self.scores.items():
            row = TAXONOMY.get(category)
            name = None if row is None else row.openai if taxonomy == "openai" else row.perspective
            if name is not None:
                found = found.merged({name: score})
        return dict(found)


def _span_to_dict(span: Span) -> dict[str, Any]:
    told = {"start": span.start, "end": span.end, "category": span.category, "score": span.score, "source": span.source}  # fmt: skip
    return {**told, "kind": span.kind} if span.kind else told


def _region_to_dict(region: Region) -> dict[str, Any]:
    told = asdict(region)
    return {name: value for name, value in told.items() if value != ""}


def _fired_to_dict(fired: Fired) -> dict[str, Any]:
    return {
        "rule": fired.rule,
        "category": fired.category,
        "score": fired.score,
        "threshold": fired.threshold,
        "action": fired.action.value,
        "using": fired.using,
    }


def _edit_to_dict(edit: Edit, *, include_text: bool) -> dict[str, Any]:
    content = {"replacement": edit.replacement} if include_text else {}
    return {"editor": edit.editor, "start": edit.start, "end": edit.end, **content}
