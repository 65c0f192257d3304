"""`guardkit eval text`: from a labelled file to a report, on a model whose scores are known."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from guardkit import Guard
from guardkit.artifacts import load_artifact
from guardkit.cli.main import main
from guardkit.errors import InputError, MissingExtraError
from guardkit.evaluate.model import with_model
from guardkit.evaluate.page import render_page
from guardkit.evaluate.read import Labelled, read_labelled
from guardkit.evaluate.report import Report, from_json, to_json
from guardkit.evaluate.run import (
    LENGTH,
    Settings,
    length_groups,
    lowest_threshold,
    run_evaluation,
    score_rows,
)
from guardkit.policy.load import load_policy
from guardkit.types import Action
from tests.conftest import WriteFile
from tests.tiny import HARSH, TinyText, build_tiny_artifact, change_manifest

POLICY = """
policy: demo
prompt:
  scorers: [text-safety]
  editors: [redact]
  rules:
    - {name: insults-are-redacted, when: {category: insult, at_least: 0.5}, action: edit, using: redact}
    - {name: insults-are-blocked, when: {category: insult, at_least: 0.9}, action: block}
limits: {max_characters: 60}
"""
HIGH = 1 / (1 + np.exp(-HARSH))  # 0.982, of "idiot" and "kill"; "fool" is 0.5, the rest 0.018
# insult: two caught, one false alarm, one missed, one rightly calm; the last text is too long.
CSV = """\
text,insult,threat,group,note
you are an idiot,1,0,a,x
the idiot,0.7,,b,x
you fool,0,0,a,x
hello neighbour,1,,b,x
"the sea, the sky",0.2,0,a,x
i will kill you,,1,b,x
"{long}",1,1,a,x
""".format(long="idiot " * 12)
CATEGORIES = ("insult", "threat", "self-harm")


@pytest.fixture
def policy(write_file: WriteFile, use_tiny_models: Path) -> str:
    return str(write_file("demo.yaml", POLICY))


@pytest.fixture
def labelled(write_file: WriteFile) -> str:
    return str(write_file("labelled.csv", CSV))


@pytest.fixture
def evaluated(
    policy: str, labelled: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Report:
    """The report that the command line writes."""
    out = tmp_path / "out" / "report"
    arguments = ["--policy", policy, "--out", str(out), "--slice", "group", "--bootstrap", "50"]
    assert main(["eval", "text", labelled, *arguments, "--json"]) == 0
    report = from_json(capsys.readouterr().out)
    assert from_json((out / "report.json").read_bytes()) == report
    assert (out / "report.html").read_text("utf-8") == render_page(report)
    return report


def read(file: Path, **options: Any) -> Labelled:
    return read_labelled(file, categories=CATEGORIES, **options)


# --- the command ----------------------------------------------------------------------------------


def test_a_category_is_measured_on_known_labels_and_real_scores(evaluated: Report) -> None:
    insult = next(target for target in evaluated.categories if target.name == "insult")
    assert (insult.result.rows, insult.result.positives, insult.unknown) == (5, 3, 1)
    values = {name: one.value for name, one in insult.result.metrics.items()}
    # .982 + +, .5 -, .018 + -: the third positive ties with a negative at the bottom
    assert values["auprc"] == pytest.approx(2 / 3 + 1 / 3 * 3 / 5)
    assert values["roc_auc"] == pytest.approx((2 + 2 + 0.5) / 6)
    assert values["recall_at_1_percent_fpr"] == pytest.approx(2 / 3)
    assert values["precision"] == values["recall"] == values["f1"] == pytest.approx(2 / 3)
    assert values["fpr"] == 0.5
    assert insult.result.always_positive_f1 == pytest.approx(2 * 3 / (3 + 5))
    assert insult.result.is_thin


def test_a_text_that_was_not_scored_is_counted_and_never_taken_for_calm(evaluated: Report) -> None:
    assert {target.name: target.failed for target in (*evaluated.categories, *evaluated.overall)} == {
        "insult": 1, "threat": 1, "any": 1, "decision": 1,
    }  # fmt: skip
    assert evaluated.rows == 7


def test_thresholds_are_the_lowest_of_the_policy_or_one_half(evaluated: Report) -> None:
    assert {target.name: (target.threshold, target.threshold_from) for target in evaluated.categories} == {
        "insult": (0.5, "rule insults-are-redacted"), "threat": (0.5, "default, no rule"),
    }  # fmt: skip


def test_any_is_derived_and_the_decision_is_that_of_the_policy(evaluated: Report) -> None:
    highest, decision = evaluated.overall
    assert evaluated.overall_from == "derived from the categories"
    assert (highest.result.rows, highest.result.positives) == (6, 4)
    assert highest.result.metrics["recall"].value == 3 / 4  # the threat scores high
    assert decision.result.metrics["recall"].value == 2 / 4  # but no rule is about threats
    assert decision.result.metrics["fpr"].value == 1 / 2
    assert "auprc" not in decision.result.metrics
    assert decision.curves is None


def test_slices_are_those_asked_for_and_the_length(evaluated: Report) -> None:
    insult = next(target for target in evaluated.categories if target.name == "insult")
    assert [one.column for one in insult.slices] == [LENGTH, "group"]
    groups = insult.slices[1].groups
    assert {name: (row.rows, row.positives) for name, row in groups.items()} == {
        "a": (3, 1), "b": (2, 2),
    }  # fmt: skip
    assert groups["b"].metrics["recall"].value == 0.5
    assert groups["b"].metrics["auprc"].value is None


def test_reliability_is_measured_on_the_scores(evaluated: Report) -> None:
    insult = next(target for target in evaluated.categories if target.name == "insult")
    low, middle, high = insult.reliability
    assert (low.rows, low.positive_share) == (2, 0.5)
    assert (middle.rows, middle.mean_score, middle.positive_share) == (1, 0.5, 0.0)
    assert high.rows == 2
    assert high.mean_score == pytest.approx(HIGH)
    expected = (2 * (0.5 - (1 - HIGH)) + 0.5 + 2 * (1 - HIGH)) / 5
    assert insult.calibration_error == pytest.approx(expected)


def test_intervals_stand_around_their_value(evaluated: Report) -> None:
    insult = next(target for target in evaluated.categories if target.name == "insult")
    recall = insult.result.metrics["recall"]
    assert recall.low is not None
    assert recall.high is not None
    assert 0 <= recall.low < 2 / 3 < recall.high <= 1


def test_no_word_of_a_text_reaches_the_report(evaluated: Report) -> None:
    written = {*re.findall(r"[a-z]+", to_json(evaluated) + render_page(evaluated).lower())}
    assert not written & {"idiot", "fool", "neighbour", "sea", "sky", "kill", "hello"}


def test_the_report_says_what_it_was_made_of(evaluated: Report, labelled: str) -> None:
    assert evaluated.data == "labelled.csv"
    assert evaluated.data_sha256 == hashlib.sha256(Path(labelled).read_bytes()).hexdigest()
    assert evaluated.policy_id.startswith("demo/1#")
    assert evaluated.models[0].startswith("text-safety@0.0.1#")
    assert evaluated.ignored_columns == ("note",)


def test_the_page_needs_nothing_from_elsewhere_and_escapes_names(evaluated: Report) -> None:
    page = render_page(evaluated)
    assert not re.search(r"https?:|<script|<link|@import|src=", page)
    assert page.count("<svg") == 3 * 3  # of any, insult and threat; none of the decision
    group = evaluated.categories[0].slices[1]
    assert group.column == "group"
    odd = json.loads(to_json(evaluated))
    odd["categories"][0]["slices"][1]["groups"] = {"<b>x</b>": odd["categories"][0]["result"]}
    assert "<b>x</b>" not in render_page(from_json(json.dumps(odd)))


def test_people_get_a_table_and_the_thin_categories(
    policy: str, labelled: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--policy", policy, "--bootstrap", "0", "--threshold", "insult=0.6"]
    assert main(["eval", "text", labelled, *arguments]) == 0
    shown = capsys.readouterr().out
    assert "too few to trust: any, decision, insult, threat" in shown
    assert re.search(r"^insult +3 / 5 +1 +0\.60 ", shown, re.MULTILINE)
    assert "columns ignored: group, note" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--slice", "grou"], "Did you mean 'group'?", id="slice"),
        pytest.param(
            ["--slice", "text"], "that column holds what is measured", id="slice-on-texts"
        ),
        pytest.param(["--text-column", "body"], "--text-column body: no such column", id="text"),
        pytest.param(["--threshold", "hate=0.5"], "Expected one of insult, threat, any", id="bar"),
        pytest.param(["--model", "no-such-model"], "no-such-model", id="model"),
        pytest.param(["--policy", "no-such-policy"], "no-such-policy", id="policy"),
    ],
)
def test_a_wrong_option_is_one_error(
    policy: str,
    labelled: str,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["eval", "text", labelled, "--policy", policy, *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("threshold", ["insult", "insult=1.5", "=0.5", "insult=x", "insult=nan"])
def test_a_threshold_is_a_category_and_a_number(threshold: str, labelled: str) -> None:
    with pytest.raises(SystemExit):
        main(["eval", "text", labelled, "--threshold", threshold])


def test_a_folder_that_cannot_be_written_is_an_error(
    policy: str, labelled: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--policy", policy, "--bootstrap", "0", "--out", labelled]
    assert main(["eval", "text", labelled, *arguments]) == 2
    assert "cannot be written" in capsys.readouterr().err


# --- scoring --------------------------------------------------------------------------------------


def test_rows_are_scored_as_score_prompts_and_flagged_as_check_prompt(policy: str) -> None:
    guard = Guard.from_file(policy)
    texts = ["you idiot", "you fool", "hello world", "i will kill you"]
    assert guard.check_prompt("you fool").action is Action.EDIT
    scored = score_rows(guard, texts)
    for row, (scores, text) in enumerate(zip(guard.score_prompts(texts), texts, strict=True)):
        assert {name: values[row] for name, values in scored.scores.items()} == dict(scores)
        assert scored.flagged[row] == guard.check_prompt(text).flagged
    assert scored.flagged.tolist() == [1, 1, 0, 0]


def test_scores_are_the_full_model_s_where_the_fast_tier_decided(
    tmp_path: Path, write_file: WriteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = build_tiny_artifact(tmp_path / "models" / "text-safety")
    blind = TinyText(name="text-safety-fast", words={"idiot": {}, "kill": {}, "fool": {}})
    fitted = {
        "model": "text-safety@0.0.1",
        "scores_digest": load_artifact(full).manifest.scores_digest,
        "thresholds": {"insult": 0.5},
    }
    fast = build_tiny_artifact(tmp_path / "models" / "text-safety-fast", blind)
    change_manifest(fast, {"clears": {"insult": 0.5}, "fitted": fitted})
    monkeypatch.setenv("GUARDKIT_MODELS", str(tmp_path / "models"))
    scored = score_rows(Guard.from_file(write_file("demo.yaml", POLICY)), ["you idiot"])
    assert scored.cleared == 1
    assert scored.flagged.tolist() == [0]
    assert scored.scores["insult"][0] == pytest.approx(HIGH)


def test_another_model_may_stand_in(policy: str, tmp_path: Path) -> None:
    other = TinyText(name="other", words={"storm": {"insult": HARSH}})
    folder = build_tiny_artifact(tmp_path / "models" / "other", other)
    (scores,) = Guard(with_model(load_policy(policy), str(folder))).score_prompts(["the storm"])
    assert scores["insult"] == pytest.approx(HIGH)


def test_a_labelled_category_that_nothing_scores_is_named(
    policy: str, write_file: WriteFile
) -> None:
    file = write_file("a.csv", "text,self_harm\nhello,0\nthe sea,1\n")
    report = run_evaluation(read(file), Guard.from_file(policy), Settings({}, resamples=0))
    assert report.not_scored == ("self-harm",)
    assert report.categories == ()


def test_lengths_fall_into_four_groups() -> None:
    counts = (0, 7, 8, 30, 31, 120, 121)
    assert length_groups(["w " * count for count in counts]) == (
        "under 8", "under 8", "8 to 30", "8 to 30", "31 to 120", "31 to 120", "over 120",
    )  # fmt: skip


def test_only_rules_on_prompts_give_thresholds(
    write_file: WriteFile, use_tiny_models: Path
) -> None:
    output = """
output-text:
  scorers: [text-safety]
  rules:
    - {name: insults-go-back, when: {category: insult, at_least: 0.1}, action: regenerate}
"""
    both = load_policy(write_file("both.yaml", POLICY + output))
    assert lowest_threshold(both, "insult") == (0.5, "rule insults-are-redacted")


# --- reading --------------------------------------------------------------------------------------


def test_labels_are_read_masked_and_named_either_way(write_file: WriteFile) -> None:
    file = write_file("a.csv", "\ufefftext,self_harm,insult\nx,0.5,0.49\ny, ,TRUE\nz,1,false\n")
    found = read(file)
    assert found.labels["self-harm"].known.tolist() == [True, False, True]
    assert found.labels["self-harm"].truth.tolist() == [True, False, True]
    assert found.labels["insult"].truth.tolist() == [False, True, False]


def test_derived_any_is_negative_only_where_something_is_known(write_file: WriteFile) -> None:
    found = read(write_file("a.csv", "text,insult,threat\nw,0,\nx,,\ny,1,0\nz,,1\n"))
    assert found.overall is not None
    assert found.overall.known.tolist() == [True, False, True, True]
    assert found.overall.truth.tolist() == [False, False, True, True]


@pytest.mark.parametrize("name", ["any", "flagged"])
def test_a_column_of_its_own_says_what_is_harmful(name: str, write_file: WriteFile) -> None:
    found = read(write_file("a.csv", f"text,insult,{name}\nx,1,0\n"))
    assert found.overall is not None
    assert found.overall.truth.tolist() == [False]
    assert found.overall_from == f"column '{name}'"


def test_a_jsonl_file_says_the_same_as_a_csv_file(write_file: WriteFile) -> None:
    one = read(write_file("a.csv", "text,insult,g\nx,1,a\ny,,b\nz,0.4,\n"), slices=("g",))
    lines = (
        {"text": "x", "insult": True, "g": "a"},
        {"text": "y", "insult": None, "g": "b"},
        {"text": "z", "insult": 0.4},
    )
    two = read(write_file("a.jsonl", "\n\n".join(map(json.dumps, lines)) + "\n"), slices=("g",))
    assert one.texts == two.texts
    assert one.slices == two.slices == {"g": ("a", "b", "(empty)")}
    for part in ("truth", "known"):
        values = [getattr(found.labels["insult"], part).tolist() for found in (one, two)]
        assert values[0] == values[1]


def test_a_text_may_hold_commas_quotes_and_line_breaks(write_file: WriteFile) -> None:
    file = write_file("a.csv", 'text,insult\n"a ""b"", c\nd",1\n\nx,?\n')
    with pytest.raises(InputError, match=r"a\.csv:5: column 'insult': found 1 characters"):
        read(file)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("a.csv", "text,insult\nx,0\ny,2\n", r":3: column 'insult': found 2\.0\. Expected 0, 1", id="range"),
        pytest.param("a.csv", "text,insult\nx,nan\n", ":2: column 'insult': found nan", id="nan"),
        pytest.param("a.csv", "text,insult\nx,0\ny\n", ":3: found 1 values. Expected 2", id="ragged"),
        pytest.param("a.csv", "text,text,insult\nx,y,0\n", ":1: a column is named twice", id="twice"),
        pytest.param("a.csv", 'text,insult\n"x,0\n', ":2: malformed CSV", id="quotes"),
        pytest.param("a.csv", "text,mood\nx,0\n", "no column of labels. Found columns text, mood", id="labels"),
        pytest.param("a.csv", "text,self-harm,self_harm\nx,0,0\n", "both name the category 'self-harm'", id="both"),
        pytest.param("a.csv", "text,any,flagged\nx,0,0\n", "mean the same", id="any-and-flagged"),
        pytest.param("a.csv", "text,insult\n", "no rows", id="header-alone"),
        pytest.param("a.csv", "", "no rows", id="empty"),
        pytest.param("a.jsonl", '{"text": "x", "insult": 1}\n[1]\n', r"a\.jsonl:2: .*one JSON object a line", id="json"),
        pytest.param("a.jsonl", '{"insult": 1}\n{"text": "x"}\n', ":1: column 'text': found nothing. Expected a text", id="no-text"),
        pytest.param("a.jsonl", '{"text": "x", "insult": [1]}\n', ":1: column 'insult': found a list", id="list"),
        pytest.param("a.tsv", "text\n", r"found the ending '\.tsv'. Expected one of \.csv", id="ending"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_one_error_that_names_the_place(
    name: str, content: str, message: str, write_file: WriteFile
) -> None:
    with pytest.raises(InputError, match=message):
        read(write_file(name, content))


def test_an_error_never_quotes_what_may_be_a_text(write_file: WriteFile) -> None:
    file = write_file("a.csv", "text,insult\nsecret words,spilled words\n")
    with pytest.raises(InputError, match="13 characters") as raised:
        read(file)
    assert "words" not in str(raised.value)


def test_a_column_with_very_many_values_makes_no_groups(write_file: WriteFile) -> None:
    lines = "".join(f"x,0,{number}\n" for number in range(51))
    with pytest.raises(InputError, match="found 51 different values, at most 50"):
        read(write_file("a.csv", f"text,insult,id\n{lines}"), slices=("id",))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_file_that_is_missing_or_not_utf_8_is_an_error(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"a{suffix}"
    with pytest.raises(InputError, match="cannot be read"):
        read(file)
    file.write_bytes(b"text,insult\n\xff,0\n")
    with pytest.raises(InputError, match="byte 12 is not UTF-8"):
        read(file)


def test_parquet_without_pyarrow_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"guardkit\[train\]"):
        read(tmp_path / "a.parquet")


@pytest.fixture
def stand_in_for_pyarrow(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, Any]], None]:
    """pyarrow comes with the extra `train` alone: what is asked of it, answered with columns."""

    def install(columns: Mapping[str, Any]) -> None:
        class Content:
            def to_pydict(self) -> Mapping[str, Any]:
                return columns

        arrow, parquet = ModuleType("pyarrow"), ModuleType("pyarrow.parquet")
        vars(arrow).update(ArrowException=ValueError, parquet=parquet)
        vars(parquet)["read_table"] = lambda _: Content()
        monkeypatch.setitem(sys.modules, "pyarrow", arrow)
        monkeypatch.setitem(sys.modules, "pyarrow.parquet", parquet)

    return install


def test_parquet_rows_are_numbered_and_nan_is_unknown(
    stand_in_for_pyarrow: Callable[[Mapping[str, Any]], None], write_file: WriteFile
) -> None:
    file = write_file("a.parquet", "")
    stand_in_for_pyarrow({"text": ["x", "y"], "insult": [1.0, float("nan")]})
    assert read(file).labels["insult"].known.tolist() == [True, False]
    stand_in_for_pyarrow({"text": ["x", "y"], "insult": [1, 3]})
    with pytest.raises(InputError, match=r"a\.parquet: row 2: column 'insult': found 3\."):
        read(file)
