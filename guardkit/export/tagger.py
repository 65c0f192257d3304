"""A trained tagger to an artifact: graph, tokenizer, calibration, parity, manifest.

    guardkit export pii-tagger --work FOLDER --data FOLDER --out exported_models

A text's score is that of its surest token, as trained: what is left out of training is too easy to calibrate on.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from guardkit.artifacts import Artifact, RunnerOptions, TextOptions
from guardkit.errors import InputError
from guardkit.export.artifact import (
    MODEL,
    TOKENIZER,
    About,
    config_pbtxt,
    write_labels,
    write_parity,
    write_text_manifest,
    write_tokenizer,
)
from guardkit.export.quantize import quantize_int8, with_token_scales
from guardkit.export.to_onnx import export_onnx
from guardkit.export.verify import TEXTS, outputs_of
from guardkit.runtime.base import open_runner
from guardkit.taxonomy import Category
from guardkit.text.encode import Encoder
from guardkit.text.ordinary_words import OrdinaryWords
from guardkit.text.tagger import WORDS
from guardkit.train.ordinary_words import ordinary_words
from guardkit.train.people import KINDS, Share, Tagged, load_people
from guardkit.train.tagger import MAX_TOKENS, OVERLAP, TaggerModel, encode_tagged, load_tagger

_ALPHA = 0.65  # for `quantize.with_token_scales`: as for text-safety
_SCALE_TEXTS = 512  # training texts that set how int8 evens out the channels
_SEED = 20261127
_NOTHING_FOUND = -30.0  # a logit below it is a score of 0: no token counted


def export_tagger(work: Path, data: Path, written: Path, out: Path, *, version: str) -> Artifact:
    """Write the artifact from a training's folder.

    Args:
        work: What `guardkit train pii-tagger` left.
        data: The shared data.
        written: `data/written/people`.
        out: The folder that holds artifacts.
        version: Version of the artifact.

    Raises:
        InputError: `work` holds no trained model.
    """
    if not (work / "model.safetensors").is_file():
        raise InputError(f"{work}: no model.safetensors. Run guardkit train pii-tagger first.")
    folder, fp32 = out / "pii-tagger", work / "fp32" / "pii-tagger"
    words = OrdinaryWords.packed(ordinary_words(data))
    for target in (folder, fp32):
        (target / "1").mkdir(parents=True, exist_ok=True)
        write_tokenizer(Tokenizer.from_file(str(work / "tokenizer.json")), target / TOKENIZER)
        write_labels(target, KINDS)
        (target / WORDS).write_bytes(words)
    about = _about(version)
    model = load_tagger(work)
    export_onnx(model, fp32 / MODEL, outputs=about.outputs)
    _export_int8(model, work, _some_texts(data, written), folder / MODEL)
    reference = write_text_manifest(fp32, about, precision="fp32", calibration=about.identity)
    artifact = write_text_manifest(folder, about, precision="int8", calibration=about.identity)
    write_parity(artifact, outputs_of(reference, open_runner(reference, RunnerOptions()), TEXTS))
    (folder / "config.pbtxt").write_text(config_pbtxt(artifact.manifest))
    return write_text_manifest(folder, about, precision="int8", calibration=about.identity)


def _about(version: str) -> About:
    return About(
        name="pii-tagger",
        version=version,
        licence="Apache-2.0",
        categories=(Category.PRIVACY.value,),
        languages=(),
        text=TextOptions(max_tokens=MAX_TOKENS, overlap=OVERLAP),
        outputs=("token_logits",),
        kinds=KINDS,
    )


def _some_texts(data: Path, written: Path) -> list[Tagged]:
    return load_people(data, written, share=Share().scaled(0.05), seed=_SEED)[:_SCALE_TEXTS]


def _export_int8(model: TaggerModel, work: Path, texts: list[Tagged], out: Path) -> None:
    encoder = Encoder((work / "tokenizer.json").read_bytes(), max_tokens=MAX_TOKENS, overlap=OVERLAP)  # fmt: skip
    rewritten = with_token_scales(model, _inputs(texts, encoder), alpha=_ALPHA)
    with tempfile.TemporaryDirectory() as scratch:
        graph = Path(scratch) / "rewritten.onnx"
        export_onnx(rewritten, graph, outputs=("token_logits",))
        quantize_int8(graph, out)


def _inputs(texts: list[Tagged], encoder: Encoder) -> Iterator[tuple[Tensor, Tensor]]:
    for row in encode_tagged(texts, encoder):
        ids = torch.from_numpy(row.ids)[None]
        yield ids, torch.ones_like(ids)
