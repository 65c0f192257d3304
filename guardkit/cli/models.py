"""`guardkit models list | verify`."""

from __future__ import annotations

import argparse

from guardkit.artifacts import (
    Artifact,
    RunnerOptions,
    list_artifacts,
)
from guardkit.cli.shared import Verbs, add_verb, named_artifact, print_json
from guardkit.export.verify import verify
from guardkit.runtime.base import open_runner

_DIGITS = 6  # an image model's scores are held to 0.0001
_GRAPH_ONLY = ("text-rewriting", "shapes-world")


def add(verbs: Verbs) -> None:
    """Add the verb and its sub-verbs."""
    parser = add_verb(
        verbs, "models", text="list and verify models", example="guardkit models verify"
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = add_verb(
        actions, "list", text="every model that can be found", example="guardkit models list"
    )
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=run_list)
    check = add_verb(
        actions,
        "verify",
        text="check digests, graph and outputs of models; exit with 2 at the first fault",
        example="guardkit models verify text-safety",
    )
    check.add_argument("models", nargs="*", metavar="MODEL", help="name or folder; none: all")
    check.add_argument("--json", action="store_true")
    check.set_defaults(run=run_verify)


def run_list(args: argparse.Namespace) -> int:
    """List models."""
    artifacts = list_artifacts()
    if args.json:
        print_json([_describe(artifact) for artifact in artifacts])
        return 0
    for artifact in artifacts:
        about = _describe(artifact)
        print(
            f"{artifact.manifest.id}  {about['precision']}, {about['size_mb']} MB, {artifact.path}"
        )
        filtered = artifact.manifest.bottleneck
        print(
            f"  filters what {filtered.layer} of {filtered.base} gives"
            if filtered
            else f"  scores {', '.join(artifact.manifest.categories)}"
        )
    return 0


def _describe(artifact: Artifact) -> dict[str, object]:
    manifest = artifact.manifest
    size = sum(entry.size_bytes for entry in manifest.files.values())
    return {
        "name": manifest.name,
        "version": manifest.version,
        "precision": manifest.precision,
        "size_mb": round(size / 1e6, 1),
        "categories": list(manifest.categories),
        "licence": manifest.licence,
        "path": str(artifact.path),
    }


def run_verify(args: argparse.Namespace) -> int:
    """Verify models."""
    artifacts = [named_artifact(name) for name in args.models] or list_artifacts()
    reports: list[dict[str, object]] = []
    for artifact in artifacts:
        manifest = artifact.manifest
        if manifest.fitted is not None or manifest.task in _GRAPH_ONLY:
            reports.append(_verify_graph(artifact, quiet=args.json))
            continue
        parity = verify(artifact)
        reports.append(
            {
                "model": artifact.manifest.id,
                "files": len(artifact.manifest.files),
                f"{parity.of}_differ_by": round(parity.worst, _DIGITS),
                "allowed": parity.tolerance,
            }
        )
        if not args.json:
            print(
                f"{artifact.manifest.id}: {len(artifact.manifest.files)} files as described, {parity.of} "
                f"within {parity.worst:.{_DIGITS}f} of the reference (allowed {parity.tolerance})"
            )
    if args.json:
        print_json(reports)
    return 0


def _verify_graph(artifact: Artifact, *, quiet: bool) -> dict[str, object]:
    """A fast tier, a rewriter and shapes world have no reference outputs: what is said of them was measured on these very graphs."""
    artifact.verify()
    open_runner(artifact, RunnerOptions())
    files = len(artifact.manifest.files)
    if not quiet:
        print(f"{artifact.manifest.id}: {files} files and the graph as described")
    return {"model": artifact.manifest.id, "files": files}
