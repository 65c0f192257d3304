"""A scorer of your own beside the shipped ones; when it fails, `on_failure` decides."""

from collections.abc import Sequence

from guardkit import Guard, Policy, Scores
from guardkit.policy.load import policy_from_dict
from guardkit.policy.meaning import Known
from guardkit.text.normalize import Prompt
from guardkit.types import Scored


class ShoutingScorer:
    """Scores text for harassment by its share of capital letters."""

    name = "shouting"
    categories = ("harassment",)

    def score(self, prompts: Sequence[Prompt]) -> list[Scored]:
        shares = [sum(map(str.isupper, p.text)) / max(1, len(p.text)) for p in prompts]
        return [Scored(Scores({"harassment": share})) for share in shares]


RULES = [
    {"name": "no-shouting", "when": {"category": "harassment", "at_least": 0.6}, "action": "block"}
]
policy: Policy = policy_from_dict(
    {"policy": "quiet", "prompt": {"scorers": ["shouting"], "rules": RULES}},
    known=Known(scorers={"shouting": ("harassment",)}),
)
guard = Guard(policy, scorers=[ShoutingScorer()])
for text in ("good morning", "GOOD MORNING"):
    print(text, "->", guard.check_prompt(text).action.value)
