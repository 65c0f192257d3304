"""Every error class is raised or caught by some test."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from guardkit import errors

TESTS = Path(__file__).parent.parent
CLASSES = [
    name
    for name, value in inspect.getmembers(errors, inspect.isclass)
    if issubclass(value, Exception) and value.__module__ == errors.__name__
]
WORDS = {
    word
    for file in TESTS.rglob("*.py")
    if file != Path(__file__)
    for word in re.findall(r"\w+", file.read_text("utf-8"))
}


@pytest.mark.parametrize("name", CLASSES)
def test_an_error_class_has_a_test(name: str) -> None:
    assert name in WORDS, f"no test names {name}: write the one that raises it"


@pytest.mark.parametrize("name", CLASSES)
def test_an_error_class_stands_in_the_tree_that_is_drawn(name: str) -> None:
    assert re.search(rf"^ *{name}\b", errors.__doc__ or "", re.MULTILINE)


def test_a_class_nobody_tests_would_be_noticed() -> None:
    invented = "Unheard" + "OfError"
    assert invented not in WORDS
