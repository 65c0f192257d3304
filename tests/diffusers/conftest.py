"""Tiny pipelines, and guards whose scorers say what a test wants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from diffusers import StableDiffusionPipeline

from guardkit import Guard, Policy
from guardkit.image.decode import Picture
from guardkit.policy.rules import Limits, StagePolicy
from guardkit.types import Action, Region, Scored, Scores
from tests.diffusers.tiny_pipeline import SIDE, tiny
from tests.fake_steps import rule
from tests.unit.test_loop_run import PROMPT, Words

PICTURES = StagePolicy(
    ("pictures",),
    editors=("fill",),
    rules=(
        rule("gore", Action.REGENERATE),
        rule("violence", Action.BLOCK),
        rule("sexual", Action.EDIT, "fill"),
    ),
)
POLICY = Policy("drawing", prompt=PROMPT, output_image=PICTURES, limits=Limits(regenerations=2))
QUARTER = SIDE // 2
CALM = {"gore": 0.0, "violence": 0.0, "sexual": 0.0}


class Eyes:
    """Says of one picture after the other what a test wants, the last thing for ever; remembers the pictures."""

    name = "pictures"
    categories = tuple(CALM)

    def __init__(self, *said: dict[str, float]) -> None:
        self.seen: list[Picture] = []
        self._said = list(said) or [{}]

    def score(self, pictures: Sequence[Picture]) -> list[Scored]:
        return [self._score(picture) for picture in pictures]

    def _score(self, picture: Picture) -> Scored:
        self.seen.append(picture)
        said = self._said.pop(0) if len(self._said) > 1 else self._said[0]
        return Scored(Scores({**CALM, **said}))


class Corner(Eyes):
    """Takes the upper left quarter for sexual, until it is of one colour."""

    def _score(self, picture: Picture) -> Scored:
        corner = picture.frames[0][:QUARTER, :QUARTER]
        score = 0.9 if corner.std(axis=(0, 1)).any() else 0.0
        region = Region(0, 0, QUARTER, QUARTER, "sexual", score, self.name)
        return Scored(Scores({**CALM, "sexual": score}), regions=(region,) if score else ())


class Asked(StableDiffusionPipeline):  # type: ignore[misc]
    """A pipeline that remembers what it was asked, and how often its denoiser ran."""

    asked: list[dict[str, Any]]
    steps: int

    @classmethod
    def tiny(cls, scheduler: Any = None) -> Asked:
        """With random weights."""
        made: Asked = tiny(cls, scheduler)
        made.asked, made.steps = [], 0
        made.unet.register_forward_hook(made._count)
        return made

    def __call__(
        self,
        prompt: Any = None,
        negative_prompt: Any = None,
        num_inference_steps: int = 6,
        guidance_scale: float = 7.5,
        callback_on_step_end: Any = None,
        **more: Any,
    ) -> Any:
        told = {"prompt": prompt, "negative_prompt": negative_prompt}
        self.asked.append({**told, "seed": more["generator"].initial_seed()})
        return super().__call__(
            **told,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            callback_on_step_end=callback_on_step_end,
            **more,
        )

    def _count(self, *_: Any) -> None:
        self.steps += 1


@pytest.fixture
def pipeline() -> Asked:
    return Asked.tiny()


def guard_of(*said: dict[str, float], policy: Policy = POLICY) -> Guard:
    return Guard(policy, scorers=[Words()], image_scorers=[Eyes(*said)])
