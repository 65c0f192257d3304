"""YAML with positions and without its traps.

Plain YAML turns `on` into a boolean, `010` into eight and `1:30` into ninety, keeps the last of two
equal keys without a word, and lets anchors expand without bound. Here scalars stay text until a type
is known, and every trap is a fault with its line and column.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from guardkit.errors import Fault, PolicyError

_LARGEST_FILE = 1_000_000  # bytes; chosen: a thousand times a long policy
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_REFUSED: dict[type[yaml.Token], str] = {
    yaml.AnchorToken: "anchors",
    yaml.AliasToken: "aliases",
    yaml.TagToken: "tags",
    yaml.DirectiveToken: "directives",
}
_DEEPEST = 32  # chosen: a policy is eight deep; Python's stack ends near 300
_OPENING = (
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
)
_CLOSING = (yaml.BlockEndToken, yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken)

Key = str | int


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a YAML document and where it stands."""

    file: str
    line: int
    column: int
    mapping: dict[str, Node] | None = None
    keys: dict[str, Node] = field(default_factory=dict)
    """Of a mapping: the nodes of its keys."""
    items: list[Node] | None = None
    scalar: str | None = None
    is_plain: bool = False
    """Of a scalar: written without quotes."""

    def fault(self, path: str, problem: str) -> Fault:
        """A fault at this place."""
        return Fault(self.file, self.line, self.column, path, problem)

    def at(self, path: tuple[Key, ...]) -> Node:
        """The node at a path, or the deepest one on the way that exists."""
        node = self
        for key in path:
            if isinstance(key, int):
                child = node.items[key] if node.items and key < len(node.items) else None
            else:
                child = (node.mapping or {}).get(key)
            if child is None:
                break
            node = child
        return node

    @property
    def kind(self) -> str:
        """What a reader would call it."""
        if self.mapping is not None:
            return "a mapping"
        if self.items is not None:
            return "a list"
        return "nothing" if self.is_null else f"'{self.scalar}'"

    @property
    def is_null(self) -> bool:
        """Whether the value was left out, or written as null."""
        return self.scalar is not None and self.is_plain and self.scalar in ("", "~", "null")


def path_text(path: tuple[Key, ...]) -> str:
    """`("prompt", "rules", 0)` as `prompt.rules[0]`."""
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def read_tree(path: Path, faults: list[Fault]) -> Node:
    """Read a YAML file into nodes; add what is wrong with it to `faults`.

    Raises:
        PolicyError: The file cannot be read or is not YAML at all, so nothing else can be said.
    """
    name = str(path)
    text = _read(path)
    try:
        faults += _refused(text, name)
        document = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as e:
        raise PolicyError([_syntax_fault(e, name)]) from e
    if document is None:
        raise PolicyError([Fault(name, 1, 1, "", "the file is empty. Expected a mapping.")])
    return _convert(document, name, faults.append, ())


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as e:
        raise PolicyError([Fault(str(path), 1, 1, "", f"cannot be read ({e.strerror}).")]) from e
    if len(content) > _LARGEST_FILE:
        problem = f"{len(content)} bytes, at most {_LARGEST_FILE} are read. Move word lists to files of their own."
        raise PolicyError([Fault(str(path), 1, 1, "", problem)])
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as e:
        problem = f"not UTF-8 at byte {e.start}. Save the file as UTF-8."
        raise PolicyError([Fault(str(path), 1, 1, "", problem)]) from e


def _refused(text: str, name: str) -> list[Fault]:
    """Faults of single tokens; raises at one that would make the tree endless."""
    faults: list[Fault] = []
    depth = 0
    for token in yaml.scan(text, Loader=_Loader):
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        line, column = token.start_mark.line + 1, token.start_mark.column + 1
        if depth > _DEEPEST:
            problem = f"nested deeper than {_DEEPEST} levels. Nothing in a policy is."
            raise PolicyError([*faults, Fault(name, line, column, "", problem)])
        if what := _REFUSED.get(type(token)):
            problem = f"YAML {what} are not read here. Write the value out."
            faults.append(Fault(name, line, column, "", problem))
        if isinstance(token, yaml.AliasToken):  # it can hold itself, or double at every level
            raise PolicyError(faults)
    return faults


def _syntax_fault(error: yaml.YAMLError, name: str) -> Fault:
    mark = getattr(error, "problem_mark", None)
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    problem = getattr(error, "problem", None) or "cannot be parsed"
    return Fault(name, line, column, "", f"not YAML: {problem}.")


def _convert(
    node: yaml.Node, name: str, report: Callable[[Fault], None], path: tuple[Key, ...]
) -> Node:
    line, column = node.start_mark.line + 1, node.start_mark.column + 1
    if isinstance(node, yaml.ScalarNode):
        return Node(name, line, column, scalar=node.value, is_plain=not node.style)
    if isinstance(node, yaml.SequenceNode):
        items = [_convert(item, name, report, (*path, i)) for i, item in enumerate(node.value)]
        return Node(name, line, column, items=items)
    mapping: dict[str, Node] = {}
    keys: dict[str, Node] = {}
    for key_node, value_node in node.value:
        key = _convert(key_node, name, report, path)
        if key.scalar is None:
            report(key.fault(path_text(path), f"a key is {key.kind}. Expected a word."))
            continue
        if key.scalar in mapping:
            first = keys[key.scalar].line
            report(
                key.fault(
                    path_text((*path, key.scalar)),
                    f"duplicate key; first on line {first}. Keep one.",
                )
            )
        mapping[key.scalar] = _convert(value_node, name, report, (*path, key.scalar))
        keys[key.scalar] = key
    return Node(name, line, column, mapping=mapping, keys=keys)
