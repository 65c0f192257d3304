"""Drive somebody's generator: ask it, check what it gives, ask again with guidance; within a budget."""

from guardkit.loop.budget import Budget

__all__ = ["Budget"]
