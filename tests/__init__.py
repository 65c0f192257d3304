"""Tests of guardkit; see `tests/tiny.py` for the model they run."""
