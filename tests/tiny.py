"""A real text artifact with a twenty-word vocabulary, built in milliseconds.

The graph looks each token up in a table (token_logits) and takes the maximum over the tokens that
are not padding (logits). So every score is known by hand: 1 / (1 + exp(-logit)).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from guardkit.artifacts import load_artifact

CALM = -4.0
"""Logit of everything that is not in `TinyText.words`; a score of 0.018."""
HARSH = 4.0
"""Logit of "idiot" (insult) and of "kill" (threat); a score of 0.982."""
EVEN = 0.0
"""Logit of "fool" (insult); a score of exactly 0.5."""

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
PLAIN = (
    "a", "an", "the", "of", "my", "you", "are", "i", "will", "portrait", "neighbour",
    "hello", "world", "sea", "sky", ".", "!", ",", "##s",
)  # fmt: skip
_DTYPES = {
    "int64": TensorProto.INT64,
    "int32": TensorProto.INT32,
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
}
# Opset 18 and IR 9 are read by every onnxruntime we support (>= 1.20).
_OPSET, _IR = 18, 9


@dataclass(frozen=True, slots=True)
class TinyText:
    """What a tiny artifact knows."""

    name: str = "text-safety"
    version: str = "0.0.1"
    categories: tuple[str, ...] = ("insult", "threat")
    """In the order of the graph's logits."""
    words: Mapping[str, Mapping[str, float]] = field(
        default_factory=lambda: {
            "idiot": {"insult": HARSH},
            "kill": {"threat": HARSH},
            "fool": {"insult": EVEN},
        }
    )
    """Word -> category -> logit; what is left out is `CALM`."""
    input_dtype: str = "int64"
    """`int64` or `int32`."""
    output_dtype: str = "float32"
    """`float32` or `float16`."""
    max_tokens: int = 16
    overlap: int = 4

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Tokens in the order of their ids."""
        return (*SPECIAL, *PLAIN, *self.words)


_DEFAULT = TinyText()


def build_tiny_artifact(folder: Path, tiny: TinyText = _DEFAULT) -> Path:
    """Write an artifact whose files, manifest and graph agree.

    Args:
        folder: Where `manifest.json` and `1/` go; made when missing.
        tiny: What it knows.

    Returns:
        The folder.
    """
    (folder / "1").mkdir(parents=True, exist_ok=True)
    onnx.save(_graph(tiny), folder / "1" / "model.onnx")
    _tokenizer(tiny).save(str(folder / "1" / "tokenizer.json"))
    (folder / "manifest.json").write_text(json.dumps(_manifest(folder, tiny)), "utf-8")
    return folder


def build_tiny_fast(full: Path, *, bound: float = 0.1, threshold: float = 0.5) -> Path:
    """Write the fast tier of a tiny artifact beside it.

    It knows the same words but reads them one logit lower: calm text scores 0.007, not 0.018.

    Args:
        full: The folder of the full artifact, built from `TinyText()`.
        bound: What it clears below, in every category.
        threshold: The lowest threshold it is fitted for, in every category.

    Returns:
        The folder.
    """
    folder = build_tiny_artifact(full.parent / "text-safety-fast", TinyText("text-safety-fast"))
    manifest = load_artifact(full).manifest
    categories = manifest.categories
    changes = {
        "task": "text-clears",
        "text": None,
        "calibration": {name: {"scale": 1.0, "shift": -1.0} for name in categories},
        "clears": dict.fromkeys(categories, bound),
        "fitted": {
            "model": manifest.id,
            "scores_digest": manifest.scores_digest,
            "thresholds": dict.fromkeys(categories, threshold),
        },
    }
    return change_manifest(folder, changes)


TAGGED: Mapping[str, Mapping[str, float]] = {
    "jane": {"PERSON": HARSH},
    "roe": {"PERSON": HARSH},
    "einstein": {"PERSON": HARSH},
    "albert": {"PERSON": HARSH},
    "maple": {"ADDRESS": HARSH},
    "yard": {"ADDRESS": HARSH},
    "lyon": {"PLACE": HARSH},
}
"""Word -> kind -> logit of the tiny tagger."""


def build_tiny_tagger(folder: Path) -> Path:
    """Write a tagger that knows the words of `TAGGED`.

    Returns:
        The folder.
    """
    kinds = ("PERSON", "ADDRESS", "PLACE")
    build_tiny_artifact(folder, TinyText("pii-tagger", categories=kinds, words=TAGGED))
    changes = {
        "task": "text-tags",
        "categories": ["privacy"],
        "kinds": list(kinds),
        "calibration": {"privacy": {"scale": 1.0, "shift": 0.0}},
    }
    return change_manifest(folder, changes)


def change_manifest(folder: Path, changes: Mapping[str, Any]) -> Path:
    """Replace top-level keys of an artifact's manifest, as plain JSON values.

    Returns:
        The folder.
    """
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps({**manifest, **changes}), "utf-8")
    return folder


def file_entry(path: Path) -> dict[str, str | int]:
    """What a manifest says of a file."""
    content = path.read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}


def _table(tiny: TinyText) -> NDArray[Any]:
    dtype = np.dtype(tiny.output_dtype)
    table = np.full((len(tiny.vocabulary), len(tiny.categories)), CALM, dtype)
    for word, logits in tiny.words.items():
        for category, logit in logits.items():
            table[tiny.vocabulary.index(word), tiny.categories.index(category)] = logit
    return table


def _graph(tiny: TinyText) -> onnx.ModelProto:
    ids, out = _DTYPES[tiny.input_dtype], _DTYPES[tiny.output_dtype]
    count = len(tiny.categories)
    lowest = np.array(-100.0, np.dtype(tiny.output_dtype))
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["token_logits"]),
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.BOOL),
            helper.make_node("Unsqueeze", ["mask", "last"], ["is_token"]),
            helper.make_node("Where", ["is_token", "token_logits", "lowest"], ["unmasked"]),
            helper.make_node("ReduceMax", ["unmasked", "tokens"], ["logits"], keepdims=0),
        ],
        tiny.name,
        [
            helper.make_tensor_value_info("input_ids", ids, ["windows", "tokens"]),
            helper.make_tensor_value_info("attention_mask", ids, ["windows", "tokens"]),
        ],
        [
            helper.make_tensor_value_info("logits", out, ["windows", count]),
            helper.make_tensor_value_info("token_logits", out, ["windows", "tokens", count]),
        ],
        [
            numpy_helper.from_array(_table(tiny), "table"),
            numpy_helper.from_array(lowest, "lowest"),
            numpy_helper.from_array(np.array([2], np.int64), "last"),
            numpy_helper.from_array(np.array([1], np.int64), "tokens"),
        ],
    )
    opset = [helper.make_opsetid("", _OPSET)]
    return helper.make_model(graph, opset_imports=opset, ir_version=_IR)


def _tokenizer(tiny: TinyText) -> Tokenizer:
    vocabulary = {token: index for index, token in enumerate(tiny.vocabulary)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def _manifest(folder: Path, tiny: TinyText) -> dict[str, Any]:
    count = len(tiny.categories)
    return {
        "format": 1,
        "name": tiny.name,
        "version": tiny.version,
        "task": "text-scores",
        "precision": "fp16" if tiny.output_dtype == "float16" else "fp32",
        "licence": "Apache-2.0",
        "categories": list(tiny.categories),
        "calibration": {name: {"scale": 1.0, "shift": 0.0} for name in tiny.categories},
        "inputs": [
            {"name": name, "dtype": tiny.input_dtype, "shape": ["windows", "tokens"]}
            for name in ("input_ids", "attention_mask")
        ],
        "outputs": [
            {"name": "logits", "dtype": tiny.output_dtype, "shape": ["windows", count]},
            {"name": "token_logits", "dtype": tiny.output_dtype, "shape": ["windows", "tokens", count]},
        ],
        "files": {
            name: file_entry(folder / name) for name in ("1/model.onnx", "1/tokenizer.json")
        },
        "text": {"max_tokens": tiny.max_tokens, "overlap": tiny.overlap},
    }  # fmt: skip
