"""Put a shipped bottleneck between an encoder and a decoder: features lose whether their text is toxic."""

import numpy as np

from guardkit import GuardkitError
from guardkit.artifacts import find_artifact
from guardkit.steer import Bottleneck

bottleneck = Bottleneck(find_artifact("smib-minilm"))
print(
    bottleneck.id, "filters what", bottleneck.options.layer, "of", bottleneck.options.base, "gives"
)


def encode(texts: int) -> np.ndarray:
    """Stands for the encoder: one sentence embedding a text, f32 [texts, width]."""
    rng = np.random.default_rng(7)
    return rng.normal(scale=0.05, size=(texts, bottleneck.options.width)).astype(np.float32)


def decode(features: np.ndarray) -> str:
    """Stands for whatever reads them: a search, a generator."""
    return f"reads {features.shape[0]} texts of {features.shape[1]} numbers"


features = encode(3)
filtered = bottleneck(features)
print(decode(filtered))
cosine = (features * filtered).sum(1) / np.linalg.norm(features, axis=1)
print("how alike they stay:", np.round(cosine / np.linalg.norm(filtered, axis=1), 2))

# Features of another model are refused, never passed through.
try:
    bottleneck(np.zeros((3, 768), np.float32))
except GuardkitError as e:
    print(e)

# Inside a torch module: guardkit.integrations.bottleneck.attach(model, "model.layers.29", bottleneck)
