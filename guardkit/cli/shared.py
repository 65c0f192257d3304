"""What several verbs need: finding a policy, printing JSON."""

from __future__ import annotations

import argparse
import json
import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from guardkit.artifacts import Artifact, find_artifact, load_artifact
from guardkit.errors import MissingExtraError
from guardkit.policy.load import find_policy, load_policy
from guardkit.policy.rules import Policy

Verbs = Any  # argparse names the type of add_subparsers only privately


def add_verb(verbs: Verbs, name: str, *, text: str, example: str) -> argparse.ArgumentParser:
    """A sub-command whose --help ends with an example."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=text,
        description=text,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def policy_file(name: str) -> Path:
    """A policy by preset name or path."""
    path = Path(name)
    return path if path.suffix == ".yaml" or path.exists() else find_policy(name)


def read_policy(name: str) -> Policy:
    """A policy by preset name or path, read."""
    return load_policy(policy_file(name))


def named_artifact(name: str) -> Artifact:
    """An artifact by name or folder."""
    return load_artifact(Path(name)) if Path(name).is_dir() else find_artifact(name)


def positive(text: str) -> int:
    """An argument that is a number of things, at least one."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def at_least_zero(text: str) -> int:
    """An argument that is a number of things, or none."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 0")
    return value


def print_json(value: Any) -> None:
    """One JSON document on one line, for scripts."""
    print(json.dumps(value, ensure_ascii=False))


def log_progress() -> None:
    """Have a command say how far it is."""
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("guardkit").setLevel(logging.INFO)


def require_torch(feature: str, extra: str) -> None:
    """Say which extra is missing before a long import fails.

    Raises:
        MissingExtraError: torch is not installed.
    """
    if find_spec("torch") is None:
        raise MissingExtraError(feature, extra)
