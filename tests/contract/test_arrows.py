"""Imports point down: the floors of ARCHITECTURE.md, held by walking the syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import guardkit

PACKAGE = Path(guardkit.__file__).parent

FLOORS = {
    1: (
        "errors",
        "types",
        "taxonomy",
        "decision",
        "vault",
        "places",
        "steps",
        "artifacts",
        "walk",
        "metrics",
    ),
    2: ("policy", "runtime"),
    3: ("text", "image", "steer", "loop", "shapes"),
    4: ("guard", "guard_texts", "guard_images", "train", "export"),
    5: ("bench", "evaluate", "serve", "rollout", "integrations"),
    6: ("cli",),  # the commands: one of them runs each room of floor 5
}
FLOOR = {room: floor for floor, rooms in FLOORS.items() for room in rooms}
# Floor 1 is one vocabulary in several files; export reads what train makes; the conductor has two halves.
NEIGHBOURS = (set(FLOORS[1]), {"train", "export"}, {"guard", "guard_texts", "guard_images"})
# Torch lives with training and export; an adapter for somebody's torch code may meet it too.
TORCH_ROOMS = {"train", "export", "integrations"}
TORCH = {"torch", "transformers", "optimum", "safetensors"}


def room_of(file: Path) -> str:
    """The room a file of the package stands in."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(source: str) -> Iterator[tuple[int, str]]:
    """(line, dotted module) of every import, those inside functions included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "guardkit":
            yield from ((node.lineno, f"guardkit.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, f"{'.' * node.level}{node.module or ''}"


def complaints(room: str, source: str) -> list[str]:
    """What is wrong with the imports of one file, a sentence each."""
    found = []
    for line, module in imported_modules(source):
        top, _, rest = module.partition(".")
        target = rest.split(".")[0]
        if not top:
            found.append(f"line {line}: relative import; name the module in full")
        elif top in TORCH and room not in TORCH_ROOMS:
            found.append(f"line {line}: {top} is for {sorted(TORCH_ROOMS)}, not for {room}")
        elif top == "guardkit" and target in FLOOR and not may_import(room, target):
            found.append(
                f"line {line}: {room} (floor {FLOOR[room]}) imports {target} (floor {FLOOR[target]})"
            )
    return found


def may_import(room: str, target: str) -> bool:
    """Downward, within the room, or between the neighbours that are named."""
    is_near = room == target or any({room, target} <= group for group in NEIGHBOURS)
    return is_near or FLOOR[target] < FLOOR[room]


FILES = sorted(
    file for file in PACKAGE.rglob("*.py") if file.parent != PACKAGE or file.stem in FLOOR
)


def test_every_room_stands_on_a_floor() -> None:
    rooms = {
        room_of(file)
        for file in PACKAGE.rglob("*.py")
        if file.name not in ("__init__.py", "__main__.py")
    }
    assert rooms <= set(FLOOR), f"put {sorted(rooms - set(FLOOR))} on a floor in this test"


@pytest.mark.parametrize("file", [pytest.param(f, id=str(f.relative_to(PACKAGE))) for f in FILES])
def test_imports_point_down(file: Path) -> None:
    found = complaints(room_of(file), file.read_text("utf-8"))
    assert not found, f"{file.relative_to(PACKAGE.parent)}: {'; '.join(found)}"


@pytest.mark.parametrize(
    ("room", "source"),
    [
        pytest.param("text", "from guardkit.guard import Guard", id="up"),
        pytest.param("text", "from guardkit.image.decode import decode", id="beside"),
        pytest.param("policy", "import guardkit.runtime.base", id="beside-plainly"),
        pytest.param("policy", "def f():\n    from guardkit import guard", id="inside-a-function"),
        pytest.param("types", "from guardkit.policy.rules import Policy", id="from-the-ground"),
        pytest.param("text", "from .encode import Encoder", id="relative"),
        pytest.param("guard", "import torch.nn", id="torch"),
    ],
)
def test_an_arrow_that_points_up_would_be_noticed(room: str, source: str) -> None:
    assert complaints(room, source)


@pytest.mark.parametrize(
    ("room", "source"),
    [
        pytest.param("text", "from guardkit.policy.rules import WordList", id="down"),
        pytest.param("errors", "from guardkit.decision import Decision", id="within-floor-1"),
        pytest.param("export", "from guardkit.train.data import load", id="train-and-export"),
        pytest.param("train", "import torch", id="torch-in-training"),
        pytest.param("cli", "from guardkit import __version__", id="the-version"),
    ],
)
def test_an_arrow_that_points_down_is_fine(room: str, source: str) -> None:
    assert not complaints(room, source)
