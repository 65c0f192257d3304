"""Somebody's Hugging Face classifier of images to an artifact that a policy names under `output-image`.

    guardkit export hf FOLDER --task image-classification --labels map.yaml --name my-images

What stands before its network (`hf_preprocessing`) and behind it (`hf_category`) goes into the graph. Whether the
graph is the model is measured: the parity card's reference is transformers' own image processor and torch.
Tried with random weights: ViT, DeiT, ResNet, MobileNetV2, ConvNeXT.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from transformers import AutoImageProcessor

from guardkit.artifacts import Artifact, Calibration, RunnerOptions
from guardkit.errors import InputError
from guardkit.export.artifact import MODEL
from guardkit.export.hf_category import CategoryOdds
from guardkit.export.hf_model import READING, Network, Task, read_network
from guardkit.export.hf_preprocessing import FILE, Prepare, Preprocessing, read_preprocessing
from guardkit.export.hf_request import (
    Examples,
    Request,
    check_columns,
    check_examples,
    check_request,
    exporting,
    fitted,
)
from guardkit.export.image_artifact import AboutImages, new_artifact, write_image_artifact
from guardkit.export.image_graph import INPUT
from guardkit.export.image_parity import DRAWN, ImageParityCard, drawn_crops, read_card
from guardkit.export.label_map import IMAGE_CATEGORIES, columns_of, read_label_map
from guardkit.export.quantize_images import quantize_crops
from guardkit.export.to_onnx import export_graph
from guardkit.image.decode import decode
from guardkit.image.prepare import crops_of
from guardkit.image.score import CropModel, CropScorer
from guardkit.runtime.base import open_runner

_log = logging.getLogger(__name__)

TOLERANCE = 1e-3
"""Of a probability, between the graph and transformers."""
_OUTPUT = "logits"
_ROOM, _LEAST_ROOM = 1.5, 0.01  # for another processor's int8 kernels
_FEWEST_PICTURES, _MOST_PICTURES = 10, 300  # chosen: ranges hardly move behind 300


class ImageCategoryModel(nn.Module):
    """A classifier of images between our crops and log-odds of categories."""

    def __init__(
        self, plain: Network, columns: Mapping[str, Sequence[int]], how: Preprocessing
    ) -> None:
        """Put preprocessing before a network and sums over labels behind it."""
        super().__init__()
        self.prepare = Prepare(how)
        self.model = plain.model
        self.odds = CategoryOdds(plain, columns)

    def forward(self, crops: Tensor) -> Tensor:
        """uint8 RGB [crops, side, side, 3] to f32 [crops, categories]."""
        odds: Tensor = self.odds(self.model(pixel_values=self.prepare(crops)).logits)
        return odds


def export_hf_images(
    request: Request,
    out: Path,
    examples: Examples | None = None,
    *,
    pictures: Sequence[Path] = (),
) -> Artifact:
    """Write the artifact.

    Args:
        request: The classifier, the label map, and what the manifest should say.
        out: The folder that holds artifacts; nothing is left there when something fails.
        examples: Labelled pictures to calibrate scores on; None: the model's own probabilities are the scores.
        pictures: What the ranges of int8 are measured on, for `precision: int8` alone.

    Raises:
        InputError: The request, the model, the label map, the examples or a picture cannot be used.
        ParityError: The graph does not give what the model gives.
    """
    check_request(request, out)
    _check_pictures(request, pictures)
    plain = read_network(request.model, Task.IMAGES)
    processor = _read_processor(request.model)
    how = read_preprocessing(request.model, processor.to_dict())
    label_map = read_label_map(request.labels, plain.labels, known=IMAGE_CATEGORIES)
    columns = columns_of(label_map, plain.labels)
    check_columns(request, plain, columns)
    check_examples(examples, label_map)
    model = ImageCategoryModel(plain, columns, how)
    about = AboutImages(
        name=request.name,
        version=request.version,
        licence=request.licence,
        calibration=dict.fromkeys(columns, Calibration(1.0, 0.0)),
        side=how.side,
        precision=request.precision,
        tolerance=TOLERANCE if request.precision == "fp32" else 1.0,
        resample=how.resample,
    )

    def write(folder: Path) -> Artifact:
        _write_graph(request, model, folder / MODEL, pictures, how)
        expected = _reference(model, processor, drawn_crops(DRAWN, how.side))
        return _held(folder, about, expected, examples)

    return new_artifact(out, request.name, write)


def _held(
    folder: Path, about: AboutImages, expected: NDArray[np.float32], examples: Examples | None
) -> Artifact:
    """The artifact, calibrated where there are examples, and held to what its graph reaches today."""
    made = write_image_artifact(folder, about, expected)
    if examples is not None:
        logits = logits_of_pictures(made, examples.items)
        about = replace(about, calibration=fitted(examples, logits, made.manifest.categories))
    if about.precision == "int8":  # how much it costs is for the card to say
        worst = read_card(made, ImageParityCard).worst
        about = replace(about, tolerance=max(round(worst * _ROOM, 2), _LEAST_ROOM))
    return write_image_artifact(folder, about, expected)


def _check_pictures(request: Request, pictures: Sequence[Path]) -> None:
    if request.precision == "int8" and len(pictures) < _FEWEST_PICTURES:
        raise InputError(
            f"--precision int8: {len(pictures)} pictures to measure its ranges on. Expected at least "
            f"{_FEWEST_PICTURES}, of the kind that it will see (--pictures FOLDER, or --data)."
        )


def _read_processor(name: str) -> Any:
    try:
        return AutoImageProcessor.from_pretrained(name, use_fast=False, trust_remote_code=False)
    except READING as e:
        raise InputError(
            f"{name}: no image processor can be read ({type(e).__name__}). Expected a {FILE} beside the "
            "model: AutoImageProcessor...save_pretrained writes it."
        ) from e


def _write_graph(
    request: Request,
    model: ImageCategoryModel,
    path: Path,
    pictures: Sequence[Path],
    how: Preprocessing,
) -> None:
    crops = torch.from_numpy(drawn_crops(2, how.side))
    axes = {INPUT: ("crops",), _OUTPUT: ("crops",)}
    with exporting(request, model.model):
        export_graph(model, (crops,), path, inputs=(INPUT,), outputs=(_OUTPUT,), axes=axes)
    if request.precision == "int8":
        quantize_crops(path, path, _crops(pictures, how))


def _reference(
    model: ImageCategoryModel, processor: Any, crops: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Probabilities as transformers prepares pictures and torch runs the network: f32 [crops, categories]."""
    images = [Image.fromarray(crop) for crop in crops]
    pixels = processor(images=images, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        odds = model.odds(model.model(pixel_values=pixels).logits)
    scores: NDArray[np.float32] = odds.sigmoid().numpy()
    return scores


def logits_of_pictures(artifact: Artifact, pictures: Sequence[Path]) -> NDArray[np.float64]:
    """Score pictures through the SDK: f64 [pictures, categories], log-odds before calibration.

    Raises:
        ImageError: A picture cannot be decoded.
    """
    scorer = CropScorer(CropModel(artifact, open_runner(artifact, RunnerOptions())))
    rows = []
    for path in pictures:
        (scored,) = scorer.score([decode(path, shortest=scorer.side)])
        rows.append([scored.scores[name] for name in scorer.categories])
    p = np.clip(np.array(rows, np.float64), 1e-15, 1 - 1e-15)
    return np.log(p / (1 - p))


def _crops(pictures: Sequence[Path], how: Preprocessing) -> list[NDArray[np.uint8]]:
    """Every crop of pictures spread evenly over those given.

    Raises:
        ImageError: A picture cannot be decoded.
    """
    return [
        crop
        for path in pictures[:: max(1, len(pictures) // _MOST_PICTURES)]
        for crop in crops_of(decode(path, shortest=how.side), side=how.side, resample=how.resample)
    ]
