"""The shipped models give the numbers of their cards on this machine, whatever its processor."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardkit.artifacts import load_artifact
from guardkit.export.verify import load_card, verify

MODELS = Path(__file__).parents[2] / "exported_models"
# Integer sums are exact, so an int8 graph differs by the rounding of its float parts alone, .07 at most so far. A
# processor without VNNI that adds in 16 bits was off by 0.37 beyond the card.
ROUNDING = 0.1


@pytest.mark.parametrize(
    "name",
    [
        "text-safety",
        "text-safety-multi",
        "image-safety",
        "image-safety-second",
        "face-detector",
        "image-transform",
        "smib-smollm2",
        "smib-minilm",
    ],
)
def test_a_shipped_model_holds_to_its_parity_card(name: str) -> None:
    assert verify(load_artifact(MODELS / name)).holds


def test_text_safety_is_as_far_from_its_reference_as_its_card_says() -> None:
    artifact = load_artifact(MODELS / "text-safety")
    card, here = load_card(artifact), verify(artifact)
    assert here.worst == pytest.approx(card.worst, abs=ROUNDING)
    assert here.token_worst == pytest.approx(card.token_worst, abs=ROUNDING)
