"""Every example runs, stays short, and every Python block of the README runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parent.parent.parent
_WITH_TORCH = {"12_guard_a_pipeline"}  # tests/diffusers runs it, where torch is
_ALL_EXAMPLES = sorted((_ROOT / "examples").glob("*.py"))
_EXAMPLES = [path for path in _ALL_EXAMPLES if path.stem not in _WITH_TORCH]
_BLOCKS = re.findall(r"```python\n(.*?)```", (_ROOT / "README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("example", _ALL_EXAMPLES, ids=lambda path: path.stem)
def test_every_example_has_under_forty_lines(example: Path) -> None:
    assert len(example.read_text().splitlines()) < 40


@pytest.mark.parametrize("example", _EXAMPLES, ids=lambda path: path.stem)
def test_every_example_runs(example: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(example)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


_PARAMETERS = [
    pytest.param(block, marks=pytest.mark.languages if "multilingual" in block else ())
    for block in _BLOCKS
]


@pytest.mark.parametrize("block", _PARAMETERS, ids=range(len(_BLOCKS)))
def test_every_python_block_of_the_readme_runs(block: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_readme_shows_the_output_its_first_block_really_gives() -> None:
    readme = (_ROOT / "README.md").read_text()
    shown = re.search(r"```python\n(.*?)```\n+```text\n(.*?)```", readme, re.DOTALL)
    assert shown is not None
    done = subprocess.run(
        [sys.executable, "-c", shown.group(1)], capture_output=True, text=True, check=True
    )
    assert done.stdout == shown.group(2)
