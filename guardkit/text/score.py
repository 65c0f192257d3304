"""Text to calibrated scores and the spans that carried them: prepare, run, interpret."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from guardkit.artifacts import Artifact, Calibration, Manifest, probability
from guardkit.errors import ManifestError
from guardkit.runtime.base import Arrays, Runner, checked_output
from guardkit.runtime.clock import Stop
from guardkit.text.encode import Encoder, Windows, stacked
from guardkit.text.normalize import Prompt
from guardkit.types import Scored, Scores, Span

Floats = NDArray[np.float32]

# Texts share a run where that pays (bench/RESULTS.md): on one core up to about 48 tokens, little padded.
_MOST_TOGETHER = 8
_LONGEST_TOGETHER = 48  # tokens
_MOST_PADDING = 4  # tokens
_TOKEN_RANK = 3  # token_logits: [windows, tokens, categories]
_SHOWN = 0.05  # a score that has a span in any case; chosen: below every shipped threshold
_MOST_WINDOWS = 16  # windows of 128 tokens in one run: about 60 MB of activations


class Scorer(Protocol):
    """Text to scores. What a policy names under `scorers`; `Guard` takes ones of your own."""

    @property
    def name(self) -> str:
        """The name a policy uses, kebab-case."""
        ...

    @property
    def categories(self) -> Sequence[str]:
        """What it scores; a category it then leaves out counts as not measured."""
        ...

    def score(self, prompts: Sequence[Prompt]) -> list[Scored]:
        """Score normalised texts, one answer a text, in their order."""
        ...


class TextScorer:
    """An opened text artifact; one score a category it knows. Safe to share between threads."""

    def __init__(
        self, artifact: Artifact, runner: Runner, *, languages: Sequence[str] | None = None
    ) -> None:
        """Put a tokenizer before a runner and a calibration behind it.

        Args:
            artifact: What was opened.
            runner: The opened model.
            languages: Those of the model's languages it is asked for; None: all.

        Raises:
            ManifestError: The artifact does not score text.
        """
        options = artifact.manifest.text
        if options is None:
            raise ManifestError(
                f"{artifact.path}: task '{artifact.manifest.task}' does not score text."
            )
        self.name = artifact.manifest.name
        self.categories = artifact.manifest.categories
        self.runner = runner
        self.manifest = artifact.manifest
        self._encoder = Encoder.of(artifact)
        calibration = artifact.manifest.calibration
        self._has_tokens = any(one.name == "token_logits" for one in artifact.manifest.outputs)
        threshold = options.span_threshold
        self._span_bar = math.log(threshold / (1 - threshold))
        asked = artifact.manifest.languages if languages is None else languages
        self.languages = frozenset(asked)
        self._calibration = [calibration[category] for category in self.categories]

    def knows(self, language: str | None) -> bool:
        """Whether it was made for a language; one that nobody asked about counts as known."""
        return language is None or not self.languages or language in self.languages

    def words(self) -> Container[str]:
        """The words `normalize` should undo disguises towards."""
        return self._encoder.words()

    def score(self, prompts: Sequence[Prompt], *, stop: Stop | None = None) -> list[Scored]:
        """Score normalised texts in every category the model knows; errors as in `score_windows`.

        Short texts of similar length run together. Their scores then differ from those of a run
        alone by rounding, below 1e-3.
        """
        return self.score_windows(prompts, [self.encode(one) for one in prompts], stop=stop)

    def encode(self, prompt: Prompt) -> Windows:
        """The first half of `score`: the tokens of one text, which a fast tier reads too."""
        return self._encoder.encode([prompt.text], [prompt.context])

    def score_windows(
        self, prompts: Sequence[Prompt], windows: Sequence[Windows], *, stop: Stop | None
    ) -> list[Scored]:
        """The second half of `score`, on what `encode` gave of each text.

        Raises:
            RunError: The graph failed or gave unusable output.
            DeadlineError: `stop` fired.
        """
        scored: dict[int, Scored] = {}
        for rows in runs_together([one.inputs["input_ids"].shape for one in windows]):
            inputs = [windows[row].inputs for row in rows]
            outputs = self.run(stacked(inputs), stop=stop)
            lengths = [one["input_ids"].shape[1] for one in inputs]
            for row, own in zip(rows, _unstacked(outputs, lengths), strict=True):
                scored[row] = self._interpret(prompts[row], windows[row], own)
        return [scored[row] for row in range(len(prompts))]

    def run(self, inputs: Arrays, *, stop: Stop | None = None) -> Arrays:
        """Run the graph, on a long text in several batches of windows, so that memory stays bounded."""
        count = len(inputs["input_ids"])
        if count <= _MOST_WINDOWS:
            return self.runner.run(inputs, stop=stop)
        batches = [
            self.runner.run(
                {name: array[at : at + _MOST_WINDOWS] for name, array in inputs.items()}, stop=stop
            )
            for at in range(0, count, _MOST_WINDOWS)
        ]
        return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}

    def _interpret(self, prompt: Prompt, windows: Windows, outputs: Arrays) -> Scored:
        """The maximum over windows is the text's score; tokens above the span threshold are spans.

        A category that is scored at `_SHOWN` or more and that no token reaches the threshold of has the word of its
        largest token logit: whatever a rule fires on has a place in the text.
        """
        count, length = windows.inputs["input_ids"].shape
        categories = len(self.categories)
        _, logits = checked_output(
            outputs, "logits", shape=(count, categories), manifest=self.manifest
        )
        highest = (max(logits[column::categories]) for column in range(categories))
        values = list(map(calibrate, highest, self._calibration))
        scores = Scores(dict(zip(self.categories, values, strict=True)))
        if not self._has_tokens:  # a classifier of somebody's own: it has no spans
            return Scored(scores)
        token_logits, flat = checked_output(
            outputs, "token_logits", shape=(count, length, categories), manifest=self.manifest
        )
        is_shown = [score >= _SHOWN for score in values]
        if max(flat, default=-math.inf) < self._span_bar and not any(is_shown):
            return Scored(scores)
        is_text = windows.offsets[..., 1] > windows.offsets[..., 0]
        peaks = np.where(is_text[..., None], token_logits, -np.inf).max(axis=(0, 1))
        bars = np.where(is_shown, np.minimum(peaks, self._span_bar), self._span_bar)
        spans = _spans(prompt, windows, token_logits, self.manifest, bars)
        return Scored(scores, tuple(spans))


def runs_together(shapes: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Which texts share a run of the graph, by their windows and tokens: short ones of similar length.

    >>> runs_together([(1, 9), (1, 120), (1, 8), (2, 128), (1, 30)])
    [[2, 0], [4], [1], [3]]
    """
    groups: list[list[int]] = []
    for row in sorted(range(len(shapes)), key=lambda row: shapes[row]):
        count, length = shapes[row]
        first = shapes[groups[-1][0]] if groups else (0, 0)
        fits = count == first[0] == 1 and length <= min(_LONGEST_TOGETHER, first[1] + _MOST_PADDING)
        if fits and len(groups[-1]) < _MOST_TOGETHER:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def _unstacked(outputs: Arrays, lengths: Sequence[int]) -> list[Arrays]:
    """The outputs of each text of a run: a row a text, without the tokens that padded it."""
    if len(lengths) == 1:
        return [outputs]
    return [
        {
            name: array[row : row + 1, :length]
            if array.ndim == _TOKEN_RANK
            else array[row : row + 1]
            for name, array in outputs.items()
        }
        for row, length in enumerate(lengths)
    ]


def calibrate(logit: float, by: Calibration) -> float:
    """Platt scaling: a probability, 1 / (1 + exp(-(scale * logit + shift))).

    >>> calibrate(0.0, Calibration(scale=2.0, shift=0.0))
    0.5
    """
    return probability(by.log_odds(logit))


def _spans(
    prompt: Prompt,
    windows: Windows,
    token_logits: Floats,
    manifest: Manifest,
    bars: Floats,
) -> Iterator[Span]:
    """Runs of words that hold a token logit at or above the bar of a category, a category at a time."""
    found = token_logits >= bars  # [windows, tokens, categories]
    offsets = windows.offsets
    is_text = offsets[..., 1] > offsets[..., 0]
    for column in np.flatnonzero(found.any(axis=(0, 1))):
        rows = found[..., column] & is_text
        peaks = token_logits[..., column][rows]
        ranges = zip(offsets[rows].tolist(), peaks.tolist(), strict=True)
        for start, end, peak in whole_words(prompt.text, ranges):
            first, last = prompt.to_original(start, end)
            score = 1.0 / (1.0 + math.exp(-peak))
            yield Span(first, last, manifest.categories[column], round(score, 4), manifest.name)


def _is_spaced_letter(character: str) -> bool:
    """Whether it is a letter or digit of a script that puts spaces between words."""
    return character.isalnum() and not (
        "\u0e00" <= character <= "\u0eff" or "\u3040" <= character <= "\u9fff"
    )


def whole_words(
    text: str, ranges: Iterable[tuple[list[int], float]]
) -> Iterator[tuple[int, int, float]]:
    """Widen ranges to whole words and join neighbours; each keeps its highest logit.

    A token of a Unigram vocabulary may hold the space before its word. Scripts without spaces are not widened.
    """
    runs: list[tuple[int, int, float]] = []
    for (start, end), peak in sorted(ranges):
        while start < end and text[start].isspace():
            start += 1
        if start == end:
            continue
        while start > 0 and _is_spaced_letter(text[start - 1]):
            start -= 1
        while end < len(text) and _is_spaced_letter(text[end]):
            end += 1
        if runs and start <= runs[-1][1] + 1:
            first, last, highest = runs[-1]
            runs[-1] = (first, max(last, end), max(highest, peak))
        else:
            runs.append((start, end, peak))
    yield from runs
