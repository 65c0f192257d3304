"""Train `text-safety`: MiniLM with one head a category and a score for every token.

    guardkit train text-safety --base FOLDER --data FOLDER --work FOLDER                  # all: 130k draws
    guardkit train text-safety --base FOLDER --data FOLDER --work FOLDER --rows 2000      # a look, 1 minute
    guardkit train text-safety --start ARTIFACT ...          # go on from an exported model's weights

What comes out, in --work: `checkpoint.pt` while it runs (start the command again to go on), then
`model.safetensors`, `tokenizer.json` and `trained.json` (settings, calibration), which
`guardkit export text-safety` turns into an artifact. Cost on two cores: about 50 texts a second.

Model: h = encoder(tokens) [B, T, d];  pooled = [h_cls ; mean h] [B, 2d];
       logit_c = v_c . gelu(W_c pooled + b_c) + a_c,  token_logit_{t,c} = u_c . h_t + e_c
Loss:  BCE(logit) + 0.3 BCE(max_t token_logit) + 0.3 BCE(token_logit) where annotators marked spans,
       each masked and weighted per label.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, gelu
from transformers import AutoConfig, AutoModel, AutoTokenizer

from guardkit.text.encode import Encoder
from guardkit.text.normalize import Prompt, normalize
from guardkit.train.data import CATEGORIES, Pool
from guardkit.train.loop import Plan, fit
from guardkit.train.mixture import Folders, load_mixture
from guardkit.train.multilingual import load_multilingual
from guardkit.train.start import start_from
from guardkit.train.vary import fill, mistype

_log = logging.getLogger(__name__)

_GELU_LIMIT = 6.0  # chosen: the 99.9th percentile of a fine-tuned MiniLM lies near 5


@dataclass(frozen=True, slots=True)
class Settings:
    """What one training run is made of."""

    rows: int = 130_000
    """Rows drawn from the mixture."""
    batch: int = 32
    max_tokens: int = 128
    """Longer texts are cut here in training; the SDK scores them in windows of this size."""
    overlap: int = 32
    encoder_rate: float = 6e-5
    """Peak learning rate of the encoder; usual for a 6-layer MiniLM."""
    head_rate: float = 6e-4
    warmup: float = 0.05
    """Share of the steps."""
    decay: float = 0.01
    token_weight: float = 0.3
    """Weight of each of the two token losses."""
    typo_share: float = 0.45
    """Share of the draws in which one to three words are mistyped."""
    context_share: float = 0.05
    """Share of the draws that get a context that has nothing to do with the text."""
    is_multilingual: bool = False
    """Reads `multilingual.load_multilingual`, and leaves the encoder's embeddings as they are: words
    that the training texts lack must stay near the words they resemble."""
    seed: int = 20261124
    threads: int = 2
    checkpoint_steps: int = 250


class SafetyModel(nn.Module):
    """An encoder with per-category text heads and per-category token scores."""

    def __init__(self, encoder: nn.Module, hidden: int, categories: int, *, head: int = 64) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(0.1)
        self.inner = nn.Linear(2 * hidden, categories * head)
        self.outer = nn.Parameter(torch.randn(categories, head) * head**-0.5)
        self.bias = nn.Parameter(torch.full((categories,), -1.0))
        self.token = nn.Linear(hidden, categories)
        nn.init.constant_(self.token.bias, -3.0)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Score tokens int64 [B, T]: returns logits [B, C] and token_logits [B, T, C]."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask)[0]
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        mean = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
        pooled = self.dropout(torch.cat([states[:, 0], mean], dim=-1))
        inner = gelu(self.inner(pooled)).unflatten(-1, self.outer.shape)
        logits = (inner * self.outer).sum(-1) + self.bias
        return logits, self.token(states)


class ClippedGelu(nn.Module):
    """GELU cut off above: a rare activation of 25 among ones of 2 would cost int8 its resolution."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape in, the same shape out."""
        return gelu(x).clamp(max=_GELU_LIMIT)


@dataclass(frozen=True, slots=True)
class Batch:
    """One padded batch; `token_*` are None where no row has marked spans."""

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    weights: Tensor
    token_labels: Tensor
    token_weights: Tensor


def train(
    base: str, folders: Folders, work: Path, settings: Settings, *, start: Path | None = None
) -> None:
    """Fine-tune an encoder on the mixture and leave the model in `work`.

    Args:
        base: A local folder or a hub name of a BERT encoder.
        folders: Where the sources lie.
        work: Checkpoints and the result go here.
        settings: What the run is made of.
        start: An artifact of the same base to go on from, instead of the base's own weights.
    """
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    work.mkdir(parents=True, exist_ok=True)
    tokenizer_json = read_tokenizer(base)
    (work / "tokenizer.json").write_bytes(tokenizer_json)
    encoder = Encoder(tokenizer_json, max_tokens=settings.max_tokens, overlap=settings.overlap)
    model = build(base)
    model.encoder.get_input_embeddings().weight.requires_grad_(not settings.is_multilingual)
    if start is not None:
        start_from(model, start)
    load = load_multilingual if settings.is_multilingual else load_mixture
    rows = encode_pool(draw(load(folders, split="train"), settings), encoder)
    _log.info("%d rows, %d parameters", len(rows), sum(p.numel() for p in model.parameters()))
    fit(
        model,
        batches(rows, settings, epoch=0),
        lambda batch: loss_of(model, batch, settings),
        work,
        _plan(len(rows), settings),
    )
    save_file(model.state_dict(), work / "model.safetensors")
    model.encoder.config.save_pretrained(work)
    about = {"settings": asdict(settings), "categories": CATEGORIES, "rows": len(rows)}
    (work / "trained.json").write_text(json.dumps(about, indent=1) + "\n")


def _plan(rows: int, settings: Settings) -> Plan:
    return Plan(
        steps=max(1, rows // settings.batch),
        batch=settings.batch,
        encoder_rate=settings.encoder_rate,
        head_rate=settings.head_rate,
        warmup=settings.warmup,
        decay=settings.decay,
        checkpoint_steps=settings.checkpoint_steps,
    )


def build(base: str) -> SafetyModel:
    """A fresh model on a pretrained encoder."""
    return with_heads(AutoModel.from_pretrained(base, add_pooling_layer=False))


def load_trained(work: Path) -> SafetyModel:
    """The model that `train` left in a folder, ready to score."""
    config = AutoConfig.from_pretrained(work)
    model = with_heads(AutoModel.from_config(config, add_pooling_layer=False))
    model.load_state_dict(load_file(work / "model.safetensors"))
    return model.eval()


def with_heads(encoder: nn.Module) -> SafetyModel:
    """An encoder with the heads of every category, not trained yet."""
    for layer in encoder.encoder.layer:
        layer.intermediate.intermediate_act_fn = ClippedGelu()
    return SafetyModel(encoder, encoder.config.hidden_size, len(CATEGORIES))


def read_tokenizer(base: str) -> bytes:
    """The `tokenizer.json` of a base model."""
    file = Path(base) / "tokenizer.json"
    if file.is_file():
        return file.read_bytes()
    return AutoTokenizer.from_pretrained(base).backend_tokenizer.to_str().encode()


# --- data -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """One encoded training text; `marks` are toxic flags a token, None when nobody marked spans."""

    ids: NDArray[np.int32]
    labels: NDArray[np.float32]
    weights: NDArray[np.float32]
    marks: NDArray[np.bool_] | None


def draw(pool: Pool, settings: Settings) -> Pool:
    """Draw rows by their rate, with a fixed seed; a rate of 2.5 means two copies and half a third.

    Slots are filled anew in every copy, some words are mistyped (not where spans are marked), and
    some texts get a context that has nothing to do with them: a context alone decides nothing.
    """
    rng = np.random.default_rng(settings.seed)
    expected = pool.rates * (settings.rows / pool.rates.sum())
    copies = np.floor(expected + rng.random(len(expected))).astype(np.int64)
    drawn = pool.take(rng.permutation(np.repeat(np.arange(len(copies)), copies)))
    contexts = [context for context in pool.contexts if context] or [""]
    for row in range(len(drawn.texts)):
        text = fill(drawn.texts[row], rng)
        if drawn.spans[row] is None and rng.random() < settings.typo_share:
            text = mistype(text, rng, words=int(rng.integers(1, 4)))
        drawn.texts[row] = text
        if not drawn.contexts[row] and rng.random() < settings.context_share:
            drawn.contexts[row] = contexts[int(rng.integers(len(contexts)))]
    return drawn


def encode_pool(pool: Pool, encoder: Encoder) -> list[Row]:
    """Normalise and tokenize every text with the SDK's own functions; first window only."""
    words = encoder.words()
    rows: list[Row] = []
    for start in range(0, len(pool.texts), 1024):
        prompts = [normalize(text, words=words) for text in pool.texts[start : start + 1024]]
        windows = encoder.encode(
            [prompt.text for prompt in prompts], pool.contexts[start : start + 1024]
        )
        offsets = windows.offsets
        firsts = np.searchsorted(windows.owners, np.arange(len(prompts)))
        lengths = windows.inputs["attention_mask"].sum(axis=1)
        for index, first in enumerate(firsts):
            length, at = lengths[first], start + index
            spans = pool.spans[at]
            rows.append(
                Row(
                    ids=windows.inputs["input_ids"][first, :length].astype(np.int32),
                    labels=pool.labels[at],
                    weights=pool.weights[at],
                    marks=None
                    if spans is None
                    else _mark(prompts[index], offsets[first, :length], spans),
                )
            )
    return rows


def _mark(
    prompt: Prompt, offsets: NDArray[np.int64], spans: Sequence[tuple[int, int]]
) -> NDArray[np.bool_]:
    """Which tokens overlap a marked range of the original text."""
    marks = np.zeros(len(offsets), np.bool_)
    for token, (start, end) in enumerate(offsets):
        if end > start:
            first, last = prompt.to_original(int(start), int(end))
            marks[token] = any(first < stop and begin < last for begin, stop in spans)
    return marks


def batches(rows: Sequence[Row], settings: Settings, epoch: int) -> Iterator[Batch]:
    """Shuffled batches of similar length: padding costs a third otherwise."""
    rng = np.random.default_rng(settings.seed + epoch)
    order = rng.permutation(len(rows))
    groups: list[NDArray[np.int64]] = []
    for pool in np.array_split(order, max(1, len(order) // (settings.batch * 64))):
        by_length = pool[np.argsort([len(rows[row].ids) for row in pool], kind="stable")]
        groups += np.array_split(by_length, max(1, len(by_length) // settings.batch))
    for group in rng.permutation(len(groups)):
        yield collate([rows[row] for row in groups[group]])


def collate(rows: Sequence[Row]) -> Batch:
    """One batch of encoded texts, padded to the longest."""
    shape = (len(rows), max(len(row.ids) for row in rows))
    categories = len(CATEGORIES)
    input_ids = torch.zeros(shape, dtype=torch.int64)
    attention_mask = torch.zeros(shape, dtype=torch.int64)
    token_labels = torch.zeros((*shape, categories))
    token_weights = torch.zeros((*shape, categories))
    for index, row in enumerate(rows):
        length = len(row.ids)
        input_ids[index, :length] = torch.from_numpy(row.ids.astype(np.int64))
        attention_mask[index, :length] = 1
        if row.marks is not None:
            marks = torch.from_numpy(row.marks)[:, None]
            holds = torch.from_numpy((row.labels >= 0.5) & (row.weights > 0))
            # Inside a span: what the text is known to be; whether anything else, nobody said. Outside: nothing.
            token_labels[index, :length] = (marks & holds).float()
            token_weights[index, :length] = (~marks | holds).float()
    return Batch(
        input_ids,
        attention_mask,
        torch.from_numpy(np.stack([row.labels for row in rows])),
        torch.from_numpy(np.stack([row.weights for row in rows])),
        token_labels,
        token_weights,
    )


# --- loss --------------------------------------------------------------------------------


def loss_of(model: SafetyModel, batch: Batch, settings: Settings) -> Tensor:
    """The training loss of one batch (formula: top of this file)."""
    logits, token_logits = model(batch.input_ids, batch.attention_mask)
    hidden = (batch.attention_mask == 0).unsqueeze(-1)
    strongest = token_logits.masked_fill(hidden, -30.0).amax(1)
    text = _masked_bce(logits, batch.labels, batch.weights)
    token_max = _masked_bce(strongest, batch.labels, batch.weights)
    token_span = _masked_bce(token_logits, batch.token_labels, batch.token_weights)
    return text + settings.token_weight * (token_max + token_span)


def _masked_bce(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    losses = binary_cross_entropy_with_logits(logits, labels, reduction="none") * weights
    return losses.sum() / weights.sum().clamp(min=1)
