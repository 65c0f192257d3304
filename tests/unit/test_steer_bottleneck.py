"""A bottleneck between two graphs: shapes, refusals; no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from guardkit.artifacts import Artifact, BottleneckOptions, FileEntry, Manifest, TensorSpec
from guardkit.errors import InputError, ManifestError
from guardkit.runtime.base import Arrays
from guardkit.runtime.fake import FakeRunner
from guardkit.steer import Bottleneck

D = 4
SHAPE = ("batch", "tokens", D)


def manifest(options: BottleneckOptions | None) -> Manifest:
    """Of an artifact that is not on any disk."""
    return Manifest(
        format=1,
        name="smib-fake",
        version="0.1.0",
        task="bottleneck",
        precision="fp32",
        licence="Apache-2.0",
        categories=(),
        calibration={},
        inputs=(TensorSpec("features", "float32", SHAPE),),
        outputs=(TensorSpec("filtered", "float32", SHAPE),),
        files={"1/model.onnx": FileEntry("0" * 64, 0)},
        bottleneck=options,
    )


def halved(inputs: Arrays) -> Arrays:
    """Refuses what no graph would take, and halves the rest."""
    (features,) = inputs.values()
    assert features.ndim == 3
    assert features.dtype == np.float32
    return {"filtered": features / 2}


@pytest.fixture
def bottleneck() -> Bottleneck:
    """One that halves."""
    artifact = Artifact(Path("smib-fake"), manifest(BottleneckOptions(D, base="b", layer="l")))
    return Bottleneck(artifact, open_runner=lambda _artifact, _options: FakeRunner(halved))


@pytest.mark.parametrize("shape", [(D,), (3, D), (2, 3, D)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_features_keep_their_shape(
    shape: tuple[int, ...], dtype: str, bottleneck: Bottleneck
) -> None:
    features = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
    found = bottleneck(features)
    assert found.dtype == np.float32
    assert np.array_equal(found, features.astype(np.float32) / 2)


@pytest.mark.parametrize(
    ("features", "words"),
    [
        pytest.param(np.zeros((2, D + 1)), r"\[2, 5\]. Expected \[4\]", id="width"),
        pytest.param(np.zeros((0, D)), "Expected", id="empty"),
        pytest.param(np.zeros((1, 1, 1, D)), "Expected", id="rank"),
        pytest.param(np.zeros(()), "Expected", id="scalar"),
        pytest.param(np.full((2, D), np.nan), "NaN", id="nan"),
        pytest.param(np.full((2, D), -np.inf), "infinity", id="infinity"),
    ],
)
def test_features_it_was_not_made_for_are_refused(
    features: np.ndarray, words: str, bottleneck: Bottleneck
) -> None:
    with pytest.raises(InputError, match=words):
        bottleneck(features)


def test_an_artifact_that_is_no_bottleneck_is_refused() -> None:
    with pytest.raises(ManifestError, match="smib-"):
        Bottleneck(Artifact(Path("other"), manifest(None)))
