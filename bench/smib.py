"""What a bottleneck costs: `python -m bench.smib`.

One call of the exported graph in onnxruntime, one thread, f32: 77 tokens of 768 numbers, the text conditioning of a diffusion model of that width, and
one token, a step of a language model with a cache. To expect, at 2 FLOP a weight and token: 30 MFLOP for the default layer (768 x 128 x 2 weights), 404 MFLOP for the
published shape (768 x 1024, 1024 x 1024, 1024 x 768), so about .4 and 5 ms on a core of 80 GFLOP/s.

Prints a table, and writes bench/results/smib.json. Needs torch, to build the graphs; weights are drawn, for they do not change the time.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from guardkit.bench.machine import describe_machine, load_average
from guardkit.bench.quantiles import percentile
from guardkit.export.smib import AboutBottleneck, export_smib
from guardkit.steer.bottleneck import Bottleneck
from guardkit.train import smib_model
from guardkit.train.smib_model import Form

_D, _WARM, _REPEATS, _BUDGET_MS = 768, 50, 1000, {"default": 1.0, "widest": 1.0, "published": 6.0}
_LAYERS = {
    "default": {"form": Form.RESIDUAL, "width": 128},
    "widest": {"form": Form.RESIDUAL, "width": 256},
    "published": {"form": Form.PUBLISHED},
}


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("bench/results/smib.json"))
    out: Path = parser.parse_args().out
    load = load_average()
    with tempfile.TemporaryDirectory() as folder:
        steps = {name: _step(Path(folder), name, options) for name, options in _LAYERS.items()}
    rows = [
        {"layer": name, "tokens": tokens, "budget_ms": budget, **_measured(step, tokens)}
        for tokens in (77, 1)
        for name, step, budget in ((n, s, _BUDGET_MS[n]) for n, s in steps.items())
    ]
    machine = msgspec.to_builtins(describe_machine(load_before=load))
    found = {"machine": machine, "width": _D, "threads": 1, "precision": "fp32", "warm-up": _WARM, "repeats": _REPEATS, "rows": rows}  # fmt: skip
    out.write_text(json.dumps(found, indent=1) + "\n")
    for row in rows:
        print(f"{row['layer']:10} {row['tokens']:3} tokens   CPU {row['cpu_ms']:.3f} ms   p50 {row['p50_ms']:.3f}  p95 {row['p95_ms']:.3f}  p99 {row['p99_ms']:.3f}   budget {row['budget_ms']}")  # fmt: skip
    print(json.dumps(found))
    return 0


def _step(folder: Path, name: str, options: dict[str, Any]) -> Bottleneck:
    torch.manual_seed(0)
    layer = smib_model.Bottleneck(_D, **options)
    for one in layer.layers:
        torch.nn.init.normal_(one.weight, std=0.02)
    about = AboutBottleneck(f"smib-{name}", "0", "none", base="none", layer="none")
    return Bottleneck(export_smib(layer, folder, about))


def _measured(step: Bottleneck, tokens: int) -> dict[str, float]:
    """Wall milliseconds of a call, and CPU milliseconds, which other work on the machine does not add to."""
    features = np.random.default_rng(0).normal(size=(1, tokens, _D)).astype(np.float32)
    for _ in range(_WARM):
        step(features)
    walls = []
    cpu = time.process_time()
    for _ in range(_REPEATS):
        started = time.perf_counter()
        step(features)
        walls.append((time.perf_counter() - started) * 1000)
    cpu_ms = (time.process_time() - cpu) * 1000 / _REPEATS
    shares = {f"p{at}_ms": round(percentile(walls, at / 100), 4) for at in (50, 95, 99)}
    return {"cpu_ms": round(cpu_ms, 4), **shares}


if __name__ == "__main__":
    sys.exit(main())
