"""Strict YAML to `Policy`: every fault in one go, each with file, line, column and what to do."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec

from guardkit.errors import Fault, PolicyError
from guardkit.places import POLICIES
from guardkit.policy.meaning import Known, check_meaning
from guardkit.policy.rules import Policy
from guardkit.policy.shape import BAD, check_shape, nearest
from guardkit.policy.tree import Node, path_text, read_tree

_SUFFIX = ".yaml"


def load_policy(path: str | Path, *, known: Known | None = None) -> Policy:
    """Read a policy file.

    Args:
        path: The YAML file.
        known: Scorers and editors beside the shipped ones.

    Raises:
        PolicyError: The file, or one it extends, has faults; all of them are in `faults`.
    """
    file = Path(path)
    faults: list[Fault] = []
    tree = _with_concepts(_read_extended(file, faults, ()), faults)
    data = check_shape(tree, Policy, faults)
    if isinstance(data, dict):
        _read_lists(data, tree, faults)
        _resolve_paths(data, tree)
        for where, problem in check_meaning(data, known or Known()):
            faults.append(tree.at(where).fault(path_text(where), problem))
    if faults:
        raise PolicyError(faults)
    return msgspec.convert(data, Policy)


def load_preset(name: str, *, known: Known | None = None) -> Policy:
    """Read a shipped policy by name.

    Raises:
        PolicyError: There is none of that name, or it has faults.
    """
    return load_policy(find_policy(name), known=known)


def find_policy(name: str) -> Path:
    """The file of a shipped policy.

    Raises:
        PolicyError: It is in none of the places; the message lists the policies that are.
    """
    for folder in POLICIES.folders():
        if (folder / f"{name}{_SUFFIX}").is_file():
            return folder / f"{name}{_SUFFIX}"
    presets = list_policies()
    problem = f"no policy '{name}'. Known: {', '.join(presets) or 'none'}.{nearest(name, presets)}"
    raise PolicyError([Fault(name, 1, 1, "", problem)])


def list_policies() -> dict[str, Path]:
    """Every shipped policy that can be found: name -> file."""
    found: dict[str, Path] = {}
    for folder in POLICIES.folders():
        for file in sorted(folder.glob(f"*{_SUFFIX}")):
            if not file.name.endswith(f".cases{_SUFFIX}"):
                found.setdefault(file.stem, file)
    return found


# --- extends --------------------------------------------------------------------------------------


def _read_extended(file: Path, faults: list[Fault], children: tuple[Path, ...]) -> Node:
    """Read a file and lay it over the one it extends; every node keeps its own place."""
    tree = read_tree(file, faults)
    parent_name = (tree.mapping or {}).get("extends")
    if parent_name is None or parent_name.is_null or parent_name.scalar is None:
        return tree
    try:
        parent = _parent_file(parent_name.scalar, file)
        if parent.resolve() in (*children, file.resolve()):
            faults.append(
                parent_name.fault("extends", f"'{parent_name.scalar}' extends this file.")
            )
            return tree
        return _overlay(_read_extended(parent, faults, (*children, file.resolve())), tree)
    except PolicyError as e:
        faults += [parent_name.fault("extends", f"cannot be used: {one}") for one in e.faults]
        return tree


def _parent_file(name: str, file: Path) -> Path:
    """A name is a shipped policy; anything that ends in `.yaml` is a path beside the file."""
    return file.parent / name if name.endswith(_SUFFIX) else find_policy(name)


def _overlay(parent: Node, child: Node) -> Node:
    """Mappings merge key by key, rules merge by name, anything else of the child replaces."""
    if parent.mapping is None or child.mapping is None:
        return child
    merged = dict(parent.mapping)
    for key, value in child.mapping.items():
        below = merged.get(key)
        if below is None:
            merged[key] = value
        elif key == "rules" and below.items is not None and value.items is not None:
            merged[key] = dataclasses.replace(value, items=_overlay_rules(below.items, value.items))
        else:
            merged[key] = _overlay(below, value)
    return dataclasses.replace(child, mapping=merged, keys={**parent.keys, **child.keys})


def _overlay_rules(parent: Collection[Node], child: Collection[Node]) -> list[Node]:
    replaced = {_rule_name(rule) for rule in child}
    return [rule for rule in parent if _rule_name(rule) not in replaced] + list(child)


def _rule_name(rule: Node) -> str | None:
    name = (rule.mapping or {}).get("name")
    return name.scalar if name else None


# --- concepts and lists ----------------------------------------------------------------------------------------


def _with_concepts(tree: Node, faults: list[Fault]) -> Node:
    """Lay a policy's concepts over those of its file, so that its digest covers both."""
    named = (tree.mapping or {}).get("concepts_file")
    if named is None or named.scalar is None or named.is_null:
        return tree
    merged = dict(tree.mapping or {})
    del merged["concepts_file"]
    try:
        shared = read_tree(Path(named.file).parent / named.scalar, faults)
        own = merged.get("concepts")
        merged["concepts"] = shared if own is None else _overlay(shared, own)
    except PolicyError as e:
        faults += [named.fault("concepts_file", f"cannot be used: {one}") for one in e.faults]
    return dataclasses.replace(tree, mapping=merged)


def _read_lists(data: dict[str, Any], tree: Node, faults: list[Fault]) -> None:
    """Put the entries of list files in the policy, so that its digest covers them."""
    lists = data.get("lists")
    for name, entries in (lists if isinstance(lists, dict) else {}).items():
        if not isinstance(entries, dict):
            continue
        for kind in ("block", "allow"):
            file = entries.pop(f"{kind}_file", None)
            if isinstance(file, str):
                node = tree.at(("lists", name, f"{kind}_file"))
                words = _read_words(file, node, path_text(("lists", name, f"{kind}_file")), faults)
                entries[kind] = [*_clean(entries.get(kind)), *words]


_PATHS = (
    ("path",),
    ("cache",),
    ("tensorrt", "cache"),
    *(("triton", "tls", key) for key in ("ca", "certificate", "key")),
)
"""Where a model's options hold a path."""


def _resolve_paths(data: dict[str, Any], tree: Node) -> None:
    """A model's paths are meant from the file that names them."""
    models = data.get("models")
    for name in models if isinstance(models, dict) else ():
        for path in _PATHS:
            _resolve(data, ("models", name, *path), tree)


def _resolve(data: dict[str, Any], where: tuple[str, ...], tree: Node) -> None:
    holder: Any = data
    for key in where[:-1]:
        holder = holder.get(key) if isinstance(holder, dict) else None
    if isinstance(holder, dict) and isinstance(holder.get(where[-1]), str):
        folder = Path(tree.at(where).file).parent.absolute()
        holder[where[-1]] = str(folder / holder[where[-1]])


def _clean(values: object) -> list[str]:
    return [value for value in values if value is not BAD] if isinstance(values, list) else []


def _read_words(file: str, node: Node, where: str, faults: list[Fault]) -> list[Any]:
    path = Path(node.file).parent / file
    try:
        lines = path.read_text("utf-8-sig").splitlines()  # some editors put a mark in front
    except (OSError, UnicodeDecodeError) as e:
        faults.append(node.fault(where, f"{path} cannot be read ({type(e).__name__})."))
        return [BAD]
    return [word for line in lines if (word := line.split("#")[0].strip())]


def policy_from_dict(data: Mapping[str, Any], *, known: Known | None = None) -> Policy:
    """Build a policy from plain values, held to the same meaning as a file.

    Raises:
        PolicyError: A value does not fit; the position of each fault is its path.
    """
    try:
        policy = msgspec.convert(data, Policy)
    except msgspec.ValidationError as e:
        raise PolicyError([Fault("<dict>", 1, 1, "", str(e))]) from e
    faults = [
        Fault("<dict>", 1, 1, path_text(where), problem)
        for where, problem in check_meaning(msgspec.to_builtins(policy), known or Known())
    ]
    if faults:
        raise PolicyError(faults)
    return policy
