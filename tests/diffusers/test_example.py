"""The example of a guarded pipeline, run as a reader would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_EXAMPLE = Path(__file__).parents[2] / "examples" / "12_guard_a_pipeline.py"


def test_the_example_draws_edits_and_blocks() -> None:
    done = subprocess.run(
        [sys.executable, str(_EXAMPLE)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    allowed, edited, blocked = done.stdout.splitlines()
    assert "Image" in allowed
    assert "Image" in edited
    assert "-> None" in blocked
    assert "within brackets" in blocked
