"""Train `prompt-rewriter`: MiniLM reads a text, a shallow decoder copies from it or writes something else.

    guardkit train prompt-rewriter --base FOLDER --data FOLDER --work FOLDER               # all: 240k pairs, 90 minutes of two cores
    guardkit train prompt-rewriter --base FOLDER --data FOLDER --work FOLDER --start exported_models/prompt-rewriter  # go on
    guardkit train prompt-rewriter ... --start exported_models/prompt-rewriter --decoder-only  # leave what reads as it is

Model: s = encoder(source) [B, T, d]
       s_t = s_t + b where a token is banned       the decoder knows what it may not copy, and plans for it
       x_u = E[y_{u-1}] + A s_{p_{u-1}} + P[u]     what was written last, and where in the source it was copied from
       h = decoder(x, s) [B, U, d]                  three layers, causal
       scores_u = [G h_u ; (Q h_u) . (K s) / sqrt d]  [V + T]: write piece v of a small vocabulary, or copy position t
       similarity: e = L mean_t s_t, |e| = 1, is the sentence embedding of the base encoder, which stays able to
       say how far a text moved
       risk: r = v . mean_t s_t + c            whether anything is wrong with a text at all
Loss:  CE(scores_u, what the pair's alignment does at u) + a (1 - cos(e, the base encoder's embedding)) + b BCE(r, is wrong)

An alignment (difflib, on pieces) says which target pieces are copied, and from where; so a run of copied words is
one easy decision a word, and their spelling, case and spaces are the source's own. In half of the lessons some of what
is not copied is banned, as the guard bans what its scorers blame (`with_bans`); in the others nothing is, and the model has
to find what is wrong by itself.
"""

from __future__ import annotations

import difflib
import json
import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import cross_entropy
from torch.nn.functional import normalize as unit
from transformers import AutoConfig, AutoModel

from guardkit.errors import InputError
from guardkit.text.encode import Encoder
from guardkit.text.normalize import normalize
from guardkit.text.rewrite import END, NOWHERE, START
from guardkit.train.classifier import ClippedGelu, read_tokenizer
from guardkit.train.loop import Plan, fit, freeze_lower_half, of_similar_length
from guardkit.train.repairs import KEEP, MENDED, Draws, Pair, load_pairs
from guardkit.train.rewriter_start import rewriter_weights
from guardkit.train.rewriter_targets import chosen_pairs

_log = logging.getLogger(__name__)

MAX_TOKENS = 96
LONGEST = 96
"""Pieces of a rewritten text, at most."""
_NOTHING = -100  # what cross_entropy leaves out
_LAYERS, _HEADS, _INNER = 3, 6, 1024
_TEACH_EVERY = 8  # rows of a batch; to ask the base encoder of all would cost a third more
_BANNED_LESSONS, _BANNED_RUNS, _WIDENED = 0.6, 0.85, 0.2
"""Shares: of the lessons that have bans, of the runs banned in them, of these that reach one or two words further."""
_RAREST = 6
"""A piece that was written less often than this in training stays out of the vocabulary."""


@dataclass(frozen=True, slots=True)
class RewriterSettings:
    """What one training run is made of."""

    draws: Draws = field(default_factory=Draws)
    batch: int = 96
    encoder_rate: float = 1.2e-4
    decoder_rate: float = 1e-3
    warmup: float = 0.04
    decay: float = 0.01
    similarity_weight: float = 0.5
    risk_weight: float = 0.3
    decoder_only: bool = False
    """Leave what reads (encoder, embedding, risk) and the written pieces as they are in `start`."""
    seed: int = 20261126
    threads: int = 1
    checkpoint_steps: int = 200


class RewriterModel(nn.Module):
    """An encoder, a decoder that copies, and a sentence embedding."""

    def __init__(self, encoder: nn.Module, hidden: int, pieces: Tensor) -> None:
        super().__init__()
        for layer in encoder.encoder.layer:
            layer.intermediate.intermediate_act_fn = ClippedGelu()
        self.encoder = encoder
        self.register_buffer("pieces", pieces)  # [V] token ids
        self.embedding = nn.Embedding(len(pieces), hidden)
        self.positions = nn.Parameter(torch.randn(LONGEST + 1, hidden) * 0.02)
        self.place = nn.Linear(hidden, hidden)
        self.ban = nn.Parameter(torch.zeros(hidden))
        layer = nn.TransformerDecoderLayer(
            hidden,
            _HEADS,
            _INNER,
            dropout=0.1,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.decoder = nn.TransformerDecoder(layer, _LAYERS, nn.LayerNorm(hidden))
        self.write = nn.Linear(hidden, len(pieces))
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.similarity = nn.Linear(hidden, hidden)
        self.risk = nn.Linear(hidden, 1)
        with torch.no_grad():
            table = encoder.embeddings.word_embeddings.weight[pieces]
            self.embedding.weight.copy_(table)
            self.write.weight.copy_(table)
            self.similarity.weight.copy_(torch.eye(hidden))
            self.similarity.bias.zero_()

    def freeze_reader(self) -> None:
        """Leave what `encode` gives as it is."""
        for part in (self.encoder, self.similarity, self.risk):
            part.requires_grad_(False)

    def encode(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read tokens int64 [B, T]: returns states [B, T, d], embedding [B, d] and risk [B], a logit."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask)[0]
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        mean = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
        return states, unit(self.similarity(mean), dim=-1), self.risk(mean).squeeze(-1)

    def decode(
        self,
        states: Tensor,
        attention_mask: Tensor,
        banned: Tensor,
        written: Tensor,
        copied: Tensor,
    ) -> Tensor:
        """Score what comes next, at every place of a target so far.

        Args:
            states: f32 [B, T, d].
            attention_mask: int64 [B, T].
            banned: f32 [B, T], 1 where nothing may be copied from.
            written: int64 [B, U], places in `pieces`, START first.
            copied: int64 [B, U], source positions, NOWHERE for what was not copied.

        Returns:
            f32 [B, U, V + T].
        """
        hidden = states.shape[-1]
        states = states + banned.unsqueeze(-1) * self.ban
        index = copied.clamp(min=0).unsqueeze(-1).expand(-1, -1, hidden)
        place = self.place(torch.gather(states, 1, index)) * (copied >= 0).unsqueeze(-1)
        length = written.shape[1]
        x = self.embedding(written) + place + self.positions[:length]
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        absent = attention_mask == 0
        h = self.decoder(x, states, tgt_mask=later, memory_key_padding_mask=absent)
        copy = self.query(h) @ self.key(states).transpose(1, 2) / hidden**0.5
        copy = copy.masked_fill((absent | (banned > 0)).unsqueeze(1), -1e4)
        return torch.cat([self.write(h), copy], dim=-1)


# --- data -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lesson:
    """One encoded pair."""

    source: tuple[int, ...]
    """Token ids, special tokens included."""
    target: tuple[int, ...]
    """Token ids, without special tokens."""
    copied: tuple[int, ...]
    """One a target piece: the source position it is copied from, or NOWHERE."""
    is_wrong: bool | None = None
    """Whether anything is wrong with the source; None: nobody can say."""
    banned: frozenset[int] = frozenset()
    """Source positions from which nothing may be copied."""


def lessons_of(pairs: Sequence[Pair], encoder: Encoder) -> list[Lesson]:
    """Tokenize pairs with the SDK's own functions and align them; those too long are left out."""
    lessons = list[Lesson]()
    for pair in pairs:
        source, target = _ids(pair.source, encoder), _ids(pair.target, encoder)[1:-1]
        if len(source) <= MAX_TOKENS and 0 < len(target) < LONGEST:
            is_wrong = None if pair.category == MENDED else pair.category != KEEP
            lessons.append(Lesson(source, target, _aligned(source, target), is_wrong))
    return lessons


def _ids(text: str, encoder: Encoder) -> tuple[int, ...]:
    windows = encoder.encode([normalize(text, words=encoder.words()).text])
    return tuple(windows.inputs["input_ids"][0].tolist())


def _aligned(source: Sequence[int], target: Sequence[int]) -> tuple[int, ...]:
    copied = [NOWHERE] * len(target)
    matcher = difflib.SequenceMatcher(None, source, target, autojunk=False)
    for block in matcher.get_matching_blocks():
        for offset in range(block.size):
            copied[block.b + offset] = block.a + offset
    return tuple(copied)


def with_bans(lesson: Lesson, columns: dict[int, int], rng: np.random.Generator) -> Lesson:
    """Half of the time the lesson with some of what it does not copy banned, as by scorers' spans.

    Scorers blame a word too many now and then: what was to be copied from there is to be written anew.
    """
    if rng.random() >= _BANNED_LESSONS:
        return lesson
    banned = set[int]()
    for first, last in _runs_left_out(lesson):
        if rng.random() < _BANNED_RUNS:
            further = rng.integers(0, 3, size=2) if rng.random() < _WIDENED else (0, 0)
            banned |= set(range(first - further[0], last + 1 + further[1]))
    copies = zip(lesson.target, lesson.copied, strict=True)
    banned -= {place for token, place in copies if token not in columns}
    banned &= set(range(1, len(lesson.source) - 1))
    copied = tuple(NOWHERE if place in banned else place for place in lesson.copied)
    return replace(lesson, copied=copied, banned=frozenset(banned))


def _runs_left_out(lesson: Lesson) -> Iterator[tuple[int, int]]:
    """First and last position of each run of source tokens that the target does not copy."""
    left = sorted(set(range(1, len(lesson.source) - 1)) - set(lesson.copied))
    for _, run in groupby(enumerate(left), key=lambda pair: pair[1] - pair[0]):
        places = [place for _, place in run]
        yield places[0], places[-1]


def vocabulary_of(lessons: Sequence[Lesson], *, rarest: int = _RAREST) -> list[int]:
    """Token ids that are written rather than copied, `rarest` times at least; START and END ([CLS], [SEP]) first."""
    counts = Counter(
        token
        for lesson in lessons
        for token, place in zip(lesson.target, lesson.copied, strict=True)
        if place == NOWHERE
    )
    first = [lessons[0].source[0], lessons[0].source[-1]]
    return first + sorted(t for t, count in counts.items() if count >= rarest and t not in first)


@dataclass(frozen=True, slots=True)
class RewriterBatch:
    """One padded batch; see `RewriterModel.decode`."""

    input_ids: Tensor
    attention_mask: Tensor
    banned: Tensor
    written: Tensor
    copied: Tensor
    wanted: Tensor
    """int64 [B, U]: column of the scores; -100 where nothing is."""
    wrong: Tensor
    """f32 [B]: 1 where something is wrong with the source, 0 where nothing is, NaN where nobody can say."""


def collate(lessons: Sequence[Lesson], columns: dict[int, int]) -> RewriterBatch:
    """One padded batch.

    Args:
        lessons: Its pairs.
        columns: Token id -> its place in the vocabulary of written pieces.
    """
    rows, width = len(lessons), _rounded(max(len(one.source) for one in lessons))
    length = _rounded(max(len(one.target) for one in lessons) + 1)
    ids, mask = torch.zeros(rows, width, dtype=torch.int64), torch.zeros(rows, width, dtype=torch.int64)  # fmt: skip
    banned = torch.zeros(rows, width)
    written = torch.full((rows, length), START)
    copied = torch.full((rows, length), NOWHERE)
    wanted = torch.full((rows, length), _NOTHING)
    for row, one in enumerate(lessons):
        ids[row, : len(one.source)] = torch.tensor(one.source)
        mask[row, : len(one.source)] = 1
        banned[row, sorted(one.banned)] = 1
        for at, (token, place) in enumerate(zip(one.target, one.copied, strict=True)):
            wanted[row, at] = columns[token] if place == NOWHERE else len(columns) + place
            written[row, at + 1] = columns.get(token, END)
            copied[row, at + 1] = place
        wanted[row, len(one.target)] = END
    wrong = [math.nan if one.is_wrong is None else float(one.is_wrong) for one in lessons]
    return RewriterBatch(ids, mask, banned, written, copied, wanted, torch.tensor(wrong))


def _rounded(length: int) -> int:
    """Up to a multiple of 8: torch prepares its products anew for every shape, which costs as much as they do."""
    return min(-(-length // 8) * 8, LONGEST)


# --- loss and loop --------------------------------------------------------------------------------


def train_rewriter(
    base: str,
    data: Path,
    written: Path,
    work: Path,
    settings: RewriterSettings,
    *,
    start: Path | None = None,
    targets: Path | None = None,
) -> None:
    """Train on pairs and leave the model in `work`.

    Args:
        base: A local folder or a hub name of a BERT sentence encoder.
        data: The shared data.
        written: `data/written/repairs`.
        work: Checkpoints and the result go here.
        settings: What the run is made of.
        start: The --work of an earlier run to go on from, or the artifact `prompt-rewriter`.
        targets: What `rewriter_targets` chose for rude sentences; None: what people wrote for them.

    Raises:
        InputError: The decoder alone is to be trained, and there is no `start`.
    """
    state = rewriter_weights(start) if start is not None else {}
    if settings.decoder_only and not state:
        raise InputError("decoder_only: nothing to leave as it is. Give start.")
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    work.mkdir(parents=True, exist_ok=True)
    tokenizer_json = read_tokenizer(base)
    (work / "tokenizer.json").write_bytes(tokenizer_json)
    encoder = Encoder(tokenizer_json, max_tokens=MAX_TOKENS + 1, overlap=8)
    chosen = chosen_pairs(targets) if targets else ()
    pairs = load_pairs(data, written, draws=settings.draws, seed=settings.seed, chosen=chosen)
    lessons = lessons_of(pairs, encoder)
    pieces = state["pieces"].tolist() if settings.decoder_only else vocabulary_of(lessons)
    columns = {token: at for at, token in enumerate(pieces)}
    rng = np.random.default_rng(settings.seed)
    lessons = [with_bans(one, columns, rng) for one in lessons if is_writable(one, columns)]
    # No dropout in what is trained already: drawing it is a fifth of a step.
    bert = AutoModel.from_pretrained(
        base, add_pooling_layer=False, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    freeze_lower_half(bert)
    model = RewriterModel(bert, bert.config.hidden_size, torch.tensor(pieces))
    if state:
        _start_from(model, state)
    if settings.decoder_only:
        model.freeze_reader()
    teacher = AutoModel.from_pretrained(base, add_pooling_layer=False).eval()
    _log.info("%d pairs, %d written pieces", len(lessons), len(pieces))
    groups = of_similar_length(
        [len(one.source) for one in lessons], batch=settings.batch, seed=settings.seed
    )
    batches = (collate([lessons[row] for row in group], columns) for group in groups)
    fit(
        model,
        batches,
        lambda batch: loss_of(model, teacher, batch, settings),
        work,
        plan_of(len(lessons), settings),
    )
    save_file(model.state_dict(), work / "model.safetensors")
    bert.config.save_pretrained(work)
    about = {"settings": asdict(settings), "pairs": len(lessons), "pieces": len(pieces)}
    (work / "trained.json").write_text(json.dumps(about, indent=1) + "\n")


def plan_of(pairs: int, settings: RewriterSettings) -> Plan:
    """How a run over so many pairs goes."""
    return Plan(
        steps=-(-pairs // settings.batch),
        batch=settings.batch,
        encoder_rate=settings.encoder_rate,
        head_rate=settings.decoder_rate,
        warmup=settings.warmup,
        decay=settings.decay,
        checkpoint_steps=settings.checkpoint_steps,
    )


def _start_from(model: RewriterModel, state: dict[str, Tensor]) -> None:
    """Take an earlier run's weights; pieces it did not write start from the base's embeddings."""
    mine = model.state_dict()
    at = {token: row for row, token in enumerate(state["pieces"].tolist())}
    known = [(row, at[token]) for row, token in enumerate(mine["pieces"].tolist()) if token in at]
    here, there = (torch.tensor(rows) for rows in zip(*known, strict=True))
    for name in ("embedding.weight", "write.weight", "write.bias"):
        mine[name][here] = state[name][there]
    own = {"pieces", "embedding.weight", "write.weight", "write.bias"}
    model.load_state_dict({**mine, **{k: v for k, v in state.items() if k not in own}})


def load_rewriter(work: Path) -> RewriterModel:
    """The model that `train_rewriter` left in a folder, ready to rewrite."""
    config, state = AutoConfig.from_pretrained(work), load_file(work / "model.safetensors")
    bert = AutoModel.from_config(config, add_pooling_layer=False)
    model = RewriterModel(bert, config.hidden_size, state["pieces"])
    model.load_state_dict(state)
    return model.eval()


def was_decoder_alone(work: Path) -> bool:
    """Whether the training in a folder left what reads as it was."""
    settings = json.loads((work / "trained.json").read_text())["settings"]
    return bool(settings.get("decoder_only", False))


def is_writable(lesson: Lesson, columns: dict[int, int]) -> bool:
    """Whether all that a pair does not copy is in the vocabulary."""
    return all(
        place != NOWHERE or token in columns
        for token, place in zip(lesson.target, lesson.copied, strict=True)
    )


def loss_of(
    model: RewriterModel, teacher: nn.Module, batch: RewriterBatch, settings: RewriterSettings
) -> Tensor:
    """The training loss of one batch (formula: top of this file)."""
    # bfloat16 in the products: half as fast again on a processor that has it.
    with torch.autocast("cpu", torch.bfloat16):
        states, embedding, risk = model.encode(batch.input_ids, batch.attention_mask)
        scores = model.decode(
            states, batch.attention_mask, batch.banned, batch.written, batch.copied
        )
    edits = cross_entropy(
        scores.float().flatten(0, 1), batch.wanted.flatten(), ignore_index=_NOTHING
    )
    if settings.decoder_only:
        return edits
    some = slice(0, None, _TEACH_EVERY)
    ids, mask = batch.input_ids[some], batch.attention_mask[some]
    with torch.no_grad():
        taught = teacher(input_ids=ids, attention_mask=mask)[0] * mask.unsqueeze(-1)
        wanted = unit(taught.sum(1), dim=-1)
    moved = (1 - (embedding[some] * wanted).sum(-1)).mean()
    known = ~batch.wrong.isnan()
    doubt = bce(risk[known], batch.wrong[known]) if known.any() else risk.sum() * 0
    return edits + settings.similarity_weight * moved + settings.risk_weight * doubt
