"""Measure `text-safety-multi` language by language on held-out texts.

    python -m bench.languages --out bench/results/languages.json

`bench/proxies/languages/<code>.txt` holds about 50 texts a language, half of them harmless twins, written by other
hands than `data/written/languages` and read by no training. The policy answers as it would in use: it
identifies the language, asks the model that knows it, and applies the tier's rules. Beside it stands what the
English model alone would have said. Intervals are 95 %: bootstrap over rows for areas, Wilson for shares.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bench.quality import Texts, ranked, read_texts, share
from bench.tables import rendered
from guardkit import Guard
from guardkit.artifacts import RunnerOptions, find_artifact
from guardkit.policy.load import load_preset
from guardkit.runtime.base import open_runner
from guardkit.taxonomy import Stage
from guardkit.text.normalize import normalize
from guardkit.text.score import TextScorer
from guardkit.train.data import CATEGORIES

_PROXIES = Path(__file__).parent / "proxies" / "languages"
_POLICY = "multilingual"
_ALL = "all"


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("bench/results/languages.json"))
    arguments = parser.parse_args()
    found = measure(Guard(load_preset(_POLICY)))
    arguments.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    print(rendered(found))
    return 0


def measure(guard: Guard) -> dict[str, Any]:
    """Every table, as JSON."""
    texts = {path.stem: read_texts(path) for path in sorted(_PROXIES.glob("*.txt"))}
    texts[_ALL] = Texts(
        [text for one in texts.values() for text in one.texts],
        np.concatenate([one.labels for one in texts.values()]),
    )
    multi, english = _scorer("text-safety-multi"), _scorer("text-safety")
    return {
        "models": [f"{info.name}@{info.version} {info.precision}" for info in guard.info()],
        "decisions": [_decided(guard, code, one) for code, one in texts.items()],
        "any harm": [
            ranked(f"{code}: {name}", one.any[one.clear], _highest(scorer, one)[one.clear])
            for code, one in texts.items()
            for name, scorer in (("multi", multi), ("English model", english))
        ],
        "categories": [
            ranked(category, truth == 1, scores)
            for category, truth, scores in _by_category(multi, texts[_ALL])
        ],
    }


def _decided(guard: Guard, code: str, texts: Texts) -> dict[str, Any]:
    decisions = [guard.check_prompt(text) for text in texts.texts]
    flagged = np.array([decision.flagged for decision in decisions])
    named = {rule.when.category for rule in guard.policy.stages[Stage.PROMPT].rules}
    ruled = [column for column, category in enumerate(CATEGORIES) if category in named]
    row: dict[str, Any] = {
        "what": code,
        "harm the policy names, flagged": share(flagged[(texts.labels[:, ruled] == 1).any(axis=1)]),
        "harmless flagged": share(flagged[texts.clear & ~texts.any]),
    }
    if code != _ALL:
        row["language found"] = share([decision.language == code for decision in decisions])
    return row


def _scorer(name: str) -> TextScorer:
    artifact = find_artifact(name)
    return TextScorer(artifact, open_runner(artifact, RunnerOptions(threads=1)))


def _highest(scorer: TextScorer, texts: Texts) -> np.ndarray:
    return _scores(scorer, texts).max(axis=1)


def _by_category(scorer: TextScorer, texts: Texts) -> list[tuple[str, np.ndarray, np.ndarray]]:
    scores = _scores(scorer, texts)
    found = []
    for column, category in enumerate(CATEGORIES):
        known = ~np.isnan(texts.labels[:, column])
        found.append((category, texts.labels[known, column], scores[known, column]))
    return found


def _scores(scorer: TextScorer, texts: Texts) -> np.ndarray:
    """F64 [texts, categories]."""
    words = scorer.words()
    return np.array(
        [
            list(scorer.score([normalize(text, words=words)])[0].scores.values())
            for text in texts.texts
        ],
        np.float64,
    )


if __name__ == "__main__":
    sys.exit(main())
