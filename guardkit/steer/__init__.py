"""What acts inside somebody's generator, on arrays and callables; no generator library is imported here."""

from guardkit.steer.bottleneck import Bottleneck
from guardkit.steer.guidance import guided_noise
from guardkit.steer.steps import Signal, StepGuard, StepRecord, StepWatch, predicted_x0

__all__ = [
    "Bottleneck",
    "Signal",
    "StepGuard",
    "StepRecord",
    "StepWatch",
    "guided_noise",
    "predicted_x0",
]
