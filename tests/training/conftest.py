"""A tiny encoder, every source in miniature, and what comes of training and exporting them."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from guardkit.export.text_safety import export_text_safety
from guardkit.text.encode import Encoder
from guardkit.train.classifier import Settings, train
from guardkit.train.data import COLUMNS
from guardkit.train.mixture import Folders
from tests.tiny import TinyText, build_tiny_artifact
from tests.training.tiny_hf import MAP, WORDS, build

_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
_COLUMNS = sorted({column for columns in COLUMNS.values() for column in columns})


@pytest.fixture
def encoder(tmp_path: Path) -> Encoder:
    """The tokenizer of the tiny artifact."""
    folder = build_tiny_artifact(tmp_path / "tiny", TinyText())
    return Encoder((folder / "1" / "tokenizer.json").read_bytes(), max_tokens=16, overlap=4)


def tiny_bert() -> BertModel:
    """A random one-layer BERT over forty pieces."""
    torch.manual_seed(0)
    config = BertConfig(vocab_size=40, hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)  # fmt: skip
    return BertModel(config, add_pooling_layer=False)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer BERT with a twenty-word vocabulary, as a Hugging Face folder."""
    folder = tmp_path_factory.mktemp("base")
    vocabulary = {word: index for index, word in enumerate(_SPECIAL + WORDS)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_padding(length=128)  # as the files in the wild do
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Every source in miniature: "idiot" is an insult, "hurt" a threat, "obey" an attack."""
    root = tmp_path_factory.mktemp("sources")
    folders = Folders(root / "data", root / "own")
    _write_pool(folders.data / "text")
    multilingual = folders.data / "multilingual"
    prompts = [{"text": f"obey the {name}"} for name in map(str, range(40))]
    _write_csv(multilingual / "jailbreak_prompts" / "dev.csv.gz", prompts)
    orders = [{"attack": f"obey a {name}"} for name in map(str, range(40))]
    _write_csv(multilingual / "bipia_attacks" / "train.csv.gz", orders)
    pairs = [
        {"identity": f"Land{at}", "attribute": "sea", "mean offensiveness_score": str(at % 3)}
        for at in range(60)
    ]
    _write_csv(folders.data / "bias" / "seegull" / "train.csv.gz", pairs)
    written = folders.own / "written"
    written.mkdir(parents=True)
    lines = [f"insult toxicity | chat | you are the idiot {{name}} {at}" for at in range(80)]
    lines += [f"- | chat | you are the friend of {{name}} {at}" for at in range(80)]
    (written / "demo.txt").write_text("# a comment\n" + "\n".join(lines) + "\n")
    pair = {"text": "you will", "yes": ["threat"], "context": {"turns": [["user", "hurt"]]}}
    (written / "context.jsonl").write_text(json.dumps(pair) + "\n")
    (written / "repairs").mkdir()
    repairs = [f"insult | you are the idiot {at} => you are the friend {at}" for at in range(12)]
    (written / "repairs" / "demo.txt").write_text("\n".join(repairs) + "\n")
    return folders


def _write_pool(folder: Path) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for index in range(600):
        words = list(rng.choice(WORDS, size=int(rng.integers(3, 9))))
        labels = dict.fromkeys(_COLUMNS, 0.0)
        labels["insult"] = labels["toxicity"] = float("idiot" in words)
        labels["threat"] = float("hurt" in words)
        for column in _COLUMNS:  # the other heads need two classes to be calibrated
            if column not in ("insult", "toxicity", "threat"):
                labels[column] = float("sea" in words)
        source = "coco_captions" if index % 3 else "jigsaw_toxic_subset"
        rows.append({
            "text": " ".join(words) + f" {index}", "source": source, "lang": "en",
            "licence": "OpenRAIL++" if index % 50 == 0 else "MIT",
            "split": "valid" if index % 4 == 0 else "train", **labels,
        })  # fmt: skip
    harmless = dict.fromkeys(_COLUMNS, 0.0)
    rows += [  # long and harmless: what hidden orders are put into
        {
            "text": f"a nice photo of the sea {index} " * 4,
            "source": "paradetox",
            "lang": "en",
            "licence": "MIT",
            "split": "valid" if index % 2 else "train",
            **harmless,
        }
        for index in range(8)
    ]
    rows[1]["sexual"] = float("nan")
    pq.write_table(pa.Table.from_pylist(rows), folder / "unified.parquet")


def _write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True)
    with gzip.open(path, "wt", encoding="utf8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="session")
def data(folders: Folders) -> Path:
    """The pool alone."""
    return folders.data / "text"


@pytest.fixture(scope="session")
def work(base: Path, folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training."""
    folder = tmp_path_factory.mktemp("work")
    settings = Settings(
        rows=5000, encoder_rate=2e-3, head_rate=5e-3, threads=1, checkpoint_steps=10
    )
    train(str(base), folders, folder, settings)
    return folder


@pytest.fixture(scope="session")
def models(work: Path, folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported artifact's folder of models."""
    folder = tmp_path_factory.mktemp("models")
    export_text_safety(work, folders, folder, version="9.9.9")
    return folder


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with a softmax head; copy it to spoil it."""
    return build(tmp_path_factory.mktemp("bert"), "bert", "softmax")


@pytest.fixture
def label_map(tmp_path: Path) -> Path:
    """Two categories of the four labels."""
    path = tmp_path / "map.yaml"
    path.write_text(MAP)
    return path
