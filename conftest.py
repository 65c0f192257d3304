"""Leave the torch rooms out of a test run that has no torch; `make test-train` has it."""

from importlib.util import find_spec

_TORCH_ROOMS = ["guardkit/train/*", "guardkit/export/*", "tests/training"]
collect_ignore_glob = [] if find_spec("torch") else _TORCH_ROOMS
