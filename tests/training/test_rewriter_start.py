"""What the rewriter's training goes on from: the shipped artifacts' int8 weights, back as floats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from guardkit.artifacts import Artifact, find_artifact
from guardkit.errors import ArtifactError
from guardkit.runtime.base import RunnerOptions, open_runner
from guardkit.steps import REWRITER, REWRITER_DECODER
from guardkit.text.encode import Encoder
from guardkit.train.repairs import Pair
from guardkit.train.rewriter import RewriterModel, collate, lessons_of
from guardkit.train.rewriter_start import rewriter_weights

_PAIRS = (
    Pair("my idiot neighbour is painting a fence", "my neighbour is painting a fence"),
    Pair("a foolish clown in a bright yellow coat", "a clown in a bright yellow coat"),
)


def test_a_training_goes_on_from_what_ships() -> None:
    reader, writer = (find_artifact(name) for name in (REWRITER, REWRITER_DECODER))
    state = rewriter_weights(reader.path)
    bert = BertModel(BertConfig(30522, 384, 6, 12, 1536), add_pooling_layer=False)
    model = RewriterModel(bert, 384, state["pieces"]).eval()
    model.load_state_dict(state)
    lessons = lessons_of(_PAIRS, Encoder.of(reader))
    columns = {token: at for at, token in enumerate(state["pieces"].tolist())}
    for lesson in lessons:
        batch = collate([lesson], columns)
        with torch.no_grad():
            states, embedding, _ = model.encode(batch.input_ids, batch.attention_mask)
            scores = model.decode(states, batch.attention_mask, batch.banned, batch.written, batch.copied)  # fmt: skip
        wanted = _run(reader, input_ids=batch.input_ids, attention_mask=batch.attention_mask)
        assert float(embedding[0] @ torch.from_numpy(wanted["embedding"][0])) > 0.99
        best = _run(
            writer,
            states=states,
            attention_mask=batch.attention_mask,
            banned=batch.banned,
            written=batch.written,
            copied=batch.copied,
            past=torch.zeros(1, 6, 6, 0, 64),
        )["best"]
        assert np.mean(best == scores.argmax(-1).numpy()) > 0.9


def _run(artifact: Artifact, **inputs: torch.Tensor) -> dict[str, np.ndarray]:
    outputs = open_runner(artifact, RunnerOptions()).run(
        {name: array.numpy() for name, array in inputs.items()}
    )
    return {name: np.asarray(array) for name, array in outputs.items()}


def test_a_folder_that_holds_neither_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="manifest"):
        rewriter_weights(tmp_path)
