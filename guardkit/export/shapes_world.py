"""The trained networks of shapes world to their artifacts.

    guardkit export shapes-world --work FOLDER --out exported_models

fp32: together they are small, and a picture's steps add up what rounding does. The denoiser's graph gives the noise, not v,
and the classifier's the gradient of each logit beside it (`guardkit.train.shapes_classifier.WithGradients`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from guardkit.artifacts import FORMAT, Artifact, Manifest, RunnerOptions, TensorSpec
from guardkit.errors import ParityError
from guardkit.export.artifact import MODEL, config_pbtxt, file_entries, write_manifest
from guardkit.export.to_onnx import export_graph
from guardkit.runtime.base import open_runner
from guardkit.shapes.captions import TOKENS, VOCABULARY
from guardkit.shapes.concepts import Forbidden
from guardkit.shapes.generator import CLASSIFIER, DENOISER, ENCODER
from guardkit.shapes.scene import SIDE
from guardkit.train.shapes_classifier import WithGradients, load_classifier
from guardkit.train.shapes_model import STATES, Denoiser
from guardkit.train.shapes_world import load_shapes_model

_log = logging.getLogger(__name__)
TASK = "shapes-world"
_TOLERANCE = 2e-3  # of values of about 1; another processor's kernels round otherwise
_PICTURE = ("pictures", 3, SIDE, SIDE)


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    model: nn.Module
    example: tuple[Tensor, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class NoiseOf(nn.Module):
    """A denoiser that predicts v, as one that predicts the noise."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, x_t: Tensor, alpha_bar: Tensor, states: Tensor) -> Tensor:
        """Eps = sqrt(abar) v + sqrt(1 - abar) x_t, f32 [B, 3, 16, 16]."""
        share = alpha_bar[:, None, None, None]
        v = self.denoiser(x_t, alpha_bar, states)
        return share.sqrt() * v + (1 - share).sqrt() * x_t


def export_shapes_world(work: Path, out: Path, *, version: str) -> list[Artifact]:
    """Write the three artifacts.

    Args:
        work: What `guardkit train shapes-world` left.
        out: The folder that holds artifacts.
        version: Theirs.

    Raises:
        ParityError: A graph does not give what its network gives.
    """
    return [_export(part, out / part.name, version) for part in _parts(work)]


def _parts(work: Path) -> Sequence[_Part]:
    model = load_shapes_model(work)
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(len(VOCABULARY), (3, TOKENS), generator=draw)
    x_t = torch.randn(3, 3, SIDE, SIDE, generator=draw)
    level = torch.tensor([0.01, 0.5, 0.99])
    states = torch.randn(3, TOKENS, STATES, generator=draw)
    picture = TensorSpec("x_t", "float32", _PICTURE)
    noise_level = TensorSpec("alpha_bar", "float32", ("pictures",))
    text = TensorSpec("states", "float32", ("pictures", TOKENS, STATES))
    concepts = len(Forbidden)
    return (
        _Part(
            ENCODER,
            model.encoder,
            (ids,),
            (TensorSpec("input_ids", "int64", ("pictures", TOKENS)),),
            (text,),
        ),
        _Part(
            DENOISER,
            NoiseOf(model.denoiser),
            (x_t, level, states),
            (picture, noise_level, text),
            (TensorSpec("noise", "float32", _PICTURE),),
        ),
        _Part(
            CLASSIFIER,
            WithGradients(load_classifier(work)),
            (x_t, level),
            (picture, noise_level),
            (
                TensorSpec("logits", "float32", ("pictures", concepts)),
                TensorSpec("gradients", "float32", ("pictures", concepts, *_PICTURE[1:])),
            ),
        ),
    )


def _export(part: _Part, folder: Path, version: str) -> Artifact:
    (folder / MODEL).parent.mkdir(parents=True, exist_ok=True)
    specs = (*part.inputs, *part.outputs)
    export_graph(
        part.model,
        part.example,
        folder / MODEL,
        inputs=[spec.name for spec in part.inputs],
        outputs=[spec.name for spec in part.outputs],
        axes={spec.name: ("pictures",) for spec in specs},
    )
    manifest = Manifest(
        format=FORMAT,
        name=part.name,
        version=version,
        task=TASK,
        precision="fp32",
        licence="Apache-2.0",
        categories=(),
        calibration={},
        inputs=part.inputs,
        outputs=part.outputs,
        files=file_entries(folder, [MODEL]),
    )
    artifact = write_manifest(folder, manifest)
    (folder / "config.pbtxt").write_text(config_pbtxt(artifact.manifest))
    _check_parity(part, artifact)
    return artifact


def _check_parity(part: _Part, artifact: Artifact) -> None:
    """One picture alone, as well as three: the first dimension has to vary."""
    runner = open_runner(artifact, RunnerOptions())
    for count in (1, 3):
        example = tuple(tensor[:count] for tensor in part.example)
        with torch.no_grad():
            found = part.model(*example)
        expected = found if isinstance(found, tuple) else (found,)
        given = {spec.name: one.numpy() for spec, one in zip(part.inputs, example, strict=True)}
        outputs = runner.run(given)
        worst = max(
            float(np.abs(outputs[spec.name] - one.numpy()).max())
            for spec, one in zip(part.outputs, expected, strict=True)
        )
        if not worst <= _TOLERANCE:
            raise ParityError(
                f"{artifact.path}: outputs differ by {worst:.6f} from the network's. Allowed: {_TOLERANCE}."
            )
        _log.info("%s: %d pictures, within %.6f of the network", part.name, count, worst)
