"""What `guardkit export hf` is asked for, and what exports of texts and of images have in common."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guardkit.artifacts import Calibration
from guardkit.errors import InputError
from guardkit.export.artifact import check_name, fit_platt
from guardkit.export.hf_model import Head, Network, Task

PRECISIONS = ("fp32", "int8")
TASKS = tuple(task.value for task in Task)
_LEAST_EXAMPLES = 10  # chosen: of each kind, to fit two numbers


@dataclass(frozen=True, slots=True)
class Request:
    """What to make of which classifier."""

    model: str
    """A local folder, or a name of the hub."""
    labels: Path
    """The label map; see `label_map`."""
    name: str
    """Of the artifact, kebab-case."""
    task: Task = Task.TEXT
    precision: str = "fp32"
    languages: tuple[str, ...] = ()
    """ISO 639-1 codes it knows; (): nobody said, and it takes any."""
    licence: str = "not stated"
    version: str = "0.1.0"
    max_tokens: int = 128
    overlap: int = 32


@dataclass(frozen=True, slots=True)
class Examples:
    """Labelled texts or pictures that calibrate."""

    file: str
    items: Sequence[Any] = field(repr=False)
    """Texts, or paths of pictures."""
    truth: Mapping[str, NDArray[np.bool_]]
    """Category -> bool [items]."""
    known: Mapping[str, NDArray[np.bool_]]
    """Category -> bool [items]: where `truth` means something."""


def check_request(request: Request, out: Path) -> None:
    """Hold the artifact's name to what a policy can name, and to what is there already.

    Raises:
        InputError: It cannot be used.
    """
    check_name(request.name)
    if (out / request.name).exists():
        raise InputError(
            f"{out / request.name}: exists already. Remove it, or choose another --name or --out."
        )


def check_columns(request: Request, plain: Network, columns: Mapping[str, Sequence[int]]) -> None:
    """No category of a softmax head may have every label: its score would be 1 for anything.

    Raises:
        InputError: One has.
    """
    full = [name for name, own in columns.items() if len(own) == len(plain.labels)]
    if plain.head is Head.SOFTMAX and full:
        raise InputError(
            f"{request.labels}: {full[0]}: mapped to all labels of a softmax head, whose "
            "probabilities add up to 1 for any input. Leave out the harmless label. Labels: "
            f"{', '.join(plain.labels)}."
        )


def check_examples(examples: Examples | None, label_map: Mapping[str, object]) -> None:
    """Every category that has labels at all has enough of each kind, and some category has.

    Raises:
        InputError: Too few, or none.
    """
    if examples is None:
        return
    if not examples.truth.keys() & label_map.keys():
        raise InputError(
            f"{examples.file}: no labels for {', '.join(label_map)}. Found labels for "
            f"{', '.join(examples.truth) or 'none'}. Name them like a category of the label map."
        )
    for category in examples.truth.keys() & label_map.keys():
        known = examples.truth[category][examples.known[category]]
        yes, no = int(known.sum()), int((~known).sum())
        if min(yes, no) < _LEAST_EXAMPLES:
            raise InputError(
                f"{examples.file}: '{category}': {yes} positive and {no} negative examples. "
                f"Expected at least {_LEAST_EXAMPLES} of each. Add some, or leave the category out."
            )


@contextmanager
def scratch_in(out: Path) -> Iterator[Path]:
    """A folder beside what it becomes, gone afterwards."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as scratch:
        yield Path(scratch)


@contextmanager
def exporting(request: Request, network: object) -> Iterator[None]:
    """Say in one sentence that torch cannot export a network.

    Raises:
        InputError: It cannot.
    """
    try:
        yield
    except (RuntimeError, ValueError, TypeError) as e:  # what tracing raises, by architecture
        raise InputError(
            f"{request.model}: torch cannot export {type(network).__name__} to onnx "
            f"({type(e).__name__}). Use a classifier of another architecture, for example BERT's."
        ) from e


def fitted(
    examples: Examples, logits: NDArray[np.float64], categories: Sequence[str]
) -> dict[str, Calibration]:
    """Platt scaling of the categories that have labels; the others keep the model's probabilities.

    Args:
        examples: What was scored.
        logits: f64 [items, categories], uncalibrated.
        categories: In the order of the columns.

    Raises:
        InputError: Examples labelled 1 score lower than those labelled 0.
    """
    calibration = {category: Calibration(1.0, 0.0) for category in categories}
    for column, category in enumerate(categories):
        if category not in examples.truth:
            continue
        known = examples.known[category]
        found = fit_platt(logits[known, column], examples.truth[category][known])
        if found.scale <= 0:
            raise InputError(
                f"{examples.file}: '{category}': examples labelled 1 score lower than those "
                "labelled 0. Check the label map, or which way they are labelled."
            )
        calibration[category] = found
    return calibration
