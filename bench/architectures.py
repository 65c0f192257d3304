"""A whole check beside the bare encoders of other guards, and beside this machine's own GEMM: `make bench-architectures`.

    python -m bench.architectures --out bench/results/architectures.json

The architectures of Detoxify (BERT-base), LLM Guard's toxicity scanner (RoBERTa-base) and Prompt Guard 2 22M
(DeBERTa-v3-xsmall) with random weights, in onnxruntime as their users export them (fp32), and int8 where somebody
would quantize them (dynamic, signed). An encoder's speed does not depend on its weights; what they detect is not
measured here. They get token ids, without tokenizing, and one window of so many tokens; guardkit gets the text: normalize,
tokenize, the int8 model, decision; no cascade. CPU time, one thread, one call in flight, everything in turn.

Roofline: multiply-adds of the linear layers and of attention, by the time of the bare graph, beside the best rate that
onnxruntime reaches here on one large product of the same kind (fp32 MatMul, int8 MatMulInteger).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from msgspec.structs import replace
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    PretrainedConfig,
    RobertaConfig,
)

from bench.tables import rendered
from guardkit import Guard
from guardkit.artifacts import RunnerOptions, find_artifact
from guardkit.bench.machine import describe_machine, load_average
from guardkit.bench.quantiles import median_interval
from guardkit.bench.workload import PROMPTS, load_workload
from guardkit.export.quantize import quantize_any
from guardkit.export.to_onnx import export_onnx
from guardkit.policy.load import load_preset
from guardkit.runtime.base import open_runner

_BUCKETS = ("16", "32", "128")
_TEXTS = 20
_ROUNDS = {"16": 6, "32": 6, "128": 2}
_GEMM = (512, 1024, 1024)  # large enough for the best rate, small enough for a second
CONFIGS: Mapping[str, PretrainedConfig] = {
    "BERT-base (Detoxify)": BertConfig(num_labels=7),
    "RoBERTa-base (LLM Guard)": RobertaConfig(
        num_labels=16, vocab_size=50265, max_position_embeddings=514, type_vocab_size=1
    ),
    "DeBERTa-v3-xsmall (Prompt Guard 2 22M)": DebertaV2Config(
        num_labels=2,
        vocab_size=128100,
        hidden_size=384,
        num_attention_heads=6,
        intermediate_size=1536,
        num_hidden_layers=12,
        type_vocab_size=0,
        relative_attention=True,
        position_buckets=256,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
    ),
}
Arrays = dict[str, NDArray[np.int64]]


class _Logits(nn.Module):
    """A classifier that gives its logits as a tensor."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """int64 [B, T] to f32 [B, labels]."""
        logits: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("bench/results/architectures.json"))
    arguments = parser.parse_args()
    before = load_average()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    machine = describe_machine(load_before=before)
    quiet = "" if machine.is_quiet else ", NOT QUIET"
    found["models"].append(f"{machine.name}, load {before:.1f} before{quiet}, one thread")
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(rendered(found))
    return 0


def measure(folder: Path) -> dict[str, Any]:
    """Every table."""
    policy = load_preset("chat")
    guard = Guard(replace(policy, models={"text-safety": RunnerOptions(cascade=False)}))
    sessions = dict(open_all(folder))
    buckets = load_workload(PROMPTS).buckets
    costs = {
        tokens: compare(guard, sessions, tokens, buckets[tokens][:_TEXTS]) for tokens in _BUCKETS
    }
    return {
        "models": [f"{info.name}@{info.version} {info.precision}" for info in guard.info()],
        **{f"one prompt of {tokens} tokens": rows for tokens, rows in costs.items()},
        "roofline of text-safety, bare graph": roofline(),
    }


def open_all(folder: Path) -> list[tuple[str, Any]]:
    """Every architecture in fp32 and int8."""
    opened = []
    torch.manual_seed(0)
    for number, (name, config) in enumerate(CONFIGS.items()):
        fp32, int8 = folder / f"{number}.onnx", folder / f"{number}-int8.onnx"
        model = AutoModelForSequenceClassification.from_config(config).eval()
        export_onnx(_Logits(model), fp32, outputs=("logits",))
        quantize_any(fp32, int8)
        opened += [(f"{name}, fp32", _session(fp32)), (f"{name}, int8", _session(int8))]
        fp32.unlink()
    return opened


def _session(graph: Path | bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    source = graph if isinstance(graph, bytes) else str(graph)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def compare(
    guard: Guard, sessions: Mapping[str, Any], tokens: str, texts: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Costs of a check and of each encoder, text by text in turn; ratios are of neighbours."""
    ids = np.random.default_rng(0).integers(100, 20_000, (1, int(tokens)))
    arrays = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    calls: dict[str, Callable[[], object]] = {
        name: (lambda session=session: session.run(None, arrays))  # type: ignore[misc]
        for name, session in sessions.items()
    }
    own: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(_ROUNDS[tokens] + 1):
        for text in texts if turn else texts[:2]:
            took = _cpu_ms(lambda text=text: guard.check_prompt(text))  # type: ignore[misc]
            others = {name: _cpu_ms(call) for name, call in calls.items()}
            if turn:  # the first turn warms up
                own.append(took)
                for name, ms in others.items():
                    theirs[name].append(ms)
    rows = [
        {
            "what": "guardkit, the whole check",
            "CPU ms": f"{statistics.median(own):.2f}",
            "times": "1",
        }
    ]
    for name, took_ms in theirs.items():
        ratio = median_interval([ms / mine for ms, mine in zip(took_ms, own, strict=True)])
        rows.append(
            {
                "what": name,
                "CPU ms": f"{statistics.median(took_ms):.2f}",
                "times": f"{ratio.median:.1f} [{ratio.low:.1f}, {ratio.high:.1f}]",
            }
        )
    return rows


def _cpu_ms(call: Callable[[], object]) -> float:
    started = time.process_time_ns()
    call()
    return (time.process_time_ns() - started) / 1e6


def roofline() -> list[dict[str, Any]]:
    """How near the graph comes to the best int8 and fp32 product of this machine."""
    peaks = {"fp32": _peak("MatMul"), "int8": _peak("MatMulInteger")}
    artifact = find_artifact("text-safety")
    runner = open_runner(artifact, RunnerOptions())
    rows = [
        {"what": f"peak {kind}", "G multiply-adds/s": f"{peak:.1f}"} for kind, peak in peaks.items()
    ]
    for tokens in (8, 16, 32, 64, 128):
        ids = np.random.default_rng(tokens).integers(1000, 20_000, (1, tokens))
        arrays = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        ms = statistics.median(_cpu_ms(lambda arrays=arrays: runner.run(arrays)) for _ in range(60))  # type: ignore[misc]
        rate = multiply_adds(tokens) / ms / 1e6
        rows.append(
            {
                "what": f"{tokens} tokens",
                "G multiply-adds/s": f"{rate:.1f}",
                "of int8 peak": f"{100 * rate / peaks['int8']:.0f} %",
                "of fp32 peak": f"{100 * rate / peaks['fp32']:.0f} %",
            }
        )
    return rows


def multiply_adds(tokens: int, *, layers: int = 6, hidden: int = 384, inner: int = 1536) -> int:
    """Of MiniLM-L6: four projections and two feed-forward products a token, and two products of attention.

    >>> multiply_adds(1) == 6 * (4 * 384**2 + 2 * 384 * 1536 + 2 * 384)
    True
    """
    linear = tokens * (4 * hidden**2 + 2 * hidden * inner)
    return layers * (linear + 2 * tokens**2 * hidden)


def _peak(operation: str) -> float:
    """10^9 multiply-adds a second of one large product; the best of many."""
    rows, inner, columns = _GEMM
    is_int8 = operation == "MatMulInteger"
    left, out = (
        (TensorProto.UINT8, TensorProto.INT32)
        if is_int8
        else (TensorProto.FLOAT, TensorProto.FLOAT)
    )
    rng = np.random.default_rng(0)
    weights = rng.integers(-127, 127, (inner, columns)).astype(np.int8 if is_int8 else np.float32)
    graph = helper.make_graph(
        [helper.make_node(operation, ["x", "w"], ["y"])],
        "peak",
        [helper.make_tensor_value_info("x", left, [rows, inner])],
        [helper.make_tensor_value_info("y", out, [rows, columns])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = _session(model.SerializeToString())
    x = {"x": rng.integers(0, 255, (rows, inner)).astype(np.uint8 if is_int8 else np.float32)}
    best_ms = min(_cpu_ms(lambda: session.run(None, x)) for _ in range(40))
    return rows * inner * columns / best_ms / 1e6


if __name__ == "__main__":
    sys.exit(main())
