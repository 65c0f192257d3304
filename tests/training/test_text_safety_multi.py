"""The multilingual sources, and a vocabulary cut down to what they use, on made-up texts."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import Unigram, WordLevel
from tokenizers.pre_tokenizers import Metaspace
from tokenizers.processors import TemplateProcessing
from transformers import AutoModel, BertConfig, BertModel

from guardkit.errors import InputError
from guardkit.text.encode import Encoder
from guardkit.train.classifier import Settings, draw, read_tokenizer
from guardkit.train.data import CATEGORIES, Pool, labelled
from guardkit.train.multilingual import with_spans
from guardkit.train.vocabulary import trim_vocabulary
from guardkit.train.written import load_foreign

_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
_PIECES = ["▁", "▁du", "▁bist", "▁nett", "▁never", "▁used", "d", "u", "n", "e", "t", "▁ты"]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A random one-layer encoder with a Unigram vocabulary."""
    tokenizer = Tokenizer(Unigram([(piece, -2.0) for piece in _SPECIAL + _PIECES], unk_id=3))
    tokenizer.pre_tokenizer = Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    folder = tmp_path / "base"
    config = BertConfig(
        vocab_size=len(_SPECIAL + _PIECES),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    torch.manual_seed(0)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def _pool(*texts: str) -> Pool:
    return labelled(
        texts, np.zeros((len(texts), len(CATEGORIES)), np.float32), source="x", rate=1.0
    )


def test_a_trimmed_vocabulary_gives_the_same_vectors_for_the_texts_it_was_cut_for(
    base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    trim_vocabulary(base, _pool("du bist nett", "du bist"), out, pieces=8)
    before, after = (Encoder(read_tokenizer(str(f)), max_tokens=16, overlap=2) for f in (base, out))
    vectors = []
    for folder, encoder in ((base, before), (out, after)):
        ids = torch.from_numpy(encoder.encode(["du bist nett"]).inputs["input_ids"])
        with torch.no_grad():
            model = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
            vectors.append(model(input_ids=ids)[0].numpy())
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    kept = [
        piece for piece, _ in json.loads((out / "tokenizer.json").read_text())["model"]["vocab"]
    ]
    assert kept == [*_SPECIAL, "▁du", "▁bist", "▁nett"]


def test_a_vocabulary_of_whole_words_is_not_cut(base: Path, tmp_path: Path) -> None:
    Tokenizer(WordLevel({"<unk>": 0}, unk_token="<unk>")).save(str(base / "tokenizer.json"))
    with pytest.raises(InputError, match="not a Unigram model"):
        trim_vocabulary(base, _pool("du"), tmp_path / "out", pieces=8)


def test_a_vocabulary_of_pieces_undoes_no_disguise(base: Path) -> None:
    encoder = Encoder(read_tokenizer(str(base)), max_tokens=16, overlap=2)
    assert "u" not in encoder.words()


def test_written_texts_carry_the_language_of_their_file(tmp_path: Path) -> None:
    (tmp_path / "de.txt").write_text("- | chat | du bist nett\n")
    (tmp_path / "hi-Latn.txt").write_text("insult toxicity | chat | tum bewakoof ho yaar\n")
    pools = [load_foreign(tmp_path, split=split) for split in ("train", "valid")]
    found = {
        text: language
        for pool in pools
        for text, language in zip(pool.texts, pool.languages, strict=True)
    }
    assert found == {"du bist nett": "de", "tum bewakoof ho yaar": "hi-Latn"}


def test_named_phrases_become_ranges_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "spans.csv.gz"
    with gzip.open(path, "wt", encoding="utf8", newline="") as file:
        rows = csv.writer(file)
        rows.writerows([["text", "toxic_spans", "lang"], ["Du Idiot, du!", "Idiot, Trottel", "de"]])
    pool = with_spans(_pool("Du Idiot, du!", "du bist nett"), path)
    assert pool.spans == [[(3, 8)], None]
    assert with_spans(pool, tmp_path / "missing.csv.gz") is pool


def test_a_draw_keeps_each_text_with_its_language() -> None:
    pool = _pool(*(f"du bist {at}" for at in range(40)))
    pool.languages[::2] = "de"
    drawn = draw(pool, Settings(rows=400, typo_share=0, context_share=0))
    assert all(
        (language == "de") == (int(text.split()[-1]) % 2 == 0)
        for text, language in zip(drawn.texts, drawn.languages, strict=True)
    )
