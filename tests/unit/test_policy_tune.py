"""Thresholds from labelled texts: what is chosen, what is written, and what stays as it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardkit.cli.main import main
from guardkit.errors import PolicyError
from guardkit.policy.cases import Case, Expect, load_cases, run_cases, uncovered
from guardkit.policy.load import load_policy
from guardkit.policy.rules import Policy, Rule, StagePolicy, When
from guardkit.policy.tree import read_tree
from guardkit.policy.tune import (
    edit_thresholds,
    lowest_threshold,
    measure_at,
    move_rules,
    moved,
    wilson,
)
from guardkit.policy.tune_cases import edit_cases, new_cases, write_cases
from guardkit.taxonomy import Stage
from guardkit.types import Action
from tests.conftest import WriteFile

POLICY = """\
# ours — “quoted”
policy: demo
prompt:   # what people write
  scorers: [text-safety]
  rules:
    - {name: insults-again, when: {category: insult, at_least: 0.30}, action: regenerate}   # é
    - name: threats-are-blocked

      when:
        at_least:   0.5  # half
        category: threat
      action: block
output-text:
  scorers: [text-safety]
  rules:
    - {name: insults-go-back, when: {at_least: 0.6, category: insult}, action: regenerate}
"""
CASES = """\
# ours
cases:
  # about insults
  - {name: low, stage: prompt, scores: {insult: 0.1}, expect: {action: allow}}
  - name: at the insult
    stage: prompt
    scores: {insult: 0.30}
    expect: {action: regenerate}

  # about threats
  - {name: threat, stage: prompt, scores: {threat: 0.5}, expect: {action: block}}
  - {name: calm, stage: prompt, text: hello world, looks_like: insults-again, expect: {action: allow}}
  - {name: fool, stage: prompt, text: a fool, expect: {action: regenerate}}
"""
# Of the tiny model: idiot scores 0.982 for insult, fool 0.5, anything else 0.018.
DATA = "text,insult,other\n" + "a fool,0,x\n" + "hello world,0,x\n" * 3 + "you idiot,1,x\n"

Tune = Callable[..., int]


@pytest.fixture
def tune(write_file: WriteFile, use_tiny_models: Path) -> Tune:
    """Run `policy tune` on a small policy; arguments that start the same replace the usual ones."""
    policy = write_file("demo.yaml", POLICY)
    write_file("demo.cases.yaml", CASES)

    def run(*more: str, data: str = DATA, out: Sequence[str] | None = None) -> int:
        labelled = write_file("labelled.csv", data)
        where = ["--out", str(policy.with_name("tuned.yaml"))] if out is None else out
        usual = ["--data", str(labelled), "--max-fpr", "0.1", *where]
        return main(["policy", "tune", str(policy), *usual, *more])

    return run


# --- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("negatives", "max_fpr", "expected"),
    [
        pytest.param([0.1, 0.2, 0.3, 0.4], 0.25, 0.31, id="one-of-four-may-fire"),
        pytest.param([0.1, 0.2, 0.3, 0.4], 0.24, 0.41, id="none-may"),
        pytest.param([0.301], 0.1, 0.31, id="rounded-up"),
        pytest.param([0.3] * 10, 0.5, 0.31, id="ties-fire-together"),
        pytest.param([0.0], 0.1, 0.01, id="never-zero"),
        pytest.param([0.999], 0.1, 1.0, id="the-top"),
        pytest.param([1.0], 0.1, None, id="out-of-reach"),
    ],
)
def test_the_lowest_threshold_within_the_limit_is_chosen(
    negatives: list[float], max_fpr: float, expected: float | None
) -> None:
    assert lowest_threshold(negatives, max_fpr) == expected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.001, 0.999))
def test_a_step_lower_would_break_the_limit(negatives: list[float], max_fpr: float) -> None:
    def fpr(threshold: float) -> float:
        return sum(score >= threshold for score in negatives) / len(negatives)

    threshold = lowest_threshold(negatives, max_fpr)
    assert fpr(1.0 if threshold is None else round(threshold - 0.01, 2)) > max_fpr
    assert threshold is None or fpr(threshold) <= max_fpr


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3
        pytest.param(81, 263, 0.2553, 0.3662, id="81-of-263"),
        pytest.param(15, 148, 0.0624, 0.1605, id="15-of-148"),
        pytest.param(0, 20, 0.0, 0.1611, id="0-of-20"),
        pytest.param(1, 29, 0.0061, 0.1718, id="1-of-29"),
    ],
)
def test_wilson_intervals_are_the_published_ones(
    hits: int, count: int, low: float, high: float
) -> None:
    share = wilson(hits, count)
    assert share is not None
    assert (round(share.low, 4), round(share.high, 4)) == (low, high)


def test_nothing_to_count_is_no_share() -> None:
    point = measure_at(0.5, [0.5, 0.4], [])
    assert point.fpr is not None
    assert (point.fpr.value, point.recall) == (0.5, None)


@given(*(st.integers(1, 99).map(lambda n: n / 100) for _ in range(4)))
def test_moved_rules_keep_their_order(a: float, b: float, lowest: float, to: float) -> None:
    low, high = sorted((max(a, lowest), max(b, lowest)))
    ends = [moved(one, lowest=lowest, threshold=to) for one in (lowest, low, high)]
    assert ends[0] == to
    assert ends == sorted(ends)
    assert all(0.01 <= one <= 0.99 for one in ends)


def test_the_lowest_rule_is_tuned_and_the_others_move_as_far_in_odds() -> None:
    def rules(*thresholds: float) -> tuple[Rule, ...]:
        return tuple(
            Rule(f"r{i}", When("insult", t), Action.BLOCK) for i, t in enumerate(thresholds)
        )

    policy = Policy("p", prompt=StagePolicy(("m",), rules=rules(0.5, 0.2, 0.2, 1.0)))
    tuned = move_rules(policy, "insult", 0.5)  # odds 1/4 -> 1
    assert tuned.prompt is not None
    assert [rule.when.at_least for rule in tuned.prompt.rules] == [0.8, 0.5, 0.5, 1.0]


def test_a_stage_with_other_scorers_is_left_alone() -> None:
    rule = Rule("r", When("sexual", 0.5), Action.BLOCK)
    policy = Policy(
        "p",
        prompt=StagePolicy(("words",), rules=(rule,)),
        output_image=StagePolicy(("pixels",), rules=(rule,)),
    )
    tuned = move_rules(policy, "sexual", 0.7)
    assert tuned.output_image == policy.output_image
    assert tuned.prompt != policy.prompt


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: text, id="as-it-is"),
        pytest.param(lambda text: text.replace("\n", "\r\n"), id="windows"),
        pytest.param(lambda text: "\ufeff" + text, id="mark-in-front"),
        pytest.param(lambda text: text.rstrip(), id="no-last-line-end"),
        pytest.param(lambda text: text.replace("# é", "# a\u2028# b"), id="odd-line-ends"),
    ],
)
def test_only_the_thresholds_change_in_a_policy_file(
    tmp_path: Path, use_tiny_models: Path, change: Callable[[str], str]
) -> None:
    file = tmp_path / "p.yaml"
    file.write_bytes(change(POLICY).encode())
    text, policy = file.read_bytes().decode(), load_policy(file)
    tuned = move_rules(move_rules(policy, "insult", 0.51), "threat", 0.07)
    edited = edit_thresholds(text, read_tree(file, []), policy, tuned)
    expected = POLICY.replace("0.30", "0.51").replace("0.6", "0.79").replace("0.5  #", "0.07  #")
    assert edited == change(expected)
    file.write_bytes(edited.encode())
    assert load_policy(file) == tuned


def test_a_first_line_may_hold_the_threshold(write_file: WriteFile, use_tiny_models: Path) -> None:
    line = (
        "\ufeff{policy: p, prompt: {scorers: [text-safety], rules: "
        "[{name: ab, when: {category: threat, at_least: 0.5}, action: block}]}}"
    )
    file = write_file("p.yaml", line)
    policy = load_policy(file)
    tuned = move_rules(policy, "threat", 0.25)
    edited = edit_thresholds(line, read_tree(file, []), policy, tuned)
    assert edited == line.replace("0.5", "0.25")


def test_a_file_that_changed_since_is_not_edited(
    write_file: WriteFile, use_tiny_models: Path
) -> None:
    file = write_file("p.yaml", POLICY)
    policy = load_policy(file)
    tuned = move_rules(policy, "threat", 0.07)
    with pytest.raises(PolicyError, match="is not here"):
        edit_thresholds("# new\n" + POLICY, read_tree(file, []), policy, tuned)


def test_dropped_cases_go_and_every_other_line_stays(write_file: WriteFile) -> None:
    tree = read_tree(write_file("c.yaml", CASES), [])
    new = Case("a new one", Stage.PROMPT, Expect(Action.ALLOW, ()), scores={"insult": 0.5})
    edited = edit_cases(CASES, tree, [1], [new])
    gone = CASES[CASES.index("  - name: at") : CASES.index("\n  # about threats")]
    line = "  - {name: a new one, stage: prompt, scores: {insult: 0.5}, expect: {action: allow, fired: []}}\n"
    assert edited == CASES.replace(gone, "") + line


def test_cases_on_one_line_must_be_rewritten(write_file: WriteFile) -> None:
    text = "cases: [{name: ab, stage: prompt, text: x, expect: {action: allow}}]"
    assert edit_cases(text, read_tree(write_file("c.yaml", text), []), [], []) is None


def test_written_cases_read_back_as_they_were(write_file: WriteFile) -> None:
    text = "name: \"yes\", 'quoted': {a}\n- # é"
    when = When("insult", 0.5, language="no", audience="small children")
    rule = Rule("r-1", when, Action.BLOCK)
    policy = Policy("p", prompt=StagePolicy(("m",), rules=(rule,)))
    kept = [
        Case("on", Stage.PROMPT, Expect(Action.ALLOW), text=text, looks_like="r-1"),
        Case("y: n", Stage.PROMPT, Expect(Action.ALLOW, ()), scores={"insult": 1e-7}),
    ]
    cases = [*kept, *new_cases(policy, ["insult"], kept)]
    assert list(load_cases(write_file("c.yaml", write_cases("p", cases)))) == cases


def test_new_cases_stand_below_at_and_above_every_threshold_and_hold() -> None:
    rules = (
        Rule("mild", When("insult", 0.01), Action.REGENERATE),
        Rule("for-children", When("insult", 0.3, audience="children"), Action.BLOCK),
        Rule("harsh", When("insult", 1.0), Action.BLOCK),
    )
    policy = Policy("p", prompt=StagePolicy(("m",), rules=rules))
    cases = new_cases(policy, ["insult"], [])
    assert [result.problem for result in run_cases(policy, cases)] == [None] * len(cases)
    assert {line.rpartition(" ")[2] for line in uncovered(policy, cases)} == {"'look-alike'"}
    at_children = next(case for case in cases if case.name == "prompt for-children exactly at 0.30")
    assert at_children.expect == Expect(Action.BLOCK, ("for-children", "mild"))


# --- the command ----------------------------------------------------------------------------------


def test_tune_writes_a_policy_whose_cases_hold(
    tune: Tune, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune() == 0
    # none of four negatives may fire, fool is one of them: 0.50 -> 0.51; odds of 0.6 by 2.43 -> 0.79
    expected = POLICY.replace("0.30", "0.51").replace("0.6", "0.79")
    assert (tmp_path / "tuned.yaml").read_text("utf-8") == expected
    assert (tmp_path / "demo.yaml").read_text("utf-8") == POLICY
    assert not list(tmp_path.glob(".*"))
    captured = capsys.readouterr()
    row = next(line for line in captured.out.splitlines() if line.startswith("insult"))
    assert row.split()[:6] == ["insult", "4", "1", "0.30", "0.51", "0.0"]
    assert "left as they are: threat" in captured.out
    assert "4 negatives, fewer than 30" in captured.err
    assert "1 positives, fewer than 20" in captured.err
    assert "case 'fool' is dropped: expected action regenerate, found action allow" in captured.err


def test_tune_keeps_the_cases_that_hold_and_replaces_the_others(tune: Tune, tmp_path: Path) -> None:
    assert tune() == 0
    names = [case.name for case in load_cases(tmp_path / "tuned.cases.yaml")]
    assert names == [
        "low",
        "threat",
        "calm",
        "prompt insults-again just below 0.51",
        "prompt insults-again exactly at 0.51",
        "prompt insults-again above 0.51",
        "output-text insults-go-back just below 0.79",
        "output-text insults-go-back exactly at 0.79",
        "output-text insults-go-back above 0.79",
    ]
    assert "  # about threats" in (tmp_path / "tuned.cases.yaml").read_text("utf-8")


def test_tune_as_json_is_one_document(tune: Tune, capsys: pytest.CaptureFixture[str]) -> None:
    assert tune("--json") == 0
    document = json.loads(capsys.readouterr().out)
    (insult,) = document["categories"]
    assert insult["before"]["fpr"]["value"] == 0.25
    assert insult["after"]["fpr"]["value"] == 0
    assert insult["after"]["recall"]["value"] == 1
    assert [rule["at_least"] for rule in insult["rules"]] == [0.51, 0.79]
    assert document["cases_dropped"] == ["at the insult", "fool"]


def test_tuning_twice_changes_nothing_more(tune: Tune, tmp_path: Path) -> None:
    assert tune(out=["--in-place"]) == 0
    once = [(tmp_path / name).read_text("utf-8") for name in ("demo.yaml", "demo.cases.yaml")]
    assert tune(out=["--in-place"]) == 0
    assert once == [(tmp_path / n).read_text("utf-8") for n in ("demo.yaml", "demo.cases.yaml")]
    assert "0.51" in once[0]


def test_a_policy_without_cases_gets_some(tune: Tune, tmp_path: Path) -> None:
    (tmp_path / "demo.cases.yaml").unlink()
    assert tune() == 0
    assert len(load_cases(tmp_path / "tuned.cases.yaml")) == 6


def test_a_policy_for_answers_alone_can_be_tuned(tune: Tune, write_file: WriteFile) -> None:
    start, _, rest = POLICY.partition("prompt:")
    write_file("demo.yaml", start + "output-text:" + rest.partition("output-text:")[2])
    write_file("demo.cases.yaml", "cases: []\n")
    assert tune() == 0


@pytest.mark.parametrize("name", ["demo.yaml", "demo.cases.yaml", "there.yaml", "demo.txt"])
def test_tune_overwrites_nothing(
    tune: Tune, write_file: WriteFile, tmp_path: Path, name: str
) -> None:
    write_file("there.cases.yaml", "cases: []\n")
    assert tune(out=["--out", str(tmp_path / name)]) == 2
    assert (tmp_path / "demo.yaml").read_text("utf-8") == POLICY


@pytest.mark.parametrize(
    ("data", "arguments", "message"),
    [
        pytest.param(DATA, ["--max-fpr", "1"], "found 1. Expected a share in (0, 1)", id="share"),
        pytest.param(
            DATA, ["--category", "insutl"], "Did you mean 'insult'?", id="a-category-without-rule"
        ),
        pytest.param(
            DATA, ["--category", "threat"], "Found columns for insult. Add", id="without-a-column"
        ),
        pytest.param(DATA, ["--text-column", "txt"], "Did you mean 'text'?", id="text-column"),
        pytest.param(
            "text,insult\na,0\nb,2\n", [], "labelled.csv:3: column 'insult': found 2", id="label"
        ),
        pytest.param(
            "text,insult\na,1\nb,\n", ["--category", "insult"], "no negatives", id="no-negatives"
        ),
        pytest.param("text,insult\na,1\n", [], "no threshold could be tuned", id="nothing-left"),
    ],
)
def test_what_cannot_be_tuned_is_an_error_and_nothing_is_written(
    tune: Tune,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    data: str,
    arguments: list[str],
    message: str,
) -> None:
    assert tune(*arguments, data=data) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("tuned*"))


def test_a_category_that_cannot_be_tuned_is_left_with_a_warning(
    tune: Tune, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = "text,insult,threat\na fool,0,\nyou idiot,1,0.5\n"
    assert tune(data=data) == 0
    captured = capsys.readouterr()
    assert "threat: left as it is." in captured.err
    assert "left as they are: threat" in captured.out
    assert "0.5  # half" in (tmp_path / "tuned.yaml").read_text("utf-8")


def test_texts_that_cannot_be_scored_do_not_count(
    tune: Tune, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune("--json", data=DATA + "a " * 5000 + ",0,x\n") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["categories"][0]["negatives"] == 4
    assert "insult: 1 texts could not be scored and do not count." in document["warnings"]


def test_a_rule_of_the_extended_policy_is_named_and_not_copied(
    tune: Tune, write_file: WriteFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    child = write_file("child.yaml", "policy: child\nextends: demo.yaml\n")
    data = write_file("d.csv", DATA)
    arguments = ["--data", str(data), "--max-fpr", "0.1", "--category", "insult", "--in-place"]
    assert main(["policy", "tune", str(child), *arguments]) == 2
    assert f"{child}:2:10: prompt.rules: 'insults-again' on 'insult'" in capsys.readouterr().err


def test_a_case_that_failed_before_must_be_mended_first(
    tune: Tune, write_file: WriteFile, capsys: pytest.CaptureFixture[str]
) -> None:
    write_file("demo.cases.yaml", CASES.replace("insult: 0.1}", "insult: 0.9}"))
    assert tune() == 2
    assert "demo.cases.yaml:4:5: cases[0]: 'low' fails before tuning" in capsys.readouterr().err


def test_a_policy_moved_away_from_its_lists_is_not_written(
    tune: Tune, write_file: WriteFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_file("words.txt", "bad\n")
    write_file("demo.yaml", POLICY + "lists:\n  ours: {block_file: words.txt}\n")
    (tmp_path / "far").mkdir()
    assert tune(out=["--out", str(tmp_path / "far" / "tuned.yaml")]) == 2
    error = capsys.readouterr().err
    assert "far/tuned.yaml:" in error
    assert "choose an --out beside POLICY" in error
    assert not list((tmp_path / "far").iterdir())


def test_no_output_holds_a_labelled_text(tune: Tune, capsys: pytest.CaptureFixture[str]) -> None:
    tune("--json")
    tune(data=DATA + "a secret sentence,secret too,x\n", out=["--in-place"])
    captured = capsys.readouterr()
    assert "secret" not in captured.out + captured.err
    assert "idiot" not in captured.out + captured.err
