"""Label maps: which labels of somebody's classifier mean which category.

toxicity: toxic
hate: [hate, hate/threatening]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from guardkit.errors import Fault, InputError, PolicyError
from guardkit.policy.shape import nearest
from guardkit.policy.tree import Node, read_tree
from guardkit.taxonomy import TAXONOMY, Stage

TEXT_CATEGORIES = tuple(name for name, row in TAXONOMY.items() if Stage.PROMPT in row.stages)
"""What a text can be scored in."""
IMAGE_CATEGORIES = tuple(name for name, row in TAXONOMY.items() if Stage.OUTPUT_IMAGE in row.stages)
"""What an image can be scored in."""
_FORM = "Expected 'category: label' or 'category: [label, label]'."


def read_label_map(path: Path, labels: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Read a label map and hold it to the labels that a model has.

    Args:
        path: A YAML file, category -> label or list of labels.
        labels: The model's.

    Returns:
        Category -> its labels, categories in the order of the file.

    Raises:
        InputError: The file has faults; the message lists all of them with line and column.
    """
    faults: list[Fault] = []
    try:
        tree = read_tree(path, faults)
    except PolicyError as e:
        raise InputError(f"{e}\n{_FORM}") from e
    if not tree.mapping:
        raise InputError(str(tree.fault("", f"found {tree.kind} without entries. {_FORM}")))
    wanted = {name: _labels_of(node) for name, node in tree.mapping.items()}
    faults += _unknown_categories(tree)
    for name, nodes in wanted.items():
        faults += _faults_of(name, nodes, tree.mapping[name], labels)
    if faults:
        raise InputError("\n".join(map(str, sorted(faults))))
    return {name: tuple(node.scalar or "" for node in nodes) for name, nodes in wanted.items()}


def _labels_of(node: Node) -> list[Node]:
    return [node] if node.items is None else node.items


def _unknown_categories(tree: Node) -> Iterator[Fault]:
    for name, key in tree.keys.items():
        if name not in TEXT_CATEGORIES:
            known = ", ".join(TEXT_CATEGORIES)
            hint = nearest(name, TEXT_CATEGORIES)
            yield key.fault(name, f"unknown category of text '{name}'. Known: {known}.{hint}")


def _faults_of(
    category: str, nodes: Sequence[Node], value: Node, labels: Sequence[str]
) -> Iterator[Fault]:
    if not nodes:
        yield value.fault(category, f"found an empty list. {_FORM}")
    for node in nodes:
        if node.scalar is None or node.is_null:
            yield node.fault(category, f"found {node.kind}. {_FORM}")
        elif node.scalar not in labels:
            hint = nearest(node.scalar, labels)
            yield node.fault(
                category,
                f"the model has no label '{node.scalar}'. Its labels: {', '.join(labels)}.{hint}",
            )


def columns_of(
    label_map: Mapping[str, Sequence[str]], labels: Sequence[str]
) -> dict[str, tuple[int, ...]]:
    """Category -> the columns of the model's logits that its labels name, in ascending order.

    >>> columns_of({"hate": ["slur", "hate"]}, ["fine", "hate", "slur"])
    {'hate': (1, 2)}
    """
    return {
        category: tuple(at for at, label in enumerate(labels) if label in named)
        for category, named in label_map.items()
    }
