"""Stage 3 of the SmolLM2 study: train a bottleneck at a layer, and ask fresh probes and LSMI what is left in its features."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guardkit.metrics.information import lsmi
from guardkit.train.probe import Probe, advantage, probe_accuracy
from guardkit.train.smib import SmibSettings, train_smib
from guardkit.train.smib_causal import Captured, DecoderTask, Text, Weights, capture
from guardkit.train.smib_features import Features
from guardkit.train.smib_losses import Loss
from guardkit.train.smib_model import Bottleneck, Form, load_bottleneck

_log = logging.getLogger(__name__)
LAYERS = (14, 22, 29)  # of 30: the middle, three quarters, the last
_HELD = 4  # one in so many texts is for probes


def layer_name(layer: int) -> str:
    """What the hook attaches to."""
    return f"model.layers.{layer}"


@dataclass(frozen=True, slots=True)
class Variant:
    """One bottleneck of the study."""

    name: str
    layer: int
    settings: SmibSettings
    task: Weights
    why: str
    """In a few words, for the report."""


_SHORT = SmibSettings(
    steps=120,
    batch=48,
    weight=2.0,
    adversary_steps=3,
    restart_steps=1000,
    checkpoint_steps=20,
    rate=2e-3,
    adversary_rate=1e-3,
)
_LONG = replace(_SHORT, steps=90, restart_steps=40, adversary_steps=2)
_BLAMED = Weights(learn=0.5, unlearn=1.0, texts=6)
_RELEASED = SmibSettings(
    form=Form.PUBLISHED, loss=Loss.TOVILAG_RELEASE, weight=0.01, erased=False, erased_after=False, smoothing=0.0, adversaries=1,
    adversary_steps=1, rate=1e-5, adversary_rate=1e-5, batch=20, steps=105, restart_steps=100_000,
)  # fmt: skip
"""One epoch of the texts, as there; no rate but the release's was tried."""
_LOSSES = (Loss.PLUGIN, Loss.TOVILAG_RELEASE)


def ablation() -> list[Variant]:
    """2 losses x 3 placements, all else equal: language modelling and SMIB, nothing that names a toxic word."""
    return [
        Variant(f"{loss.value}-{layer}", layer, replace(_SHORT, loss=loss), Weights(), "ablation")
        for layer in LAYERS
        for loss in _LOSSES
    ]


def others() -> list[Variant]:
    """What the ablation leaves open, on as many prompts: the release's settings, the words of the scorer without SMIB, and an erasure of spread."""
    spread = replace(_LONG, steps=200, weight=3.0, restart_steps=80, spread=24, width=192)
    return [
        Variant("as-released", 29, _RELEASED, Weights(keep=0.0), "form, loss, weights, rates of the release"),
        Variant("no-smib-29", 29, replace(_LONG, weight=0.0), _BLAMED, "blamed words unlearnt, 90 steps, no SMIB term"),
        Variant("spread-29", 29, spread, replace(_BLAMED, unlearn=4.0, keep=1.75), "as smollm2-weighed, begun at an erasure of 24 directions of spread too"),
    ]  # fmt: skip


def final() -> list[Variant]:
    """On all prompts; what ships last."""
    longer = replace(_LONG, steps=200, weight=3.0, restart_steps=80)
    short = replace(_LONG, erased_after=False)
    spread = replace(longer, steps=360, spread=64, spread_weight=2.0, width=192)
    return [
        Variant("smollm2-short", 29, short, _BLAMED, "blamed words unlearnt, a short training, no erasure at its end"),
        Variant("smollm2-longer", 29, longer, replace(_BLAMED, unlearn=4.0), "twice as long, blamed words count four times"),
        Variant("smollm2-balanced", 29, longer, replace(_BLAMED, unlearn=4.0, keep=2.0), "the same, clean texts count twice"),
        Variant("smollm2-thorough", 29, replace(longer, steps=320), replace(_BLAMED, unlearn=4.0, keep=2.0), "the same, 320 steps"),
        Variant("smollm2-spread", 29, spread, replace(_BLAMED, unlearn=3.0, keep=2.0), "begun at an erasure of 64 directions of spread and held to it, 360 steps"),
        Variant("smollm2-weighed", 29, longer, replace(_BLAMED, unlearn=4.0, keep=1.75), "between longer and balanced"),
        Variant("smollm2-spread-48", 29, replace(spread, spread=48), replace(_BLAMED, unlearn=4.0, keep=2.0), "ships: 48 directions, blamed words count four times"),
    ]  # fmt: skip


def captured_of(model: Any, texts: Sequence[Text], path: Path) -> Captured:
    """What the unmodified model makes of the texts; kept in a file."""
    if not path.is_file():
        found = capture(model, texts, [layer_name(one) for one in LAYERS])
        parts = {name: getattr(found, name) for name in Captured.__slots__}
        torch.save(parts, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)
    return Captured(**torch.load(path, weights_only=True))


def held_back(texts: Sequence[Text]) -> Tensor:
    """bool [N]: for probes alone; texts that begin alike, as those of one prompt do, stay together."""
    heads = [hashlib.sha256(str(one.ids[:3]).encode()).digest()[0] % _HELD == 0 for one in texts]
    return torch.tensor(heads)


def train_variant(
    variant: Variant, model: Any, texts: Sequence[Text], captured: Captured, run: Path
) -> Bottleneck:
    """Train it, or load what was trained."""
    work = run / variant.name
    if (work / "bottleneck.json").is_file():
        return load_bottleneck(work)
    seen = torch.nonzero(~held_back(texts)).squeeze(1)
    own = [texts[row] for row in seen.tolist()]
    part = Captured(
        {name: states[seen] for name, states in captured.states.items()},
        captured.ids[seen], captured.mask[seen], captured.top[seen], captured.top_log[seen],
    )  # fmt: skip
    features = Features(part.states[layer_name(variant.layer)], part.mask, torch.tensor([int(one.toxic) for one in own]))  # fmt: skip
    task = DecoderTask(model, variant.layer, own, part, variant.task)
    return train_smib(features, work, variant.settings, task=task)


def what_is_left(
    variant: Variant, layer: Bottleneck, texts: Sequence[Text], captured: Captured, path: Path
) -> dict[str, Any]:
    """Fresh probes, linear and not, and LSMI, on the texts' means before and behind the layer."""
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    held = held_back(texts).numpy()
    toxic = np.array([one.toxic for one in texts])
    states = captured.states[layer_name(variant.layer)]
    features = Features(states, captured.mask, torch.tensor(toxic.astype(np.int64)))
    before = features.means().double().numpy()
    with torch.no_grad():
        after = _filtered(layer, features).double().numpy()
    found = {"rows": len(texts), "held back": int(held.sum()), "toxic of those": int(toxic[held].sum())}  # fmt: skip
    for name, how in (("linear", Probe(hidden=())), ("network", Probe())):
        told = [probe_accuracy(x[~held], toxic[~held], x[held], toxic[held], how) for x in (before, after)]  # fmt: skip
        lost = 1 - advantage(told[1]) / advantage(told[0])
        found[name] = {"before": round(told[0], 4), "after": round(told[1], 4), "advantage lost": round(lost, 4)}  # fmt: skip
    found["lsmi"] = {"before": round(lsmi(before, toxic, seed=1), 4), "after": round(lsmi(after, toxic, seed=1), 4)}  # fmt: skip
    path.write_text(json.dumps(found) + "\n")
    return found


def _filtered(layer: Bottleneck, features: Features) -> Tensor:
    chunks = zip(features.states.split(64), features.mask.split(64), strict=True)
    return torch.cat([Features(layer(h.float()), m, features.toxic).means() for h, m in chunks])
