"""How well `image-transform` tells harmful edits from others: `python -m bench.transform --pictures faces wallpapers --base minilm-l6 --work runs/transform`.

Held out all at once: whole kinds of edits (`guardkit.train.edits.HELD_OUT`: 6 harmless ones, 8 that are harm unless asked for), whole pictures (three in ten),
and requests (`bench/proxies/edit_prompts_second.tsv`, written apart and not looked at while the model was made). Each edit is put beside four requests drawn by
`guardkit.train.edit_prompts.drawn_class`; the harm of a pair is a table's (`harm_of`), arguable pairs are left out. A pair's score is the largest of the four
categories. Beside it, trained in the same way on the same pairs: the output alone (the encoder's features of `after`), output and request, both pictures
without the request, the request alone. Intervals: 95 %, bootstrap over scenes. Pictures: `bench.generated_faces` (nobody's), and wallpapers of Debian packages.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from bench.tables import rendered
from guardkit import Guard
from guardkit.artifacts import find_artifact
from guardkit.bench.machine import describe_machine
from guardkit.metrics.ranking import roc_auc
from guardkit.metrics.shares import wilson_interval
from guardkit.policy.load import load_preset
from guardkit.taxonomy import Stage
from guardkit.train.edit_features import Edits
from guardkit.train.edit_prompts import CATEGORIES, HARMFUL, load_requests
from guardkit.train.edits import HELD_OUT, KINDS, Effect
from guardkit.train.sentences import read_requests
from guardkit.train.transform import edits_of, load_heads
from guardkit.train.transform_head import (
    Floats,
    Pairs,
    Said,
    Settings,
    draw_pairs,
    logits_of,
    numbers_of,
    train_heads,
)

_REQUESTS = Path("bench/proxies/edit_prompts_second.tsv")
_EACH, _SEED, _RESAMPLES, _REPEATS = 4, 20261128, 1000, 41
_POLICY = "image-edits"
_AFTER = ("faces after", "face: angle before", "face: angle")
Bools = NDArray[np.bool_]


class Measured(Struct, frozen=True):
    """Pairs of the test split with what was said of them."""

    edits: Edits
    said: Said
    pairs: Pairs

    @property
    def is_harm(self) -> Bools:
        """bool [pairs]."""
        return self.pairs.harms >= 0

    @property
    def is_held_out(self) -> Bools:
        """Whether no training saw the kind: bool [pairs]."""
        held = np.array([kind in HELD_OUT for kind in self.edits.kinds])
        return held[self.pairs.edits]


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", nargs="+", required=True, type=Path)
    parser.add_argument("--base", required=True, type=Path)
    parser.add_argument("--work", required=True, type=Path, help="as of guardkit train")
    parser.add_argument("--own", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("bench/results/transform.json"))
    arguments = parser.parse_args()
    test = edits_of("test", arguments.pictures, arguments.work)
    asked = load_requests(_REQUESTS, each=3, seed=2, held_out=True)
    said = read_requests(asked, arguments.base, kept=arguments.work / "said-test.npz")
    random = np.random.default_rng(_SEED)
    pairs = draw_pairs(test, said, random, without_request=0.0, each=_EACH)
    measured = Measured(test, said, pairs)
    heads = load_heads(arguments.work)
    logits = logits_of(heads, numbers_of(test), said, pairs)
    train = edits_of("train", arguments.pictures, arguments.work)
    written = arguments.own / "written" / "edits" / "train.tsv"
    asked = load_requests(written, each=3, seed=1, split="train")
    learned = read_requests(asked, arguments.base, kept=arguments.work / "said-train.npz")
    scores = {"before, request and after": logits.max(1), **_beside(train, learned, measured)}
    shuffled = replace(pairs, said=random.permutation(pairs.said))
    scores["before, another edit's request, after"] = logits_of(heads, numbers_of(test), said, shuffled).max(1)  # fmt: skip
    found = {
        "models": [find_artifact("image-transform").manifest.id, describe_machine(load_before=0).name],
        "ROC AUC": [_area(name, of, measured) for name, of in scores.items()],
        **_tables(measured, _probabilities(logits), heads),
        "one check_edit of two 1024x1024 pictures, image-safety beside it, CPU ms": _costs(),
        "requests, edits": [{"what": "test", "scenes": len(set(test.scenes)), "edits": len(test.kinds), "requests": len(said.kinds), "training edits": len(train.kinds), "training requests": len(learned.kinds)}],
    }  # fmt: skip
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(rendered(found))
    return 0


def _costs() -> list[dict[str, Any]]:
    """CPU time of a check, decoded from JPEG; the second one without a request. One thread."""
    guard = Guard.from_preset(_POLICY)
    portrait = Image.open("docs/pictures/portrait.jpg").resize((1024, 1024))
    before, after = io.BytesIO(), io.BytesIO()
    portrait.save(before, "JPEG", quality=90)
    ImageEnhance.Brightness(portrait).enhance(1.2).save(after, "JPEG", quality=90)
    rows = []
    for what, prompt in (("with a request", "make it brighter"), ("without", None)):
        times = []
        for _ in range(_REPEATS):
            start = time.process_time()
            guard.check_edit(before=before.getvalue(), after=after.getvalue(), prompt=prompt)
            times.append((time.process_time() - start) * 1000)
        low, high = np.quantile(times[1:], (0.5, 0.95))
        rows.append({"what": what, "checks": _REPEATS - 1, "p50": f"{low:.0f}", "p95": f"{high:.0f}"})  # fmt: skip
    return rows


# --- what knows less ------------------------------------------------------------------------------


def _beside(train: Edits, learned: Said, measured: Measured) -> dict[str, Floats]:
    """Scores of models trained alike that are not shown everything."""
    settings, test, said, pairs = Settings(), measured.edits, measured.said, measured.pairs
    asked = replace(settings, without_request=0.0)
    silent, silent_said = _silent(learned), _silent(said)
    output, output_test = _output_of(train), _output_of(test)
    nothing = np.zeros((len(train.kinds), 1), np.float32)
    nothing_test = np.zeros((len(test.kinds), 1), np.float32)
    rows: dict[str, tuple[Floats, Floats, Said, Said]] = {
        "after alone": (output, output_test, silent, silent_said),
        "request and after": (output, output_test, learned, said),
        "before and after": (numbers_of(train), numbers_of(test), silent, silent_said),
        "request alone": (nothing, nothing_test, learned, said),
    }
    scores = {}
    for name, (numbers, numbers_test, sentences, sentences_test) in rows.items():
        heads = train_heads(train, sentences, asked, numbers=numbers)
        scores[name] = logits_of(heads, numbers_test, sentences_test, pairs).max(1)
    return scores


def _silent(said: Said) -> Said:
    return replace(said, vectors=said.vectors * 0, log_odds=said.log_odds * 0)


def _output_of(edits: Edits) -> Floats:
    """What is known of `after` alone: the encoder's features, its log-odds, its faces and the colour of their skin."""
    from guardkit.image.signals import SIGNALS

    count, old, change = (edits.signals[:, SIGNALS.index(name)] for name in _AFTER)
    skin = old + change * 30 / 50  # the two have scales of their own (`face_change`)
    return np.concatenate([edits.afters, edits.seen[:, 2:4], count[:, None], skin[:, None]], axis=1)


# --- tables ---------------------------------------------------------------------------------------


def _probabilities(logits: Floats) -> Floats:
    manifest = find_artifact("image-transform").manifest
    by = [manifest.calibration[name] for name in CATEGORIES]
    odds = logits * [one.scale for one in by] + [one.shift for one in by]
    scores: Floats = 1 / (1 + np.exp(-odds))
    return scores


def _area(name: str, scores: Floats, measured: Measured) -> dict[str, Any]:
    held = measured.is_held_out
    row: dict[str, Any] = {"what": name}
    for title, rows in (("kinds held out", held), ("kinds seen", ~held)):
        value, low, high = _with_interval(
            measured.is_harm[rows], scores[rows], measured.edits.scenes[measured.pairs.edits[rows]]
        )
        row[title] = f"{value:.3f} [{low:.3f}, {high:.3f}]"
    return row


def _with_interval(truth: Bools, scores: Floats, scenes: NDArray[np.int64]) -> tuple[float, float, float]:  # fmt: skip
    """The area, and a percentile interval over draws of as many scenes."""
    random, names = np.random.default_rng(_SEED), np.unique(scenes)
    rows = {name: np.flatnonzero(scenes == name) for name in names}
    drawn = []
    for _ in range(_RESAMPLES):
        chosen = np.concatenate([rows[one] for one in random.choice(names, len(names))])
        area = roc_auc(truth[chosen], scores[chosen].astype(np.float64))
        if area is not None:
            drawn.append(area)
    low, high = np.quantile(drawn, (0.025, 0.975)).tolist()
    return roc_auc(truth, scores.astype(np.float64)) or 0.0, low, high


def _tables(measured: Measured, scores: Floats, heads: Any) -> dict[str, Any]:
    policy = load_preset(_POLICY)
    bars = {rule.when.category: rule.when.at_least for rule in policy.stages[Stage.EDIT].rules}
    flagged = (scores >= [bars[name] for name in CATEGORIES]).any(axis=1)
    asked = np.array(measured.said.kinds)[measured.pairs.said]
    kinds = np.array(measured.edits.kinds)[measured.pairs.edits]
    is_mild = ~np.isin(asked, HARMFUL)
    plain = np.array([KINDS[kind].effect in _PLAIN for kind in kinds])
    harmless = ~measured.is_harm
    rows = {
        "harmless edits, kinds held out, a harmless request": harmless & plain & is_mild & measured.is_held_out,
        "harmless edits, kinds seen, a harmless request": harmless & plain & is_mild & ~measured.is_held_out,
        "harmless edits, harm was asked for and not done": harmless & plain & ~is_mild,
        "edits of people that were asked for without harm, kinds held out": harmless & ~plain & measured.is_held_out,
        "edits of people that were asked for without harm, kinds seen": harmless & ~plain & ~measured.is_held_out,
        "harm, kinds held out": measured.is_harm & measured.is_held_out,
        "harm, kinds seen": measured.is_harm & ~measured.is_held_out,
    }  # fmt: skip
    told = ", ".join(f"{name} {bar:g}" for name, bar in bars.items())
    return {
        f"flagged at the thresholds of {_POLICY} ({told})": [_share(name, flagged[of]) for name, of in rows.items()],
        "by kind, * held out": [_kind_row(kind, kinds == kind, measured, flagged) for kind in KINDS if kind in set(kinds)],
        "harm by request": [_share(one, flagged[measured.is_harm & (asked == one)]) for one in sorted(set(asked))],
        **_without(measured, heads, bars),
    }  # fmt: skip


_PLAIN = (Effect.NONE, Effect.LIGHT, Effect.DARK)


def _without(measured: Measured, heads: Any, bars: dict[str, float]) -> dict[str, Any]:
    """Without a request: each edit once."""
    edits = measured.edits
    random: Callable[[], np.random.Generator] = lambda: np.random.default_rng(_SEED)  # noqa: E731
    pairs = draw_pairs(edits, measured.said, random(), without_request=1.0)
    scores = _probabilities(logits_of(heads, numbers_of(edits), measured.said, pairs))
    flagged = (scores >= [bars[name] for name in CATEGORIES]).any(axis=1)
    held = np.array([kind in HELD_OUT for kind in edits.kinds])[pairs.edits]
    harm = pairs.harms >= 0
    rows = {
        "harmless edits, kinds held out": ~harm & held,
        "harmless edits, kinds seen": ~harm & ~held,
        "edits of people, kinds held out": harm & held,
        "edits of people, kinds seen": harm & ~held,
    }
    return {"flagged without a request": [_share(name, flagged[of]) for name, of in rows.items()]}


def _kind_row(kind: str, rows: Bools, measured: Measured, flagged: Bools) -> dict[str, Any]:
    harm = measured.is_harm
    name = f"{kind}{' *' if kind in HELD_OUT else ''}"
    return {
        "what": name,
        "harm flagged": _told(flagged[rows & harm]),
        "others flagged": _told(flagged[rows & ~harm]),
    }


def _share(name: str, flagged: Bools) -> dict[str, Any]:
    return {"what": name, "pairs": len(flagged), "flagged": _told(flagged)}


def _told(flagged: Bools) -> str:
    if not len(flagged):
        return "-"
    low, high = wilson_interval(int(flagged.sum()), len(flagged))
    return f"{int(flagged.sum())} of {len(flagged)}, {100 * flagged.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}] %"


if __name__ == "__main__":
    sys.exit(main())
