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
from pathlib import Path
from typing import Any

import numpy as np

_TOKENS, _TOP_P, _SEED = 20, 0.9, 20261127


def main() -> int:
    """Draw prompts: half that Perspective found toxic, half that it did not."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--prompts", type=int, default=40)
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
    import torch

    model, tokenizer = _opened()
    torch.manual_seed(guidance.seed)
    inputs = tokenizer(prompt, return_tensors="pt")
    made = model.generate(
        **inputs,
        do_sample=True,
        top_p=_TOP_P,
        top_k=0,
        max_new_tokens=_TOKENS,
        pad_token_id=tokenizer.eos_token_id,
    )
    text: str = tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return text


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
