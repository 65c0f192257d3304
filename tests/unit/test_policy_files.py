"""What a policy file may refer to: a parent, word lists, models."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from guardkit.errors import PolicyError
from guardkit.policy.load import list_policies, load_policy, load_preset
from guardkit.policy.rules import Concept
from tests.conftest import WriteFile
from tests.faults import GOOD, only_fault

pytestmark = pytest.mark.usefixtures("use_tiny_models")


# --- extends --------------------------------------------------------------------------------------


def test_a_child_overrides_by_key_and_its_rules_by_name(write_file: WriteFile) -> None:
    write_file(
        "base.yaml", f"{GOOD}on_failure: regenerate\nlimits: {{edits: 0, max_characters: 9}}\n"
    )
    child = load_policy(
        write_file(
            "child.yaml",
            "policy: child\n"
            "extends: base.yaml\n"
            "limits: {max_characters: 100}\n"
            "prompt:\n"
            "  rules:\n"
            "    - {name: no-threats, when: {category: threat, at_least: 0.3}, action: block}\n"
            "    - {name: new, when: {category: insult, at_least: 0.9}, action: block}\n",
        )
    )
    assert (child.policy, child.on_failure) == ("child", "regenerate")
    assert (child.limits.edits, child.limits.max_characters) == (0, 100)
    assert child.prompt is not None
    thresholds = {rule.name: rule.when.at_least for rule in child.prompt.rules}
    assert thresholds == {"no-insults": 0.5, "no-threats": 0.3, "new": 0.9}
    assert child.prompt.scorers == ("text-safety",)


def test_a_child_may_extend_a_shipped_policy_by_name(
    write_file: WriteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = write_file("shipped/house.yaml", GOOD)
    monkeypatch.setenv("GUARDKIT_POLICIES", str(base.parent))
    child = load_policy(write_file("child.yaml", "policy: child\nextends: house\n"))
    assert child.prompt == load_preset("house").prompt
    assert list_policies()["house"] == base


def test_an_unknown_preset_comes_with_the_nearest_known_one(
    write_file: WriteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = write_file("shipped/household.yaml", GOOD)
    monkeypatch.setenv("GUARDKIT_POLICIES", str(base.parent))
    with pytest.raises(PolicyError, match=r"no policy 'houshold'.*Did you mean 'household'\?"):
        load_preset("houshold")


def test_a_fault_in_a_parent_is_placed_in_the_parent(write_file: WriteFile) -> None:
    parent = write_file("base.yaml", GOOD.replace("0.80", "8"))
    fault = only_fault(write_file("child.yaml", "policy: child\nextends: base.yaml\n"))
    # GOOD line 6: "    - {name: no-threats, when: {category: threat, at_least: " is 60 long.
    assert (fault.file, fault.line, fault.column) == (str(parent), 6, 61)


def test_a_parent_that_is_no_yaml_is_named_with_its_place(write_file: WriteFile) -> None:
    parent = write_file("base.yaml", "policy: x\n\tversion: 1\n")
    fault = only_fault(write_file("child.yaml", "policy: child\nextends: base.yaml\n"))
    assert (fault.line, fault.column, fault.path) == (2, 10, "extends")
    assert f"{parent}:2:1: not YAML" in fault.problem


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        pytest.param("nowhere.yaml", "nowhere.yaml:1:1: cannot be read", id="file"),
        pytest.param("nowhere", "no policy 'nowhere'", id="preset"),
    ],
)
def test_a_missing_parent_is_named(write_file: WriteFile, name: str, problem: str) -> None:
    fault = only_fault(write_file("child.yaml", f"policy: child\nextends: {name}\n"))
    assert (fault.line, fault.column, fault.path) == (2, 10, "extends")
    assert problem in fault.problem


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"a.yaml": "a.yaml"}, id="itself"),
        pytest.param({"a.yaml": "b.yaml", "b.yaml": "a.yaml"}, id="each-other"),
        pytest.param({"a.yaml": "b.yaml", "b.yaml": "b.yaml"}, id="a-parent-itself"),
    ],
)
def test_a_policy_that_extends_itself_is_a_fault(
    write_file: WriteFile, files: dict[str, str]
) -> None:
    for name, parent in files.items():
        write_file(name, f"policy: x\nextends: {parent}\n")
    fault = only_fault(write_file("a.yaml", f"policy: x\nextends: {files['a.yaml']}\n"))
    assert "extends this file" in fault.problem


@pytest.mark.parametrize("nothing", [pytest.param(t, id=t or "empty") for t in ("", "~", "null")])
def test_extending_nothing_is_no_fault(write_file: WriteFile, nothing: str) -> None:
    policy = load_policy(write_file("p.yaml", f"{GOOD}extends: {nothing}\n"))
    assert policy.extends is None


# --- concepts ---------------------------------------------------------------------------------------

CONCEPTS = "policy: x\nconcepts_file: c.yaml\nconcepts: {zombie: scarecrow}\n"


def test_concepts_are_laid_over_those_of_the_file(write_file: WriteFile) -> None:
    write_file("c.yaml", "zombie: owl\ngun: {replacement: camera, examples: [rifle]}\n")
    policy = load_policy(write_file("p.yaml", CONCEPTS))
    gun = Concept("camera", ("rifle",))
    assert policy.concepts == {"zombie": "scarecrow", "gun": gun}
    assert policy.concepts_file is None


def test_a_concepts_file_of_a_parent_lies_beside_the_parent(write_file: WriteFile) -> None:
    write_file("base/c.yaml", "gun: camera\n")
    write_file("base/base.yaml", CONCEPTS)
    policy = load_policy(write_file("child.yaml", "policy: z\nextends: base/base.yaml\n"))
    assert policy.concepts == {"gun": "camera", "zombie": "scarecrow"}


def test_a_missing_concepts_file_is_a_fault_at_its_key(write_file: WriteFile) -> None:
    fault = only_fault(write_file("p.yaml", CONCEPTS))
    assert (fault.line, fault.path) == (2, "concepts_file")


def test_a_fault_in_a_concepts_file_is_named_with_its_place(write_file: WriteFile) -> None:
    file = write_file("c.yaml", "gun: camera\nknife:\n  instead: spoon\n")
    path = write_file("p.yaml", CONCEPTS)
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    places = {(fault.file, fault.line, fault.path) for fault in caught.value.faults}
    assert places == {(str(file), 3, "concepts.knife"), (str(file), 3, "concepts.knife.instead")}


@pytest.mark.parametrize(
    ("concepts", "problem"),
    [
        pytest.param("{gun: a water pistol, pistol: hat}", "holds 'pistol' of 'pistol', a cycle", id="cycle"),
        pytest.param("{gun: {replacement: hat, examples: [rifle]}, rifle: cap}", "belongs to 'gun' too", id="twice"),
        pytest.param("{gun: ' '}", "its replacement is empty", id="empty"),
        pytest.param("{'-': hat}", "needs a letter or a digit", id="no word"),
    ],
)  # fmt: skip
def test_concepts_that_contradict_are_refused(
    write_file: WriteFile, concepts: str, problem: str
) -> None:
    fault = only_fault(write_file("p.yaml", f"policy: x\nconcepts: {concepts}\n"))
    assert problem in fault.problem


# --- lists ----------------------------------------------------------------------------------------

LISTS = "policy: x\nlists: {election: {block: [ballot], block_file: words.txt}}\n"


@pytest.mark.parametrize(
    "encoding", [pytest.param("utf-8", id="plain"), pytest.param("utf-8-sig", id="with-a-mark")]
)
def test_a_list_file_adds_its_lines_without_comments(
    write_file: WriteFile, tmp_path: Path, encoding: str
) -> None:
    words = "vote  # the verb\n\n# a comment\nétat major\r\n"
    (tmp_path / "words.txt").write_bytes(words.encode(encoding))
    policy = load_policy(write_file("p.yaml", LISTS))
    assert policy.lists["election"].block == ("ballot", "vote", "état major")
    assert policy.lists["election"].block_file is None


def test_a_list_file_of_a_parent_lies_beside_the_parent(write_file: WriteFile) -> None:
    write_file("base/words.txt", "vote\n")
    write_file("base/base.yaml", LISTS)
    policy = load_policy(write_file("child.yaml", "policy: z\nextends: base/base.yaml\n"))
    assert policy.lists["election"].block == ("ballot", "vote")


def test_a_missing_list_file_is_a_fault_at_its_key(write_file: WriteFile) -> None:
    fault = only_fault(write_file("p.yaml", LISTS))
    assert (fault.line, fault.path) == (2, "lists.election.block_file")
    assert "words.txt cannot be read (FileNotFoundError)" in fault.problem


def test_the_words_of_a_list_file_count_for_the_digest(write_file: WriteFile) -> None:
    path = write_file("p.yaml", LISTS)
    write_file("words.txt", "vote\n")
    before = load_policy(path).digest
    write_file("words.txt", "veto\n")
    assert load_policy(path).digest != before


def test_a_list_entry_needs_a_letter_or_a_digit(write_file: WriteFile) -> None:
    fault = only_fault(write_file("p.yaml", "policy: x\nlists: {a: {block: [ok, '!!']}}\n"))
    assert (fault.line, fault.column, fault.path) == (2, 25, "lists.a.block[1]")


def test_a_topic_of_a_list_is_a_category_of_the_blocklist(write_file: WriteFile) -> None:
    text = GOOD.replace("[text-safety]", "[text-safety, blocklist]").replace("threat,", "election,")
    policy = load_policy(write_file("p.yaml", f"{text}lists: {{election: {{block: [vote]}}}}\n"))
    assert policy.prompt is not None
    assert policy.prompt.rules[0].when.category == "election"


# --- models ---------------------------------------------------------------------------------------


def test_a_model_path_is_meant_from_the_policy_file(
    write_file: WriteFile, tiny_models: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GUARDKIT_MODELS", "")
    shutil.copytree(tiny_models, tmp_path / "deep" / "models")
    models = "models: {text-safety: {path: models/text-safety}}\n"
    monkeypatch.chdir("/")
    policy = load_policy(write_file("deep/p.yaml", GOOD + models))
    assert policy.models["text-safety"].path == str(tmp_path / "deep/models/text-safety")


def test_the_digest_does_not_depend_on_where_models_lie(
    write_file: WriteFile, tiny_models: Path
) -> None:
    here = load_policy(write_file("a.yaml", f"{GOOD}models: {{text-safety: {{threads: 2}}}}\n"))
    path = tiny_models / "text-safety"
    there = load_policy(
        write_file("b.yaml", f"{GOOD}models: {{text-safety: {{threads: 2, path: '{path}'}}}}\n")
    )
    assert there.models["text-safety"].path is not None
    assert there.digest == here.digest
    assert there.id == here.id


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("0.80", "0.81", id="threshold"),
        pytest.param("action: block", "action: regenerate", id="action"),
        pytest.param("policy: mine", "policy: yours", id="name"),
    ],
)
def test_the_digest_depends_on_what_the_policy_says(
    write_file: WriteFile, old: str, new: str
) -> None:
    before = load_policy(write_file("a.yaml", GOOD)).digest
    assert load_policy(write_file("b.yaml", GOOD.replace(old, new))).digest != before
