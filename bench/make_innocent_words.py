"""Write `bench/innocent_words.txt`: ordinary words that contain a listed one, such as "class" and "Scunthorpe".

    python bench/make_innocent_words.py

They are words of the shipped tokenizer's vocabulary (Wikipedia and books, so a few are names), the most frequent
first, at most `MOST_OF_ONE` for each listed word, and a few classics that the vocabulary lacks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from disguises import SHORT_WORDS, listed_words

ROOT = Path(__file__).parent.parent
TOKENIZER = ROOT / "exported_models" / "text-safety" / "1" / "tokenizer.json"
OUT = ROOT / "bench" / "innocent_words.txt"
MOST_OF_ONE = 100
SHORTEST = 4  # letters
CLASSICS = (
    "Scunthorpe", "Lightwater", "Clitheroe", "Penistone", "Essex", "Sussex", "Middlesex", "shiitake",
    "shitake", "foolscap", "cockatoo", "cockerel", "gherkin", "analyst", "bass", "compass", "cassette",
    "embarrass", "grassland", "harass", "lasagne", "mustang", "parsnip", "therapist", "vibrato",
)  # fmt: skip
# Inflections of listed words, and words that some would not call innocent.
LEFT_OUT = (
    "asshole", "bastard", "bitch", "cocked", "cocky", "cowardly", "crappy", "creep", "damn", "fool", "freak", "fuck",
    "assassin", "assault", "goddamn", "hamas", "hitler", "jerk", "massacre", "nazi", "porn", "prostitut", "raping",
    "rapist", "sexual", "shit", "slut", "stupid", "whore",
)  # fmt: skip
LEFT_OUT_WHOLE = ("rape", "raped")  # but not "grape" and "draped"


def main() -> None:
    """Pick, write, say how many."""
    vocabulary: dict[str, int] = json.loads(TOKENIZER.read_text("utf-8"))["model"]["vocab"]
    listed = (*SHORT_WORDS, *listed_words())
    by_frequency = sorted(vocabulary, key=vocabulary.__getitem__)
    known = [word for word in by_frequency if is_plain(word) and word not in listed]
    found = {word for entry in listed for word in containing(entry, known)[:MOST_OF_ONE]}
    classics = {word for word in CLASSICS if any(entry in word.lower() for entry in listed)}
    words = sorted(found | classics, key=str.lower)
    head = (
        "# Made by bench/make_innocent_words.py. Vocabulary words: Apache-2.0 (THIRD_PARTY.md).\n"
    )
    OUT.write_text(head + "\n".join(words) + "\n", "utf-8")
    print(f"{len(words)} words, {OUT}")


def is_plain(word: str) -> bool:
    return (
        len(word) >= SHORTEST
        and word.isascii()
        and word.isalpha()
        and word not in LEFT_OUT_WHOLE
        and not any(part in word for part in LEFT_OUT)
    )


def containing(entry: str, words: Sequence[str]) -> list[str]:
    """The words with `entry` inside, its own plural aside."""
    own = {entry, f"{entry}s", f"{entry}ed", f"{entry}ing", f"{entry}y"}
    return [word for word in words if entry in word and word not in own]


if __name__ == "__main__":
    main()
