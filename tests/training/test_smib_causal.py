"""The task term inside a causal language model, on a random Llama of two layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from guardkit.integrations.bottleneck import attach
from guardkit.train.smib import Batch, SmibSettings, train_smib
from guardkit.train.smib_causal import Captured, DecoderTask, Text, Weights, capture
from guardkit.train.smib_features import Features

LAYERS = ("model.layers.0", "model.layers.1", "model.layers.2")
RNG = np.random.default_rng(0)
TEXTS = [
    Text(tuple(RNG.integers(1, 40, 4 + row % 5).tolist()), start=2, toxic=row % 2 == 0, keep=row % 2 == 1, learn=row % 4 == 0, blamed=(3,) if row % 2 == 0 else ())
    for row in range(24)
]  # fmt: skip


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    """Random weights, but the same each time."""
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=80, hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True, initializer_range=0.2)  # fmt: skip
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def captured(model: LlamaForCausalLM) -> Captured:
    """What the model makes of the texts at each of its layers."""
    return capture(model, TEXTS, LAYERS)


def batch_of(captured: Captured, layer: str) -> Batch:
    """All texts as one batch."""
    toxic = torch.tensor([int(one.toxic) for one in TEXTS])
    return Batch(torch.arange(len(TEXTS)), captured.states[layer].float(), captured.mask, toxic)


@pytest.mark.parametrize("layer", range(3))
def test_the_layers_above_give_the_logits_that_the_model_gives(
    layer: int, model: LlamaForCausalLM, captured: Captured
) -> None:
    task = DecoderTask(model, layer, TEXTS, captured, Weights())
    used = captured.mask > 0
    with torch.no_grad():
        found = task.logits(captured.states[LAYERS[layer]].float(), used)
        expected = model(input_ids=captured.ids).logits[used]
    assert torch.allclose(found, expected, atol=0.05)  # states are kept in bfloat16


def test_the_unmodified_states_cost_nothing_to_keep(
    model: LlamaForCausalLM, captured: Captured
) -> None:
    task = DecoderTask(model, 1, TEXTS, captured, Weights(learn=0, texts=24))
    batch = batch_of(captured, LAYERS[1])
    assert task(batch.states, batch).item() == pytest.approx(0, abs=1e-3)
    assert task(batch.states + 0.5 * torch.randn_like(batch.states), batch).item() > 0.001


def test_what_is_learnt_is_the_cross_entropy_of_the_continuation(
    model: LlamaForCausalLM, captured: Captured
) -> None:
    task = DecoderTask(model, 1, TEXTS, captured, Weights(keep=0, texts=24, tokens=10_000))
    batch = batch_of(captured, LAYERS[1])
    with torch.no_grad():
        log_p = torch.log_softmax(model(input_ids=captured.ids).logits, -1)
    own = [
        -log_p[row, place - 1, one.ids[place]].item()
        for row, one in enumerate(TEXTS)
        if one.learn
        for place in range(one.start, len(one.ids))
    ]
    assert task(batch.states, batch).item() == pytest.approx(np.mean(own), abs=0.01)


def test_blamed_words_become_unlikelier_behind_the_layer(
    model: LlamaForCausalLM, captured: Captured, tmp_path: Path
) -> None:
    name = LAYERS[1]
    weights = Weights(keep=0, learn=0, unlearn=1.0, texts=12)
    task = DecoderTask(model, 1, TEXTS, captured, weights)
    features = Features(captured.states[name], captured.mask, batch_of(captured, name).toxic)
    settings = SmibSettings(
        width=8, steps=60, batch=24, weight=0.0, rate=2e-2, erased=False, erased_after=False
    )
    layer = train_smib(features, tmp_path, settings, task=task)
    before = blamed_probability(model, captured)
    with attach(model, name, layer):
        after = blamed_probability(model, captured)
    assert after < before / 2


def blamed_probability(model: LlamaForCausalLM, captured: Captured) -> float:
    """Mean probability of the words that the scorer blames."""
    with torch.no_grad():
        p = torch.softmax(model(input_ids=captured.ids).logits, -1)
    found = [p[row, place - 1, one.ids[place]] for row, one in enumerate(TEXTS) for place in one.blamed]  # fmt: skip
    return float(torch.stack(found).mean())
