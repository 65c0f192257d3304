"""Hold a YAML tree to a type: every fault at once, and the plain values of what is right.

The types are msgspec structs (`rules.py`, `cases.py`), so the YAML reader and the JSON Schema cannot
drift apart. A value that is wrong comes back as `BAD`, and the rest is still checked.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec import inspect

from guardkit.errors import Fault
from guardkit.policy.tree import Key, Node, path_text


class _Bad:
    """Marks a value that had a fault."""


BAD: Final = _Bad()

_DECIMAL = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d+)?")  # 15 digits: all that a float keeps
_BOOLEANS = {"true": True, "false": False}
_BOOLEAN_TRAPS = {"yes", "no", "on", "off", "y", "n"}
_Path = tuple[Key, ...]


def check_shape(node: Node, expected: type, faults: list[Fault]) -> Any:
    """Turn a tree into plain values of the expected struct, reporting what does not fit.

    Returns:
        Nested dicts, lists and scalars; `BAD` stands where a fault was reported.
    """
    return _Checker(faults).check(node, inspect.type_info(expected), ())


def nearest(word: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or nothing when no known word is near.

    >>> nearest("treat", ["threat", "insult"])
    " Did you mean 'threat'?"
    """
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean '{close[0]}'?" if close else ""


class _Checker:
    """One pass over one tree."""

    def __init__(self, faults: list[Fault]) -> None:
        self._faults = faults
        self._by_type: dict[type, Callable[[Node, Any, _Path], Any]] = {
            inspect.Metadata: lambda node, wrapped, path: self.check(node, wrapped.type, path),
            inspect.StructType: self._struct,
            inspect.DictType: self._dict,
            inspect.VarTupleType: self._list,
            inspect.UnionType: self._union,
            inspect.EnumType: lambda node, enum, path: self._choice(
                node, [member.value for member in enum.cls], path
            ),
            inspect.LiteralType: lambda node, literal, path: self._choice(
                node, literal.values, path
            ),
            inspect.StrType: self._text,
            inspect.FloatType: self._number,
            inspect.IntType: self._number,
            inspect.BoolType: self._boolean,
        }

    def check(self, node: Node, expected: inspect.Type, path: _Path) -> Any:
        """The plain value of a node, or `BAD`."""
        return self._by_type[type(expected)](node, expected, path)

    def _bad(self, node: Node, path: _Path, problem: str) -> _Bad:
        self._faults.append(node.fault(path_text(path), problem))
        return BAD

    def _struct(self, node: Node, struct: inspect.StructType, path: _Path) -> Any:
        fields = {field.encode_name: field for field in struct.fields}
        if node.mapping is None:
            expected = ", ".join(fields)
            return self._bad(node, path, f"found {node.kind}. Expected a mapping with: {expected}.")
        for key, key_node in node.keys.items():
            if key not in fields:
                known = ", ".join(fields)
                problem = f"unknown key '{key}'. Known: {known}.{nearest(key, fields)}"
                self._bad(key_node, (*path, key), problem)
        for key, field in fields.items():
            if field.required and key not in node.mapping:
                self._bad(node, path, f"'{key}' is missing. Add it.")
        return {
            key: self.check(value, fields[key].type, (*path, key))
            for key, value in node.mapping.items()
            if key in fields
        }

    def _dict(self, node: Node, expected: inspect.DictType, path: _Path) -> Any:
        if node.mapping is None:
            return self._bad(node, path, f"found {node.kind}. Expected a mapping.")
        for key, key_node in node.keys.items():
            self.check(key_node, expected.key_type, (*path, key))
        return {
            key: self.check(value, expected.value_type, (*path, key))
            for key, value in node.mapping.items()
        }

    def _list(self, node: Node, expected: inspect.VarTupleType, path: _Path) -> Any:
        if node.items is None:
            return self._bad(node, path, f"found {node.kind}. Expected a list: [a, b].")
        return [
            self.check(item, expected.item_type, (*path, index))
            for index, item in enumerate(node.items)
        ]

    def _union(self, node: Node, union: inspect.UnionType, path: _Path) -> Any:
        options = [option for option in union.types if not isinstance(option, inspect.NoneType)]
        if len(options) < len(union.types) and node.is_null:
            return None
        structs = [option for option in options if isinstance(option, inspect.StructType)]
        if structs and (node.mapping is not None or len(options) == 1):
            return self.check(node, structs[0], path)
        return self.check(node, next(o for o in options if o not in structs), path)

    def _choice(self, node: Node, values: Iterable[Any], path: _Path) -> Any:
        allowed = sorted(map(str, values))
        if node.scalar in allowed:
            return node.scalar
        hint = nearest(node.scalar, allowed) if node.scalar else ""
        return self._bad(
            node, path, f"found {node.kind}. Expected one of: {', '.join(allowed)}.{hint}"
        )

    def _text(self, node: Node, expected: inspect.StrType, path: _Path) -> Any:
        if node.scalar is None or node.is_null:
            return self._bad(node, path, f"found {node.kind}. Expected text.")
        if node.is_plain and _reads_as_other(node.scalar):
            problem = f"'{node.scalar}' without quotes is not text to every YAML reader. Quote it."
            return self._bad(node, path, problem)
        if expected.pattern and not re.search(expected.pattern, node.scalar):
            problem = f"found '{node.scalar}'. Expected lower-case words joined by hyphens."
            return self._bad(node, path, problem)
        return node.scalar

    def _number(
        self, node: Node, expected: inspect.FloatType | inspect.IntType, path: _Path
    ) -> Any:
        is_whole = isinstance(expected, inspect.IntType)
        wanted = "a whole number" if is_whole else "a number"
        if node.scalar is None or not node.is_plain or not _DECIMAL.fullmatch(node.scalar):
            return self._bad(node, path, f"found {node.kind}. Expected {wanted} in plain decimals.")
        value = float(node.scalar)
        if is_whole and not value.is_integer():
            return self._bad(node, path, f"found {node.scalar}. Expected a whole number.")
        low = expected.ge if expected.ge is not None else -float("inf")
        if expected.gt is not None and not value > expected.gt:
            return self._bad(
                node, path, f"found {node.scalar}. Expected more than {expected.gt:g}."
            )
        high = expected.le if expected.le is not None else float("inf")
        if not low <= value <= high:
            return self._bad(node, path, f"found {node.scalar}. Expected {low:g} to {high:g}.")
        return int(value) if is_whole else value

    def _boolean(self, node: Node, _expected: inspect.BoolType, path: _Path) -> Any:
        if node.scalar in _BOOLEANS and node.is_plain:
            return _BOOLEANS[node.scalar]
        return self._bad(node, path, f"found {node.kind}. Expected true or false.")


def _reads_as_other(text: str) -> bool:
    """Whether a YAML reader may take plain text for a boolean, a number or a time."""
    lowered = text.lower()
    return (
        lowered in _BOOLEANS
        or lowered in _BOOLEAN_TRAPS
        or re.fullmatch(r"[-+.]?\d[\d_.:e+-]*", lowered) is not None
    )
