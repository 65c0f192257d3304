"""`guardkit eval generator`: from prompts and a scripted generator to a report, on a model whose scores are known."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from guardkit.cli.main import main
from guardkit.evaluate.generator import Line, load_generator
from guardkit.evaluate.generator_report import GeneratorReport
from tests.conftest import WriteFile
from tests.tiny import HARSH

POLICY = """
policy: demo
prompt:
  scorers: [text-safety]
  rules:
    - {name: insults-are-blocked, when: {category: insult, at_least: 0.9}, action: block}
limits: {max_characters: 60}
"""
HIGH, LOW = (
    1 / (1 + np.exp(-HARSH)),
    1 / (1 + np.exp(HARSH)),
)  # of "idiot", of the rest; "fool" is .5
PROMPTS = ("you idiot", "hello there", "you fool")
CSV = "text,group\n{},a\n{},b\n{},a\n".format(*PROMPTS)
SAID = {
    "you idiot": ["hello", "you fool"],
    "hello there": ["hello", "you idiot"],
    "you fool": ["hello", "hello"],
}
SCRIPT = f"""
import itertools
SAID = {{prompt: itertools.cycle(texts) for prompt, texts in {SAID!r}.items()}}
ASKED = []
def generate(prompt):
    ASKED.append(prompt)
    return next(SAID[prompt])
"""
_NUMBERS = itertools.count()
Run = Callable[..., int]


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module of a new name into the working directory; the name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(source: str) -> str:
        name = f"scripted_{next(_NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(source)
        return name

    return write


@pytest.fixture
def run(write_file: WriteFile, use_tiny_models: Path, tmp_path: Path) -> Run:
    """Runs the command with k = 2."""
    policy = str(write_file("demo.yaml", POLICY))

    def go(module: str, *more: str, csv: str = CSV, function: str = "generate") -> int:
        prompts = str(write_file("prompts.csv", csv))
        named = ["--generator", f"{module}:{function}", "--policy", policy, "--out", "report"]
        return main(["eval", "generator", "--prompts", prompts, *named, "-k", "2", "--bootstrap", "50", *more])  # fmt: skip

    return go


def report() -> GeneratorReport:
    return msgspec.json.decode(Path("report/report.json").read_bytes(), type=GeneratorReport)


def lines() -> list[Line]:
    """The lines of the scores, without the head."""
    read = Path("report/scores.jsonl").read_bytes().splitlines()[1:]
    return [msgspec.json.decode(line, type=Line) for line in read]


def test_the_metrics_are_those_of_the_scores(run: Run, write_module: Callable[[str], str]) -> None:
    """By hand: 20 thresholds m/21, of which HIGH passes 20, "fool" 10, LOW none."""
    assert run(write_module(SCRIPT), "--slice", "group") == 0
    found = report()
    values = {name: one.value for name, one in found.result.metrics.items()}
    assert values["wintore"] == pytest.approx(((20 + 0 + 10) - (5 + 10 + 0)) / 20 / 3)
    assert values["emt"] == pytest.approx((0.5 + HIGH + LOW) / 3, abs=1e-5)
    assert values["tp"] == pytest.approx(2 / 3)
    assert values["atr"] == pytest.approx(2 / 6)
    assert all(one.low is not None for one in found.result.metrics.values())
    assert (found.prompts, found.measured, found.problems) == (3, 3, {})
    by_input, by_group = found.slices
    assert {name: row.inputs for name, row in by_input.groups.items()} == {
        "0.5 or more": 2,
        "below 0.5": 1,
    }
    assert by_group.groups["b"].metrics["emt"].value == pytest.approx(HIGH, abs=1e-5)
    assert found.made_with.generator.endswith(":generate")


def test_the_report_is_a_page_with_plots_and_holds_no_content(
    run: Run, write_module: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(write_module(SCRIPT), "--slice", "group", "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads(Path("report/report.json").read_text())
    page = Path("report/report.html").read_text()
    assert page.count("<svg") == 2
    assert page.count('class="bin"') == len(PROMPTS)
    assert "<script" not in page
    written = page + Path("report/report.json").read_text() + Path("report/scores.jsonl").read_text()  # fmt: skip
    assert not [text for text in (*PROMPTS, "hello", "idiot") if text in written]


def test_content_is_kept_when_it_is_asked_for(run: Run, write_module: Callable[[str], str]) -> None:
    assert run(write_module(SCRIPT), "--include-text") == 0
    kept = {line.prompt: list(line.outputs or ()) for line in lines()}
    assert kept == SAID
    assert "idiot" not in Path("report/report.html").read_text()


def test_a_run_goes_on_after_a_crash_and_asks_for_nothing_twice(
    run: Run, write_module: Callable[[str], str], write_file: WriteFile
) -> None:
    """The first process dies in the middle of the second prompt; what it wrote last is torn besides."""
    crash = f"{SCRIPT}\nimport os, pathlib\nplain = generate\n" + (
        "def generate(prompt):\n"
        "    if prompt.startswith('hello') and not pathlib.Path('died').exists():\n"
        "        pathlib.Path('died').touch()\n        os._exit(9)\n"
        "    return plain(prompt)\n"
    )
    name = write_module(crash)
    arguments = ["--prompts", str(write_file("prompts.csv", CSV)), "--generator", f"{name}:generate", "--policy", str(write_file("demo.yaml", POLICY))]  # fmt: skip
    command = ["-m", "guardkit.cli.main", "eval", "generator", *arguments, "--out", "report", "-k", "2"]  # fmt: skip
    assert subprocess.run([sys.executable, *command], check=False).returncode == 9
    assert [line.row for line in lines()] == [0]
    with Path("report/scores.jsonl").open("ab") as file:
        file.write(b'{"row":1,"x":0.')
    assert run(name) == 0
    assert sys.modules[name].ASKED == ["hello there"] * 2 + ["you fool"] * 2
    assert report().result.metrics["tp"].value == pytest.approx(2 / 3)
    assert run(name) == 0  # all is there
    assert len(sys.modules[name].ASKED) == 4


def test_the_file_of_another_run_is_refused(
    run: Run, write_module: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    name = write_module(SCRIPT)
    assert run(name) == 0
    assert run(name, "-k", "3") == 2
    assert "scores.jsonl: is of another run: k was 2, now 3." in capsys.readouterr().err
    Path("report/scores.jsonl").write_text("{}\n")
    assert run(name) == 2
    assert "scores.jsonl:1: Object missing required field" in capsys.readouterr().err


FAILING = [
    pytest.param("raise ValueError('SECRET')", "the generator raised ValueError", id="raises"),
    pytest.param("return None", "the generator gave nothing (None)", id="none"),
    pytest.param("return 7", "the generator gave int. Expected str", id="an-int"),
    pytest.param("return ['a', 'b']", "the generator gave list. Expected str", id="a-list"),
    pytest.param("return iter('ab')", "the generator gave str_ascii_iterator", id="tokens"),
    pytest.param(
        "import time; time.sleep(30)", "the generator: no answer within 1000 ms", id="hangs"
    ),
]


@pytest.mark.parametrize(("body", "problem"), FAILING)
def test_a_prompt_with_fewer_generations_is_counted_and_left_out(
    body: str, problem: str, run: Run, write_module: Callable[[str], str]
) -> None:
    """One of its two calls fails: k differs between prompts, and no number is made of that."""
    source = f"{SCRIPT}\nplain, made = generate, []\ndef generate(prompt):\n    made.append(1)\n    if len(made) == 2:\n        {body}\n    return plain(prompt)\n"
    name = write_module(source)
    assert run(name, "--timeout", "1") == 0
    found = report()
    assert (found.prompts, found.measured) == (3, 2)
    ((told, count),) = found.problems.items()
    assert told.startswith(problem)
    assert count == 1
    assert found.result.metrics["tp"].value == 1 / 2
    assert "SECRET" not in Path("report/scores.jsonl").read_text()
    assert run(name) == 0  # what is missing is asked for again
    assert report().measured == 3


def test_a_generation_that_cannot_be_scored_is_never_taken_for_calm(
    run: Run, write_module: Callable[[str], str]
) -> None:
    source = f"{SCRIPT}\nSAID['hello there'] = itertools.cycle(['word ' * 20])"
    assert run(write_module(source)) == 0
    assert (report().measured, report().problems) == (2, {"not scored": 2})
    assert lines()[1].y == (None, None)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        pytest.param(2, "none of 2 prompts has 2 generations", id="few"),
        pytest.param(9, "gave nothing for the first 5 prompts, mostly: the generator raised", id="many"),
    ],
)  # fmt: skip
def test_no_generations_at_all_are_an_error(
    rows: int,
    told: str,
    run: Run,
    write_module: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = write_module("def generate(prompt):\n    raise KeyError(prompt)\n")
    assert run(name, csv="text\n" + "hello\n" * rows) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "the generator raised KeyError" in error
    assert not Path("report/report.json").exists()


@pytest.mark.parametrize(
    ("source", "function", "more", "told"),
    [
        pytest.param("", "generate", [], "has no function 'generate'", id="no-function"),
        pytest.param("generate = 7", "generate", [], "has no function 'generate'", id="no-callable"),
        pytest.param("import nothing_of_that_name", "generate", [], "cannot import", id="fails"),
        pytest.param("1 / 0", "generate", [], "(ZeroDivisionError)", id="raises-on-import"),
        pytest.param("async def generate(prompt): ...", "generate", [], "coroutine", id="async"),
        pytest.param("def generate(a, b): ...", "generate", [], "with a prompt alone", id="two"),
        pytest.param(SCRIPT, "", [], "expected module:function", id="no-name"),
        pytest.param(SCRIPT, "generate", ["--category", "hate"], "does not score it", id="category"),
        pytest.param(SCRIPT, "generate", ["--slice", "nobody"], "nobody", id="slice"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_one_error(
    source: str,
    function: str,
    more: list[str],
    told: str,
    run: Run,
    write_module: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(write_module(source), *more, function=function) == 2
    assert told in capsys.readouterr().err


def test_no_generations_cannot_be_asked_for(
    run: Run, write_module: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(write_module(SCRIPT), "-k", "0")
    assert "0 is not at least 1" in capsys.readouterr().err


def test_one_category_can_be_what_counts(run: Run, write_module: Callable[[str], str]) -> None:
    assert run(write_module(SCRIPT), "--category", "threat") == 0
    assert report().result.metrics["tp"].value == 0  # nobody threatens


def test_a_generator_that_takes_guidance_gets_a_seed_of_its_own_each_call(
    run: Run, write_module: Callable[[str], str]
) -> None:
    seeds: list[list[int]] = []
    for _ in range(2):
        source = "SEEDS = []\ndef generate(prompt, guidance):\n    SEEDS.append(guidance.seed)\n    return prompt\n"
        name = write_module(source)
        assert run(name, "--out", f"report-{name}") == 0
        module: Any = sys.modules[name]
        seeds.append(module.SEEDS)
    assert len(set(seeds[0])) == 6
    assert seeds[0] == seeds[1]


def test_a_module_without_a_function_named_is_refused() -> None:
    with pytest.raises(Exception, match="expected module:function"):
        load_generator("json")
