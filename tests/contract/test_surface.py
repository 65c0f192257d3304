"""The public surface: names, and an import that brings nothing heavy along."""

from __future__ import annotations

import json
import subprocess
import sys
from types import ModuleType

import guardkit

HEAVY = ("onnxruntime", "PIL", "torch", "onnx", "transformers", "tensorrt", "tritonclient", "diffusers", "openai")  # fmt: skip

PROMISED = (
    # product.md section 2, the import at the top.
    "Guard", "Policy", "Action", "Category", "Decision", "Scores", "Context", "Turn", "Span",
    "Edit", "Vault", "Guidance", "RunResult", "Blocked", "GuardkitError",
)  # fmt: skip


def heavy_after(code: str) -> list[str]:
    """Which heavy modules a fresh interpreter has loaded after running code."""
    script = (
        f"import json, sys\n{code}\nprint(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded: list[str] = json.loads(done.stdout)
    return loaded


def test_all_is_sorted_and_equals_the_public_names() -> None:
    public = {
        name
        for name, value in vars(guardkit).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert guardkit.__all__ == sorted(guardkit.__all__), "sort __all__ in guardkit/__init__.py"
    assert set(guardkit.__all__) == public, "name in __all__ what is public, and nothing else"


def test_every_promised_name_is_public() -> None:
    assert set(PROMISED) <= set(guardkit.__all__)


def test_importing_guardkit_loads_nothing_heavy() -> None:
    loaded = heavy_after("import guardkit")
    assert not loaded, f"`import guardkit` loads {loaded}: import them where they are used"


def test_an_adapter_loads_nothing_of_the_library_it_is_for() -> None:
    adapters = ("guardkit.integrations.diffusers", "guardkit.integrations.openai")
    assert not heavy_after(f"import {', '.join(adapters)}")


def test_the_heavy_import_would_be_noticed() -> None:
    assert heavy_after("import guardkit, onnxruntime") == ["onnxruntime"]
