"""What acts inside somebody's generator, on arrays and callables; no generator library is imported here."""

from guardkit.steer.bottleneck import Bottleneck
from guardkit.steer.guidance import (
    guided_noise,
    noised_back,
    unsafe_gradient,
    unsafe_risk_gradient,
)
from guardkit.steer.losses import (
    distillation_loss,
    distillation_scale,
    guidance_erase_loss,
    mosaic_loss,
    mosaic_target,
    override_loss,
    score_loss,
)
from guardkit.steer.remap import closed_form_remap, concept_pairs, remap_matrix
from guardkit.steer.steps import Signal, StepGuard, StepRecord, StepWatch, predicted_x0

__all__ = [
    "Bottleneck",
    "Signal",
    "StepGuard",
    "StepRecord",
    "StepWatch",
    "closed_form_remap",
    "concept_pairs",
    "distillation_loss",
    "distillation_scale",
    "guidance_erase_loss",
    "guided_noise",
    "mosaic_loss",
    "mosaic_target",
    "noised_back",
    "override_loss",
    "predicted_x0",
    "remap_matrix",
    "score_loss",
    "unsafe_gradient",
    "unsafe_risk_gradient",
]
