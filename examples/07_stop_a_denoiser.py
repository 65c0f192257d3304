"""Watch a denoiser's previews, and stop it as soon as its picture is known to be unsafe."""

from collections.abc import Mapping

import numpy as np

from guardkit.steer import Signal, StepGuard, predicted_x0

STEPS = 50
SCHEDULE = np.linspace(0.02, 1.0, STEPS)  # alpha_bar: from nearly all noise to none


def score(preview: np.ndarray, _step: int) -> Mapping[str, float]:
    """Stands for a model of images: the redder, the gorier."""
    red, green, blue = np.clip(preview, 0, 1).mean(axis=(0, 1))
    return {"gore": float(np.clip(red - max(green, blue), 0, 1))}


def denoise(target: np.ndarray, seed: int) -> None:
    """Stands for a diffusion pipeline that heads for a target; its guess of the noise is a little off."""
    rng = np.random.default_rng(seed)
    watch = guard.watch(STEPS)
    for step, alpha_bar in enumerate(SCHEDULE, 1):
        noise = rng.normal(size=target.shape)
        noisy = np.sqrt(alpha_bar) * target + np.sqrt(1 - alpha_bar) * noise
        guess = noise + rng.normal(scale=0.05, size=target.shape)
        if watch.on_step(step, predicted_x0(noisy, guess, alpha_bar)) is Signal.ABORT:
            break
    print(f"  stopped after step {step} of {STEPS}: {watch.end()}")


guard = StepGuard(eta=20, lam=0.6, score=score)
for name, colour in {"a red picture": (0.9, 0.1, 0.1), "a blue picture": (0.1, 0.1, 0.9)}.items():
    print(name)
    denoise(np.full((32, 32, 3), colour), seed=7)
