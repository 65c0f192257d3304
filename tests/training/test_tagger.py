"""The tagger and the rewriter: data, training and export on a few rows and a tiny encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from guardkit.errors import InputError
from guardkit.export.rewriter import Writer
from guardkit.text.encode import Encoder
from guardkit.train.people import PERSON, Tagged
from guardkit.train.repairs import Pair, written_pairs
from guardkit.train.rewriter import END, RewriterModel, collate, lessons_of, vocabulary_of
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


def test_an_alignment_says_what_is_copied(encoder: Encoder) -> None:
    (lesson,) = lessons_of([Pair("my idiot neighbour", "my neighbour.")], encoder)
    assert lesson.copied == (1, 3, -1)
    assert [lesson.target[2]] == vocabulary_of([lesson] * 3)[2:]


def test_the_exported_writer_is_the_trained_decoder(encoder: Encoder) -> None:
    pairs = [
        Pair("my idiot neighbour", "my neighbour."),
        Pair("you are a fool", "you are a."),
        Pair("a fool", "a."),
    ]
    lessons = lessons_of(pairs, encoder)
    pieces = vocabulary_of(lessons)
    model = RewriterModel(tiny_bert(), 24, torch.tensor(pieces)).eval()
    batch = collate(lessons, {token: at for at, token in enumerate(pieces)})
    with torch.no_grad():
        states, _ = model.encode(batch.input_ids, batch.attention_mask)
        scores = model.decode(
            states, batch.attention_mask, batch.banned, batch.written, batch.copied
        )
        banned = torch.zeros(batch.attention_mask.shape)
        best = Writer(model).eval()(states, batch.attention_mask, banned, batch.written, batch.copied)  # fmt: skip
    assert np.array_equal(best.numpy(), scores.argmax(-1).numpy())
    assert len(pieces) > END


def test_what_is_banned_is_not_copied(encoder: Encoder) -> None:
    lessons = lessons_of([Pair("my idiot neighbour", "my neighbour")] * 2, encoder)
    pieces = vocabulary_of(lessons)
    model = RewriterModel(tiny_bert(), 24, torch.tensor(pieces)).eval()
    batch = collate(lessons, {token: at for at, token in enumerate(pieces)})
    with torch.no_grad():
        states, _ = model.encode(batch.input_ids, batch.attention_mask)
        banned = torch.ones(batch.attention_mask.shape)
        best = Writer(model).eval()(states, batch.attention_mask, banned, batch.written, batch.copied)  # fmt: skip
    assert int(best.max()) < len(pieces)


def test_a_line_of_another_form_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("insult | my idiot => my\ninsult | my idiot\n")
    with pytest.raises(InputError, match=r"a\.txt:2: expected 'category"):
        list(written_pairs(tmp_path, split="train"))


def test_both_splits_together_are_all_written_pairs() -> None:
    folder = Path(__file__).parent.parent.parent / "data" / "written" / "repairs"
    count = sum(len(path.read_text().splitlines()) for path in folder.glob("*.txt"))
    parts = [list(written_pairs(folder, split=split)) for split in ("train", "valid")]
    assert sum(map(len, parts)) == count
    assert 0.05 < len(parts[1]) / count < 0.15
    assert not any("{" in pair.source for pair in parts[1])
