"""Write the validation rows of the training mixture as JSONL, to fix thresholds on with `guardkit policy tune`.

    python -m bench.validation --data ../shared/data --out /tmp/valid.jsonl
    guardkit policy tune policies/chat.yaml --data /tmp/valid.jsonl --max-fpr 0.01 --in-place

    python -m bench.validation --data ../shared/data --out /tmp/flagged.txt --flagged-by chat    # for bench/robustness.py

With `--flagged-by POLICY` the texts are written alone, a line each: those that are harmful in a category beyond rudeness and that
the policy flags, the first 800. Unknown and arguable labels are left out of a line. Rows with a context are left out: a policy is tuned without one.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path

import numpy as np

from guardkit import Guard
from guardkit.train.data import CATEGORIES, known_labels
from guardkit.train.mixture import Folders, load_mixture

_RUDE = ("toxicity", "insult", "profanity", "harassment")
_BEYOND_RUDE = [column for column, name in enumerate(CATEGORIES) if name not in _RUDE]
_MOST = 800


def main() -> int:
    """Write one line a text."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, type=Path, help="the shared data")
    parser.add_argument("--own", type=Path, default=Path("data"))
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--flagged-by", metavar="POLICY", help="write the texts that it flags")
    arguments = parser.parse_args()
    pool = load_mixture(Folders(arguments.data, arguments.own), split="valid")
    known = known_labels(pool)
    if arguments.flagged_by:
        harmful = ((pool.labels >= 0.5) & known)[:, _BEYOND_RUDE].any(axis=1)
        alone = [not context for context in pool.contexts]
        texts = [pool.texts[row] for row in np.flatnonzero(harmful & alone)]
        flagged = _flagged(texts, Guard.from_preset(arguments.flagged_by))
        arguments.out.write_text("\n".join(flagged), encoding="utf8")
        return 0
    with arguments.out.open("w", encoding="utf8") as file:
        for row, text in enumerate(pool.texts):
            if not pool.contexts[row]:
                labels = {
                    category: int(pool.labels[row, column] >= 0.5)
                    for column, category in enumerate(CATEGORIES)
                    if known[row, column]
                }
                file.write(json.dumps({"text": text, **labels}))
                file.write("\n")
    return 0


def _flagged(texts: list[str], guard: Guard) -> list[str]:
    lines = filter(None, (text.replace("\n", " ").strip() for text in texts))
    return list(
        itertools.islice((line for line in lines if guard.check_prompt(line).flagged), _MOST)
    )


if __name__ == "__main__":
    sys.exit(main())
