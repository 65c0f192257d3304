"""Policy files: every fault at once with its place, and no YAML trap gets through."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardkit.errors import PolicyError
from guardkit.policy.load import load_policy, policy_from_dict
from guardkit.policy.meaning import Known
from guardkit.policy.rules import Policy
from guardkit.types import Action
from tests.conftest import WriteFile
from tests.faults import GOOD, faults_of, only_fault

pytestmark = pytest.mark.usefixtures("use_tiny_models")

PLANTED_FAULTS = """\
policy: Not Kebab
version: 0
polcy: typo
on_failure: alow
timeout_ms: soon
prompt:
  scorers: [text-safety]
  editors: [cutt]
  rules:
    - {name: a, when: {category: threat, at_least: 1.5}, action: block}
    - {name: a, when: {category: treat, at_least: 0.5}, action: block}
    - {name: b, when: {category: sexual, at_least: 0.5}, action: block}
    - {name: c, when: {category: insult, at_least: 0.5}, action: edit}
"""


def test_a_good_policy_says_what_its_file_says(write_file: WriteFile) -> None:
    policy = load_policy(write_file("mine.yaml", GOOD))
    assert policy.prompt is not None
    threats, insults = policy.prompt.rules
    assert (threats.name, threats.when.at_least, threats.action) == (
        "no-threats",
        0.8,
        Action.BLOCK,
    )
    assert (insults.action, insults.using) == (Action.EDIT, "cut")
    # product.md section 4: block unless said otherwise.
    assert (policy.on_failure, policy.prompt.after_edit, policy.mode) == (
        "block",
        "block",
        "enforce",
    )


def test_planted_faults_are_all_named_with_their_place(write_file: WriteFile) -> None:
    path = write_file("bad.yaml", PLANTED_FAULTS)
    # Counted by hand in PLANTED_FAULTS: (line, column, path, a piece of what is wrong).
    planted = [
        (1, 9, "policy", "found 'Not Kebab'"),
        (2, 10, "version", "found 0"),
        (3, 1, "polcy", "Did you mean 'policy'?"),
        (4, 13, "on_failure", "Did you mean 'allow'?"),
        (5, 13, "timeout_ms", "found 'soon'"),
        (8, 13, "prompt.editors[0]", "Did you mean 'cut'?"),
        (10, 52, "prompt.rules[0].when.at_least", "found 1.5. Expected 0 to 1"),
        (11, 14, "prompt.rules[1].name", "two rules are named 'a'"),
        (11, 34, "prompt.rules[1].when.category", "Did you mean 'threat'?"),
        (12, 34, "prompt.rules[2].when.category", "no scorer of this stage scores 'sexual'"),
        (13, 7, "prompt.rules[3]", "action edit needs 'using'"),
    ]
    found = faults_of(path)
    assert [(f.line, f.column, f.path) for f in found] == [place[:3] for place in planted]
    for fault, (*_, piece) in zip(found, planted, strict=True):
        assert piece in fault.problem
        assert str(fault).startswith(f"{path}:{fault.line}:{fault.column}: {fault.path}: ")


@pytest.mark.parametrize(
    ("text", "line", "column", "problem"),
    [
        # The traps of style.md section 8, "YAML traps, closed at the border".
        pytest.param("policy: on\n", 1, 9, "Quote it", id="on-as-text"),
        pytest.param("policy: off\n", 1, 9, "Quote it", id="off-as-text"),
        pytest.param("policy: yes\n", 1, 9, "Quote it", id="yes-as-text"),
        pytest.param("policy: No\n", 1, 9, "Quote it", id="no-as-text"),
        pytest.param("policy: 1:30\n", 1, 9, "Quote it", id="sixty-as-text"),
        pytest.param("policy: 010\n", 1, 9, "Quote it", id="octal-as-text"),
        pytest.param("policy: x\non: 1\n", 2, 1, "unknown key 'on'", id="on-as-key"),
        pytest.param("policy: x\nlists: {no: {}}\n", 2, 9, "Quote it", id="no-as-list-name"),
        pytest.param("policy: x\nversion: 010\n", 2, 10, "plain decimals", id="octal"),
        pytest.param("policy: x\nversion: 1e3\n", 2, 10, "plain decimals", id="exponent"),
        pytest.param("policy: x\nversion: 1_0\n", 2, 10, "plain decimals", id="underscore"),
        pytest.param("policy: x\nversion: 0x10\n", 2, 10, "plain decimals", id="hexadecimal"),
        pytest.param("policy: x\nversion: +1\n", 2, 10, "plain decimals", id="plus"),
        pytest.param("policy: x\nversion: 1:30\n", 2, 10, "plain decimals", id="sixty"),
        pytest.param("policy: x\nversion: '1'\n", 2, 10, "plain decimals", id="number-in-quotes"),
        pytest.param("policy: x\nversion: 1.5\n", 2, 10, "whole number", id="fraction"),
        pytest.param(f"policy: x\nversion: {'9' * 5000}\n", 2, 10, "plain decimals", id="endless"),
        pytest.param("policy: x\nversion:\n", 2, 9, "found nothing", id="left-out"),
        pytest.param("policy: x\npolicy: z\n", 2, 1, "first on line 1", id="duplicate-key"),
        pytest.param("policy: &a x\n", 1, 9, "YAML anchors", id="anchor"),
        pytest.param("policy: !!str x\n", 1, 9, "YAML tags", id="tag"),
        pytest.param("%YAML 1.1\n---\npolicy: x\n", 1, 1, "YAML directives", id="directive"),
        pytest.param("policy: x\nprompt:\n\tscorers: []\n", 3, 1, "not YAML", id="tab"),
        pytest.param("policy: x\n---\npolicy: z\n", 2, 1, "not YAML", id="two-documents"),
        pytest.param("policy: [x\n", 2, 1, "not YAML", id="unclosed"),
        pytest.param("", 1, 1, "the file is empty", id="empty"),
        pytest.param("# nothing yet\n", 1, 1, "the file is empty", id="comment-alone"),
        pytest.param("- policy: x\n", 1, 1, "Expected a mapping", id="list"),
        pytest.param("version: 1\n", 1, 1, "'policy' is missing", id="name-missing"),
        pytest.param("policy: x\n? [a]\n: b\n", 2, 3, "a key is a list", id="list-as-key"),
    ],
)
def test_a_yaml_trap_is_a_fault_with_its_place(
    write_file: WriteFile, text: str, line: int, column: int, problem: str
) -> None:
    fault = only_fault(write_file("trap.yaml", text))
    assert (fault.line, fault.column) == (line, column)
    assert problem in fault.problem


def test_a_threshold_in_scientific_notation_is_refused(write_file: WriteFile) -> None:
    fault = only_fault(write_file("p.yaml", GOOD.replace("0.80", "1e-3")))
    assert fault.path == "prompt.rules[0].when.at_least"
    assert "'1e-3'" in fault.problem


@pytest.mark.parametrize(
    ("text", "column"),
    [
        pytest.param("policy: &a [*a]\n", 13, id="holds-itself"),
        pytest.param(
            f"policy: [&a0 x, {', '.join(f'&a{i + 1} [*a{i}, *a{i}]' for i in range(60))}]\n",
            22,
            id="doubles-sixty-times",
        ),
    ],
)
def test_an_alias_is_refused_before_it_is_followed(
    write_file: WriteFile, text: str, column: int
) -> None:
    fault = faults_of(write_file("p.yaml", text))[-1]
    assert fault.column == column
    assert "YAML aliases are not read here" in fault.problem


def test_nesting_without_end_is_refused(write_file: WriteFile) -> None:
    fault = only_fault(write_file("p.yaml", f"policy: {'[' * 900}{']' * 900}\n"))
    assert "nested deeper" in fault.problem


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    fault = only_fault(tmp_path / "nowhere.yaml")
    assert fault.file == str(tmp_path / "nowhere.yaml")
    assert "cannot be read (No such file or directory)" in fault.problem


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param("policy: é\n".encode("latin-1"), "not UTF-8 at byte 8", id="latin-1"),
        pytest.param("policy: x\n".encode("utf-16"), "not UTF-8 at byte 0", id="utf-16"),
        pytest.param(b"#" * 1_000_001, "1000001 bytes, at most 1000000", id="huge"),
    ],
)
def test_a_file_that_is_no_text_of_sensible_size_is_refused(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(content)
    assert problem in only_fault(path).problem


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(GOOD.replace("\n", "\r\n").encode(), id="windows-line-ends"),
        pytest.param(GOOD.encode("utf-8-sig"), id="byte-order-mark"),
    ],
)
def test_a_file_from_a_windows_editor_is_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(content)
    assert load_policy(path).policy == "mine"


@pytest.mark.parametrize(
    ("right", "wrong", "path", "hint"),
    [
        pytest.param("[text-safety]", "[text-safty]", "prompt.scorers[0]", "text-safety", id="model"),
        pytest.param("[text-safety]", "[blocklst]", "prompt.scorers[0]", "blocklist", id="scorer"),
        pytest.param("[text-safety]", "[minee]", "prompt.scorers[0]", "mine", id="own-scorer"),
        pytest.param("using: cut", "using: cutt", "prompt.rules[1].using", "cut", id="using"),
        pytest.param(
            "category: threat", "category: thraet", "prompt.rules[0].when.category", "threat",
            id="category",
        ),
        pytest.param("action: block", "action: blok", "prompt.rules[0].action", "block", id="action"),
    ],
)  # fmt: skip
def test_an_unknown_name_comes_with_the_nearest_known_one(
    write_file: WriteFile, right: str, wrong: str, path: str, hint: str
) -> None:
    file = write_file("p.yaml", GOOD.replace(right, wrong, 1))
    with pytest.raises(PolicyError) as caught:
        load_policy(file, known=Known(scorers={"mine": ("insult",)}))
    (fault,) = caught.value.faults
    assert fault.path == path
    assert fault.problem.endswith(f"Did you mean '{hint}'?")


def test_a_topic_that_no_list_of_the_stage_looks_up_is_a_fault(write_file: WriteFile) -> None:
    path = write_file(
        "p.yaml",
        """policy: p
version: 1
prompt:
  scorers: [blocklist, text-safety]
  rules:
    - {name: r, when: {category: threat, at_least: 0.5, topic: scool}, action: block}
lists:
  school: {block: [school]}
""",
    )
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    (fault,) = caught.value.faults
    assert fault.path == "prompt.rules[0].when.topic"
    assert "no list 'scool'" in fault.problem
    assert "'school'" in fault.problem


def test_steps_of_the_callers_own_may_be_named(write_file: WriteFile) -> None:
    text = GOOD.replace("[text-safety]", "[mine]").replace("cut", "soften")
    known = Known(scorers={"mine": ("insult", "threat")}, editors=frozenset({"soften"}))
    policy = load_policy(write_file("p.yaml", text), known=known)
    assert policy.prompt is not None
    assert policy.prompt.scorers == ("mine",)


@pytest.mark.parametrize(
    ("using", "path"),
    [
        pytest.param("action: edit", "prompt.rules[1]", id="left-out"),
        pytest.param("action: edit, using: null", "prompt.rules[1]", id="null"),
        pytest.param("action: block, using: cut", "prompt.rules[1].using", id="without-edit"),
    ],
)
def test_edit_and_using_go_together(write_file: WriteFile, using: str, path: str) -> None:
    text = GOOD.replace("action: edit, using: cut", using)
    assert only_fault(write_file("p.yaml", text)).path == path


def test_a_model_that_no_stage_uses_is_a_fault(write_file: WriteFile) -> None:
    fault = only_fault(write_file("p.yaml", f"{GOOD}models: {{text-safty: {{threads: 2}}}}\n"))
    assert fault.path == "models.text-safty"
    assert fault.problem.endswith("Did you mean 'text-safety'?")


def test_the_rewriter_may_be_set_where_a_stage_rewrites(write_file: WriteFile) -> None:
    edited = GOOD.replace("editors: [cut]", "editors: [cut, rewrite]")
    assert edited != GOOD
    file = write_file("p.yaml", edited + "models: {prompt-rewriter: {threads: 2}}\n")
    assert load_policy(file).models["prompt-rewriter"].threads == 2


def test_plain_values_make_the_same_policy_as_the_file(write_file: WriteFile) -> None:
    rule = {
        "name": "no-threats",
        "when": {"category": "threat", "at_least": 0.8},
        "action": "block",
    }
    policy = policy_from_dict(
        {"policy": "mine", "prompt": {"scorers": ["text-safety"], "rules": [rule]}}
    )
    text = (
        "policy: mine\nprompt:\n  scorers: [text-safety]\n  rules:\n"
        "    - {name: no-threats, when: {category: threat, at_least: 0.8}, action: block}\n"
    )
    assert policy == load_policy(write_file("p.yaml", text))


@pytest.mark.parametrize(
    ("prompt", "path"),
    [
        pytest.param({"scorers": ["text-safty"]}, "prompt.scorers[0]", id="scorer"),
        pytest.param({"editors": ["cutt"]}, "prompt.editors[0]", id="editor"),
        pytest.param(
            {
                "scorers": ["text-safety"],
                "rules": [
                    {
                        "name": "a",
                        "when": {"category": "sexual", "at_least": 0.5},
                        "action": "block",
                    }
                ],
            },
            "prompt.rules[0].when.category",
            id="category-nobody-scores",
        ),
    ],
)
def test_plain_values_are_held_to_the_same_meaning_as_a_file(
    prompt: dict[str, object], path: str
) -> None:
    with pytest.raises(PolicyError) as caught:
        policy_from_dict({"policy": "mine", "prompt": prompt})
    assert [fault.path for fault in caught.value.faults] == [path]


def test_plain_values_of_the_wrong_type_are_a_policy_error() -> None:
    with pytest.raises(PolicyError, match="Expected `int`"):
        policy_from_dict({"policy": "mine", "version": "one"})


def test_plain_values_cannot_name_a_list_file_that_nobody_would_read() -> None:
    with pytest.raises(PolicyError, match=r"lists\.election\.block_file"):
        policy_from_dict({"policy": "x", "lists": {"election": {"block_file": "words.txt"}}})


def test_a_policy_refuses_to_be_changed() -> None:
    with pytest.raises(AttributeError):
        Policy(policy="mine").version = 2  # type: ignore[misc]
