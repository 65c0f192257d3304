"""A good policy to spoil, and what its file is then blamed for."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardkit.errors import Fault, PolicyError
from guardkit.policy.load import load_policy

GOOD = """\
policy: mine
prompt:
  scorers: [text-safety]
  editors: [cut]
  rules:
    - {name: no-threats, when: {category: threat, at_least: 0.80}, action: block}
    - {name: no-insults, when: {category: insult, at_least: 0.50}, action: edit, using: cut}
"""


def faults_of(path: Path) -> tuple[Fault, ...]:
    """Every fault of a policy file."""
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    return caught.value.faults


def only_fault(path: Path) -> Fault:
    """The one fault of a policy file."""
    (fault,) = faults_of(path)
    return fault
