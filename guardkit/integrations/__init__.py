"""Thin adapters around other libraries' objects; what they adapt is duck-typed, not imported."""
