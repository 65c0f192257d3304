"""`guardkit doctor`: what is installed, what is wrong, and how to mend it."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

import guardkit
from guardkit.artifacts import list_artifacts
from guardkit.cli.shared import Verbs, add_verb, print_json
from guardkit.errors import GuardkitError
from guardkit.policy.load import list_policies, load_policy

_RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
_CORE = ("numpy", "tokenizers", "PyYAML", "msgspec")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    what: str
    is_fine: bool
    found: str
    mend: str = ""
    """What to do; empty when nothing is wrong."""


def add(verbs: Verbs) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs,
        "doctor",
        text="say what is installed, what is wrong and how to mend it; exit with 2 when something is",
        example="guardkit doctor",
    )
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look at everything a check needs."""
    findings = list(examine())
    if args.json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            print(f"{'ok ' if finding.is_fine else 'BAD'}  {finding.what:16} {finding.found}")
            if finding.mend:
                print(f"     {'':16} {finding.mend}")
    return 0 if all(finding.is_fine for finding in findings) else 2


def examine() -> Iterator[Finding]:
    """Every finding, in the order a mend would follow."""
    yield Finding("guardkit", True, f"{guardkit.__version__}, Python {platform.python_version()}")
    yield Finding("core", True, ", ".join(f"{name} {version(name)}" for name in _CORE))
    yield examine_runtime({name: _version(name) for name in _RUNTIMES})
    yield from _examine_models()
    yield from _examine_policies()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def examine_runtime(installed: dict[str, str | None]) -> Finding:
    """Exactly one runtime: both packages own the module `onnxruntime` and break each other."""
    present = {name: found for name, found in installed.items() if found}
    found = ", ".join(f"{name} {number}" for name, number in present.items()) or "none"
    if not present:
        return Finding("runtime", False, found, 'Run: pip install "guardkit[cpu]"')
    if len(present) > 1:
        mend = f"Keep one. Run: pip uninstall {' '.join(present)}, then install guardkit[cpu] or [gpu]."
        return Finding("runtime", False, found, mend)
    try:
        import onnxruntime  # what is installed may still be broken
    except ImportError as e:
        mend = f"Run: pip install --force-reinstall {next(iter(present))}"
        return Finding("runtime", False, f"{found}, but it cannot be imported ({e.name})", mend)
    providers = onnxruntime.get_available_providers()
    if "CPUExecutionProvider" not in providers:
        return Finding("runtime", False, f"{found}: no CPU provider", "Reinstall the runtime.")
    return Finding("runtime", True, f"{found}: {', '.join(providers)}")


def _examine_models() -> Iterator[Finding]:
    try:
        artifacts = list_artifacts()
    except GuardkitError as e:
        yield Finding("models", False, str(e), "Reinstall guardkit or remove the broken folder.")
        return
    if not artifacts:
        mend = "Reinstall guardkit, or set GUARDKIT_MODELS to the folder that holds them."
        yield Finding("models", False, "none found", mend)
    for artifact in artifacts:
        try:
            artifact.verify()
        except GuardkitError as e:
            yield Finding(f"model {artifact.manifest.name}", False, str(e), "Reinstall guardkit.")
        else:
            about = f"{artifact.manifest.version}, {artifact.manifest.precision}, {artifact.path}"
            yield Finding(f"model {artifact.manifest.name}", True, about)


def _examine_policies() -> Iterator[Finding]:
    policies = list_policies()
    if not policies:
        mend = "Reinstall guardkit, or set GUARDKIT_POLICIES to the folder that holds them."
        yield Finding("policies", False, "none found", mend)
    for name, file in policies.items():
        try:
            load_policy(file)
        except GuardkitError as e:
            yield Finding(f"policy {name}", False, str(e), "Mend the file or the missing model.")
        else:
            yield Finding(f"policy {name}", True, str(file))
