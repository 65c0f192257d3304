"""Decode one image, or frames of a video, and run the scorers of a stage on it, within time; a failure hides nothing."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec.structs import replace

from guardkit.errors import DeadlineError, ImageError
from guardkit.image.decode import ImageInput, Picture, decode
from guardkit.image.faces import FaceDetector
from guardkit.image.named import NamedFaces
from guardkit.image.reading import TextInImages
from guardkit.image.score import CropScorer, ImageScorer
from guardkit.image.transform import TransformScorer
from guardkit.policy.rules import Policy, StagePolicy
from guardkit.runtime.base import Runner
from guardkit.runtime.clock import Clock
from guardkit.types import Region, Scored, Scores

if TYPE_CHECKING:
    from guardkit.image.video import VideoInput

_log = logging.getLogger(__name__)
_OURS = CropScorer | FaceDetector | NamedFaces | TransformScorer
"""Scorers whose runs can be stopped, and who say how many pixels they need; reading text is neither."""


@dataclass(slots=True)
class MeasuredImage:
    """What the scorers of one stage said of one image."""

    scores: Scores = field(default_factory=Scores)
    """None where no scorer of the category answered."""
    regions: tuple[Region, ...] = ()
    failed: frozenset[str] = frozenset()
    """Categories of which a scorer failed; another one may still have scored them."""
    late: frozenset[str] = frozenset()
    """Likewise, where a scorer ran out of time."""
    problem: str | None = None
    """Why the image could not be decoded; None: it could."""

    def add(self, scorer: ImageScorer, answer: Callable[[], list[Scored]]) -> None:
        """Take one scorer's answer; if there is none, or nonsense, its categories are missed."""
        try:
            (scored,) = answer()
            silent = [name for name in scorer.categories if name not in scored.scores]
            scores, regions = self.scores.merged(scored.scores), self.regions + scored.regions
            self.scores, self.regions = scores, regions  # both or none
            self.miss(silent)
        except DeadlineError:
            _log.warning("scorer %s ran out of time", scorer.name)
            self.miss(scorer.categories, is_late=True)
        except Exception as e:  # noqa: BLE001  a failure boundary: a scorer may be anybody's code
            _log.warning("scorer %s failed: %s", scorer.name, type(e).__name__)
            self.miss(scorer.categories)

    def miss(self, categories: Iterable[str], *, is_late: bool = False) -> None:
        """Note what was not measured."""
        names = frozenset(categories)
        self.failed |= names
        if is_late:
            self.late |= names
        self.scores = self.scores.merged(dict.fromkeys(sorted(names)))


@dataclass(slots=True)
class MeasuredVideo:
    """What the scorers of one stage said of frames of a video."""

    frames: list[tuple[float, MeasuredImage]] = field(default_factory=list)
    """Seconds from the beginning, ascending, and what was measured there."""
    failed: frozenset[str] = frozenset()
    """As of `MeasuredImage`, of any frame, or of those that could not be decoded."""
    late: frozenset[str] = frozenset()
    problem: str | None = None
    """Why decoding ended early; None: it did not."""

    def break_off(self, error: ImageError | DeadlineError, categories: Iterable[str]) -> None:
        """Note that the frames from here on were not measured."""
        names = frozenset(categories)
        self.failed |= names
        if isinstance(error, DeadlineError):
            self.late |= names
        else:
            self.problem = error.problem

    def whole(self, agreeing: int) -> MeasuredImage:
        """The video as if it were one image.

        A category scores what at least `agreeing` frames score: the maximum for 1, in general the `agreeing`-th
        highest, so that a rule fires when that many frames reach its threshold. In a video of fewer frames all are to
        agree. None: too few frames have a number.
        """
        failed = self.failed.union(*(one.failed for _, one in self.frames))
        late = self.late.union(*(one.late for _, one in self.frames))
        needed = min(agreeing, max(len(self.frames), 1))
        names = dict.fromkeys(name for _, one in self.frames for name in one.scores)
        scores = {name: self._agreed(name, needed) for name in (*names, *sorted(failed))}
        return MeasuredImage(Scores(scores), failed=failed, late=late, problem=self.problem)

    def first_at_s(self, thresholds: Mapping[str, float]) -> float | None:
        """When the first frame reaches a threshold, category -> threshold; None: no frame does."""
        return next(
            (
                at_s
                for at_s, one in self.frames
                if any((one.scores.get(name) or 0.0) >= low for name, low in thresholds.items())
            ),
            None,
        )

    def _agreed(self, name: str, needed: int) -> float | None:
        given = [one.scores.get(name) for _, one in self.frames]
        known = sorted((score for score in given if score is not None), reverse=True)
        return known[needed - 1] if len(known) >= needed else None


class ImageMeasurer:
    """The opened image scorers of a policy; immutable, safe to share between threads."""

    def __init__(self, policy: Policy, scorers: Mapping[str, ImageScorer]) -> None:
        """Take opened scorers.

        Args:
            policy: Its `limits.images` and `limits.videos` count.
            scorers: Every one its image stages name.
        """
        self._limits, self._videos = policy.limits.images, policy.limits.videos
        self._scorers = scorers
        ours = [one for one in scorers.values() if isinstance(one, _OURS)]
        with_models = (one for one in scorers.values() if isinstance(one, _OURS | TextInImages))
        runners = (runner for scorer in with_models for runner in scorer.runners)
        self.runners: tuple[Runner, ...] = tuple(dict.fromkeys(runners))
        # A scorer of somebody's own gets every pixel: nobody knows how many it needs.
        is_ours = len(ours) == len(scorers)
        self.shortest = max((one.side for one in ours), default=None) if is_ours else None

    def measure(
        self,
        stage_policy: StagePolicy,
        image: ImageInput,
        clock: Clock,
        *,
        prompt: str | None = None,
        before: ImageInput | None = None,
    ) -> MeasuredImage:
        """Decode an image and run the stage's scorers on it, in order, with the prompt and picture it was made of.

        Raises:
            InputError: The caller handed in no image at all; an image that cannot be decoded is not measured.
        """
        measured = MeasuredImage()
        scorers = [self._scorers[name] for name in stage_policy.scorers]
        try:
            picture = self._decoded(image, prompt, clock, shortest=self.shortest)
            if before is not None:
                first = self._decoded(before, None, clock, shortest=self.shortest)
                picture = replace(picture, before=first)
        except (ImageError, DeadlineError) as e:
            is_late = isinstance(e, DeadlineError)
            measured.problem = None if isinstance(e, DeadlineError) else e.problem
            for scorer in scorers:
                measured.miss(scorer.categories, is_late=is_late)
            return measured
        return self._score(scorers, picture, clock)

    def _score(
        self, scorers: Sequence[ImageScorer], picture: Picture, clock: Clock
    ) -> MeasuredImage:
        measured = MeasuredImage()
        for scorer in scorers:
            answer = functools.partial(self.ask, scorer, [picture], clock=clock)
            measured.add(scorer, functools.partial(clock.timed, scorer.name, answer))
        return measured

    def measure_video(
        self,
        stage_policy: StagePolicy,
        video: VideoInput,
        clock: Clock,
        *,
        prompt: str | None = None,
    ) -> MeasuredVideo:
        """Run the stage's scorers on frames of a video, one after the other, as `measure` on an image.

        What breaks in the middle is a failure of every scorer; what was measured until then still counts.

        Raises:
            InputError: The caller handed in no video at all.
            MissingExtraError: PyAV is not installed.
        """
        from guardkit.image.video import read_moments  # PyAV: an optional package

        scorers = [self._scorers[name] for name in stage_policy.scorers]
        measured = MeasuredVideo()
        moments = read_moments(video, self._limits, self._videos, shortest=self.shortest)
        following = functools.partial(next, moments, None)
        late = functools.partial(clock.within_limit, following, name="decode")
        try:
            while (moment := clock.timed("decode", late)) is not None:
                picture = replace(moment.picture, prompt=prompt)
                of_frame = self._score(scorers, picture, clock)
                measured.frames.append((moment.at_s, of_frame))
        except (ImageError, DeadlineError) as e:
            measured.break_off(e, [name for scorer in scorers for name in scorer.categories])
        return measured

    def whole(self, image: ImageInput, prompt: str | None, clock: Clock) -> Picture:
        """Decode every pixel of an image, for an editor; errors as in `decode`, and `DeadlineError`."""
        return self._decoded(image, prompt, clock, shortest=None)

    def ask(
        self, scorer: ImageScorer, pictures: Sequence[Picture], *, clock: Clock
    ) -> list[Scored]:
        """Ask one scorer, in time: ours can be stopped, anybody's can only be abandoned."""
        if isinstance(scorer, _OURS):
            return scorer.score(pictures, stop=clock.stop)
        return clock.within_limit(lambda: scorer.score(pictures), name=scorer.name)

    def _decoded(
        self, image: ImageInput, prompt: str | None, clock: Clock, *, shortest: int | None
    ) -> Picture:
        work = functools.partial(decode, image, self._limits, shortest=shortest)
        late = functools.partial(clock.within_limit, work, name="decode")
        return replace(clock.timed("decode", late), prompt=prompt)
