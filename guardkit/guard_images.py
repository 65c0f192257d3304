"""What happens to an image: the half of the conductor that needs Pillow. `Guard` opens it and asks it.

check_output(image=...)
  1 image.decode      ImageInput -> Picture  limits first; what cannot be decoded is not measured
  2 scorers           Picture -> Scores      the maximum over frames and crops
  3 policy.decide     Scores -> Decision     pure
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from guardkit.decision import Decision
from guardkit.image.decode import ImageInput
from guardkit.image.measure import ImageMeasurer, MeasuredImage
from guardkit.image.opening import open_image_scorers
from guardkit.image.score import ImageScorer
from guardkit.policy.decide import decide, usable
from guardkit.policy.rules import Policy, StagePolicy
from guardkit.runtime.base import OpenRunner, Runner
from guardkit.runtime.clock import Clock
from guardkit.taxonomy import Stage
from guardkit.types import Context, Scores


class ImageChecks:
    """The image stage of a policy with its models opened; immutable, safe to share between threads."""

    def __init__(
        self, policy: Policy, scorers: Sequence[ImageScorer], open_runner: OpenRunner
    ) -> None:
        """Open every model the stage names; arguments and errors as in `Guard`."""
        given = {scorer.name: scorer for scorer in scorers}
        self._policy = policy
        self._policy_id = policy.id
        self._measurer = ImageMeasurer(policy, open_image_scorers(policy, given, open_runner))
        self.runners: tuple[Runner, ...] = self._measurer.runners
        self._models = tuple(one.info.id for one in self.runners)

    def check(self, image: ImageInput, context: Context, clock: Clock) -> Decision:
        """Steps 1 to 3; ends the clock.

        Raises:
            InputError: The caller handed in no image at all.
        """
        try:
            decision = self._decide(image, context, clock)
        finally:
            timings_ms = clock.end()
        return replace(
            decision,
            policy_id=self._policy_id,
            models=self._models,
            timings_ms=timings_ms,
            **usable(self._policy, decision, image, name="image"),
        )

    def score(self, image: ImageInput, clock: Clock) -> Scores:
        """Steps 1 and 2; ends the clock; errors as in `check`."""
        try:
            return self._measure(image, clock).scores
        finally:
            clock.end()

    def _decide(self, image: ImageInput, context: Context, clock: Clock) -> Decision:
        measured = self._measure(image, clock)
        decision = decide(
            self._policy,
            Stage.OUTPUT_IMAGE,
            measured.scores,
            context=context,
            failed=measured.failed,
            late=measured.late,
        )
        fired = {one.category for one in decision.fired}
        regions = tuple(one for one in measured.regions if one.category in fired)
        problem = () if measured.problem is None else (f"the image: {measured.problem}",)
        return replace(decision, regions=regions, reasons=(*problem, *decision.reasons))

    def _measure(self, image: ImageInput, clock: Clock) -> MeasuredImage:
        return self._measurer.measure(self._stage_policy, image, clock)

    @property
    def _stage_policy(self) -> StagePolicy:
        assert self._policy.output_image is not None  # noqa: S101  it is why there are checks
        return self._policy.output_image
