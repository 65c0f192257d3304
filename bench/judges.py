"""Train the outside judges of the rewriter: `python -m bench.judges --base FOLDER --data ../shared/data --work FOLDER`.

A judge says whether a text is harmful, and how near two texts are in meaning. Two of them, on encoders that guardkit's
models are not made of (mpnet-base, e5-small), each on sources that neither the rewriter nor the other judge learned
from: `mpnet` reads comments and hate speech, `e5` tweets, chats and questions, and each one half of the risky image prompts.
ParaDetox and our own written texts are in neither. Similarity is the encoder's own, before it is fine-tuned: mean of the
tokens, cosine.

20 to 40 minutes a judge on one core. In --work/<judge>: `model.safetensors`, its encoder's config, `judge.json`: accuracy on
rows that it did not see.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, normalize
from transformers import AutoModel

from guardkit.train.loop import freeze_lower_half

_LABELS = ("toxicity", "obscene", "threat", "insult", "identity_attack", "sexual", "violence", "self_harm", "hate", "harassment", "illicit", "profanity")  # fmt: skip
_IMAGE = ("i2p", "adversarial_nibbler", "diffusiondb_benign", "coco_captions")
_BATCH, _MOST_TOKENS, _SEED = 16, 64, 20261126


@dataclass(frozen=True, slots=True)
class Kind:
    """What a judge is made of."""

    base: str
    sources: tuple[str, ...]
    prefix: str = ""
    """What its encoder wants before every text."""
    rows: int = 4000
    rate: float = 3e-5


JUDGES = {
    "mpnet": Kind(
        "mpnet-base",
        ("jigsaw_toxic_subset", "wiki_context_toxicity", "toxic_spans", "hatexplain_binary", "toxigen_human"),
    ),
    "e5": Kind(
        "e5-small-multi",
        ("davidson", "convabuse", "sbic_dev_test", "offensivelang", "edos_sexism", "benign_prompts", "catqa"),
        "query: ",
        rows=10000,
        rate=6e-5,
    ),
}  # fmt: skip


class Judge(nn.Module):
    """An encoder whose mean over tokens one linear layer reads."""

    def __init__(self, base: Path, prefix: str) -> None:
        super().__init__()
        self.encoder = AutoModel.from_pretrained(base)
        self.head = nn.Linear(self.encoder.config.hidden_size, 1)
        self._prefix = prefix
        self._tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
        self._tokenizer.enable_truncation(_MOST_TOKENS)
        self._tokenizer.enable_padding(pad_id=self._tokenizer.token_to_id("<pad>") or 1)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """The mean of the tokens: f32 [texts, d]."""
        encoded = self._tokenizer.encode_batch([self._prefix + text for text in texts])
        ids = torch.tensor([one.ids for one in encoded])
        mask = torch.tensor([one.attention_mask for one in encoded])
        states = self.encoder(input_ids=ids, attention_mask=mask)[0] * mask.unsqueeze(-1)
        return states.sum(1) / mask.sum(1, keepdim=True)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Logits of harm: f32 [texts]."""
        return self.head(self.embed(texts)).squeeze(-1)


def main() -> int:
    """Train one judge."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--judge", choices=JUDGES, required=True)
    parser.add_argument("--bases", required=True, type=Path, help="what get_models.py fetched")
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--work", required=True, type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(_SEED)
    kind, folder = JUDGES[arguments.judge], arguments.work / arguments.judge
    folder.mkdir(parents=True, exist_ok=True)
    half = list(JUDGES).index(arguments.judge)
    texts, labels = rows_of(arguments.data, kind, half=half)
    held = max(200, len(texts) // 12)
    judge = Judge(arguments.bases / kind.base, kind.prefix)
    _fit(judge, texts[held:], labels[held:], kind)
    about = {"rows": len(texts) - held, "held back": held} | _measured(judge, texts[:held], labels[:held])  # fmt: skip
    save_file(judge.state_dict(), folder / "model.safetensors")
    (folder / "judge.json").write_text(json.dumps(about, indent=1) + "\n")
    print(json.dumps(about))
    return 0


def load_judge(bases: Path, work: Path, name: str) -> tuple[Judge, Judge]:
    """A trained judge, and its encoder as it was before: (harm, similarity)."""
    kind = JUDGES[name]
    judge, before = Judge(bases / kind.base, kind.prefix), Judge(bases / kind.base, kind.prefix)
    judge.load_state_dict(load_file(work / name / "model.safetensors"))
    return judge.eval(), before.eval()


def similarity(before: Judge, texts: Sequence[str], others: Sequence[str]) -> np.ndarray:
    """Cosine of the embeddings, text by text: f32 [texts]."""
    with torch.no_grad():
        pairs = [
            (normalize(before.embed(a), dim=-1) * normalize(before.embed(b), dim=-1)).sum(-1)
            for a, b in zip(_chunks(texts), _chunks(others), strict=True)
        ]
    return torch.cat(pairs).numpy()


def harm(judge: Judge, texts: Sequence[str]) -> np.ndarray:
    """Probability of harm: f32 [texts]."""
    with torch.no_grad():
        return torch.sigmoid(torch.cat([judge(chunk) for chunk in _chunks(texts)])).numpy()


def _chunks(texts: Sequence[str]) -> list[Sequence[str]]:
    return [texts[at : at + 32] for at in range(0, len(texts), 32)]


def rows_of(data: Path, kind: Kind, *, half: int) -> tuple[list[str], np.ndarray]:
    """As many harmful as harmless rows of a judge's sources, and its half of the image prompts."""
    table = pq.read_table(data / "text" / "unified.parquet")
    harmful, harmless = list[str](), list[str]()
    for row in table.to_pylist():
        is_image = row["source"] in _IMAGE and _number(row["text"]) % 2 == half
        if row["lang"] != "en" or not (is_image or row["source"] in kind.sources):
            continue
        known = [row[name] for name in _LABELS if row[name] is not None and row[name] == row[name]]
        if not known:
            continue
        if max(known) >= 0.5:
            harmful.append(row["text"])
        elif max(known) <= 0.2:
            harmless.append(row["text"])
    rng = np.random.default_rng(_SEED)
    each = min(kind.rows // 2, len(harmful), len(harmless))
    picked = [(pool[at], label) for pool, label in ((harmful, 1.0), (harmless, 0.0)) for at in rng.permutation(len(pool))[:each]]  # fmt: skip
    order = rng.permutation(len(picked))
    return [picked[at][0] for at in order], np.array([picked[at][1] for at in order], np.float32)


def _number(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


def _fit(judge: Judge, texts: list[str], labels: np.ndarray, kind: Kind) -> None:
    order = np.argsort([len(text) + np.random.default_rng(at).random() * 40 for at, text in enumerate(texts)])  # fmt: skip
    groups = [order[at : at + _BATCH] for at in range(0, len(order), _BATCH)]
    freeze_lower_half(judge.encoder)
    trained = [one for one in judge.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=kind.rate, weight_decay=0.01, fused=True)
    judge.train()
    started = time.monotonic()
    for step, at in enumerate(np.random.default_rng(_SEED).permutation(len(groups))):
        for group in optimizer.param_groups:
            group["lr"] = kind.rate * min(1.0, (step + 1) / 60) * (1 - step / len(groups))
        rows = groups[at]
        with torch.autocast("cpu", torch.bfloat16):
            logits = judge([texts[row] for row in rows])
        loss = binary_cross_entropy_with_logits(logits.float(), torch.from_numpy(labels[rows]))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        if step % 50 == 49:
            print(step + 1, len(groups), round(loss.item(), 3), f"{(step + 1) * _BATCH / (time.monotonic() - started):.1f} a second", flush=True)  # fmt: skip
    judge.eval()


def _measured(judge: Judge, texts: list[str], labels: np.ndarray) -> dict[str, float]:
    scores = harm(judge, texts)
    found = scores >= 0.5
    return {
        "accuracy": round(float((found == (labels > 0)).mean()), 4),
        "harmful found": round(float(found[labels > 0].mean()), 4),
        "harmless flagged": round(float(found[labels == 0].mean()), 4),
    }


if __name__ == "__main__":
    sys.exit(main())
