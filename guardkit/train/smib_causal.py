"""The task term of a bottleneck inside a causal language model: what the frozen layers above it make of the filtered states.

    keep      KL(unmodified || filtered) of the next token, on clean texts, so that the model stays what it is
    learn     -log p(token), on the clean continuations of whatever prompts
    unlearn   -log(1 - p(token)), on the words of toxic continuations that a scorer blames

The first stands in for -SMI(y; z), as the cross-entropy of the frozen decoder does in ToViLaG; the others are ours, and both can be weighted
with 0. Layers below the bottleneck never change, so states are captured once; those above see causal attention only, so padding on the
right needs no mask. For models of transformers built as Llama is: `model.layers`, `model.norm`, `model.rotary_emb`, `lm_head`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from guardkit.train.smib import Batch

_TOP = (
    64  # tokens whose probabilities stand for the unmodified model's; the rest is one more outcome
)
_CHUNK = 16  # texts a run of the model
_LEAST = 1e-6  # 1 - p is not taken for less: its logarithm would be all there is


@dataclass(frozen=True, slots=True)
class Text:
    """One text to train on."""

    ids: tuple[int, ...]
    """Its tokens, at least two."""
    start: int
    """Where the continuation begins; 0 for a text without a prompt."""
    toxic: bool
    """Whether the whole of it is: the label a."""
    keep: bool = False
    """Whether the model is to stay on it what it was."""
    learn: bool = False
    """Whether its continuation is to become likelier."""
    blamed: tuple[int, ...] = ()
    """Places of tokens that are to become unlikelier."""


@dataclass(frozen=True, slots=True)
class Captured:
    """What the unmodified model makes of texts."""

    states: Mapping[str, Tensor]
    """Name of a layer -> what it gives, bf16 [N, T, d], 0 where there is no token."""
    ids: Tensor
    """int64 [N, T], padded on the right with 0."""
    mask: Tensor
    """f32 [N, T]."""
    top: Tensor
    """int64 [N, T, 64]: the likeliest next tokens, of texts to keep; 0 of others."""
    top_log: Tensor
    """f32 [N, T, 64]: their logarithmic probabilities."""


@torch.inference_mode()  # type: ignore[untyped-decorator]  # torch is not installed where types are checked
def capture(model: Any, texts: Sequence[Text], layers: Sequence[str]) -> Captured:
    """Run the unmodified model once over all texts.

    Args:
        model: A causal language model of transformers, in eval mode.
        texts: What to run.
        layers: Names of modules whose output, a tensor [B, T, d], is kept.
    """
    longest, d = max(len(one.ids) for one in texts), model.config.hidden_size
    states = {name: torch.zeros((len(texts), longest, d), dtype=torch.bfloat16) for name in layers}
    ids = torch.zeros((len(texts), longest), dtype=torch.int64)
    mask = torch.zeros((len(texts), longest))
    top = torch.zeros((len(texts), longest, _TOP), dtype=torch.int64)
    top_log = torch.zeros((len(texts), longest, _TOP))
    for row, one in enumerate(texts):
        ids[row, : len(one.ids)], mask[row, : len(one.ids)] = torch.tensor(one.ids), 1
    for rows in _alike(texts):
        length = len(texts[rows[-1]].ids)
        found, logits = _run(model, ids[rows, :length], layers, has_head=texts[rows[0]].keep)
        for name, value in found.items():
            states[name][rows, :length] = value.bfloat16() * mask[rows, :length, None].bfloat16()
        if logits is not None:
            values, places = logits.topk(_TOP, -1)
            top[rows, :length] = places
            top_log[rows, :length] = (values - logits.logsumexp(-1, keepdim=True)).float()
    return Captured(states, ids, mask, top, top_log)


def _alike(texts: Sequence[Text]) -> Iterator[list[int]]:
    """Rows that run together: of similar length, and all or none of them to keep."""
    for keep in (False, True):
        rows = [row for row, one in enumerate(texts) if one.keep is keep]
        rows.sort(key=lambda row: len(texts[row].ids))
        yield from (rows[at : at + _CHUNK] for at in range(0, len(rows), _CHUNK))


def _run(
    model: Any, ids: Tensor, layers: Sequence[str], *, has_head: bool
) -> tuple[dict[str, Tensor], Tensor | None]:
    """(what the layers give, the logits where they are needed: they are a third of the time)."""
    found: dict[str, Tensor] = {}
    hooks = [model.get_submodule(name).register_forward_hook(_keeper(found, name)) for name in layers]  # fmt: skip
    try:
        if has_head:
            return found, model(input_ids=ids, use_cache=False).logits
        model.model(input_ids=ids, use_cache=False)
        return found, None
    finally:
        for hook in hooks:
            hook.remove()


def _keeper(found: dict[str, Tensor], name: str) -> Any:
    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        found[name] = output if isinstance(output, Tensor) else output[0]

    return keep


@dataclass(frozen=True, slots=True)
class Weights:
    """What each part of the task counts."""

    keep: float = 1.0
    learn: float = 1.0
    unlearn: float = 0.0
    texts: int = 5
    """Clean ones, and as many toxic ones, of a batch that the layers above run on: they are what costs time."""
    tokens: int = 120
    """Of these texts, drawn anew every step, that the head runs on; blamed ones are kept."""


class DecoderTask:
    """L_task of filtered states at one layer."""

    def __init__(
        self, model: Any, layer: int, texts: Sequence[Text], captured: Captured, weights: Weights
    ) -> None:
        """Take a model apart.

        Args:
            model: As for `capture`; its weights are frozen here.
            layer: The number of the layer whose output is filtered.
            texts: Those of the features, row by row.
            captured: What the unmodified model made of them.
            weights: What counts how much.
        """
        self._model, self._above = model, model.model.layers[layer + 1 :]
        self._captured, self._weights = captured, weights
        model.requires_grad_(False)
        shape = captured.ids.shape
        self._learn, self._keep, self._blamed = (torch.zeros(shape) for _ in range(3))
        for row, one in enumerate(texts):
            # place t predicts token t + 1
            self._learn[row, max(one.start - 1, 0) : len(one.ids) - 1] = float(one.learn)
            self._keep[row, : len(one.ids) - 1] = float(one.keep)
            for place in one.blamed:
                self._blamed[row, max(place - 1, 0)] = 1.0

    def __call__(self, z: Tensor, batch: Batch) -> Tensor:
        """L_task of filtered states f32 [B, T, d]."""
        some = torch.cat([torch.nonzero(batch.toxic == a).squeeze(1)[: self._weights.texts] for a in (0, 1)])  # fmt: skip
        rows, length = batch.rows[some], z.shape[1]
        used = self._thinned(rows, length)
        log_p = log_softmax(self.logits(z[some], used).float(), -1)  # [used tokens, vocabulary]
        follows = self._captured.ids[rows, 1 : length + 1]
        follows = torch.nn.functional.pad(follows, (0, length - follows.shape[1]))[used]
        own = log_p.gather(1, follows[:, None]).squeeze(1)
        parts = [
            (self._weights.keep, self._keep, self._kept(log_p, rows, used, length)),
            (self._weights.learn, self._learn, -own),
            (self._weights.unlearn, self._blamed, -torch.log((1 - own.exp()).clamp(min=_LEAST))),
        ]
        total = torch.zeros(())
        for weight, where, losses in parts:
            chosen = where[rows, :length][used]
            if weight and chosen.sum():
                total = total + weight * (losses * chosen).sum() / chosen.sum()
        return total

    def _thinned(self, rows: Tensor, length: int) -> Tensor:
        """Bool [B, T]: which tokens the head runs on."""
        blamed = self._blamed[rows, :length] > 0
        wanted = (self._learn + self._keep)[rows, :length] > 0
        share = self._weights.tokens / max(int(wanted.sum()), 1)
        return blamed | (wanted & (torch.rand(wanted.shape) < share))

    def logits(self, z: Tensor, used: Tensor) -> Tensor:
        """Next-token logits [used tokens, vocabulary] of states [B, T, d] behind the bottleneck."""
        hidden = z.to(self._model.dtype)
        positions = torch.arange(z.shape[1])[None]
        turned = self._model.model.rotary_emb(hidden, positions)
        for layer in self._above:
            out = layer(hidden, attention_mask=None, position_ids=positions, position_embeddings=turned)  # fmt: skip
            hidden = out if isinstance(out, Tensor) else out[0]
        return self._model.lm_head(self._model.model.norm(hidden)[used])

    def _kept(self, log_p: Tensor, rows: Tensor, used: Tensor, length: int) -> Tensor:
        """KL(unmodified || filtered) a token, over the likeliest tokens and the rest as one."""
        before = self._captured.top_log[rows, :length][used]
        after = log_p.gather(1, self._captured.top[rows, :length][used])
        before, after = (torch.cat([one, _rest(one)], 1) for one in (before, after))
        return kl_div(after, before, reduction="none", log_target=True).sum(1)


def _rest(log_p: Tensor) -> Tensor:
    return torch.log1p(-log_p.exp().sum(1, keepdim=True).clamp(max=1 - _LEAST))
