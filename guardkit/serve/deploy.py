"""A Dockerfile, a compose file and Kubernetes manifests for a model repository."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from string import Template

import guardkit
from guardkit.serve.config import Serving

_TEMPLATES = ("Dockerfile", "compose.yaml", "kubernetes.yaml")
_CACHE_BYTES = 64 * 2**20  # chosen: about 50,000 decisions


def deployment_files(serving: Serving, *, extras: Sequence[str] = ("cpu",)) -> dict[str, str]:
    """File name -> content; `extras` are those of guardkit that the served guard needs."""
    has_gpu = serving.device == "gpu"
    gpu = {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    values = {
        "version": guardkit.__version__,
        "extras": ",".join(extras),
        "command": json.dumps(server_command(serving)),
        "devices": json.dumps([gpu] if has_gpu else []),
        "cpus": str(serving.instances + serving.guards),
        "limits": json.dumps({"memory": "2Gi"} | ({"nvidia.com/gpu": 1} if has_gpu else {})),
    }
    folder = files("guardkit.serve") / "templates"
    return {
        name: Template((folder / name).read_text("utf-8")).substitute(values) for name in _TEMPLATES
    }


def server_command(serving: Serving, repository: str = "/guardkit") -> list[str]:
    """How `tritonserver` is started: models stay as they were loaded, and texts are not logged."""
    cache = [f"--cache-config=local,size={_CACHE_BYTES}"] if serving.response_cache else []
    return [
        "tritonserver",
        f"--model-repository={repository}/models",
        "--model-control-mode=none",
        "--exit-on-error=true",
        *cache,
    ]
