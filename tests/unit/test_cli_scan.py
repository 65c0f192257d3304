"""`guardkit scan`: a folder of texts and pictures whose scores are known by hand."""

from __future__ import annotations

import inspect
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from guardkit.cli.main import main
from guardkit.cli.progress import Progress
from guardkit.walk import Kind, walk
from tests.conftest import WriteFile
from tests.pictures import BLUE, RED, encoded, plain
from tests.tiny import build_tiny_artifact
from tests.tiny_image import build_tiny_images

TEXTS = """
policy: texts
output-text:
  scorers: [text-safety]
  editors: [redact]
  rules:
    - {name: insults-are-redacted, when: {category: insult, at_least: 0.9}, action: edit, using: redact}
    - {name: threats-are-blocked, when: {category: threat, at_least: 0.9}, action: block}
"""
IMAGES = """
policy: images
output-image:
  scorers: [image-safety]
  rules: [{name: again, when: {category: sexual, at_least: 0.9}, action: regenerate}]
"""


@pytest.fixture
def options(tmp_path: Path, write_file: WriteFile, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    models = build_tiny_images(tmp_path / "models")
    build_tiny_artifact(models / "text-safety")
    monkeypatch.setenv("GUARDKIT_MODELS", str(models))
    texts, images = write_file("texts.yaml", TEXTS), write_file("images.yaml", IMAGES)
    return ["--policy", str(texts), "--image-policy", str(images)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two texts, two pictures, one file that is neither."""
    found = tmp_path / "found"
    (found / "deep" / "er").mkdir(parents=True)
    (found / "calm.txt").write_text("hello neighbour", "utf-8")
    (found / "deep" / "er" / "rude.MD").write_text("\ufeffyou are an idiot", "utf-8")
    (found / ".hidden.png").write_bytes(encoded(plain(BLUE)))
    (found / "deep" / "red.jpeg").write_bytes(encoded(plain(RED), "JPEG"))
    (found / "table.csv").write_text("a,b", "utf-8")
    return found


def lines(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_every_text_and_picture_is_checked_in_order(
    folder: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scan", str(folder), *options, "--json"]) == 0
    *files, last = lines(capsys.readouterr().out)
    assert [(one["file"], one["kind"], one["action"]) for one in files] == [
        (".hidden.png", "image", "allow"),
        ("calm.txt", "text", "allow"),
        ("deep/er/rude.MD", "text", "edit"),
        ("deep/red.jpeg", "image", "regenerate"),
    ]
    assert last == {
        "counts": {
            "checked": 4, "failed": 0, "not_measured": 0, "unreadable": 0, "others": 1, "links": 0,
            "actions": {"allow": 2, "edit": 1, "regenerate": 1, "block": 0},
        }
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fail_on", "code"), [("edit", 1), ("regenerate", 1), ("block", 0)], ids=str
)
def test_the_exit_code_says_whether_a_rule_fired(
    folder: Path, options: list[str], fail_on: str, code: int
) -> None:
    assert main(["scan", str(folder), *options, "--fail-on", fail_on]) == code


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["people", "json"])
def test_no_content_is_in_the_output(
    folder: Path, options: list[str], form: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.txt").write_bytes(b"secretly \xff")
    main(["scan", str(folder), *options, *form])
    said = capsys.readouterr()
    for word in ("idiot", "hello", "neighbour", "secretly"):
        assert word not in said.out + said.err


def test_people_are_told_what_is_not_allowed(
    folder: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["scan", str(folder), *options])
    said = capsys.readouterr()
    assert "edit        deep/er/rude.MD\n" in said.out
    assert "regenerate  deep/red.jpeg\n" in said.out
    assert "calm.txt" not in said.out
    assert "4 checked, 0 at block or above" in said.out
    assert said.err == ""  # no bar: it is no terminal


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        pytest.param("latin.txt", b"caf\xe9", "byte 3 is not UTF-8. Save", id="encoding"),
        pytest.param("huge.txt", b"a" * (16 * 2**20 + 1), "more than 16777216 bytes", id="size"),
    ],
)
def test_what_cannot_be_read_is_told_and_the_rest_is_checked(
    folder: Path,
    options: list[str],
    name: str,
    content: bytes,
    problem: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder / name).write_bytes(content)
    assert main(["scan", str(folder), *options, "--json", "--fail-on", "edit"]) == 2
    *files, last = lines(capsys.readouterr().out)
    (failed,) = [one for one in files if "error" in one]
    assert failed["file"] == name
    assert failed["error"].startswith(problem)
    assert (last["counts"]["checked"], last["counts"]["unreadable"]) == (4, 1)


def test_a_damaged_picture_is_decided_by_on_failure(
    folder: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "no.png").write_text("a text, renamed", "utf-8")
    assert main(["scan", str(folder), *options, "--json"]) == 1
    *files, last = lines(capsys.readouterr().out)
    (damaged,) = [one for one in files if one["file"] == "no.png"]
    assert (damaged["action"], damaged["status"]) == ("block", "error")
    assert last["counts"]["not_measured"] == 1


def test_links_are_counted_and_not_followed(
    folder: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "link.txt").symlink_to(folder / "calm.txt")
    (folder / "nowhere.png").symlink_to(folder / "missing")
    assert main(["scan", str(folder), *options, "--json"]) == 0
    assert lines(capsys.readouterr().out)[-1]["counts"]["links"] == 3
    assert sum(one.kind is Kind.LINK for one in walk(folder)) == 3


def test_a_pipe_named_like_a_text_is_not_opened(folder: Path, options: list[str]) -> None:
    os.mkfifo(folder / "pipe.txt")  # opening it would wait for ever
    assert main(["scan", str(folder), *options]) == 0


def test_a_name_cannot_write_to_the_terminal(
    folder: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    bad = os.fsdecode(b"a\x1b[2J\n\xff.txt")
    (folder / bad).write_bytes(b"\xff")
    assert main(["scan", str(folder), *options]) == 2
    said = capsys.readouterr().out
    assert r"a\x1b[2J\n\udcff.txt" in said
    assert "\x1b" not in said


def test_one_kind_alone_needs_no_policy_of_the_other(
    folder: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    policy = options[1]
    command = ["scan", str(folder), "--policy", policy, "--image-policy", policy]
    assert main(command) == 2
    assert "has no stage output-image. Found output-text." in capsys.readouterr().err
    assert main([*command, "--only", "text"]) == 0
    assert "2 checked" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "told"), [("none", "no such folder"), ("calm.txt", "a file")])
def test_only_a_folder_can_be_scanned(
    folder: Path, name: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scan", str(folder / name)]) == 2
    assert told in capsys.readouterr().err


# --- the walk -------------------------------------------------------------------------------------


def test_a_folder_is_walked_in_blocks_in_order(tmp_path: Path) -> None:
    names = [f"{number:02}.txt" for number in range(10)]
    for name in reversed(names):
        (tmp_path / name).touch()
    assert [one.path.name for one in walk(tmp_path, block=3)] == names


def test_folders_may_lie_deeper_than_python_recurses(tmp_path: Path) -> None:
    # Not deeper than the usual limit: whoever clears up after the tests may recurse.
    deepest = tmp_path.joinpath(*["a"] * 300)
    deepest.mkdir(parents=True)
    (deepest / "end.txt").touch()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 150)
    try:
        found = [one.path for one in walk(tmp_path)]
    finally:
        sys.setrecursionlimit(limit)
    assert found == [deepest / "end.txt"]


def test_a_folder_that_cannot_be_listed_is_found_out(tmp_path: Path) -> None:
    (found,) = walk(tmp_path / "gone")
    assert found.kind is Kind.UNREADABLE
    assert found.problem == "cannot be listed (No such file or directory)."


# --- the bar --------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_is_drawn_on_a_terminal_and_taken_away() -> None:
    times = iter([0.0, 10.0, 10.05, 20.0])
    terminal = Terminal()
    progress = Progress(terminal, 4, clock=lambda: next(times))
    progress.show(1, "0 at block")
    drawn = terminal.getvalue()
    assert drawn.endswith(f"[{'#' * 7}{'-' * 23}] 1/4  0.1/s  0 at block")
    progress.show(2)  # 0.05 s later: too soon
    assert terminal.getvalue() == drawn
    progress.show(5)  # files may be added meanwhile
    assert f"[{'#' * 30}] 5/5" in terminal.getvalue()
    progress.clear()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_no_bar_is_drawn_in_a_pipe() -> None:
    pipe = io.StringIO()
    progress = Progress(pipe, 4)
    progress.show(1)
    progress.clear()
    assert pipe.getvalue() == ""
