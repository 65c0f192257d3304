"""Cut a multilingual encoder's vocabulary down to the pieces that the training texts use.

A Unigram tokenizer stays one when pieces are taken out: a text is then cut into the best of those left.
multilingual-e5-small has 250,037 pieces, 96 of its 118 million parameters, for a hundred languages.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModel

from guardkit.errors import InputError
from guardkit.text.normalize import normalize
from guardkit.train.data import Pool

_log = logging.getLogger(__name__)


def trim_vocabulary(base: Path, pool: Pool, out: Path, *, pieces: int) -> None:
    """Write a copy of an encoder with a smaller vocabulary.

    Special tokens and single characters are always kept, then the pieces used most often.

    Args:
        base: A folder with a transformers encoder and a Unigram `tokenizer.json`.
        pool: What to count pieces on; a text counts as often as it is drawn.
        out: The folder to write.
        pieces: Size of the new vocabulary.

    Raises:
        InputError: The tokenizer is not a Unigram model.
    """
    described = json.loads((base / "tokenizer.json").read_text(encoding="utf8"))
    vocabulary = described["model"].get("vocab")
    if described["model"].get("type") != "Unigram":
        raise InputError(f"{base / 'tokenizer.json'}: not a Unigram model. Nothing to cut out of.")
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    counts: dict[int, float] = defaultdict(float)
    for text, rate in zip(pool.texts, pool.rates.tolist(), strict=True):
        for i in tokenizer.encode(normalize(text).text, add_special_tokens=False).ids:
            counts[i] += rate
    specials = [i for i, (piece, _) in enumerate(vocabulary) if _is_special(piece)]
    single = [i for i in counts if len(vocabulary[i][0]) == 1]
    by_use = [i for i, _ in sorted(counts.items(), key=lambda one: -one[1])]
    kept = sorted(dict.fromkeys([*specials, *single, *by_use][:pieces]))
    covered = sum(counts[i] for i in kept) / sum(counts.values())
    _log.info("kept %d of %d pieces, %.4f of all uses", len(kept), len(vocabulary), covered)
    renumbered = {old: new for new, old in enumerate(kept)}
    described["model"]["vocab"] = [vocabulary[i] for i in kept]
    described["model"]["unk_id"] = renumbered[described["model"]["unk_id"]]
    _renumber(described, renumbered)
    _write(base, out, described, kept)


def _is_special(piece: str) -> bool:
    return piece.startswith("<") and piece.endswith(">") and len(piece) > 2


def _renumber(described: dict[str, object], renumbered: dict[int, int]) -> None:
    """Give the special tokens of added tokens and post-processor their new numbers."""
    for token in described.get("added_tokens") or []:  # type: ignore[attr-defined]
        token["id"] = renumbered[token["id"]]
    processor = described.get("post_processor") or {}
    for special in processor.get("special_tokens", {}).values():  # type: ignore[attr-defined]
        special["ids"] = [renumbered[i] for i in special["ids"]]


def _write(base: Path, out: Path, described: dict[str, object], kept: list[int]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "tokenizer.json").write_text(json.dumps(described, ensure_ascii=False), encoding="utf8")
    model = AutoModel.from_pretrained(base, add_pooling_layer=False)
    words = model.get_input_embeddings().weight.detach()[torch.tensor(kept)]
    model.resize_token_embeddings(len(kept))
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(words)
    model.config.pad_token_id = 0  # position of the padding id does not matter: it is masked
    model.save_pretrained(out)
