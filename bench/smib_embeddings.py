"""SMIB on embeddings: `python -m bench.smib_embeddings --bases FOLDER --data ../shared/data --run FOLDER`.

MiniLM-L6's sentence embeddings (mean of the tokens, not normalized) of short English comments lose whether these are toxic; what they are for, finding
texts of the same meaning, stays. The layer is trained on the pool's `train` rows with their own labels; fresh probes are trained on further rows of it and read
the `valid` rows. Meaning: ParaDetox, which nothing here is trained on: the neutral paraphrase of a rude sentence is to be the nearest of all of them;
and clean texts are to keep their neighbours. Writes --run/minilm (for `guardkit export smib`) and bench/results/smib_embeddings.json. Two CPU minutes.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoModel

from guardkit.metrics.information import lsmi
from guardkit.train.probe import Probe, advantage, probe_accuracy
from guardkit.train.smib import SmibSettings, train_smib
from guardkit.train.smib_features import Features
from guardkit.train.smib_model import Bottleneck

_BASE, _MOST_TOKENS = "minilm-l6", 64
_SOURCES = ("jigsaw_toxic_subset", "wiki_context_toxicity", "toxic_spans", "convabuse", "sbic_dev_test", "hatexplain_binary", "benign_prompts")  # fmt: skip
_ROWS = {"train": 1000, "probe": 500, "valid": 300}
"""Of each class."""
_PAIRS, _NEIGHBOURS = 300, 5
_SETTINGS = SmibSettings(steps=800)
_TRIED = {"erasure alone": SmibSettings(steps=0), "weight 4, 300 steps": SmibSettings(steps=300, weight=4.0, rate=5e-4)}  # fmt: skip
_PROBES = {"linear": Probe(hidden=()), "network": Probe(), "wide network": Probe(hidden=(1024, 384), seed=2)}  # fmt: skip
Rows = NDArray[np.float64]


def main() -> int:
    """Embed, train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bases", required=True, type=Path, help="what get_models.py fetched")
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--run", required=True, type=Path)
    parser.add_argument("--out", type=Path, default=Path("bench/results/smib_embeddings.json"))
    arguments = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    torch.set_num_threads(1)
    arguments.run.mkdir(parents=True, exist_ok=True)
    parts = _embedded(arguments.bases / _BASE, arguments.data, arguments.run / "minilm.npz")
    features = Features.of(parts["train"], np.arange(len(parts["train"])) % 2 == 0)
    layer = train_smib(features, arguments.run / "minilm", _SETTINGS)
    found = {
        "features": "all-MiniLM-L6-v2, mean of the tokens, 384 numbers",
        "rows of each class": _ROWS,
        "settings": asdict(_SETTINGS),
        "toxicity": _toxicity(layer, parts),
        "meaning": _meaning(layer, parts),
        "tried": {name: _tried(features, settings, parts, arguments.run / name.replace(" ", "-")) for name, settings in _TRIED.items()},
    }  # fmt: skip
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))
    return 0


def _tried(features: Features, settings: SmibSettings, parts: dict[str, Rows], work: Path) -> dict[str, Any]:  # fmt: skip
    """What another training would leave and keep."""
    layer = train_smib(features, work, settings)
    return {"toxicity": _toxicity(layer, parts), "meaning": _meaning(layer, parts)}


def _toxicity(layer: Bottleneck, parts: dict[str, Rows]) -> dict[str, Any]:
    """Balanced accuracy of fresh probes on the valid rows, and LSMI there."""
    toxic, held = (np.arange(len(parts[name])) % 2 == 0 for name in ("probe", "valid"))
    found: dict[str, Any] = {}
    for name, how in _PROBES.items():
        told = [
            probe_accuracy(make(parts["probe"]), toxic, make(parts["valid"]), held, how)
            for make in (_same, layer_of(layer))
        ]
        lost = 1 - advantage(told[1]) / advantage(told[0])
        found[name] = {"before": round(told[0], 4), "after": round(told[1], 4), "advantage lost": round(lost, 4)}  # fmt: skip
    # The standard error of an accuracy of .5 on as many rows
    found["standard error at chance"] = round(0.5 / len(held) ** 0.5, 4)
    found["lsmi"] = {name: round(lsmi(make(parts["valid"]), held, seed=1), 4) for name, make in (("before", _same), ("after", layer_of(layer)))}  # fmt: skip
    return found


def _meaning(layer: Bottleneck, parts: dict[str, Rows]) -> dict[str, Any]:
    """Recall at 1 of paraphrases, and how many of the nearest neighbours of clean texts stay."""
    found: dict[str, Any] = {}
    clean = parts["valid"][1::2]
    nearest = [_nearest(make(clean)) for make in (_same, layer_of(layer))]
    shared = [len(set(a) & set(b)) / _NEIGHBOURS for a, b in zip(*nearest, strict=True)]
    found[f"clean texts: share of {_NEIGHBOURS} neighbours kept"] = round(float(np.mean(shared)), 4)
    for name, make in (("before", _same), ("after", layer_of(layer))):
        rude, neutral = _unit(make(parts["rude"])), _unit(make(parts["neutral"]))
        similar = rude @ neutral.T
        found[f"paraphrase found first, of {len(rude)}, {name}"] = round(float((similar.argmax(1) == np.arange(len(rude))).mean()), 4)  # fmt: skip
        found[f"cosine of paraphrases, {name}"] = round(float(np.diag(similar).mean()), 4)
    found["clean texts: cosine to themselves"] = round(float((_unit(clean) * _unit(layer_of(layer)(clean))).sum(1).mean()), 4)  # fmt: skip
    return found


def _same(x: Rows) -> Rows:
    return x


def layer_of(layer: Bottleneck) -> Any:
    """The layer on arrays."""

    def run(x: Rows) -> Rows:
        with torch.no_grad():
            made: Rows = layer(torch.as_tensor(x, dtype=torch.float32)).double().numpy()
        return made

    return run


def _unit(x: Rows) -> Rows:
    made: Rows = x / np.linalg.norm(x, axis=1, keepdims=True)
    return made


def _nearest(x: Rows) -> list[list[int]]:
    similar = _unit(x) @ _unit(x).T
    np.fill_diagonal(similar, -1)
    rows: list[list[int]] = similar.argsort(1)[:, -_NEIGHBOURS:].tolist()
    return rows


def _embedded(base: Path, data: Path, path: Path) -> dict[str, Rows]:
    """f64 [rows, 384] a part; of `train`, `probe` and `valid`, toxic and clean rows take turns. Kept in a file."""
    if not path.is_file():
        model = AutoModel.from_pretrained(base, add_pooling_layer=False).eval()
        tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
        tokenizer.enable_truncation(_MOST_TOKENS)
        tokenizer.enable_padding()
        np.savez(path, **{name: _embed(model, tokenizer, texts) for name, texts in _texts(data).items()})  # fmt: skip
    with np.load(path) as arrays:
        return {name: arrays[name].astype(np.float64) for name in arrays.files}


def _texts(data: Path) -> dict[str, list[str]]:
    table = pq.read_table(data / "text" / "unified.parquet").to_pylist()
    sides: dict[tuple[str, bool], list[str]] = {(s, t): [] for s in ("train", "valid") for t in (True, False)}  # fmt: skip
    for row in sorted(table, key=lambda one: hashlib.sha256(one["text"].encode()).hexdigest()):
        label = row["toxicity"]
        if row["source"] not in _SOURCES or row["lang"] != "en" or len(row["text"]) >= 240:
            continue
        if label is not None and (label >= 0.7 or label <= 0.2):
            sides[row["split"], label >= 0.7].append(row["text"])
    ranges = {"train": ("train", 0), "probe": ("train", _ROWS["train"]), "valid": ("valid", 0)}
    found = {}
    for name, (split, start) in ranges.items():
        rows = slice(start, start + _ROWS[name])
        pairs = zip(sides[split, True][rows], sides[split, False][rows], strict=True)
        found[name] = [text for pair in pairs for text in pair]
    with gzip.open(data / "rewrite" / "paradetox" / "train.csv.gz", "rt", encoding="utf-8") as file:
        pairs = list(csv.DictReader(file))
    pairs = {one["toxic"]: one["neutral"] for one in pairs}  # the last of several paraphrases
    chosen = sorted(pairs, key=lambda text: hashlib.sha256(text.encode()).hexdigest())[:_PAIRS]
    return found | {"rude": chosen, "neutral": [pairs[text] for text in chosen]}


@torch.inference_mode()
def _embed(model: Any, tokenizer: Tokenizer, texts: Sequence[str]) -> NDArray[np.float32]:
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    found = np.zeros((len(texts), model.config.hidden_size), np.float32)
    for at in range(0, len(order), 32):
        rows = order[at : at + 32]
        encoded = tokenizer.encode_batch([texts[row] for row in rows])
        ids, mask = (torch.tensor([getattr(one, name) for one in encoded]) for name in ("ids", "attention_mask"))  # fmt: skip
        states = model(input_ids=ids, attention_mask=mask)[0] * mask[..., None]
        found[rows] = (states.sum(1) / mask.sum(1, keepdim=True)).numpy()
    return found


if __name__ == "__main__":
    sys.exit(main())
