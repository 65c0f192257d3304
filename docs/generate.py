"""Write the docs that come from code: error reference, categories, command line, policy schema.

python docs/generate.py           # write them
python docs/generate.py --check   # fail when one differs
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from guardkit import errors
from guardkit.cli.main import build_parser
from guardkit.policy.rules import json_schema
from guardkit.steps import EDITORS, SCORERS
from guardkit.taxonomy import TAXONOMY

_ROOT = Path(__file__).parent.parent
_NOTE = "<!-- Written by docs/generate.py; change the code it comes from instead. -->\n"


def main() -> int:
    """Write or compare every generated page."""
    os.environ["COLUMNS"] = "100"  # argparse wraps to the terminal otherwise
    pages = {
        "docs/errors.md": _errors(),
        "docs/categories.md": _categories(),
        "docs/cli.md": _commands(),
        "policies/policy.schema.json": json.dumps(json_schema(), indent=1) + "\n",
    }
    stale = [name for name, text in pages.items() if _read(_ROOT / name) != text]
    if "--check" in sys.argv:
        for name in stale:
            print(f"{name} is out of date. Run: make docs", file=sys.stderr)
        return int(bool(stale))
    for name in stale:
        (_ROOT / name).write_text(pages[name])
        print(f"wrote {name}")
    return 0


def _read(path: Path) -> str | None:
    return path.read_text() if path.is_file() else None


def _errors() -> str:
    lines = [_NOTE, "# Errors", "", "Indented classes are kinds of the one above.", ""]
    for depth, cls in _tree(errors.GuardkitError, 0):
        meaning = (inspect.getdoc(cls) or "").split("\n")[0]
        others = [base.__name__ for base in cls.__bases__ if base.__module__ == "builtins"]
        also = f" Also a `{others[-1]}`." if depth and others else ""
        lines.append(f"{'  ' * depth}- `{cls.__name__}`: {meaning}{also}")
    return "\n".join(lines) + "\n"


def _tree(cls: type, depth: int) -> Iterator[tuple[int, type]]:
    yield depth, cls
    for child in cls.__subclasses__():
        yield from _tree(child, depth + 1)


def _categories() -> str:
    rows = "\n".join(
        f"| `{name}` | {row.definition} | {'yes' if row.is_harm else 'no'} "
        f"| {', '.join(sorted(row.stages))} | {row.openai or '-'} | {row.perspective or '-'} "
        f"| {row.azure or '-'} |"
        for name, row in TAXONOMY.items()
    )
    steps = "\n".join(
        f"| `{name}` | {kind} | {meaning} |"
        for kind, table in (("scorer", SCORERS), ("editor", EDITORS))
        for name, meaning in table.items()
    )
    return f"""{_NOTE}
# Categories

Which of them a model really scores is in its manifest: `guardkit models list`.

| category | means | harm | stages | OpenAI | Perspective | Azure |
|---|---|---|---|---|---|---|
{rows}

# Steps beside models

| step | kind | does |
|---|---|---|
{steps}
"""


def _commands() -> str:
    parts = [_NOTE, "# Command line\n"]
    for command, parser in _parsers("guardkit", build_parser()):
        parts.append(f"## {command}\n\n```\n{parser.format_help()}```\n")
    return "\n".join(parts)


def _parsers(
    command: str, parser: argparse.ArgumentParser
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    yield command, parser
    for action in parser._actions:  # argparse has no public way to its sub-commands
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield from _parsers(f"{command} {name}", child)


if __name__ == "__main__":
    sys.exit(main())
