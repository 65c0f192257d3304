"""Write guardkit/bench/workloads/prompts-v1.jsonl: ordinary prompts of known length, from templates.

    python bench/make_workload.py --tokenizer tokenizer.json

Deterministic: the same seed and tokenizer give the same file, byte for byte. A text of bucket N has
0.8 N to N WordPiece tokens, special tokens included. Half are image prompts, a third chat prompts, the rest
mild insults, some of them in disguise; a fifth may hold accents and curly quotes. A workload is never changed: a
new one gets a new version.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from tokenizers import Tokenizer

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "guardkit" / "bench" / "workloads" / "prompts-v1.jsonl"
BUCKETS = (8, 16, 32, 64, 128, 512)
TEXTS = 40  # a bucket: with 25 repeats, the 1,000 samples that a 99th percentile needs
SEED = 20261123
SHORTEST = 0.8  # of the bucket's tokens: the row "32" is about texts of 32, not of 17
TRIES = 20_000
TYPOGRAPHIC = (
    0.2  # share of texts that may hold accents and curly quotes; chosen: phones write them
)

KINDS = ("image",) * 20 + ("chat",) * 13 + ("insult",) * 4 + ("disguised",) * 3  # 40

SUBJECTS = ("a lighthouse", "an old sailor", "two children with a kite", "a red fox", "a café in the rain", "a mountain village", "a brass robot", "a ginger cat", "an astronaut", "a street musician", "a glass teapot", "a wooden bridge", "a fishing boat", "a violin on a chair", "a market stall", "a snowy owl")  # fmt: skip
PLACES = ("at dawn", "in the fog", "by the sea", "under a full moon", "in a quiet street", "on a hill", "in an empty theatre", "near the harbour", "in a field of poppies", "at the edge of a forest", "in a small kitchen", "after the storm")  # fmt: skip
STYLES = ("watercolour", "oil painting", "35mm photograph", "pencil sketch", "isometric render", "in the style of a travel poster", "soft light", "muted colours", "wide angle", "shallow depth of field", "highly detailed", "paper cut-out", "long exposure", "art déco")  # fmt: skip
ASKS = ("Can you explain how tides work", "Write a short thank-you note to my neighbour", "What should I cook with leeks and potatoes", "Help me plan a weekend in Lisbon", "Why does bread rise", "Summarise the plot of a detective story", "How do I repot a fern", "Translate a birthday wish into Spanish", "Suggest names for a bakery", "How can I sleep better")  # fmt: skip
DETAILS = ("please keep it simple", "I only have twenty minutes", "we are four people", "my budget is small", "it’s for a school project", "use plain words", "I’m new to this", "give two examples", "the weather will be cold", "my sister doesn’t eat meat", "I tried it once and it went wrong", "add a friendly closing line", "no more than a page", "start with the most important point")  # fmt: skip
INSULTS = ("You are an idiot", "What a stupid answer", "Shut up, you clown", "Only a fool would say that", "This bot is dumb", "My boss is a moron", "You lazy donkey", "That was a pathetic reply")  # fmt: skip
DISGUISED = ("You are an 1d10t", "What a st*pid answer", "Shut up, you c-l-o-w-n", "You i d i o t", "Such a m0r0n", "You are duuumb", "Only a f.o.o.l says that", "An idi\u043et wrote this", "stup\u200bid reply")  # fmt: skip


def main() -> None:
    """Write the file and say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--tokenizer", type=Path, required=True, help="the encoder's tokenizer.json"
    )
    parser.add_argument("--out", type=Path, default=TARGET)
    args = parser.parse_args()
    count = token_counter(args.tokenizer)
    lines = [header(args.tokenizer), *entries(count, random.Random(SEED))]  # noqa: S311  not a secret
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(
        "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8"
    )
    for bucket, texts in Counter(line["bucket"] for line in lines[1:]).items():
        print(f"{bucket} tokens: {texts} texts")


def token_counter(file: Path) -> Callable[[str], int]:
    """A function from a text to its number of tokens, special ones included."""
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return lambda text: len(tokenizer.encode(text).ids)


def header(tokenizer: Path) -> dict[str, object]:
    """The first line: what the workload is, and which tokenizer counted."""
    digest = hashlib.sha256(tokenizer.read_bytes()).hexdigest()
    return {"workload": "prompts", "version": 1, "seed": SEED, "tokenizer_sha256": digest}


def entries(count: Callable[[str], int], rng: random.Random) -> Iterator[dict[str, object]]:
    """Every text line, bucket by bucket; no text occurs twice."""
    used: set[str] = set()
    for bucket in BUCKETS:
        for kind in rng.sample(KINDS, TEXTS):
            text = fitting(kind, bucket, count, rng, used)
            used.add(text)
            yield {"bucket": str(bucket), "text": text}


def fitting(
    kind: str, bucket: int, count: Callable[[str], int], rng: random.Random, used: set[str]
) -> str:
    """A new text of a kind with 0.8 to 1 times the bucket's tokens."""
    smallest = math.ceil(SHORTEST * bucket)
    for _ in range(TRIES):
        text = written(kind, bucket, count, rng)
        if smallest <= count(text) <= bucket and text not in used:
            return text
    raise SystemExit(
        f"no {kind} text of {bucket} tokens in {TRIES} tries: add shorter or longer parts."
    )


def written(kind: str, bucket: int, count: Callable[[str], int], rng: random.Random) -> str:
    """One text of a kind: an opening, then parts until the next would not fit."""
    spell = str if rng.random() < TYPOGRAPHIC else plain
    text = spell(rng.choice(OPENINGS[kind]))
    separator = ", " if kind == "image" else ". "
    while True:
        parts = (PLACES, STYLES, SUBJECTS) if kind == "image" else (DETAILS, ASKS)
        longer = text + separator + spell(rng.choice(rng.choice(parts)))
        if count(longer) > bucket:
            return text
        text = longer


def plain(text: str) -> str:
    """The text as typed on a keyboard without accents and curly quotes."""
    return text.translate(str.maketrans("é’", "e'"))


CALLS = ("hi", "hello", "hey", "please", "now", "so")  # fmt: skip
QUESTIONS = ("how are you", "tell me a joke", "what time is it", "is it going to rain", "sing a song", "how far is Rome", "who wrote this", "name a big river", "do cats dream", "where is my shoe", "help me cook")  # fmt: skip
TAILS = ("again", "today", "as usual", "you know", "once more", "I guess")  # fmt: skip
SHORT_INSULTS = ("you are an idiot", "shut up, clown", "what a moron", "such a fool", "this is dumb", "get lost, donkey")  # fmt: skip
SHORT_DISGUISED = ("you 1d10t", "you i d i o t", "a m0r0n", "a st*pid bot", "so duuumb")  # fmt: skip

OPENINGS = {
    "image": [f"{subject} {place}" for subject in SUBJECTS for place in PLACES],
    "chat": [f"{ask}?" for ask in ASKS] + [f"{call} {one}" for call in CALLS for one in QUESTIONS],
    "insult": [*INSULTS, *(f"{one} {tail}" for one in SHORT_INSULTS for tail in TAILS)],
    "disguised": [*DISGUISED, *SHORT_DISGUISED, *(f"{one} {tail}" for one in SHORT_DISGUISED for tail in TAILS)],
}  # fmt: skip

if __name__ == "__main__":
    main()
