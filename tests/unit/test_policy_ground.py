"""What a policy may say of grounding, and how it is told what it may not."""

from __future__ import annotations

import msgspec
import pytest

from guardkit.errors import PolicyError
from guardkit.policy.load import load_policy, load_preset, policy_from_dict
from guardkit.policy.rules import Attributes, Ground
from tests.conftest import WriteFile
from tests.faults import only_fault

HEAD = "policy: mine\nprompt: {scorers: [identifiers], editors: [{name: ground, when: always}]}\n"


def test_a_ground_section_says_what_its_file_says(write_file: WriteFile) -> None:
    text = HEAD + "ground: {seed: 7, attributes: {gender: {woman: 1, man: 2.5}, age: {in their forties: 1}}}\n"  # fmt: skip
    assert load_policy(write_file("mine.yaml", text)).ground == Ground(
        seed=7,
        attributes=Attributes(gender={"woman": 1, "man": 2.5}, age={"in their forties": 1}),
    )


@pytest.mark.parametrize(
    ("ground", "path", "problem"),
    [
        pytest.param("", "prompt.editors[0]", "ground has nothing to fill in", id="no-section"),
        pytest.param("ground: {seed: 7}", "prompt.editors[0]", "nothing to fill in", id="no-lists"),
        pytest.param("ground: {attributes: {gendre: {woman: 1}, age: {elderly: 1}}}", "ground.attributes.gendre", "Did you mean 'gender'?", id="unknown-attribute"),
        pytest.param("ground: {attributes: {age: {elderly: 0}}}", "ground.attributes.age.elderly", "Expected more than 0", id="weight-0"),
        pytest.param("ground: {attributes: {age: {elderly: -1}}}", "ground.attributes.age.elderly", "Expected more than 0", id="weight-below-0"),
        pytest.param("ground: {attributes: {age: {elderly: 1}, gender: {}}}", "ground.attributes.gender", "has no values", id="empty-attribute"),
        pytest.param("ground: {attributes: {age: {'-': 1}}}", "ground.attributes.age.-", "is no word", id="no-word"),
        pytest.param("ground: {attributes: {age: [elderly]}}", "ground.attributes.age", "Expected a mapping", id="list"),
        pytest.param("ground: {specific: [{vague: fun, instead: []}]}", "ground.specific[0].instead", "is empty", id="nothing-instead"),
        pytest.param("ground: {specific: [{vague: '...', instead: [a]}]}", "ground.specific[0].vague", "needs a letter", id="no-phrase"),
        pytest.param("ground: {specific: [{vague: fun, instead: [real Fun]}]}", "ground.specific[0].instead[0]", "holds a vague phrase", id="vague-again"),
        pytest.param("ground: {specific: [{vague: fun, instead: ['']}]}", "ground.specific[0].instead[0]", "is empty", id="empty-instead"),
    ],
)  # fmt: skip
def test_a_ground_section_that_makes_no_sense_is_refused(
    write_file: WriteFile, ground: str, path: str, problem: str
) -> None:
    fault = only_fault(write_file("mine.yaml", HEAD + ground + "\n"))
    assert fault.path == path
    assert problem in fault.problem


def test_two_entries_for_one_phrase_are_refused(write_file: WriteFile) -> None:
    ground = "ground: {specific: [{vague: fun, instead: [a]}, {vague: Fun, instead: [b]}]}\n"
    with pytest.raises(PolicyError, match="is there twice"):
        load_policy(write_file("mine.yaml", HEAD + ground))


def test_a_dict_is_held_to_the_same() -> None:
    stage = {"scorers": ["identifiers"], "editors": [{"name": "ground", "when": "always"}]}
    with pytest.raises(PolicyError, match="nothing to fill in"):
        policy_from_dict({"policy": "mine", "prompt": stage})


def test_grounding_is_off_in_every_preset_but_the_balanced_one() -> None:
    for name in ("text-to-image", "chat", "kids", "research"):
        assert load_preset(name).ground == Ground()
    assert load_preset("text-to-image-balanced").ground.attributes.gender == {"woman": 1, "man": 1}


def test_a_policy_without_grounding_keeps_its_digest() -> None:
    assert b"ground" not in msgspec.json.encode(policy_from_dict({"policy": "mine"}))
    with_seed = policy_from_dict({"policy": "mine", "ground": {"seed": 1}})
    assert with_seed.digest != policy_from_dict({"policy": "mine"}).digest
