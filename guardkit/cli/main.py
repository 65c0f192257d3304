"""`guardkit`: parse the command line, run one verb, turn errors into exit codes.

Exit codes: 0 clean, 1 a rule fired at or above --fail-on (or a case failed), 2 an error.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import guardkit
from guardkit.cli import (
    bench,
    check,
    doctor,
    evaluate,
    export,
    models,
    policy,
    scan,
    train,
    triton,
)
from guardkit.errors import GuardkitError

CLEAN, FIRED, ERROR = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    >>> main(["policy", "validate", "policies/chat.yaml"])
    policies/chat.yaml: valid
    0
    """
    parser = build_parser()
    args = parser.parse_args(arguments)
    try:
        return int(args.run(args))
    except GuardkitError as e:
        print(e, file=sys.stderr)
    except BrokenPipeError:  # the reader of our output went away: nothing is left to say
        sys.stderr.close()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    return ERROR


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="guardkit",
        description="Check prompts and outputs against a policy, offline.",
        epilog="exit codes: 0 clean, 1 a rule fired at or above --fail-on, 2 an error",
    )
    parser.add_argument("--version", action="version", version=f"guardkit {guardkit.__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for verb in (check, scan, policy, models, doctor, train, export, triton, bench, evaluate):
        verb.add(verbs)
    return parser


if __name__ == "__main__":
    sys.exit(main())
