"""The tagger: training on a few rows and a tiny encoder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from guardkit.text.encode import Encoder
from guardkit.train.people import PERSON, Tagged
from guardkit.train.tagger import TaggerModel, encode_tagged
from guardkit.train.tagger import loss_of as tagger_loss
from tests.tiny import TinyText, build_tiny_artifact


@pytest.fixture
def encoder(tmp_path: Path) -> Encoder:
    """The tokenizer of the tiny artifact."""
    folder = build_tiny_artifact(tmp_path / "tiny", TinyText())
    return Encoder((folder / "1" / "tokenizer.json").read_bytes(), max_tokens=16, overlap=4)


def tiny_bert() -> BertModel:
    torch.manual_seed(0)
    config = BertConfig(vocab_size=40, hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)  # fmt: skip
    return BertModel(config, add_pooling_layer=False)


def test_marks_reach_the_tokens_they_cover(encoder: Encoder) -> None:
    (row,) = encode_tagged(
        [Tagged("portrait a idiot of sea", ((11, 16, PERSON), (20, 23, "")))], encoder
    )
    assert row.labels[:, 0].tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert row.known.tolist() == [1, 1, 1, 1, 1, 0, 1]


def test_the_tagger_learns_a_word(encoder: Encoder) -> None:
    rows = encode_tagged([Tagged("a portrait of idiot", ((14, 19, PERSON),)), Tagged("a sea", ())], encoder)  # fmt: skip
    model = TaggerModel(tiny_bert(), 24)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    first = tagger_loss(model, rows).item()
    for _ in range(30):
        loss = tagger_loss(model, rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < first / 3
