"""What rude sentences are to become: the best of what people and the shipped rewriter wrote."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from guardkit.artifacts import RunnerOptions, find_artifact
from guardkit.errors import InputError
from guardkit.runtime.base import open_runner
from guardkit.steps import REWRITER, REWRITER_DECODER
from guardkit.text.rewrite import ModelRewriter, past_of
from guardkit.train.rewriter_targets import (
    Chooser,
    Likelihood,
    TargetSettings,
    choose_targets,
    chosen_pairs,
    sampling_decoder,
)
from tests.training.tiny_clip import tiny_tokenizer

SOURCE = "what an idiot , fix the door now"
RUDE = "What an idiot, fix the door."
MILD = "Please fix the door now."
BROKEN = "Fix door the now please now."
TEXTS = (SOURCE, "you stupid fool , that is the wrong door", "nobody likes this moron of a clown")


def alike(texts: Sequence[str]) -> np.ndarray:
    """A language model that finds every text as likely."""
    return np.full(len(texts), -3.0)


@pytest.fixture(scope="module")
def chooser() -> Chooser:
    return Chooser(alike, TargetSettings(samples=1))


def test_the_milder_one_is_chosen(chooser: Chooser) -> None:
    (found,) = chooser.best([SOURCE], [[RUDE, MILD]])
    assert found.target != RUDE
    assert "idiot" not in found.target.lower()
    assert found.value > 0.4


def test_of_two_that_mean_the_same_the_likelier_one_is_chosen() -> None:
    def finds_broken(texts: Sequence[str]) -> np.ndarray:
        return np.array([-3.0 if text == MILD else -9.0 for text in texts])

    (found,) = Chooser(finds_broken, TargetSettings(samples=0)).best([SOURCE], [[BROKEN, MILD]])
    assert (found.target, found.is_own) == (MILD, False)


def rewriter_of(temperature: float, seed: int) -> ModelRewriter:
    reader, writer = find_artifact(REWRITER), find_artifact(REWRITER_DECODER)
    sampler = sampling_decoder(writer, temperature, np.random.default_rng(seed))
    return ModelRewriter(
        reader, open_runner(reader, RunnerOptions()), sampler, past=past_of(writer)
    )


def test_without_chance_a_sample_is_the_greedy_rewriting() -> None:
    reader, writer = find_artifact(REWRITER), find_artifact(REWRITER_DECODER)
    opened = [open_runner(one, RunnerOptions()) for one in (reader, writer)]
    greedy = ModelRewriter(reader, *opened, past=past_of(writer))
    cold = rewriter_of(1e-6, 1)
    assert [cold.rewrite(text) for text in TEXTS] == [greedy.rewrite(text) for text in TEXTS]


def test_samples_differ_and_a_seed_repeats_them() -> None:
    first, again, other = (
        [rewriter.rewrite(text) for rewriter in [rewriter_of(1.5, seed)] for text in TEXTS]
        for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.fixture
def language_model(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    tokenizer = tiny_tokenizer()
    LlamaForCausalLM(LlamaConfig(len(tokenizer), 16, 32, 2, 2)).save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    return tmp_path / "lm"


def test_the_likelihood_of_a_text_does_not_hang_on_its_batch(language_model: Path) -> None:
    likelihood = Likelihood(language_model)
    together = likelihood(["a photo of a dog", "a dog"])
    assert together == pytest.approx([float(likelihood([text])[0]) for text in ("a photo of a dog", "a dog")], abs=0.05)  # fmt: skip


def test_a_run_goes_on_where_it_ended_and_parts_share_the_sources(
    language_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data" / "rewrite" / "paradetox"
    folder.mkdir(parents=True)
    with gzip.open(folder / "train.csv.gz", "wt", encoding="utf-8", newline="") as lines:
        rows = csv.writer(lines)
        rows.writerow(["toxic", "neutral"])
        rows.writerows([[text, MILD] for text in TEXTS] + [[SOURCE, RUDE]])
    parts = [TargetSettings(samples=0, part=part, parts=2) for part in (0, 1)]
    paths = [choose_targets(tmp_path / "data", language_model, tmp_path, one) for one in parts]
    written = [path.read_text() for path in paths]
    assert [len(text.splitlines()) for text in written] == [2, 1]
    choose_targets(tmp_path / "data", language_model, tmp_path, parts[0])
    assert [path.read_text() for path in paths] == written
    assert {pair.source for pair in chosen_pairs(tmp_path)} <= set(TEXTS)


def test_a_folder_without_targets_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no targets worth learning"):
        chosen_pairs(tmp_path)


@pytest.mark.parametrize("part", [-1, 2])
def test_a_part_that_there_is_not_is_an_error(part: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"part: found {part + 1} of 2. Expected 1 to 2"):
        choose_targets(tmp_path, tmp_path, tmp_path, TargetSettings(part=part, parts=2))
