"""Heads for categories of your own on a frozen image encoder: small data, minutes on a CPU.

    guardkit train image-head --base efficientnet-lite0-57934424.pth --data pictures --work runs/heads
    guardkit export image-heads --work runs/heads --name my-heads --out models

A head: Linear width -> 384, ReLU, Dropout 0.5, BatchNorm, Linear 384 -> 1, of the encoder's features as they are; Adam at 2e-4,
batches of 64 in which both classes are equally likely, 31 epochs (Ethical-Lens, arXiv 2404.12104, released code). A picture's logit
is the maximum over its crops, in training as in use. Beside the whole pictures it sees cut-paste pairs (`train/cut_paste.py`).

Pictures of each label are split 3 : 1 : 1 into those that train, that calibrate, and that measure; pairs never mix the three.
Leaves `heads.safetensors`, and `heads.json`: what they fit, their calibration, and what was measured.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from guardkit.artifacts import Calibration
from guardkit.errors import InputError
from guardkit.export.artifact import fit_platt
from guardkit.image.decode import decode
from guardkit.image.prepare import crops_of
from guardkit.metrics.ranking import roc_auc
from guardkit.train.cut_paste import Pixels, composites, draw_pairs
from guardkit.train.image_encoder import ImageEncoder, open_encoder

_log = logging.getLogger(__name__)

WEIGHTS, ABOUT = "heads.safetensors", "heads.json"
HIDDEN = 384
_DROPOUT = 0.5
_PARTS = ("train", "calibrate", "measure")
_FEWEST = 10  # pictures of each label of a category: below it a fifth of them is one or none


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """How heads are trained. All numbers but those of pairs are those of Ethical-Lens' released code."""

    pairs: int = 1000
    """Cut-paste pairs a category to train with, and a third of that for each other part; 0: whole pictures alone."""
    epochs: int = 31
    batch: int = 64
    rate: float = 2e-4
    seed: int = 2022
    threads: int = 1


@dataclass(frozen=True, slots=True)
class LabelledPictures:
    """Pictures with what is known of them."""

    files: tuple[Path, ...]
    truth: Mapping[str, NDArray[np.bool_]]
    """Category -> bool [files]."""
    known: Mapping[str, NDArray[np.bool_]]
    """Category -> bool [files]: where `truth` means anything."""


class HeadReport(Struct, frozen=True):
    """What the part that measures gave of one category."""

    positives: int
    pictures: int
    whole_auc: float | None
    """ROC AUC of whole pictures."""
    pasted_auc: float | None
    """Of cut-paste pairs: how well a region of a fifth is told from a harmless one; None: no pairs."""


class HeadsFile(Struct, frozen=True):
    """The content of `heads.json`."""

    base: str
    encoder: str
    """Its `ImageEncoder.digest`."""
    calibration: dict[str, Calibration]
    """Category -> Platt scaling, in the order of the heads."""
    measured: dict[str, HeadReport]


class ImageHead(nn.Module):
    """Features of crops to one logit each."""

    def __init__(self, width: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(width, hidden), nn.BatchNorm1d(hidden)
        self.dropout, self.last = nn.Dropout(_DROPOUT), nn.Linear(hidden, 1)

    def forward(self, features: Tensor) -> Tensor:
        """f32 [crops, width] to f32 [crops]."""
        x = self.dropout(functional.relu(self.first(features)))
        return self.last(self.norm(x)).squeeze(-1)


Bag: TypeAlias = Tensor
"""The features of one picture's crops: f32 [crops, width]."""


@dataclass(frozen=True, slots=True)
class _Examples:
    """Bags of one category and part of the data."""

    bags: list[Bag]
    truth: NDArray[np.bool_]
    pasted: NDArray[np.bool_]
    """Which of them are composites."""


def train_heads(
    base: str, pictures: LabelledPictures, work: Path, settings: HeadSettings
) -> HeadsFile:
    """Train a head a category, each on what is known of it.

    Args:
        base: What `open_encoder` takes.
        pictures: Their labels; a category needs ten pictures that are of it, and ten that are not.
        work: The result goes here.
        settings: How.

    Raises:
        InputError: The encoder or a picture cannot be read, or there are too few.
    """
    torch.set_num_threads(settings.threads)
    _check_numbers(pictures)
    encoder = open_encoder(base)
    shortest = encoder.look.side
    decoded = [decode(file, shortest=shortest).frames[0] for file in pictures.files]
    whole = _see(encoder, decoded)
    heads, calibration, measured = {}, {}, {}
    for category in pictures.truth:
        parts = _parts(category, pictures, settings.seed)
        train, calibrate, measure = (
            _examples(category, pictures, (encoder, decoded, whole), rows, pairs)
            for rows, pairs in zip(parts, _pairs_of(settings), strict=True)
        )
        heads[category] = fit_head(train.bags, train.truth, settings)
        calibration[category] = _calibrated(heads[category], calibrate)
        measured[category] = _measured(heads[category], measure)
        _log.info("%s: %s", category, measured[category])
    about = HeadsFile(base, encoder.digest, calibration, measured)
    _save(heads, about, work)
    return about


def fit_head(bags: Sequence[Bag], truth: NDArray[np.bool_], settings: HeadSettings) -> ImageHead:
    """Train one head; the loss of a picture is that of its highest crop.

    Args:
        bags: Features of the crops of each picture.
        truth: bool [pictures], both values among them.
        settings: How long, how fast.
    """
    torch.manual_seed(settings.seed)
    head = ImageHead(bags[0].shape[1])
    optimizer = torch.optim.Adam(head.parameters(), lr=settings.rate)
    rng = np.random.default_rng(settings.seed)
    weights = np.where(truth, 0.5 / truth.sum(), 0.5 / (~truth).sum())
    batch = min(settings.batch, len(bags))
    targets = torch.from_numpy(truth.astype(np.float32))
    head.train()
    for _ in range(settings.epochs):
        drawn = rng.choice(len(bags), len(bags) - len(bags) % batch, p=weights)
        for rows in drawn.reshape(-1, batch):
            loss = functional.binary_cross_entropy_with_logits(
                picture_logits(head, [bags[row] for row in rows]), targets[rows]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return head.eval()


def picture_logits(head: nn.Module, bags: Sequence[Bag]) -> Tensor:
    """The highest logit of each picture's crops: f32 [pictures]."""
    counts = [len(bag) for bag in bags]
    return torch.stack([one.max() for one in head(torch.cat(list(bags))).split(counts)])


# --- the data -------------------------------------------------------------------------------------


def _check_numbers(pictures: LabelledPictures) -> None:
    if not pictures.truth:
        raise InputError("--data: no picture of any category. Expected some beside the safe ones.")
    for category, truth in pictures.truth.items():
        known = pictures.known[category]
        of, others = int((truth & known).sum()), int((~truth & known).sum())
        if min(of, others) < _FEWEST:
            raise InputError(
                f"--data: {category}: {of} pictures of it and {others} that are not. Expected {_FEWEST} of each at "
                "least, and some hundred for a head that is good for anything."
            )


def _parts(category: str, pictures: LabelledPictures, seed: int) -> Iterator[NDArray[np.int64]]:
    """Rows that train, that calibrate, that measure: three fifths, one, one of each label."""
    rng = np.random.default_rng(seed)
    truth, known = pictures.truth[category], pictures.known[category]
    labels = [rng.permutation(np.flatnonzero(known & (truth == label))) for label in (False, True)]
    thirds = [np.split(rows, [len(rows) * 3 // 5, len(rows) * 4 // 5]) for rows in labels]
    return (np.concatenate(part) for part in zip(*thirds, strict=True))


def _pairs_of(settings: HeadSettings) -> tuple[int, int, int]:
    return settings.pairs, settings.pairs // 3, settings.pairs // 3


def _examples(
    category: str,
    pictures: LabelledPictures,
    seen: tuple[ImageEncoder, Sequence[Pixels], Sequence[Bag]],
    rows: NDArray[np.int64],
    pairs: int,
) -> _Examples:
    """The whole pictures of some rows, and composites of them."""
    encoder, decoded, whole = seen
    truth = pictures.truth[category][rows]
    clean, positive = rows[~truth].tolist(), rows[truth].tolist()
    drawn = draw_pairs(clean, positive, pairs, seed=len(rows))
    pasted = _see(encoder, (one for pair in drawn for one in composites(pair, decoded)))
    return _Examples(
        [*(whole[row] for row in rows), *pasted],
        np.concatenate([truth, np.tile([True, False], pairs)]),
        np.repeat([False, True], [len(rows), 2 * pairs]),
    )


def _see(encoder: ImageEncoder, pictures: Iterable[Pixels]) -> list[Bag]:
    """The features of each picture's crops."""
    return [features_of(encoder, pixels) for pixels in pictures]


def features_of(encoder: ImageEncoder, pixels: Pixels) -> Bag:
    """The features of one picture's crops, cut as the SDK cuts them.

    Args:
        encoder: Opened.
        pixels: uint8 RGB [H, W, 3].

    Returns:
        f32 [crops, width].
    """
    crops = crops_of(decode(pixels), side=encoder.look.side)
    with torch.inference_mode():
        features: Tensor = encoder(torch.from_numpy(crops))
    return features.clone()  # a tensor of inference mode could not be trained on


# --- what came out --------------------------------------------------------------------------------


def _logits(head: ImageHead, examples: _Examples) -> NDArray[np.float64]:
    with torch.no_grad():
        return picture_logits(head, examples.bags).double().numpy()


def _calibrated(head: ImageHead, examples: _Examples) -> Calibration:
    return fit_platt(_logits(head, examples), examples.truth)


def _measured(head: ImageHead, examples: _Examples) -> HeadReport:
    logits, truth, pasted = _logits(head, examples), examples.truth, examples.pasted
    whole = ~pasted
    return HeadReport(
        positives=int(truth[whole].sum()),
        pictures=int(whole.sum()),
        whole_auc=_rounded(roc_auc(truth[whole], logits[whole])),
        pasted_auc=_rounded(roc_auc(truth[pasted], logits[pasted])),
    )


def _rounded(area: float | None) -> float | None:
    return None if area is None else round(area, 4)


def _save(heads: Mapping[str, ImageHead], about: HeadsFile, work: Path) -> None:
    work.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{category}/{name}": tensor.contiguous()
        for category, head in heads.items()
        for name, tensor in head.state_dict().items()
    }
    save_file(tensors, str(work / WEIGHTS))
    encoded = msgspec.json.format(msgspec.json.encode(about), indent=1)
    (work / ABOUT).write_bytes(encoded + b"\n")
