"""The tagger: training on a few rows and a tiny encoder."""

from __future__ import annotations

import torch

from guardkit.text.encode import Encoder
from guardkit.train.people import PERSON, Tagged
from guardkit.train.tagger import TaggerModel, encode_tagged
from guardkit.train.tagger import loss_of as tagger_loss
from tests.training.conftest import tiny_bert


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
