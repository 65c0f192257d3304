r"""The head of `image-transform`, and how it is trained.

text    -> linear ----------------> which of 15 requests, or none --+
numbers -> linear, GELU, linear --> which of 13 effects ------------+--> their products --> a table -----------+--> logits
                    \--------------------------------------------------> and both --> linear, GELU, linear ---+    [bias, harassment,
                                                                                                                   violence, sexual]
The table begins as what `edit_prompts.harm_of` says; it is trained as all else is.

loss = BCE(logits, harm) + CE(requests) + CE(effects)

"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from msgspec import Struct
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from guardkit.export.transform_graph import SEEN_NAMES
from guardkit.image.signals import SIGNALS
from guardkit.train.edit_features import Edits
from guardkit.train.edit_prompts import CATEGORIES, CLASSES, drawn_class, harm_of
from guardkit.train.edits import KINDS, Effect

Floats = NDArray[np.float32]
EFFECTS = tuple(Effect)
SAID = 12  # categories of text-safety
TEXT = 384  # of a sentence vector
_SURE = 4.0  # log-odds of .98, where training begins
_GENTLE = 0.1  # of the usual weights, so that training begins near the table


class Settings(Struct, frozen=True):
    """What a training takes."""

    epochs: int = 8
    each: int = 8
    """Requests that an edit is put beside."""
    batch: int = 512
    rate: float = 3e-3
    decay: float = 2e-2
    wide: int = 64
    dropout: float = 0.25
    text_dropout: float = 0.3
    """Of the sentence vector: a few hundred sentences are few beside its 384 numbers."""
    noise: float = 0.05
    """Standard deviation added to every number."""
    members: int = 3
    """Heads that are averaged."""
    without_request: float = 0.12
    """Share of the pairs without a request."""
    seed: int = 20261127


class Said(Struct, frozen=True):
    """Sentences as the model reads them, one a row."""

    kinds: tuple[str, ...]
    vectors: Floats
    """f32 [sentences, 384]: the mean of the encoder's token states, of length 1."""
    log_odds: Floats
    """f32 [sentences, 12]: what text-safety says, times 0.2."""


class Pairs(Struct, frozen=True):
    """Edits beside requests, one a row."""

    edits: NDArray[np.int64]
    said: NDArray[np.int64]
    """Which sentence; -1: none."""
    harms: NDArray[np.int64]
    """Which category; -1: no harm."""


class Head(nn.Module):
    """The head: what was seen, measured and said to a logit a category."""

    def __init__(self, settings: Settings, numbers: int = len(SEEN_NAMES) + len(SIGNALS)) -> None:
        """Begin with random weights; the mean and spread of the numbers are set later."""
        super().__init__()
        self.register_buffer("middle", torch.zeros(numbers))
        self.register_buffer("spread", torch.ones(numbers))
        self.drop = nn.Dropout(settings.dropout)
        self.drop_text = nn.Dropout(settings.text_dropout)
        self.requests = nn.Linear(TEXT + SAID, len(CLASSES))
        self.hidden = nn.Linear(numbers, settings.wide)
        self.effects = nn.Linear(settings.wide, len(EFFECTS))
        pairs = (len(CLASSES) + 1) * len(EFFECTS)
        self.table = nn.Linear(pairs, len(CATEGORIES))
        self.joint = nn.Linear(pairs + settings.wide, settings.wide)
        self.out = nn.Linear(settings.wide, len(CATEGORIES))
        with torch.no_grad():
            self.table.weight.copy_(table_of_harm())
            self.table.bias.zero_()
            self.out.weight.mul_(_GENTLE)

    def forward(
        self, numbers: Tensor, vectors: Tensor, log_odds: Tensor, has_request: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of categories [b, 4], of requests [b, 15] and of effects [b, 13].

        Args:
            numbers: f32 [b, numbers].
            vectors: f32 [b, 384].
            log_odds: f32 [b, 12].
            has_request: f32 [b, 1], 0 or 1: at 0 nothing of the two before it counts.
        """
        x = ((numbers - self.middle) / self.spread).clamp(-4, 4)
        said = torch.cat([self.drop_text(vectors * TEXT**0.5), log_odds], dim=1)
        requests = self.requests(said)
        asked = torch.cat([requests.softmax(1) * has_request, 1 - has_request], dim=1)
        hidden = functional.gelu(self.hidden(self.drop(x)))
        effects = self.effects(hidden)
        pairs = (asked.unsqueeze(1) * effects.softmax(1).unsqueeze(2)).flatten(1)
        joint = torch.cat([pairs, self.drop(hidden)], dim=1)
        logits = self.table(pairs) + self.out(functional.gelu(self.joint(joint)))
        return logits, requests, effects


def table_of_harm() -> Tensor:
    """What `harm_of` says of each effect beside each request, as logits: f32 [4, effects x (requests and none)]."""
    table = torch.full((len(CATEGORIES), len(EFFECTS), len(CLASSES) + 1), -_SURE)
    for row, effect in enumerate(EFFECTS):
        for column, asked in enumerate((*CLASSES, None)):
            harm = harm_of(effect, asked, has_face=True, angle=20.0)
            if harm == "unclear":
                table[:, row, column] = 0.0
            elif harm is not None:
                table[CATEGORIES.index(harm), row, column] = _SURE
    return table.flatten(1)


class Heads(nn.Module):
    """Several heads averaged: the one that ships."""

    def __init__(self, members: Sequence[Head]) -> None:
        """Take trained heads."""
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(
        self, numbers: Tensor, vectors: Tensor, log_odds: Tensor, has_request: Tensor
    ) -> Tensor:
        """Logits of categories, f32 [b, 4]; arguments as of `Head`."""
        said = [member(numbers, vectors, log_odds, has_request)[0] for member in self.members]
        return torch.stack(said).mean(0)


def draw_pairs(
    edits: Edits, said: Said, random: Generator, *, without_request: float, each: int = 1
) -> Pairs:
    """Put each edit beside requests; pairs of which nobody could say whether they are harm are left out."""
    by_kind = {kind: np.flatnonzero(np.array(said.kinds) == kind) for kind in CLASSES}
    rows = []
    for _ in range(each):
        for row, kind in enumerate(edits.kinds):
            effect = KINDS[kind].effect
            has_request = random.random() >= without_request
            asked = drawn_class(effect, random) if has_request else None
            harm = harm_of(effect, asked, has_face=bool(edits.has_faces[row]), angle=float(edits.angles[row]))  # fmt: skip
            if harm != "unclear":
                sentence = int(random.choice(by_kind[asked])) if asked else -1
                rows.append((row, sentence, -1 if harm is None else CATEGORIES.index(harm)))
    columns = np.array(rows, np.int64).T
    return Pairs(columns[0], columns[1], columns[2])


def numbers_of(edits: Edits) -> Floats:
    """What the head reads of edits: f32 [edits, seen and signals]."""
    return np.concatenate([edits.seen, edits.signals], axis=1)


def train_heads(
    edits: Edits, said: Said, settings: Settings, *, numbers: Floats | None = None
) -> Heads:
    """Train all members, each with a seed of its own.

    Args:
        edits: Measured edits of the training split.
        said: Sentences of the training templates.
        settings: As above.
        numbers: What the heads read of each edit, where it is not `numbers_of`: f32 [edits, n].
    """
    read = numbers_of(edits) if numbers is None else numbers
    members = []
    for member in range(settings.members):
        torch.manual_seed(settings.seed + member)
        head = _train(read, edits, said, settings, np.random.default_rng(settings.seed + member))
        members.append(head.eval())
    return Heads(members).eval()


def _train(
    numbers: Floats, edits: Edits, said: Said, settings: Settings, random: Generator
) -> Head:
    head = Head(settings, numbers.shape[1])
    head.middle.copy_(torch.from_numpy(numbers.mean(0)))
    head.spread.copy_(torch.from_numpy(numbers.std(0) + 0.05))
    optimizer = torch.optim.AdamW(head.parameters(), lr=settings.rate, weight_decay=settings.decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.epochs)
    effects = np.array([EFFECTS.index(KINDS[kind].effect) for kind in edits.kinds])
    pairs = draw_pairs(
        edits, said, random, without_request=settings.without_request, each=settings.each
    )
    for _ in range(settings.epochs):
        for rows in _batches(len(pairs.edits), settings.batch, random):
            inputs = inputs_of(numbers, said, pairs, rows)
            noisy = inputs[0] + torch.randn_like(inputs[0]) * settings.noise * head.spread
            logits, requests, found = head(noisy, *inputs[1:])
            loss = _loss(logits, requests, found, pairs=pairs, rows=rows, effects=effects, said=said)  # fmt: skip
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return copy.deepcopy(head)


def _batches(count: int, size: int, random: Generator) -> Iterator[NDArray[np.int64]]:
    order = random.permutation(count)
    for at in range(0, count, size):
        yield order[at : at + size]


def _loss(
    logits: Tensor,
    requests: Tensor,
    found: Tensor,
    *,
    pairs: Pairs,
    rows: NDArray[np.int64],
    effects: NDArray[np.int64],
    said: Said,
) -> Tensor:
    truth = torch.from_numpy((pairs.harms[rows, None] == np.arange(len(CATEGORIES))).astype(np.float32))  # fmt: skip
    of_edits = torch.from_numpy(effects[pairs.edits[rows]])
    has = pairs.said[rows] >= 0
    asked = [CLASSES.index(said.kinds[one]) for one in pairs.said[rows][has]]
    harm = functional.binary_cross_entropy_with_logits(logits, truth)
    request = functional.cross_entropy(requests[torch.from_numpy(has)], torch.tensor(asked))
    return harm * len(CATEGORIES) + 0.5 * request + 0.5 * functional.cross_entropy(found, of_edits)


def inputs_of(
    numbers: Floats, said: Said, pairs: Pairs, rows: NDArray[np.int64] | slice = slice(None)
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What a head takes of some pairs."""
    edits, sentences = pairs.edits[rows], pairs.said[rows]
    has = (sentences >= 0).astype(np.float32)[:, None]
    return (
        torch.from_numpy(numbers[edits]),
        torch.from_numpy(said.vectors[sentences] * has),
        torch.from_numpy(said.log_odds[sentences] * has),
        torch.from_numpy(has),
    )


def logits_of(heads: nn.Module, numbers: Floats, said: Said, pairs: Pairs) -> Floats:
    """What trained heads say of pairs: f32 [pairs, 4]."""
    with torch.no_grad():
        logits: Floats = heads(*inputs_of(numbers, said, pairs)).numpy()
    return logits
