"""A trained bottleneck to an artifact `smib-*`.

    guardkit export smib --work runs/smib --name smib-mine --base my-model --layer model.layers.22

In: `features` f32 [batch, tokens, d]. Out: `filtered`, the same shape.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from msgspec.structs import replace
from numpy.typing import NDArray

from guardkit.artifacts import (
    FORMAT,
    PARITY_FILE,
    Artifact,
    BottleneckOptions,
    Manifest,
    TensorSpec,
)
from guardkit.errors import ParityError
from guardkit.export.artifact import MODEL, config_pbtxt, file_entries, write_manifest
from guardkit.export.bottleneck_parity import (
    BottleneckParityCard,
    drawn_features,
    worst_of_features,
)
from guardkit.export.to_onnx import export_graph
from guardkit.steer.bottleneck import INPUT, OUTPUT, TASK, Bottleneck
from guardkit.train import smib_model

_log = logging.getLogger(__name__)
_TOLERANCE = 1e-4
"""Of a standard deviation of the features: fp32 sums of 1024 products in another order."""
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class AboutBottleneck:
    """What the manifest says apart from files and shapes."""

    name: str
    """`smib-...`."""
    version: str
    licence: str
    base: str
    """The model whose features it takes."""
    layer: str
    """The name of the layer that gives them."""


def export_smib(layer: smib_model.Bottleneck, out: Path, about: AboutBottleneck) -> Artifact:
    """Write the artifact.

    Args:
        layer: What `guardkit.train.smib_model.load_bottleneck` reads.
        out: The folder that holds artifacts.
        about: What it is.

    Raises:
        ParityError: The graph does not give what the layer gives.
    """
    folder = out / about.name
    (folder / MODEL).parent.mkdir(parents=True, exist_ok=True)
    (folder / PARITY_FILE).unlink(missing_ok=True)
    axes = dict.fromkeys((INPUT, OUTPUT), ("batch", "tokens"))
    example = (torch.zeros(2, 3, layer.d),)
    export_graph(layer, example, folder / MODEL, inputs=(INPUT,), outputs=(OUTPUT,), axes=axes)
    artifact = _write_manifest(folder, layer, about)
    _write_parity(artifact, layer)
    artifact = _write_manifest(folder, layer, about)
    (folder / "config.pbtxt").write_text(config_pbtxt(artifact.manifest))
    return artifact


def _write_manifest(folder: Path, layer: smib_model.Bottleneck, about: AboutBottleneck) -> Artifact:
    shape = ("batch", "tokens", layer.d)
    manifest = Manifest(
        format=FORMAT,
        name=about.name,
        version=about.version,
        task=TASK,
        precision="fp32",
        licence=about.licence,
        categories=(),
        calibration={},
        inputs=(TensorSpec(INPUT, "float32", shape),),
        outputs=(TensorSpec(OUTPUT, "float32", shape),),
        files=file_entries(folder, [name for name in (MODEL, PARITY_FILE) if (folder / name).is_file()]),
        bottleneck=BottleneckOptions(layer.d, base=about.base, layer=about.layer),
    )  # fmt: skip
    return write_manifest(folder, manifest)


def _write_parity(artifact: Artifact, layer: smib_model.Bottleneck) -> None:
    mean, scale = (one.numpy().astype(np.float64) for one in (layer.mean, layer.scale))
    features = drawn_features(mean, scale)
    card = BottleneckParityCard(
        precision=artifact.manifest.precision,
        mean=_rounded(mean),
        scale=_rounded(scale),
        filtered=tuple(_rounded(row) for row in _filtered(layer, features)),
        tolerance=_TOLERANCE,
        worst=0.0,
    )
    worst, where = worst_of_features(Bottleneck(artifact), card)
    if worst > _TOLERANCE:
        raise ParityError(
            f"{artifact.path}: filtered features differ by {worst:.6f} standard deviations ({where}) from the "
            f"layer's. Allowed: {_TOLERANCE}."
        )
    encoded = msgspec.json.encode(replace(card, worst=round(worst, _DIGITS)))
    (artifact.path / PARITY_FILE).write_bytes(encoded + b"\n")
    _log.info("%s: filtered features within %.6f of the layer's", artifact.manifest.name, worst)


def _filtered(layer: smib_model.Bottleneck, features: NDArray[np.float32]) -> NDArray[np.float64]:
    with torch.no_grad():
        found: NDArray[np.float64] = layer(torch.from_numpy(features)).numpy().astype(np.float64)
    return found


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(f"{value:.7g}") for value in values.tolist())
