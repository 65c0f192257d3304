"""Leave the torch rooms out of a test run that has no torch; `make test-train` has it."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("torch") else ["guardkit/train/*", "guardkit/export/*"]
