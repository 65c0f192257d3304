"""What `text-safety` is trained, calibrated and judged on: all sources as one pool."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from guardkit.train.attacks import load_attacks
from guardkit.train.data import Pool, joined, load_pool, wordless
from guardkit.train.repairs import load_twins_of_repairs
from guardkit.train.soft import FILE as SOFT_LABELS
from guardkit.train.soft import softened
from guardkit.train.stereotypes import load_stereotypes
from guardkit.train.written import load_written, relabelled

_CARRIER_SOURCES = ("paradetox", "benign_prompts", "wiki_context_toxicity")


@dataclass(frozen=True, slots=True)
class Folders:
    """Where the sources lie."""

    data: Path
    """The shared data: `text/unified.parquet`, `multilingual/...`, `bias/seegull`."""
    own: Path
    """The repository's `data`: `written`, `labels`."""


def load_mixture(folders: Folders, *, split: str, soft: bool = True) -> Pool:
    """All English sources of one split.

    Args:
        folders: Where the sources lie.
        split: `train` or `valid`.
        soft: Whether to mix in the soft labels, where there are any; validation rows never get them.

    Raises:
        InputError: A source is missing.
    """
    pool = relabelled(load_pool(folders.data / "text", split=split), folders.own / "labels")
    attacks = load_attacks(folders.data / "multilingual", _carriers(pool), split=split)
    stereotypes = load_stereotypes(folders.data / "bias" / "seegull", split=split)
    written = load_written(folders.own / "written", split=split)
    repairs = load_twins_of_repairs(folders.own / "written" / "repairs", split=split)
    pools = [pool, attacks, stereotypes, written, repairs]
    if split != "train":
        return joined(pools)
    mixture, labels = joined([*pools, wordless()]), folders.own / SOFT_LABELS
    return softened(mixture, labels) if soft and labels.is_file() else mixture


def _carriers(pool: Pool) -> list[str]:
    """Harmless texts of some length."""
    harmless = (pool.labels * pool.weights).max(axis=1) < 0.1
    return [
        text
        for text, source, fine in zip(pool.texts, pool.sources, harmless, strict=True)
        if fine and source in _CARRIER_SOURCES and len(text) > 60
    ]
