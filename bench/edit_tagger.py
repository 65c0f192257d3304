"""The other way to rewrite, to measure against: one pass of an edit tagger, on the encoder of `prompt-rewriter`.

    python -m bench.edit_tagger --start RUN --data ../shared/data --work FOLDER    # 40k pairs, half an hour of one core
    python -m bench.rewriting ... --edit-tagger FOLDER                              # in the tables of prompt-rewriter

Model: own_t = W s_t over {keep, delete, piece v}; after_t = U s_t over {nothing, piece v}; s as in `guardkit.train.rewriter`,
same pairs, same pieces, same bans. So a token becomes itself, nothing or a piece, and one more piece may follow it;
pairs that need more are left out. Loss: CE(own) + CE(after).
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from guardkit.artifacts import Artifact, find_artifact
from guardkit.runtime.base import Arrays
from guardkit.steps import REWRITER
from guardkit.text.encode import Encoder
from guardkit.text.rewrite import END, NOWHERE, ModelRewriter
from guardkit.train.loop import Plan, fit, of_similar_length
from guardkit.train.repairs import Draws, load_pairs
from guardkit.train.rewriter import Lesson, is_writable, lessons_of, load_rewriter, with_bans

_KEEP, _DELETE, _NOTHING = 0, 1, 0
_OWN, _AFTER = 2, 1  # where pieces begin in the two outputs
_WRITTEN = Path("data/written/repairs")
_BATCH, _SEED = 32, 20261127


class EditTagger(nn.Module):
    """Two linear layers on an encoder's tokens."""

    def __init__(self, encoder: nn.Module, hidden: int, pieces: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.ban = nn.Parameter(torch.zeros(hidden))
        self.own = nn.Linear(hidden, _OWN + pieces)
        self.after = nn.Linear(hidden, _AFTER + pieces)

    def tags(self, states: Tensor, banned: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of what becomes of a token and of what follows it: [B, T, 2 + V] and [B, T, 1 + V]."""
        states = states + banned.unsqueeze(-1) * self.ban
        own = self.own(states)
        keep = torch.zeros_like(own)
        keep[..., _KEEP] = banned * -1e4
        return own + keep, self.after(states)


@dataclass(frozen=True, slots=True)
class Tags:
    """What becomes of each source token of a lesson."""

    lesson: Lesson
    own: tuple[int, ...]
    after: tuple[int, ...]


def tags_of(lesson: Lesson, columns: dict[int, int]) -> Tags | None:
    """The tags that make a lesson's target of its source; None where two pieces a token are too few."""
    length = len(lesson.source)
    own, after = [_DELETE] * length, [_NOTHING] * length
    own[0] = own[-1] = _KEEP
    last, run = 0, list[int]()
    ends = [*zip(lesson.target, lesson.copied, strict=True), (0, length - 1)]
    for token, place in ends:
        if place == NOWHERE:
            run.append(columns[token])
            continue
        if not _placed(run, last, place, own, after):
            return None
        own[place], last, run = _KEEP, place, []
    return Tags(lesson, tuple(own), tuple(after))


def _placed(run: Sequence[int], last: int, place: int, own: list[int], after: list[int]) -> bool:
    """Lay written pieces on the tokens left out between two copied ones."""
    left_out = range(last + 1, place)
    if len(run) <= len(left_out):
        for token, piece in zip(left_out, run, strict=False):
            own[token] = _OWN + piece
        return True
    if len(run) > 2 * len(left_out) + 1:
        return False
    rest = list(run)
    if len(run) == 2 * len(left_out) + 1:
        after[last] = _AFTER + rest.pop(0)
    for token in left_out:
        if rest:
            own[token] = _OWN + rest.pop(0)
        if rest:
            after[token] = _AFTER + rest.pop(0)
    return True


def loss_of(model: EditTagger, rows: Sequence[Tags]) -> Tensor:
    """The training loss of one batch (formula: top of this file)."""
    width = max(len(row.own) for row in rows)
    ids, mask, banned = torch.zeros(3, len(rows), width, dtype=torch.int64)
    own, after = torch.full((2, len(rows), width), -100)
    for at, row in enumerate(rows):
        length = len(row.own)
        ids[at, :length] = torch.tensor(row.lesson.source)
        mask[at, :length] = 1
        banned[at, sorted(row.lesson.banned)] = 1
        own[at, :length], after[at, :length] = torch.tensor(row.own), torch.tensor(row.after)
    states = model.encoder(input_ids=ids, attention_mask=mask)[0]
    scores = model.tags(states, banned.float())
    return sum(cross_entropy(s.flatten(0, 1), w.flatten()) for s, w in zip(scores, (own, after), strict=True))  # type: ignore[return-value]  # fmt: skip


def main() -> int:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--start", required=True, type=Path, help="run of prompt-rewriter")
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--draws", nargs=5, type=int, default=(1, 4, 1, 4000, 300))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    torch.manual_seed(_SEED)
    arguments.work.mkdir(parents=True, exist_ok=True)
    rewriter = load_rewriter(arguments.start)
    columns = {token: at for at, token in enumerate(rewriter.pieces.tolist())}
    model = EditTagger(rewriter.encoder, rewriter.ban.shape[0], len(columns))
    tokenizer = (arguments.start / "tokenizer.json").read_bytes()
    pairs = load_pairs(arguments.data, _WRITTEN, draws=Draws(*arguments.draws), seed=_SEED)
    lessons = lessons_of(pairs, Encoder(tokenizer, max_tokens=97, overlap=8))
    rng = np.random.default_rng(_SEED)
    known = [with_bans(one, columns, rng) for one in lessons if is_writable(one, columns)]
    rows = [row for one in known if (row := tags_of(one, columns)) is not None]
    groups = of_similar_length([len(row.own) for row in rows], batch=_BATCH, seed=_SEED)
    batches = ([rows[row] for row in group] for group in groups)
    plan = Plan(-(-len(rows) // _BATCH), _BATCH, 6e-5, 6e-4, 0.04, 0.01, 200)
    fit(model, batches, lambda batch: loss_of(model, batch), arguments.work, plan)
    save_file(model.state_dict(), arguments.work / "model.safetensors")
    about = {"pairs": len(rows), "left out": len(known) - len(rows), "start": arguments.start.name}
    (arguments.work / "trained.json").write_text(json.dumps(about, indent=1) + "\n")
    print(json.dumps(about))
    return 0


# --- in the place of prompt-rewriter ------------------------------------------------------------------


def load_edit_tagger(work: Path, start: Path) -> ModelRewriter:
    """A trained edit tagger behind the rewriter's own reading and spelling.

    Args:
        work: --work of a training.
        start: The run of `prompt-rewriter` that it began from, whose artifact is the one in use.
    """
    rewriter, artifact = load_rewriter(start), find_artifact(REWRITER)
    model = EditTagger(rewriter.encoder, rewriter.ban.shape[0], len(rewriter.pieces)).eval()
    model.load_state_dict(load_file(work / "model.safetensors"))
    rewriter.encoder = model.encoder
    reader, writer = _reader(artifact, rewriter), _writer(artifact, model)
    return ModelRewriter(artifact, reader, writer, past=(0, 0, 0))


def _reader(artifact: Artifact, rewriter: Any) -> Any:
    def run(inputs: Arrays) -> dict[str, np.ndarray]:
        with torch.no_grad():
            ids, mask = (torch.from_numpy(inputs[name]) for name in ("input_ids", "attention_mask"))
            states, embedding, risk = rewriter.encode(ids, mask)
        return {"states": states.numpy(), "embedding": embedding.numpy(), "risk": risk.numpy()}

    return SimpleNamespace(run=run, info=artifact.manifest.id)


def _writer(artifact: Artifact, model: EditTagger) -> Any:
    """The tags read out as the decoder's answers: what comes next after so many items."""

    def run(inputs: Arrays) -> dict[str, np.ndarray]:
        with torch.no_grad():
            own, after = model.tags(*(torch.from_numpy(inputs[name]) for name in ("states", "banned")))  # fmt: skip
        items = list[int]()
        pieces = after.shape[-1] - _AFTER
        for token, (first, second) in enumerate(zip(own[0].argmax(-1).tolist(), after[0].argmax(-1).tolist(), strict=True)):  # fmt: skip
            inside = 0 < token < own.shape[1] - 1
            if inside and first == _KEEP:
                items.append(pieces + token)
            elif inside and first >= _OWN:
                items.append(first - _OWN)
            if second != _NOTHING:
                items.append(second - _AFTER)
        written, asked = inputs["past"].shape[-2], inputs["written"].shape[1]
        answers = [*items, *[END] * (written + asked)][written : written + asked]
        return {
            "best": np.array([answers], np.int64),
            "kept": np.zeros((1, 0, 0, written + asked, 0)),
        }

    return SimpleNamespace(run=run, info=artifact.manifest.id)


if __name__ == "__main__":
    sys.exit(main())
