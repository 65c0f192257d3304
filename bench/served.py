"""What a Triton server adds to a model run and to a check: `make bench-triton` (its own environment).

    python -m bench.served --out bench/results/served.json

One real server on this machine (see tests/triton), one client, one call in flight. The same arrays go to onnxruntime here
and to the server, in turn, over gRPC and HTTP, and a model that only spins for as long is called: what it costs is the way there
and back on this machine, whose cores fall asleep meanwhile; then the same texts to `check_prompt` here, with its model at the
server, and to the served model `guard`. Likewise a JPEG of 1024x1024 to `check_output`; and its crop, and the three of one of 1792x1024, to a
model that reads them and says nothing: over the connection (copied) and through shared memory (shared), which is what the latter saves.
Wall time, medians of the pairs' differences. The server runs the graph in its python backend, which Triton's own
onnxruntime backend would save.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc
from msgspec.structs import replace
from numpy.typing import NDArray
from PIL import Image

from bench.images import drawn_photograph
from bench.tables import rendered
from guardkit import Guard, Policy
from guardkit.artifacts import RunnerOptions, Triton, find_artifact
from guardkit.bench.machine import describe_machine, load_average
from guardkit.bench.quantiles import median_interval
from guardkit.bench.workload import PROMPTS, load_workload
from guardkit.image.decode import decode
from guardkit.image.prepare import crops_of
from guardkit.policy.load import load_preset
from guardkit.policy.rules import StagePolicy
from guardkit.runtime.base import open_runner
from guardkit.runtime.pbtxt import Word, render
from guardkit.runtime.wire import Wire, open_wire
from guardkit.serve.config import Serving
from guardkit.serve.repository import write_repository
from tests.triton.server import TritonServer

_BUCKETS = ("16", "32", "128")
_ROUNDS = 200
_IMAGE_ROUNDS = 100
_IMAGES = StagePolicy(scorers=("image-safety",))
_WAYS = {
    "grpc": ("grpc", False),
    "grpc, shared": ("grpc", True),
    "http": ("http", False),
    "http, shared": ("http", True),
}
_SPIN = """
import time
import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def execute(self, requests):
        until = time.perf_counter() + float(pb_utils.get_input_tensor_by_name(requests[0], "seconds").as_numpy()[0])
        while time.perf_counter() < until:
            pass
        return [pb_utils.InferenceResponse([]) for _ in requests]
"""
_SPIN_CONFIG = {
    "name": "spin",
    "backend": "python",
    "max_batch_size": 0,
    "input": [{"name": "seconds", "data_type": Word("TYPE_FP64"), "dims": [1]}],
    "output": [{"name": "none", "data_type": Word("TYPE_FP64"), "dims": [1]}],
}


_READ = """
import numpy as np
import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def execute(self, requests):
        crops = [pb_utils.get_input_tensor_by_name(one, "crops").as_numpy() for one in requests]
        zeros = [np.zeros((len(one), 2), np.float32) for one in crops]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("logits", one)]) for one in zeros]
"""
_READ_CONFIG = {
    "name": "read",
    "backend": "python",
    "max_batch_size": 0,
    "input": [{"name": "crops", "data_type": Word("TYPE_UINT8"), "dims": [-1, 224, 224, 3]}],
    "output": [{"name": "logits", "data_type": Word("TYPE_FP32"), "dims": [-1, 2]}],
}


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("bench/results/served.json"))
    arguments = parser.parse_args()
    before = load_average()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    machine = describe_machine(load_before=before)
    quiet = "" if machine.is_quiet else ", NOT QUIET"
    found["models"].append(f"{machine.name}, load {before:.1f} before{quiet}")
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(rendered(found))
    return 0


def measure(folder: Path) -> dict[str, Any]:
    """All tables."""
    policy = replace(load_preset("chat"), timeout_ms=None, output_image=_IMAGES)
    write_repository(policy, folder / "serving", Serving(backend="python"))
    for config, code in ((_SPIN_CONFIG, _SPIN), (_READ_CONFIG, _READ)):
        model = folder / "serving" / "models" / str(config["name"])
        (model / "1").mkdir(parents=True)
        (model / "config.pbtxt").write_text(render(config))
        (model / "1" / "model.py").write_text(code)
    server = TritonServer(folder / "serving" / "models", folder)
    server.start()
    try:
        return {
            "models": ["text-safety int8, image-safety fp32, one instance, one thread"],
            "one model run": model_runs(server),
            "one check of 32 tokens, cascade off": checks(policy, server),
            "one check of a JPEG of 1024x1024, image-safety": image_checks(server),
            "its crops there and back, no model run": crossings(server),
        }
    finally:
        server.kill()


def model_runs(server: TritonServer) -> list[dict[str, Any]]:
    """A run here and at the server, on the same arrays."""
    artifact = find_artifact("text-safety")
    here = open_runner(artifact, RunnerOptions())
    served = {
        protocol: open_runner(artifact, at(server, protocol)) for protocol in ("grpc", "http")
    }
    client = tritonclient.grpc.InferenceServerClient(server.grpc)
    rows = []
    for tokens in map(int, _BUCKETS):
        ids = np.random.default_rng(tokens).integers(1000, 20_000, (1, tokens))
        arrays = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        calls = {
            name: (lambda runner=runner, arrays=arrays: runner.run(arrays))
            for name, runner in served.items()
        }  # type: ignore[misc]
        lasts_s = statistics.median(_wall_ms(lambda: here.run(arrays)) for _ in range(30)) / 1000  # noqa: B023  used at once
        calls["a spinning model, grpc"] = lambda: spun(client, lasts_s)  # noqa: B023
        rows += differences(f"{tokens} tokens", lambda: here.run(arrays), calls)  # noqa: B023
    return rows


def spun(client: Any, lasts_s: float) -> None:
    """Call the model that only spins."""
    tensor = tritonclient.grpc.InferInput("seconds", [1], "FP64")
    tensor.set_data_from_numpy(np.array([lasts_s]))
    client.infer("spin", [tensor])


def checks(policy: Policy, server: TritonServer) -> list[dict[str, Any]]:
    """A check here, one whose model is at the server, and one by the served guard."""
    local = Guard(replace(policy, models={"text-safety": RunnerOptions(cascade=False)}))
    remote = Guard(
        replace(policy, models={"text-safety": replace(at(server, "grpc"), cascade=False)})
    )
    client = tritonclient.grpc.InferenceServerClient(server.grpc)
    texts = iter(load_workload(PROMPTS).buckets["32"] * 2 * _ROUNDS)
    text = ""

    def here() -> object:
        nonlocal text
        text = next(texts)
        return local.check_prompt(text)

    def ask() -> object:
        tensor = tritonclient.grpc.InferInput("text", [1, 1], "BYTES")
        # A context keeps the served guard's cascade out of it.
        context = tritonclient.grpc.InferInput("context", [1, 1], "BYTES")
        tensor.set_data_from_numpy(np.array([[text.encode()]], dtype=object))
        context.set_data_from_numpy(np.array([[b'{"audience": "all"}']], dtype=object))
        return client.infer("guard", [tensor, context])

    calls = {"model at the server": lambda: remote.check_prompt(text), "served guard": ask}
    return differences("check_prompt", here, calls)


def image_checks(server: TritonServer) -> list[dict[str, Any]]:
    """A check of an image here, and with its model at the server."""
    file = io.BytesIO()
    Image.fromarray(drawn_photograph(1024, 1024)).save(file, "JPEG", quality=90)

    def check(options: RunnerOptions) -> Callable[[], object]:
        models = {"image-safety": options}
        guard = Guard(Policy(policy="images", output_image=_IMAGES, models=models))
        return lambda: guard.check_output(image=file.getvalue())

    calls = {f"model at the server, {name}": check(at(server, *way)) for name, way in _WAYS.items()}
    return differences("check_output", check(RunnerOptions()), calls, rounds=_IMAGE_ROUNDS)


def crossings(server: TritonServer) -> list[dict[str, Any]]:
    """The same crops to a model that only reads them, copied and shared."""
    wires = {name: open_wire(_triton(server, *way)) for name, way in _WAYS.items()}
    rows = []
    for size in ((1024, 1024), (1792, 1024)):
        crops = crops_of(decode(drawn_photograph(*size)), side=224)
        for protocol in ("grpc", "http"):
            shared = f"{protocol}, shared"
            rows += differences(
                f"{len(crops)} of {size[0]}x{size[1]}",
                functools.partial(sent, wires[protocol], crops),
                {shared: functools.partial(sent, wires[shared], crops)},
                names=("copied", "shared"),
            )
    return rows


def sent(wire: Wire, crops: NDArray[np.uint8]) -> None:
    """Send crops, and wait for the answer."""
    wire.infer("read", {"crops": crops}, ["logits"], 5.0)


def at(server: TritonServer, protocol: str, is_shared: bool = False) -> RunnerOptions:
    """A model at the server; nothing is padded that is not padded here."""
    return RunnerOptions(backend="triton", triton=_triton(server, protocol, is_shared))


def _triton(server: TritonServer, protocol: str, is_shared: bool) -> Triton:
    url = server.grpc if protocol == "grpc" else server.http
    return Triton(url=url, protocol=protocol, shared_memory=is_shared)  # type: ignore[arg-type]


def differences(
    what: str,
    here: Callable[[], object],
    calls: Mapping[str, Callable[[], object]],
    *,
    rounds: int = _ROUNDS,
    names: tuple[str, str] = ("here", "there"),
) -> list[dict[str, Any]]:
    """Wall milliseconds of a call and of others, in turn; the first tenth warms up.

    Args:
        what: The row's beginning.
        here: The call that the others are held against.
        calls: Name -> another one.
        rounds: How often each is made.
        names: Columns of `here` and of the others.
    """
    own: list[float] = []
    others: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        own.append(_wall_ms(here))
        for name, call in calls.items():
            others[name].append(_wall_ms(call))
    first = rounds // 10
    rows = []
    for name, took in others.items():
        extra = median_interval([b - a for a, b in zip(own[first:], took[first:], strict=True)])
        rows.append(
            {
                "what": f"{what}, {name}",
                f"{names[0]} p50 ms": f"{statistics.median(own[first:]):.2f}",
                f"{names[1]} p50 ms": f"{statistics.median(took[first:]):.2f}",
                "more ms": f"{extra.median:.2f} [{extra.low:.2f}, {extra.high:.2f}]",
            }
        )
    return rows


def _wall_ms(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    sys.exit(main())
