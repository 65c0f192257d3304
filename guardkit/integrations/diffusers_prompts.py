"""What guides a picture besides the prompt as it was typed: its syntax, the negative prompt, what both add up to.

Classifier-free guidance uses eps = eps(negative) + g (eps(prompt) - eps(negative)), which is a composition with the weights
g and 1 - g (`text/composition.py`): a harmful concept may be written as one prompt less another (arXiv 2404.13706).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from guardkit.decision import Decision
from guardkit.guard import Guard
from guardkit.taxonomy import Stage
from guardkit.text.composition import Composed, Concept, Embed, check_composition
from guardkit.types import Action, Context, Scores

_ALLOWED = Decision(action=Action.ALLOW, stage=Stage.PROMPT, scores=Scores())


@dataclass(frozen=True, slots=True)
class Guided:
    """What guides one picture."""

    prompt: str = field(repr=False)
    """As the guard allowed it."""
    negative: str = field(repr=False)
    """As the user typed it; "": none."""
    scale: float
    """The guidance scale g."""
    steps: int


def look_at(
    guard: Guard,
    guided: Guided,
    *,
    context: Context | None,
    concepts: Sequence[Concept],
    embed: Embed | None,
) -> tuple[str, Decision | None]:
    """Check what guides a picture together.

    Args:
        guard: Its prompt stage checks every text; without one, only concepts are looked for.
        guided: What guides it. The prompt itself was checked and edited before.
        context: As in `Guard.check_prompt`.
        concepts: What the sum of prompts must not point at.
        embed: A text to its embedding; needed for concepts.

    Returns:
        The negative prompt to use, edited where the policy edits it; and why nothing may be drawn, or None. What
        brackets hide and an editor would have to change is answered by the policy's `after_edit`.

    Raises:
        InputError: Brackets are nested too deep, or a concept cannot be used.
    """
    decided: dict[str, Decision] = {}

    def check(text: str) -> Decision:
        if guard.policy.prompt is None or text == guided.prompt:
            return _ALLOWED
        return decided.setdefault(text, guard.check_prompt(text, context))

    weights = (guided.scale, 1 - guided.scale) if guided.scale > 1 else (1.0, 0.0)
    composed = check_composition(
        [guided.prompt, guided.negative],
        weights,
        check=check,
        embed=embed,
        concepts=concepts,
        steps=guided.steps,
    )
    negative = guided.negative
    plain = decided.pop(negative, None)
    if plain is not None and plain.action is Action.EDIT:
        negative, plain = plain.text or "", None
    found = [one for one in (plain, *decided.values()) if one is not None]
    return negative, _refusal(guard, composed, found)


def _refusal(guard: Guard, composed: Composed, found: Sequence[Decision]) -> Decision | None:
    """Why nothing may be drawn; None: nothing is against it."""
    for one in sorted(found, key=lambda decision: decision.action, reverse=True):
        if one.action is Action.BLOCK:
            return _blocked(one, "in the negative prompt, or within brackets")
        after_edit = guard.policy.prompt.after_edit if guard.policy.prompt else "block"
        if one.action is Action.EDIT and after_edit != "allow":
            return _blocked(one, "within brackets, where no editor can change it")
    if composed.near and guard.policy.mode == "enforce":
        names = ", ".join(composed.near)
        return _blocked(_of_policy(guard), f"together the prompts come near {names}")
    return None


def _blocked(decision: Decision, why: str) -> Decision:
    reasons = (*decision.reasons, f"{why}: block")
    return replace(
        decision,
        action=Action.BLOCK,
        text=None,
        edits=(),
        vault=None,
        guidance=None,
        reasons=reasons,
    )


def _of_policy(guard: Guard) -> Decision:
    return replace(_ALLOWED, policy_id=guard.policy.id)


def text_embedding(pipeline: Any, text: str) -> Any:
    """A text as the pipeline's own CLIP text encoder sees it, f32 [D]; for `Concept.direction` and for `concepts`."""
    tokens = pipeline.tokenizer(
        text,
        padding="max_length",
        max_length=pipeline.tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    encoder = pipeline.text_encoder
    seen = encoder(tokens.input_ids.to(encoder.device))
    return seen.pooler_output[0].detach().float().cpu().numpy()
