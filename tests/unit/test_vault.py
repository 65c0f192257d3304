"""The vault: restores exactly, and never shows or writes what it holds."""

from __future__ import annotations

import copy
import pickle

import pytest

from guardkit.errors import InputError
from guardkit.vault import Vault


@pytest.mark.parametrize(
    ("originals", "text", "restored"),
    [
        pytest.param({"<PERSON_1>": "Ada"}, "Dear <PERSON_1>!", "Dear Ada!", id="one"),
        pytest.param({"<PERSON_1>": "Ada"}, "<PERSON_1> <PERSON_1>", "Ada Ada", id="twice"),
        pytest.param({"<PERSON_1>": "Ada"}, "<PERSON_2>", "<PERSON_2>", id="unknown-stays"),
        pytest.param({"P1": "Ada", "P10": "Bob"}, "P10 P1", "Bob Ada", id="longer-name-first"),
        pytest.param({"<A>": "<B>", "<B>": "x"}, "<A> <B>", "<B> x", id="one-pass-only"),
        pytest.param({"(a.b)*": r"\1"}, "axb (a.b)*", r"axb \1", id="no-pattern-characters"),
        pytest.param({"<P>": ""}, "a<P>b", "ab", id="empty-original"),
        pytest.param({}, "nothing", "nothing", id="empty-vault"),
    ],
)
def test_restoring_puts_the_originals_back(
    originals: dict[str, str], text: str, restored: str
) -> None:
    assert Vault(originals).restore(text) == restored


def test_a_one_way_vault_refuses_to_restore() -> None:
    vault = Vault({"***": "Ada"}, is_reversible=False)
    assert not vault.is_reversible
    with pytest.raises(InputError, match="one-way"):
        vault.restore("***")


@pytest.mark.parametrize(
    ("originals", "shown"),
    [
        pytest.param({}, "Vault(0 placeholders)", id="none"),
        pytest.param({"<P>": "Ada"}, "Vault(1 placeholder)", id="one"),
        pytest.param({"<P>": "Ada", "<Q>": "Bob"}, "Vault(2 placeholders)", id="two"),
    ],
)
def test_a_vault_shows_its_size_alone(originals: dict[str, str], shown: str) -> None:
    assert repr(Vault(originals)) == shown
    assert str(Vault(originals)) == shown
    assert len(Vault(originals)) == len(originals)


def test_a_vault_does_not_follow_the_mapping_it_was_made_of() -> None:
    originals = {"<P>": "Ada"}
    vault = Vault(originals)
    originals["<P>"] = "Eve"
    assert vault.restore("<P>") == "Ada"


def test_a_vault_cannot_be_pickled_or_copied() -> None:
    vault = Vault({"<P>": "Ada"})
    with pytest.raises(InputError, match="cannot be pickled"):
        pickle.dumps(vault)
    with pytest.raises(InputError, match="cannot be pickled"):
        copy.deepcopy(vault)
