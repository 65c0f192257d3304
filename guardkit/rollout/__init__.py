"""A policy in production: reloaded when its file changes, a candidate beside it, decisions on record, two compared."""

from guardkit.rollout.beside import Beside, Pair
from guardkit.rollout.diff import Change, changes
from guardkit.rollout.record import Recorder
from guardkit.rollout.reload import PolicyFile

__all__ = ["Beside", "Change", "Pair", "PolicyFile", "Recorder", "changes"]
