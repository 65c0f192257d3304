"""The int8 twin of a model of crops: static, its ranges those of somebody's pictures.

    guardkit export onnx image-safety --precision int8 --pictures pictures/ --out int8_models

Weights have a scale an output channel, activations one a tensor, from the least to the greatest value that the pictures give; the first quarter of the
layers stays in fp32. Whether its decisions are those of fp32 is for a measurement to say (`python -m bench.safe_pictures --int8`), and it ships only if they are.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from guardkit.artifacts import Artifact, Resample, RunnerOptions
from guardkit.errors import ImageError, InputError
from guardkit.export.artifact import MODEL
from guardkit.export.image_artifact import AboutImages, new_artifact, write_image_artifact
from guardkit.export.image_graph import INPUT
from guardkit.export.image_parity import (
    DRAWN,
    ImageParityCard,
    drawn_crops,
    read_card,
    scores_of,
)
from guardkit.image.decode import decode
from guardkit.image.prepare import crops_of
from guardkit.runtime.base import open_runner
from guardkit.walk import Kind, walk

_log = logging.getLogger(__name__)

CROPS = 100
"""That the ranges are taken from; chosen: more moved them little and take minutes."""
_LINEAR = ("Conv", "MatMul", "Gemm")
_EXACT = 4  # one layer in so many, the first ones, stays fp32: what they lose, all others read; chosen on pictures apart (LOG.md)
_FEWEST = 20  # pictures
# Parity with fp32's probabilities of the drawn crops is held to what is found today, with room for another processor's kernels.
_ROOM, _LEAST_ROOM = 1.5, 0.01


def quantize_images(artifact: Artifact, pictures: Path, out: Path) -> Artifact:
    """Write the twin.

    Args:
        artifact: An fp32 model of crops.
        pictures: A folder of pictures like those that it will see.
        out: The folder that holds the twin, under the same name; nothing is left there on failure.

    Raises:
        InputError: It is none, has another precision, the folder has too few pictures, or the twin stands already.
    """
    manifest = artifact.manifest
    if manifest.image is None or manifest.precision != "fp32":
        raise InputError(
            f"{manifest.id}: {manifest.task} in {manifest.precision}. Expected a model of crops in fp32."
        )
    side, resample = manifest.image.side, manifest.image.resample
    crops = _crops(pictures, side, resample)
    about = AboutImages(
        manifest.name,
        manifest.version,
        manifest.licence,
        manifest.calibration,
        side,
        manifest.image.second,
        precision="int8",
        tolerance=1.0,
        resample=resample,
    )
    expected = scores_of(artifact, open_runner(artifact, RunnerOptions()), drawn_crops(DRAWN, side))

    def write(folder: Path) -> Artifact:
        quantize_crops(artifact.path / manifest.model, folder / MODEL, crops)
        made = write_image_artifact(folder, about, expected)
        worst = read_card(made, ImageParityCard).worst
        held = replace(about, tolerance=max(round(worst * _ROOM, 2), _LEAST_ROOM))
        return write_image_artifact(folder, held, expected)

    return new_artifact(out, manifest.name, write)


def quantize_crops(graph: Path, target: Path, crops: Sequence[NDArray[np.uint8]]) -> None:
    """Write a graph's int8 twin, which may take its place, with ranges measured on crops uint8 [side, side, 3]."""
    with tempfile.TemporaryDirectory() as scratch:
        # Weights that a graph widens at its start are weights again.
        folded = Path(scratch) / "folded.onnx"
        quant_pre_process(str(graph), str(folded), skip_symbolic_shape=True)
        linear = [node.name for node in onnx.load(str(folded)).graph.node if node.op_type in _LINEAR]  # fmt: skip
        quantize_static(
            str(folded),
            str(target),
            _Reader(crops),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=list(_LINEAR),
            nodes_to_exclude=linear[: len(linear) // _EXACT],
        )


class _Reader(CalibrationDataReader):
    """Crops one by one, as onnxruntime's calibration asks for them."""

    def __init__(self, crops: Sequence[NDArray[np.uint8]]) -> None:
        self._left: Iterator[NDArray[np.uint8]] = iter(crops)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        crop = next(self._left, None)
        return None if crop is None else {INPUT: crop[None]}


def _crops(folder: Path, side: int, resample: Resample) -> list[NDArray[np.uint8]]:
    """The middle crop of pictures spread evenly over a folder; what cannot be decoded is left out."""
    files = [one.path for one in walk(folder) if one.kind is Kind.IMAGE]
    chosen = np.linspace(0, len(files) - 1, min(CROPS, len(files))).round().astype(int)
    crops = []
    for at in chosen:
        try:
            every = crops_of(decode(files[at], shortest=side), side=side, resample=resample)
        except ImageError:
            continue
        crops.append(every[len(every) // 2])
    if len(crops) < _FEWEST:
        raise InputError(f"{folder}: {len(crops)} pictures. Expected {_FEWEST} at least.")
    _log.info("ranges from %d of %d pictures", len(crops), len(files))
    return crops
