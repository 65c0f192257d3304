"""Write the validation rows of the training mixture as JSONL, to fix thresholds on with `guardkit policy tune`.

    python -m bench.validation --data ../shared/data --out /tmp/valid.jsonl
    guardkit policy tune policies/chat.yaml --data /tmp/valid.jsonl --max-fpr 0.01 --in-place

Unknown and arguable labels are left out of a line. Rows with a context are left out: a policy is tuned without one.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from guardkit.train.data import CATEGORIES, known_labels
from guardkit.train.mixture import Folders, load_mixture


def main() -> int:
    """Write one line a text."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, type=Path, help="the shared data")
    parser.add_argument("--own", type=Path, default=Path("data"))
    parser.add_argument("--out", required=True, type=Path)
    arguments = parser.parse_args()
    pool = load_mixture(Folders(arguments.data, arguments.own), split="valid")
    known = known_labels(pool)
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


if __name__ == "__main__":
    sys.exit(main())
