"""Another model in the place of a policy's own: the same rules, other scores."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from guardkit.artifacts import RunnerOptions, find_artifact, load_artifact
from guardkit.policy.rules import Policy
from guardkit.steps import BLOCKLIST


def with_model(policy: Policy, name: str) -> Policy:
    """The policy's prompt stage, scored by one other model; word lists stay.

    Args:
        policy: Any; one without a prompt stage comes back as it is.
        name: The name of an artifact, or a folder that holds one.

    Raises:
        ArtifactError: There is no such artifact, or its manifest cannot be used.
    """
    if policy.prompt is None:
        return policy
    folder = Path(name)
    is_folder = (folder / "manifest.json").is_file()
    artifact = load_artifact(folder) if is_folder else find_artifact(name)
    model = artifact.manifest.name
    options = replace(policy.models.get(model, RunnerOptions()), path=str(artifact.path))
    lists = tuple(scorer for scorer in policy.prompt.scorers if scorer == BLOCKLIST)
    # The other stages go: they are not measured, and their models need not be opened.
    return Policy(
        policy.policy,
        version=policy.version,
        description=policy.description,
        prompt=replace(policy.prompt, scorers=(*lists, model)),
        on_failure=policy.on_failure,
        timeout_ms=policy.timeout_ms,
        on_timeout=policy.on_timeout,
        limits=policy.limits,
        mode=policy.mode,
        lists=policy.lists,
        models={model: options},
    )
