"""`guardkit triton repository`: what a Triton server needs to serve a policy."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from guardkit.cli.shared import Verbs, add_verb, positive, read_policy
from guardkit.serve.config import Backend, Serving
from guardkit.serve.repository import write_repository


def add(verbs: Verbs) -> None:
    """Add the verb."""
    parser = add_verb(
        verbs,
        "triton",
        text="serve a policy and its models with NVIDIA's Triton Inference Server",
        example="guardkit triton repository serving --policy chat",
    )
    kinds = parser.add_subparsers(metavar="WHAT", required=True)
    repository = add_verb(
        kinds,
        "repository",
        text="write a model repository, a Dockerfile, a compose file and Kubernetes manifests",
        example="guardkit triton repository serving --policy chat --instances 4",
    )
    usual = Serving()
    repository.add_argument("out", type=Path, help="a new folder")
    repository.add_argument("--policy", default="text-to-image", help="a preset or a .yaml file")
    repository.add_argument(
        "--backend",
        choices=get_args(Backend),
        default=usual.backend,
        help="what runs the graphs; python: guardkit's own onnxruntime",
    )
    repository.add_argument("--device", choices=("cpu", "gpu"), default=usual.device)
    repository.add_argument(
        "--instances", type=positive, default=usual.instances, help="runs at a time, a model"
    )
    repository.add_argument(
        "--guards", type=positive, default=usual.guards, help="processes of the model guard"
    )
    repository.add_argument(
        "--queue-delay-us",
        type=int,
        default=usual.queue_delay_us,
        help="how long a request waits for others to be run with (default: 0)",
    )
    repository.add_argument(
        "--most-queued", type=positive, default=usual.most_queued, help="requests that may wait"
    )
    repository.add_argument(
        "--response-cache", action="store_true", help="answer a repeated text from memory"
    )
    repository.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the repository."""
    serving = Serving(
        backend=args.backend,
        device=args.device,
        instances=args.instances,
        guards=args.guards,
        queue_delay_us=args.queue_delay_us,
        most_queued=args.most_queued,
        response_cache=args.response_cache,
    )
    written = write_repository(read_policy(args.policy), args.out, serving)
    print(f"wrote {len(written)} files into {args.out}")
    return 0
