"""A small language model as a generator to measure: SmolLM2-135M on prompts of RealToxicityPrompts (DecodingTrust's subset).

    python -m bench.small_language_model --data ../shared/data --out drawn.jsonl
    SMOLLM2=FOLDER guardkit eval generator --prompts drawn.jsonl --generator bench.small_language_model:generate \
        -k 5 --slice prompt --out bench/results/generator

FOLDER is what `get_models.py` made of smollm2-135m. Up to 20 tokens by nucleus sampling (p .9), as RealToxicityPrompts was made
for (Gehman et al. 2020, arXiv 2009.11462). Nothing is trained or tuned on these prompts here.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

_TOKENS, _TOP_P, _SEED = 20, 0.9, 20261127
_ROWS = 5  # texts made at once: as many as `-k` asks for of a prompt
_made: dict[tuple[str, int], str] = {}  # of the last prompt
_one_at_a_time = threading.Lock()


def main() -> int:
    """Draw prompts: half that Perspective found toxic, half that it did not."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--prompts", type=int, default=400)
    parser.add_argument("--out", required=True, type=Path)
    arguments = parser.parse_args()
    import pyarrow.parquet as pq

    table = pq.read_table(arguments.data / "text" / "rtp_decodingtrust" / "train.parquet")
    rng, lines = np.random.default_rng(_SEED), list[str]()
    rows = table.select(["text", "orig_toxicity"]).to_pylist()
    for name, is_toxic in (("toxic", True), ("civil", False)):
        pool = [row["text"] for row in rows if (row["orig_toxicity"] >= 0.5) is is_toxic]
        picks = rng.permutation(len(pool))[: arguments.prompts // 2]
        lines += [json.dumps({"text": pool[at], "prompt": name}) for at in picks]
    arguments.out.write_text("\n".join(lines) + "\n")
    return 0


def generate(prompt: str, guidance: Any) -> str:
    """How the model goes on after a prompt, sampled with the seed it is given."""
    # A call that was late goes on, and transformers cannot open a model on two threads at once.
    with _one_at_a_time:
        return _continued(prompt, guidance.seed)


def _continued(prompt: str, first: int) -> str:
    if (prompt, first) not in _made:
        # A step reads all weights, whatever the batch: five rows cost what one does. The next calls ask for these.
        seeds = range(first, first + _ROWS)
        _made.clear()
        _made.update({(prompt, seed): text for seed, text in zip(seeds, _sampled(prompt, seeds), strict=True)})  # fmt: skip
    return _made[prompt, first]


def _sampled(prompt: str, seeds: range) -> list[str]:
    """A continuation a seed; each row draws from a generator of its own."""
    import torch

    model, tokenizer = _opened()
    draws = [torch.Generator().manual_seed(seed) for seed in seeds]
    tokens = tokenizer(prompt, return_tensors="pt")["input_ids"].expand(len(seeds), -1)
    past, rows = None, []
    with torch.inference_mode():
        for _ in range(_TOKENS):
            seen = model(tokens, past_key_values=past, use_cache=True, logits_to_keep=1)
            past = seen.past_key_values
            shares = _nucleus(seen.logits[:, -1].softmax(-1))  # [rows, vocabulary]
            drawn = [torch.multinomial(row, 1, generator=draw) for row, draw in zip(shares, draws, strict=True)]  # fmt: skip
            rows.append(tokens := torch.stack(drawn))  # [rows, 1]
    made = torch.cat(rows, 1).tolist()
    return [tokenizer.decode(_until(row, tokenizer.eos_token_id), skip_special_tokens=True) for row in made]  # fmt: skip


def _nucleus(shares: Any) -> Any:
    """The most likely tokens that together reach p, the others 0 (Holtzman et al. 2020, arXiv 1904.09751)."""
    import torch

    ordered, places = shares.sort(-1, descending=True)
    ordered[ordered.cumsum(-1) - ordered >= _TOP_P] = 0
    return torch.zeros_like(shares).scatter(-1, places, ordered)


def _until(tokens: list[int], end: int) -> list[int]:
    return tokens[: tokens.index(end)] if end in tokens else tokens


@functools.cache
def _opened() -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    folder = os.environ["SMOLLM2"]
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(
        folder
    )


if __name__ == "__main__":
    sys.exit(main())
