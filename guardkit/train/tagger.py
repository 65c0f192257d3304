"""Train `pii-tagger`: MiniLM with one score a kind of personal data for every token.

    guardkit train pii-tagger --base FOLDER --data FOLDER --work FOLDER               # all: 62k texts, 40 minutes
    guardkit train pii-tagger --base FOLDER --data FOLDER --work FOLDER --share 0.02  # a look
    guardkit train pii-tagger ... --start FOLDER --seed 2 --rate 3e-5                 # go on, with other texts

What comes out, in --work: `checkpoint.pt` while it runs (start the command again to go on), then
`model.safetensors`, `tokenizer.json`, `config.json` and `trained.json`, which `guardkit export pii-tagger` turns into
an artifact.

Model: token_logit_{t,k} = u_k . encoder(tokens)_t + e_k          [B, T, K], K = PERSON, ADDRESS, PLACE
Loss:  BCE(token_logit, 1 where the token lies in a mark of kind k), tokens of unknown kind left out
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from transformers import AutoConfig, AutoModel

from guardkit.text.encode import Encoder
from guardkit.text.normalize import Prompt, normalize
from guardkit.train.classifier import ClippedGelu, read_tokenizer
from guardkit.train.loop import Plan, fit, of_similar_length
from guardkit.train.people import KINDS, Share, Tagged, load_people

_log = logging.getLogger(__name__)

MAX_TOKENS, OVERLAP = 128, 32
_UNKNOWN = ""


@dataclass(frozen=True, slots=True)
class TaggerSettings:
    """What one training run is made of."""

    share: float = 1.0
    """Of the usual number of texts (`people.Share`)."""
    batch: int = 32
    encoder_rate: float = 8e-5
    head_rate: float = 1e-3
    warmup: float = 0.05
    """Share of the steps."""
    decay: float = 0.01
    seed: int = 20261126
    threads: int = 1
    checkpoint_steps: int = 250


class TaggerModel(nn.Module):
    """An encoder and one linear layer on its tokens."""

    def __init__(self, encoder: nn.Module, hidden: int) -> None:
        super().__init__()
        for layer in encoder.encoder.layer:
            layer.intermediate.intermediate_act_fn = ClippedGelu()
        self.encoder = encoder
        self.dropout = nn.Dropout(0.1)
        self.token = nn.Linear(hidden, len(KINDS))
        nn.init.constant_(self.token.bias, -2.0)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Score tokens int64 [B, T]: returns token_logits [B, T, K]."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask)[0]
        return self.token(self.dropout(states))


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One encoded text."""

    ids: NDArray[np.int64]
    labels: NDArray[np.float32]
    """[tokens, kinds]: 1 inside a mark of the kind."""
    known: NDArray[np.float32]
    """[tokens]: 0 where nobody can say."""


def train_tagger(
    base: str,
    data: Path,
    written: Path,
    work: Path,
    settings: TaggerSettings,
    *,
    start: Path | None = None,
) -> None:
    """Fine-tune an encoder and leave the model in `work`.

    Args:
        base: A local folder or a hub name of a BERT encoder.
        data: The shared data.
        written: `data/written/people`.
        work: Checkpoints and the result go here.
        settings: What the run is made of.
        start: The --work of an earlier run to go on from.
    """
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    work.mkdir(parents=True, exist_ok=True)
    tokenizer_json = read_tokenizer(base)
    (work / "tokenizer.json").write_bytes(tokenizer_json)
    encoder = Encoder(tokenizer_json, max_tokens=MAX_TOKENS, overlap=OVERLAP)
    share = Share().scaled(settings.share)
    rows = encode_tagged(load_people(data, written, share=share, seed=settings.seed), encoder)
    encoder_model = AutoModel.from_pretrained(base, add_pooling_layer=False)
    model = TaggerModel(encoder_model, encoder_model.config.hidden_size)
    if start is not None:
        model.load_state_dict(load_file(start / "model.safetensors"))
    _log.info("%d texts", len(rows))
    groups = of_similar_length(
        [len(row.ids) for row in rows], batch=settings.batch, seed=settings.seed
    )
    batches = ([rows[row] for row in group] for group in groups)
    fit(model, batches, lambda batch: loss_of(model, batch), work, _plan(len(rows), settings))
    save_file(model.state_dict(), work / "model.safetensors")
    encoder_model.config.save_pretrained(work)
    about = {"settings": asdict(settings), "kinds": KINDS, "texts": len(rows)}
    (work / "trained.json").write_text(json.dumps(about, indent=1) + "\n")


def _plan(rows: int, settings: TaggerSettings) -> Plan:
    return Plan(
        steps=-(-rows // settings.batch),
        batch=settings.batch,
        encoder_rate=settings.encoder_rate,
        head_rate=settings.head_rate,
        warmup=settings.warmup,
        decay=settings.decay,
        checkpoint_steps=settings.checkpoint_steps,
    )


def load_tagger(work: Path) -> TaggerModel:
    """The model that `train_tagger` left in a folder, ready to score."""
    config = AutoConfig.from_pretrained(work)
    model = TaggerModel(AutoModel.from_config(config, add_pooling_layer=False), config.hidden_size)
    model.load_state_dict(load_file(work / "model.safetensors"))
    return model.eval()


def encode_tagged(texts: Sequence[Tagged], encoder: Encoder) -> list[TokenRow]:
    """Normalise and tokenize every text with the SDK's own functions; first window only."""
    words = encoder.words()
    return [_encoded(one, encoder, normalize(one.text, words=words)) for one in texts]


def _encoded(one: Tagged, encoder: Encoder, prompt: Prompt) -> TokenRow:
    windows = encoder.encode([prompt.text])
    offsets = windows.offsets[0]
    labels = np.zeros((len(offsets), len(KINDS)), np.float32)
    known = np.ones(len(offsets), np.float32)
    for token, (start, end) in enumerate(offsets.tolist()):
        if end <= start:
            continue
        first, last = prompt.to_original(start, end)
        for begin, stop, kind in one.marks:
            if first < stop and begin < last:
                if kind == _UNKNOWN:
                    known[token] = 0
                else:
                    labels[token, KINDS.index(kind)] = 1
    return TokenRow(windows.inputs["input_ids"][0], labels, known)


def loss_of(model: TaggerModel, rows: Sequence[TokenRow]) -> Tensor:
    """The training loss of one batch (formula: top of this file)."""
    length = max(len(row.ids) for row in rows)
    ids = torch.zeros((len(rows), length), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    labels = torch.zeros((len(rows), length, len(KINDS)))
    known = torch.zeros((len(rows), length, 1))
    for at, row in enumerate(rows):
        count = len(row.ids)
        ids[at, :count] = torch.from_numpy(row.ids)
        mask[at, :count] = 1
        labels[at, :count] = torch.from_numpy(row.labels)
        known[at, :count, 0] = torch.from_numpy(row.known)
    losses = bce(model(ids, mask), labels, reduction="none") * known
    return losses.sum() / known.sum()
