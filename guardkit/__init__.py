"""Moderation that a product team imports: a YAML policy, small local models, one `Guard`."""

from guardkit.decision import Decision
from guardkit.errors import Blocked, GuardkitError
from guardkit.guard import Guard
from guardkit.policy.rules import Policy
from guardkit.taxonomy import Category, Stage
from guardkit.types import (
    Action,
    Context,
    Edit,
    Guidance,
    Region,
    RunResult,
    Scores,
    Span,
    Turn,
)
from guardkit.vault import Vault

__version__ = "0.1.0"
__all__ = [
    "Action",
    "Blocked",
    "Category",
    "Context",
    "Decision",
    "Edit",
    "Guard",
    "GuardkitError",
    "Guidance",
    "Policy",
    "Region",
    "RunResult",
    "Scores",
    "Span",
    "Stage",
    "Turn",
    "Vault",
]
