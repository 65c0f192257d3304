"""Names, addresses and places by a model that reads them in context: the scorer of an artifact that has `kinds`.

Personal data without a form: that "rose" is a flower in one prompt and a neighbour in the next, only the words
around it tell. Public figures are left to the scorer `public-figures`. A text of ordinary words alone (`ordinary_words`) costs
no run: nothing that consists of them counts as somebody's name or address, whatever the model says.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from guardkit.artifacts import Artifact
from guardkit.errors import ManifestError
from guardkit.runtime.base import Arrays, Runner, checked_output
from guardkit.runtime.clock import Stop
from guardkit.text.encode import Windows
from guardkit.text.identifiers import Found
from guardkit.text.normalize import Prompt, normalize
from guardkit.text.ordinary_words import OrdinaryWords
from guardkit.text.public_figures import Names, figures_in
from guardkit.text.score import Floats, TextScorer, calibrate, whole_words
from guardkit.types import Scored, Scores, Span

WORDS = "1/words.gz"
"""The file of an artifact that lists ordinary words; one without it asks its model about every text."""
PERSON, ADDRESS, PLACE = "PERSON", "ADDRESS", "PLACE"
USUAL = (PERSON, ADDRESS)
"""What counts unless a policy says otherwise: a place is where many are, and most pictures have one."""
_BETWEEN_PARTS = re.compile(r"[^\w]{1,3}\Z")  # of an address: ", "


class Tagger(TextScorer):
    """An opened tagger; one score, how sure it is that somebody's data is in the text."""

    def __init__(
        self,
        artifact: Artifact,
        runner: Runner,
        *,
        kinds: Sequence[str] | None = None,
        figures: Names | None = None,
    ) -> None:
        """Read tags as spans.

        Args:
            artifact: What was opened.
            runner: The opened model.
            kinds: Those of the model's kinds that count; None: people and addresses.
            figures: Names that are no private person's; None: the shipped list.

        Raises:
            ManifestError: The artifact is no tagger, or does not know a kind.
        """
        super().__init__(artifact, runner)
        known = artifact.manifest.kinds
        asked = USUAL if kinds is None else tuple(kinds)
        if len(self.categories) != 1 or not known:
            raise ManifestError(f"{artifact.path}: a tagger has kinds and one category.")
        unknown = [kind for kind in asked if kind not in known]
        if unknown:
            raise ManifestError(
                f"{artifact.path}: unknown kinds {unknown}. It knows {', '.join(known)}."
            )
        self._columns = {kind: known.index(kind) for kind in asked}
        self._figures = figures
        has_words = WORDS in artifact.manifest.files
        self._ordinary = OrdinaryWords.read(artifact.read(WORDS)) if has_words else None
        by = self._calibration[0]
        self._span_bar = (self._span_bar - by.shift) / by.scale  # of logits, for a calibrated score

    def find(self, text: str) -> list[Found]:
        """The personal data of one text, in order.

        Raises:
            RunError: The graph failed or gave unusable output.
        """
        (scored,) = self.score([normalize(text, words=self.words())])
        return [Found(span.start, span.end, span.kind) for span in scored.spans]

    def score(self, prompts: Sequence[Prompt], *, stop: Stop | None = None) -> list[Scored]:
        """As `TextScorer.score`; texts of ordinary words score 0 without a run."""
        asked = [row for row, prompt in enumerate(prompts) if not self._is_ordinary(prompt.text)]
        (category,) = self.categories
        scored = [Scored(Scores({category: 0.0})) for _ in prompts]
        for row, one in zip(asked, super().score([prompts[row] for row in asked], stop=stop), strict=True):  # fmt: skip
            scored[row] = one
        return scored

    def _is_ordinary(self, text: str, start: int = 0, end: int | None = None) -> bool:
        return self._ordinary is not None and self._ordinary.cover(text, start, end)

    def _interpret(self, prompt: Prompt, windows: Windows, outputs: Arrays) -> Scored:
        """The surest token is the text's score; runs of tokens above the threshold are spans."""
        shape = (*windows.inputs["input_ids"].shape, len(self.manifest.kinds))
        logits, _ = checked_output(outputs, "token_logits", shape=shape, manifest=self.manifest)
        offsets = windows.offsets
        is_text = offsets[..., 1] > offsets[..., 0]
        spans, surest = list[Span](), -math.inf
        for kind, column in self._columns.items():
            own = np.where(is_text, logits[..., column], -np.inf)
            if own.max(initial=-math.inf) >= self._span_bar:
                if kind == PERSON:
                    own = self._without_figures(own, offsets, prompt)
                runs, own = self._runs(prompt.text, kind, own, offsets)
                spans += [self._span(prompt, kind, run) for run in runs]
            surest = max(surest, float(own.max(initial=-math.inf)))
        (category,) = self.categories
        score = calibrate(surest, self._calibration[0])
        return Scored(Scores({category: score}), tuple(sorted(spans)))

    def _without_figures(
        self, logits: Floats, offsets: NDArray[np.int64], prompt: Prompt
    ) -> Floats:
        """Logits with those of public figures' names taken away."""
        for start, end in figures_in(prompt.text, self._figures):
            logits = _without(logits, offsets, start, end)
        return logits

    def _runs(
        self, text: str, kind: str, logits: Floats, offsets: NDArray[np.int64]
    ) -> tuple[list[_Run], Floats]:
        """What is found, and the logits without those of ordinary words."""
        found = logits >= self._span_bar
        ranges = zip(offsets[found].tolist(), logits[found].tolist(), strict=True)
        runs: Iterable[_Run] = whole_words(text, ranges)
        if kind == ADDRESS:
            runs = _over_commas(text, runs)
        kept = list[_Run]()
        for start, end, peak in runs:
            if self._is_ordinary(text, start, end):
                logits = _without(logits, offsets, start, end)
            else:
                kept.append((start, end, peak))
        return kept, logits

    def _span(self, prompt: Prompt, kind: str, run: _Run) -> Span:
        start, end, peak = run
        first, last = prompt.to_original(start, end)
        (category,) = self.categories
        score = round(calibrate(peak, self._calibration[0]), 4)
        return Span(first, last, category, score, self.name, kind)


def _without(logits: Floats, offsets: NDArray[np.int64], start: int, end: int) -> Floats:
    is_inside = (offsets[..., 0] >= start) & (offsets[..., 1] <= end)
    return np.where(is_inside, -np.inf, logits)


_Run = tuple[int, int, float]


def _over_commas(text: str, runs: Iterable[_Run]) -> Iterator[_Run]:
    """Make one address of parts that only signs and spaces divide."""
    last: _Run | None = None
    for run in runs:
        if last and _BETWEEN_PARTS.match(text[last[1] : run[0]]):
            last = (last[0], run[1], max(last[2], run[2]))
            continue
        if last:
            yield last
        last = run
    if last:
        yield last
