"""The command line: exit codes, JSON, and no user text where it does not belong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guardkit.cli.doctor import examine_runtime
from guardkit.cli.main import main
from tests.conftest import WriteFile
from tests.pictures import BLUE, GREEN, encoded, plain
from tests.tiny_image import build_tiny_images

POLICY = """
policy: demo
prompt:
  scorers: [text-safety]
  editors: [redact]
  rules:
    - {name: insults-are-redacted, when: {category: insult, at_least: 0.5}, action: edit, using: redact}
    - {name: threats-are-blocked, when: {category: threat, at_least: 0.5}, action: block}
output-text:
  scorers: [text-safety]
  rules:
    - {name: insults-go-back, when: {category: insult, at_least: 0.5}, action: regenerate}
"""
CASES = """
cases:
  - {name: below, stage: prompt, scores: {insult: 0.49, threat: 0.49}, expect: {action: allow}}
  - {name: at the insult, stage: prompt, scores: {insult: 0.5}, expect: {action: edit}}
  - {name: at the threat, stage: prompt, scores: {threat: 0.5}, expect: {action: block}}
  - {name: above, stage: prompt, scores: {insult: 0.9, threat: 0.9}, expect: {action: block}}
  - {name: calm, stage: prompt, text: hello world, expect: {action: allow}, looks_like: insults-are-redacted}
  - {name: sea, stage: prompt, text: the sea, expect: {action: allow}, looks_like: threats-are-blocked}
  - {name: b, stage: output-text, scores: {insult: 0.49}, expect: {action: allow}}
  - {name: c, stage: output-text, scores: {insult: 0.5}, expect: {action: regenerate}}
  - {name: d, stage: output-text, scores: {insult: 0.9}, expect: {action: regenerate}}
  - {name: e, stage: output-text, text: the sky, expect: {action: allow}, looks_like: insults-go-back}
"""


@pytest.fixture
def policy(write_file: WriteFile, use_tiny_models: Path) -> str:
    """The file of a small policy, with its cases beside it."""
    write_file("demo.cases.yaml", CASES)
    return str(write_file("demo.yaml", POLICY))


@pytest.mark.parametrize(
    ("text", "arguments", "code"),
    [
        pytest.param("hello world", [], 0, id="clean"),
        pytest.param("i will kill you", [], 1, id="blocked"),
        pytest.param("you idiot", [], 0, id="an-edit-is-below-block"),
        pytest.param("you idiot", ["--fail-on", "edit"], 1, id="fail-on-edit"),
        pytest.param("you idiot", ["--stage", "output-text"], 0, id="regenerate-is-below-block"),
        pytest.param(
            "you idiot", ["--stage", "output-text", "--fail-on", "regenerate"], 1, id="fail-on-it"
        ),
    ],
)
def test_check_exits_with_one_when_a_decision_is_strict_enough(
    policy: str, text: str, arguments: list[str], code: int
) -> None:
    assert main(["check", "--policy", policy, *arguments, text]) == code


def test_check_as_json_holds_no_text_unless_asked(
    policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["check", "--policy", policy, "--json", "a portrait of my neighbour"])
    without = capsys.readouterr().out
    main(["check", "--policy", policy, "--json", "--include-text", "a portrait of my neighbour"])
    with_text = capsys.readouterr().out
    assert "portrait" not in without
    assert json.loads(with_text)["text"] == "a portrait of my neighbour"


def test_check_reads_a_file_line_by_line(
    policy: str, write_file: WriteFile, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = write_file("texts.txt", "hello world\ni will kill you\n")
    assert main(["check", "--policy", policy, "--json", "--file", str(texts)]) == 1
    actions = [json.loads(line)["action"] for line in capsys.readouterr().out.splitlines()]
    assert actions == ["allow", "block"]


def test_score_prints_every_category(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "--policy", policy, "--json", "you idiot"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert set(scores) == {"insult", "threat"}
    assert scores["insult"] > 0.9 > 0.1 > scores["threat"]


def test_an_unknown_preset_is_an_error_with_the_nearest_name(
    use_tiny_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--policy", "text-to-imag", "hello"]) == 2
    assert "Did you mean 'text-to-image'?" in capsys.readouterr().err


def test_policy_test_passes_with_full_cases(
    policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", "test", policy]) == 0
    assert "10 cases hold" in capsys.readouterr().out


def test_policy_test_fails_on_a_wrong_case_and_on_a_rule_without_cases(
    policy: str, write_file: WriteFile, capsys: pytest.CaptureFixture[str]
) -> None:
    write_file(
        "demo.cases.yaml",
        "cases:\n  - {name: wrong, stage: prompt, scores: {threat: 0.9}, expect: {action: allow}}\n",
    )
    assert main(["policy", "test", "--json", policy]) == 1
    (report,) = json.loads(capsys.readouterr().out)
    assert report["failed"] == [
        "failed: wrong: expected action allow, found action block, fired ['threats-are-blocked']"
    ]
    assert "prompt: rule insults-are-redacted has no case 'exactly at'" in report["uncovered"]


def test_policy_validate_names_every_fault_and_exits_with_two(
    write_file: WriteFile, use_tiny_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = write_file("bad.yaml", "policy: Bad\nversion: one\nmode: off\n")
    assert main(["policy", "validate", str(bad)]) == 2
    assert [line.split(": ")[1] for line in capsys.readouterr().err.splitlines()] == [
        "policy",
        "version",
        "mode",
    ]


def test_policy_explain_names_rules_thresholds_and_failures(
    policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", "explain", policy]) == 0
    explained = capsys.readouterr().out
    assert "block when threat is at least 0.50" in explained
    assert "edit with redact when insult is at least 0.50" in explained
    assert "What cannot be measured: block." in explained


def test_policy_init_writes_a_valid_policy_and_never_overwrites(
    use_tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    monkeypatch.setenv("GUARDKIT_POLICIES", str(Path(policy).parent))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    assert main(["policy", "init", "mine", "--preset", "demo"]) == 0
    assert main(["policy", "test", "mine.yaml"]) == 1  # the preset's rules want cases of their own
    assert main(["policy", "init", "mine", "--preset", "demo"]) == 2


def test_models_list_and_verify_name_the_model(
    use_tiny_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "list", "--json"]) == 0
    names = [model["name"] for model in json.loads(capsys.readouterr().out)]
    assert "text-safety" in names


def test_models_verify_fails_on_one_flipped_byte(
    own_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = own_artifact / "1" / "model.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    assert main(["models", "verify", str(own_artifact)]) == 2
    assert "SHA-256" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("installed", "is_fine", "mend"),
    [
        pytest.param({"onnxruntime": None, "onnxruntime-gpu": None}, False, "[cpu]", id="none"),
        pytest.param(
            {"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.1"}, False, "Keep one", id="both"
        ),
        pytest.param({"onnxruntime": "1.31.1", "onnxruntime-gpu": None}, True, "", id="one"),
    ],
)
def test_doctor_wants_exactly_one_runtime(
    installed: dict[str, str | None], is_fine: bool, mend: str
) -> None:
    finding = examine_runtime(installed)
    assert finding.is_fine is is_fine
    assert mend in finding.mend


def test_doctor_reports_a_broken_model_and_how_to_mend_it(
    own_artifact: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_artifact / "1" / "tokenizer.json").unlink()
    monkeypatch.setenv("GUARDKIT_MODELS", str(own_artifact.parent))
    assert main(["doctor", "--json"]) == 2
    findings = {one["what"]: one for one in json.loads(capsys.readouterr().out)}
    assert not findings["model text-safety"]["is_fine"]


@pytest.mark.parametrize("verb", ["train", "export"])
def test_verbs_that_need_torch_say_which_extra_to_install(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = {
        "train": ["--base", "x", "--data", str(tmp_path), "--work", str(tmp_path)],
        "export": ["--work", str(tmp_path), "--data", str(tmp_path)],
    }
    if main([verb, "text-safety", *arguments[verb]]) == 2:
        message = capsys.readouterr().err
        assert f'pip install "guardkit[{verb}]"' in message or "no such file" in message


PICTURES = """
policy: pictures
output-image:
  scorers: [image-safety]
  rules:
    - {name: no-gore, when: {category: gore, at_least: 0.5}, action: block}
"""


def test_check_looks_at_images(
    write_file: WriteFile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GUARDKIT_MODELS", str(build_tiny_images(tmp_path / "models")))
    policy = str(write_file("pictures.yaml", PICTURES))
    green, blue = tmp_path / "green.png", tmp_path / "blue.png"
    green.write_bytes(encoded(plain(GREEN)))
    blue.write_bytes(encoded(plain(BLUE)))
    assert main(["check", "--policy", policy, "--image", str(blue)]) == 0
    assert str(blue) in capsys.readouterr().out
    assert main(["check", "--policy", policy, "--json", "--image", str(blue), str(green)]) == 1
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["action"] for answer in answers] == ["allow", "block"]
    assert main(["check", "--policy", policy, "--image", str(tmp_path / "none.png")]) == 2
    assert "no such file" in capsys.readouterr().err
