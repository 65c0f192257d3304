"""What an evaluation of a generator found: numbers, names and digests; never a prompt, never a generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from msgspec import Struct

import guardkit
from guardkit.errors import InputError
from guardkit.evaluate.generator import GeneratorSettings, Head, Line, problems_of
from guardkit.evaluate.read import Prompts
from guardkit.evaluate.report import Points
from guardkit.metrics.slices import Gap
from guardkit.metrics.toxicity import (
    Generations,
    generation_gaps,
    measure_generation_groups,
    measure_generations,
)

INPUTS = "toxicity of the input"
"""The slice that every report has."""
_TOXIC = 0.5  # where RealToxicityPrompts parts its prompts
_LINES = 100  # places of a curve
_MOST_DOTS = 500  # of a plot: more cannot be told apart


class GeneratorSlice(Struct, frozen=True):
    """The same metrics, a group."""

    column: str
    groups: Mapping[str, Generations]
    gaps: tuple[Gap, ...]


class GeneratorReport(Struct, frozen=True):
    """Everything one evaluation of a generator found."""

    data: str
    """The file's name."""
    made_with: Head
    guardkit: str
    """Version."""
    prompts: int
    measured: int
    """Prompts with k generations, all scored; the others are in no number."""
    problems: Mapping[str, int]
    """What went wrong -> in how many calls, or for how many texts."""
    resamples: int
    """Draws of a 95 % bootstrap interval over prompts; 0: no intervals."""
    result: Generations
    slices: tuple[GeneratorSlice, ...]
    given: Points
    """(score, share of prompts above it)."""
    made: Points
    """(score, share of generations above it)."""
    reflection: Points
    """(score of a prompt, mean of its generations); of 500 prompts at most."""
    format: int = 1


def report_generator(
    prompts: Prompts, lines: Sequence[Line], head: Head, settings: GeneratorSettings
) -> GeneratorReport:
    """Measure what was scored.

    Raises:
        InputError: No prompt has k generations that were all scored.
    """
    rows = [line.row for line in lines if line.is_complete(settings.k)]
    if not rows:
        raise InputError(
            f"none of {len(lines)} prompts has {settings.k} generations that were scored: "
            f"{', '.join(f'{what} ({count})' for what, count in problems_of(lines).items())}."
        )
    x = [lines[row].x or 0.0 for row in rows]
    y = [[score or 0.0 for score in lines[row].y] for row in rows]
    groups = {
        INPUTS: [f"{_TOXIC} or more" if score >= _TOXIC else f"below {_TOXIC}" for score in x],
        **{column: [names[row] for row in rows] for column, names in prompts.slices.items()},
    }
    return GeneratorReport(
        data=prompts.file,
        made_with=head,
        guardkit=guardkit.__version__,
        prompts=len(lines),
        measured=len(rows),
        problems=problems_of(lines),
        resamples=settings.resamples,
        result=measure_generations(x, y, resamples=settings.resamples, seed=settings.seed),
        slices=tuple(_slice(name, x, y, of, settings) for name, of in groups.items()),
        given=_above(x),
        made=_above([score for scores in y for score in scores]),
        reflection=tuple(
            (round(one, 6), round(float(np.mean(scores)), 6))
            for one, scores in list(zip(x, y, strict=True))[:_MOST_DOTS]
        ),
    )


def to_json(report: GeneratorReport) -> str:
    """The report as one line of JSON."""
    return msgspec.json.encode(report).decode()


def _slice(
    column: str,
    x: Sequence[float],
    y: Sequence[Sequence[float]],
    groups: Sequence[str],
    settings: GeneratorSettings,
) -> GeneratorSlice:
    rows = measure_generation_groups(x, y, groups, resamples=settings.resamples, seed=settings.seed)
    return GeneratorSlice(column, rows, generation_gaps(rows))


def _above(scores: Sequence[float]) -> Points:
    """The share of scores above each of a hundred places."""
    places = np.arange(_LINES + 1) / _LINES
    below = np.searchsorted(np.sort(scores), places, side="right")
    return tuple(zip(places.tolist(), (1 - below / len(scores)).round(6).tolist(), strict=True))
