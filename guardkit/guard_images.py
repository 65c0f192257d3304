"""What happens to an image: the half of the conductor that needs Pillow. `Guard` opens it and asks it.

check_output(image=...)
  1 image.decode      ImageInput -> Picture  limits first; what cannot be decoded is not measured
  2 scorers           Picture -> Scores      the maximum over frames and crops
  3 policy.decide     Scores -> Decision     pure
       ALLOW | REGENERATE | BLOCK -> done
       EDIT:
  4 editors           Picture -> Picture     of every pixel; those the fired rules name, in the policy's order
  5 1 to 3 once more                         still not allowed -> the policy's `after_edit`

check_edit(before=..., prompt=..., after=...)  the same on `after`, under the stage `edit`; `before` is decoded beside it, for
scorers that compare both

check_output(video=...)  1 to 3 on frames of it, and the score that enough of them reach
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from guardkit.artifacts import RunnerOptions, find_artifact
from guardkit.decision import Decision
from guardkit.errors import InputError
from guardkit.image.decode import ImageInput, Picture
from guardkit.image.editors import EditedImage, ImageEditors
from guardkit.image.faces import FaceDetector
from guardkit.image.measure import ImageMeasurer, MeasuredImage
from guardkit.image.named import NamedFaces
from guardkit.image.opening import (
    open_face_detector,
    open_image_scorers,
    open_transform_scorer,
)
from guardkit.image.reading import RapidReader, TextInImages
from guardkit.image.score import ImageScorer
from guardkit.image.transform import Request, TransformScorer, log_odds_of, options_of
from guardkit.policy.decide import decide, usable
from guardkit.policy.rules import Policy
from guardkit.runtime.base import OpenRunner, Runner
from guardkit.runtime.clock import Clock, check_time
from guardkit.steps import (
    FACE_DETECTOR,
    IMAGE_TEXT,
    IMAGE_TRANSFORM,
    PUBLIC_FIGURES,
    TEXT_SAFETY,
    needs_faces,
)
from guardkit.taxonomy import Stage, is_harm
from guardkit.text.editors import EditorRun, after_edit, editors_to_run
from guardkit.text.encode import Encoder
from guardkit.text.normalize import normalize
from guardkit.text.opening import open_model
from guardkit.text.public_figures import PublicFigures
from guardkit.types import Action, Context, Region, Scores, Status

if TYPE_CHECKING:
    from guardkit.image.video import VideoInput

_log = logging.getLogger(__name__)


class ImageChecks:
    """One stage of images of a policy with its models opened; immutable, safe to share between threads."""

    def __init__(
        self,
        policy: Policy,
        scorers: Sequence[ImageScorer],
        open_runner: OpenRunner,
        stage: Stage = Stage.OUTPUT_IMAGE,
    ) -> None:
        """Open every model the stage names; arguments and errors as in `Guard`."""
        stage_policy = policy.stage(stage)
        assert stage_policy is not None  # noqa: S101  it is why there are checks
        self._policy, self._stage, self._stage_policy = policy, stage, stage_policy
        self._policy_id = policy.id
        detector = _open_detector(policy, stage, open_runner)
        given = {**_scorers_of_faces(detector), **{scorer.name: scorer for scorer in scorers}}
        if IMAGE_TEXT in self._stage_policy.scorers and IMAGE_TEXT not in given:
            given[IMAGE_TEXT] = _open_reader(policy, open_runner)
        if IMAGE_TRANSFORM in stage_policy.scorers and IMAGE_TRANSFORM not in given:
            given[IMAGE_TRANSFORM] = _open_transform(policy, detector, open_runner)
        opened = open_image_scorers(policy, stage_policy.scorers, given, open_runner)
        self._measurer = ImageMeasurer(policy, opened)
        self._editors = ImageEditors(
            tuple(opened.values()), detector, shortest=self._measurer.shortest
        )
        self._of_scorers = self._measurer.runners
        of_editors = detector.runners if detector else ()
        self.runners: tuple[Runner, ...] = tuple(dict.fromkeys((*self._of_scorers, *of_editors)))

    def check(
        self,
        image: ImageInput,
        prompt: str | None,
        context: Context,
        clock: Clock,
        *,
        before: ImageInput | None = None,
    ) -> Decision:
        """Steps 1 to 5; ends the clock.

        Raises:
            InputError: The caller handed in no image at all.
        """
        check = _Check(image, prompt, context, clock, before)
        try:
            decision = self._decide_and_edit(check)
        finally:
            timings_ms = clock.end()
        runners = self.runners if decision.action is Action.EDIT else self._of_scorers
        return replace(
            decision,
            policy_id=self._policy_id,
            models=tuple(one.info.id for one in runners),
            timings_ms=timings_ms,
            **usable(self._policy, decision, image, name="image"),
        )

    def check_video(
        self, video: VideoInput, prompt: str | None, context: Context, clock: Clock
    ) -> Decision:
        """Steps 1 to 3 on frames of a video; where an edit is asked for, `after_edit` answers. Ends the clock.

        Raises:
            InputError: The caller handed in no video at all.
            MissingExtraError: PyAV is not installed.
        """
        try:
            decision = self._decide_video(video, prompt, context, clock)
        finally:
            timings_ms = clock.end()
        return replace(
            decision,
            policy_id=self._policy_id,
            models=tuple(one.info.id for one in self._of_scorers),
            timings_ms=timings_ms,
            **usable(self._policy, decision, video, name="video"),
        )

    def _decide_video(
        self, video: VideoInput, prompt: str | None, context: Context, clock: Clock
    ) -> Decision:
        stage_policy, agreeing = self._stage_policy, self._policy.limits.videos.agreeing
        measured = self._measurer.measure_video(stage_policy, video, clock, prompt=prompt)
        whole = measured.whole(agreeing)
        decision = self._decided(whole, context)
        at_s = measured.first_at_s(_targets(decision))
        notes = [] if whole.problem is None else [f"the video: {whole.problem}"]
        notes += self._notes_on_prompt(prompt)
        if at_s is not None:
            notes.append(f"the video: first reached at {at_s:.2f} s")
        decision = replace(decision, at_s=at_s, reasons=(*notes, *decision.reasons))
        if decision.action <= Action.EDIT and editors_to_run(decision, stage_policy):
            edit = replace(decision, action=Action.EDIT)
            return after_edit(edit, stage_policy, "a video cannot be edited")
        return decision

    def score(self, image: ImageInput, clock: Clock) -> Scores:
        """Steps 1 and 2; ends the clock; errors as in `check`."""
        try:
            return self._measurer.measure(self._stage_policy, image, clock).scores
        finally:
            clock.end()

    def _decide_and_edit(self, check: _Check) -> Decision:
        decision = self._decide(check)
        if decision.action > Action.EDIT:
            return decision
        runs = editors_to_run(decision, self._stage_policy)
        if not runs:
            return decision
        if self._policy.limits.edits == 0:
            return after_edit(decision, self._stage_policy, "edits are limited to 0")
        return self._edit(decision, check, runs)

    def _decide(self, check: _Check) -> Decision:
        """Steps 1 to 3."""
        measured = self._measurer.measure(
            self._stage_policy,
            check.image,
            check.clock,
            prompt=check.prompt,
            before=check.before,
        )
        decision = self._decided(measured, check.context)
        fired = {one.category for one in decision.fired}
        regions = tuple(one for one in measured.regions if one.category in fired)
        notes = self._notes(check, measured)
        return replace(decision, regions=regions, reasons=(*notes, *decision.reasons))

    def _decided(self, measured: MeasuredImage, context: Context) -> Decision:
        return decide(
            self._policy,
            self._stage,
            measured.scores,
            context=context,
            failed=measured.failed,
            late=measured.late,
        )

    def _notes(self, check: _Check, measured: MeasuredImage) -> list[str]:
        """What the caller can mend."""
        notes = [] if measured.problem is None else [f"the image: {measured.problem}"]
        return notes + self._notes_on_prompt(check.prompt)

    def _notes_on_prompt(self, prompt: str | None) -> list[str]:
        if prompt is None and PUBLIC_FIGURES in self._stage_policy.scorers:
            return [f"prompt: not given, and the scorer {PUBLIC_FIGURES} reads it"]
        return []

    def _edit(self, before: Decision, check: _Check, runs: Sequence[EditorRun]) -> Decision:
        """Steps 4 and 5."""
        stage = self._stage_policy
        try:
            edited = self._edited(check, runs, _targets(before))
        except Exception as e:  # noqa: BLE001  a failure boundary: an editor asks scorers, which may be anybody's code
            _log.warning("an editor of images failed: %s", type(e).__name__)
            worse = Status.DEGRADED if before.status is Status.OK else before.status
            failed = replace(before, status=worse, action=Action.EDIT)
            return after_edit(failed, stage, "an editor failed")
        if edited is None:
            failed = replace(before, action=Action.EDIT)
            return after_edit(failed, stage, "an animation cannot be edited")
        if not edited.regions:
            return after_edit(before, stage, "no editor found anything to change")
        pixels = edited.picture.frames[0]
        again = self._decide(replace(check, image=pixels))
        status = before.status if again.status is Status.OK else again.status
        decision = replace(before, action=Action.EDIT, status=status)
        if again.action is not Action.ALLOW:
            return after_edit(decision, stage, f"still not allowed ({again.reasons[0]})")
        reasons = (f"after edit, {reason}" for reason in again.reasons)
        return replace(
            decision,
            image=pixels,
            regions=_regions(before, runs, edited),
            reasons=(*before.reasons, *reasons),
        )

    def _edited(
        self, check: _Check, runs: Sequence[EditorRun], targets: Mapping[str, float]
    ) -> EditedImage | None:
        """Run the editors; None: it is an animation, whose other frames nobody looked at."""
        ask = functools.partial(self._measurer.ask, clock=check.clock)
        edited = _editable(self._whole(check), check.image)
        if len(edited.picture.frames) > 1:
            return None
        for run in runs:
            check_time(check.clock.stop, run.name)
            below = {name: targets[name] for name in sorted(run.categories)}
            editor = functools.partial(self._editors.run, run.name, edited, below, ask=ask)
            edited = check.clock.timed(run.name, editor)
        return edited

    def _whole(self, check: _Check) -> Picture:
        """Every pixel, and those of what it was made of."""
        picture = self._measurer.whole(check.image, check.prompt, check.clock)
        if check.before is None:
            return picture
        return replace(picture, before=self._measurer.whole(check.before, None, check.clock))


class _Check(Struct, frozen=True):
    """One image on its way through the stage."""

    image: ImageInput
    prompt: str | None
    context: Context
    clock: Clock
    before: ImageInput | None = None
    """What an edit made it of; None: it was not edited."""


def _open_detector(policy: Policy, stage: Stage, open_runner: OpenRunner) -> FaceDetector | None:
    """The detector of faces; None: no step of the stage uses it."""
    stage_policy = policy.stages[stage]
    if not needs_faces(stage_policy.scorers, policy.editors_of(stage)):
        return None
    options = policy.models.get(FACE_DETECTOR, RunnerOptions())
    return open_face_detector(FACE_DETECTOR, options, open_runner)


def _scorers_of_faces(detector: FaceDetector | None) -> dict[str, ImageScorer]:
    if detector is None:
        return {}
    return {FACE_DETECTOR: detector, PUBLIC_FIGURES: NamedFaces(detector, _named)}


def _open_reader(policy: Policy, open_runner: OpenRunner) -> TextInImages:
    """The reader of text in images, with what scores it."""
    options = policy.models.get(TEXT_SAFETY, RunnerOptions())
    scorer = open_model(TEXT_SAFETY, options, open_runner)
    words, longest = scorer.words(), policy.limits.max_characters

    def score(texts: Sequence[str]) -> list[float]:
        if max(map(len, texts)) > longest:
            raise InputError(f"the image holds a text of more than {longest} characters.")
        scored = scorer.score([normalize(text, words=words) for text in texts])
        return [_worst_harm(one.scores) for one in scored]

    return TextInImages(RapidReader(), score, (scorer.runner,))


def _open_transform(
    policy: Policy, detector: FaceDetector | None, open_runner: OpenRunner
) -> TransformScorer:
    """The scorer of edits, with the model that reads what was asked for."""
    assert detector is not None  # noqa: S101  `needs_faces` says so
    artifact_options = policy.models.get(IMAGE_TRANSFORM, RunnerOptions())
    path = Path(artifact_options.path) if artifact_options.path else None
    artifact = find_artifact(IMAGE_TRANSFORM, path=path)
    said, encoder = options_of(artifact).said, Encoder.of(artifact)
    safety = open_model(TEXT_SAFETY, policy.models.get(TEXT_SAFETY, RunnerOptions()), open_runner)
    words, longest = safety.words(), policy.limits.max_characters

    def read(text: str) -> Request:
        if len(text) > longest:
            raise InputError(f"the request has {len(text)} characters. Expected at most {longest}.")
        normal = normalize(text, words=words)
        (scored,) = safety.score([normal])
        windows = encoder.encode([normal.text]).inputs
        odds = log_odds_of(scored.scores, said)
        return Request(windows["input_ids"], windows["attention_mask"], odds)

    return open_transform_scorer(IMAGE_TRANSFORM, artifact_options, detector, read, open_runner)


def _worst_harm(scores: Scores) -> float:
    known = (score for name, score in scores.items() if score is not None and is_harm(name))
    return max(known, default=0.0)


def _named(prompt: str) -> float:
    """How surely a prompt names a person known the world over."""
    (scored,) = PublicFigures().score([normalize(prompt)])
    return max((score for score in scored.scores.values() if score is not None), default=0.0)


def _targets(decision: Decision) -> dict[str, float]:
    """Category -> the lowest threshold that it reached."""
    lowest: dict[str, float] = {}
    for fired in decision.fired:
        lowest[fired.category] = min(fired.threshold, lowest.get(fired.category, 1.0))
    return lowest


def _editable(picture: Picture, image: ImageInput) -> EditedImage:
    """A picture before its edits: one that was decoded from a file is nobody else's, and not copied."""
    is_decoded = isinstance(image, str | Path | bytes)
    return EditedImage(picture, is_ours=is_decoded and picture.frames[0].flags.writeable)


def _regions(
    before: Decision, runs: Sequence[EditorRun], edited: EditedImage
) -> tuple[Region, ...]:
    """What was hidden, and what carried the scores that no editor was to lower."""
    handled = frozenset[str]().union(*(run.categories for run in runs))
    return (*edited.regions, *(one for one in before.regions if one.category not in handled))
