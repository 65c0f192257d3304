"""Ask a generator k times a prompt and score what comes: a line a prompt, kept as it is made, so a crash loses one.

    {"data_sha256": ..., "generator": ..., "k": 5, ...}      what it was made with; another run has another file
    {"row": 0, "x": 0.31, "y": [0.02, 0.4, ...]}             the prompt's score and those of its generations
    {"row": 1, "x": 0.07, "y": [0.1], "problems": [...]}     calls that gave nothing to score; asked again next time

No content is in it unless it is asked for.
"""

from __future__ import annotations

import importlib
import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from guardkit.errors import InputError
from guardkit.evaluate.read import Prompts
from guardkit.evaluate.run import ANY, SEED
from guardkit.guard import Guard
from guardkit.loop.generator import Answer, Ask, Generator
from guardkit.runtime.deadline import DeadlineRunner
from guardkit.taxonomy import is_harm
from guardkit.types import Guidance, Scores

SCORES = "scores.jsonl"
_HOPELESS = 5  # prompts in a row from the first, none of which brought anything; chosen
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class GeneratorSettings:
    """How to ask and to score."""

    k: int
    """Generations a prompt, at least 1."""
    category: str = ANY
    """Whose score is the toxicity of a text; `any`: the highest of all harm categories."""
    timeout_s: float = 60.0
    """That a call may take."""
    resamples: int = 1000
    seed: int = SEED
    include_text: bool = False
    """Keep prompts and generations beside their scores."""


class Head(Struct, frozen=True):
    """What a file of scores was made with."""

    data_sha256: str
    generator: str
    k: int
    category: str
    policy_id: str
    models: tuple[str, ...]
    seed: int
    format: int = _FORMAT


class Line(Struct, frozen=True, omit_defaults=True):
    """What came of one prompt."""

    row: int
    x: float | None
    """The prompt's score in [0, 1]; None: not scored."""
    y: tuple[float | None, ...]
    """Of each generation there was, at most k."""
    problems: tuple[str, ...] = ()
    """Why there was none, a call each."""
    prompt: str | None = None
    outputs: tuple[str, ...] | None = None

    def is_complete(self, k: int) -> bool:
        """Whether it can be measured: k generations, all of them scored, and the prompt."""
        return self.x is not None and len(self.y) == k and None not in self.y


def load_generator(name: str) -> Callable[..., Any]:
    """The callable that `module:function` names.

    Raises:
        InputError: There is no such module or function, importing it fails, or it cannot be called.

    >>> load_generator("textwrap:dedent")("  a boat")
    'a boat'
    """
    where = f"--generator {name}"
    module_name, _, function = name.partition(":")
    if not module_name or not function:
        raise InputError(f"{where}: expected module:function, for example my_model:generate.")
    try:
        module = importlib.import_module(module_name)
    except Exception as e:
        raise InputError(f"{where}: cannot import '{module_name}' ({type(e).__name__}).") from e
    if not callable(found := vars(module).get(function)):
        raise InputError(f"{where}: '{module_name}' has no function '{function}'.")
    if inspect.iscoroutinefunction(found):
        raise InputError(
            f"{where}: is a coroutine function. Expected a plain one: call asyncio.run in it."
        )
    generate: Callable[..., Any] = found
    return generate


def head_of(prompts: Prompts, name: str, guard: Guard, settings: GeneratorSettings) -> Head:
    """What a file of scores would be made with."""
    models = tuple(f"{m.name}@{m.version}#{m.digest[:12]}" for m in guard.info())
    return Head(
        prompts.sha256, name, settings.k, settings.category, guard.policy.id, models, settings.seed
    )


def score_generator(
    prompts: Prompts,
    generate: Callable[..., Any],
    guard: Guard,
    settings: GeneratorSettings,
    *,
    head: Head,
    folder: Path,
) -> list[Line]:
    """Ask for what the file does not hold yet, and write it there, a prompt at a time.

    Args:
        prompts: What to ask.
        generate: A prompt to a str. A parameter `guidance` gets a `Guidance` with a seed, another one each call.
        guard: Its policy's prompt stage scores prompts and generations alike.
        settings: How.
        head: What the file is made with; one made otherwise is refused.
        folder: Holds `scores.jsonl`, or will.

    Returns:
        A line a prompt, in their order.

    Raises:
        InputError: The file is another run's, cannot be read or written, nothing comes of the first prompts, or the
            policy scores no such category.
    """
    generator = Generator(generate, is_batch=False, may_await=False)
    _check_category(guard, settings.category)
    path = folder / SCORES
    lines = read_scores(path, head)
    threads = DeadlineRunner()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            if not path.stat().st_size:
                file.write(msgspec.json.encode(head) + b"\n")
            for row, text in enumerate(prompts.texts):
                if row in lines and lines[row].is_complete(settings.k):
                    continue
                lines[row] = _line(row, text, generator, guard, settings, threads)
                file.write(msgspec.json.encode(lines[row]) + b"\n")
                file.flush()
                _check_hope(lines, row)
    except OSError as e:
        raise InputError(f"{path}: cannot be written ({e.strerror}).") from e
    return [lines[row] for row in range(len(prompts.texts))]


def read_scores(path: Path, head: Head) -> dict[int, Line]:
    """Row -> the last line about it; a last line that a crash cut off is cut away.

    Raises:
        InputError: The file was made with something else, or a line is none.
    """
    if not path.exists():
        return {}
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        path.write_bytes(whole)
    found: dict[int, Line] = {}
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            if number == 1:
                _check_head(path, msgspec.json.decode(line, type=Head), head)
            else:
                one = msgspec.json.decode(line, type=Line)
                found[one.row] = one
        except msgspec.DecodeError as e:
            raise InputError(f"{path}:{number}: {e}. Remove the file to begin anew.") from e
    return found


def problems_of(lines: Sequence[Line]) -> dict[str, int]:
    """What went wrong -> in how many calls; most often first."""
    counts = Counter(problem for line in lines for problem in line.problems)
    counts["not scored"] += sum(score is None for line in lines for score in (line.x, *line.y))
    return dict((+counts).most_common())


def _line(
    row: int,
    text: str,
    generator: Generator,
    guard: Guard,
    settings: GeneratorSettings,
    threads: DeadlineRunner,
) -> Line:
    answers = [
        _vetted(generator.ask([Ask(text, told)], threads, timeout_s=settings.timeout_s)[0])
        for told in _guidance(row, settings)
    ]
    outputs = tuple(answer.output for answer in answers if answer.problem is None)
    x, *y = (
        toxicity(scores, settings.category) for scores in guard.score_prompts([text, *outputs])
    )
    problems = tuple(answer.problem for answer in answers if answer.problem is not None)
    line = Line(row, x, tuple(y), problems)
    return msgspec.structs.replace(line, prompt=text, outputs=outputs) if settings.include_text else line  # fmt: skip


def toxicity(scores: Scores, category: str) -> float | None:
    """One number for a text; None where one that counts is not measured.

    >>> toxicity(Scores({"insult": 0.2, "threat": 0.7, "privacy": 0.9}), "any")
    0.7
    """
    if category != ANY:
        return scores.get(category)
    harms = [score for name, score in scores.items() if is_harm(name)]
    known = [score for score in harms if score is not None]
    return max(known) if known and len(known) == len(harms) else None


def _guidance(row: int, settings: GeneratorSettings) -> Iterator[Guidance]:
    first = settings.seed + row * settings.k  # the same in a run that goes on after a crash
    for number in range(settings.k):
        yield Guidance(categories={}, seed=first + number)


def _vetted(answer: Answer) -> Answer:
    if answer.problem is not None or isinstance(answer.output, str):
        return answer
    kind = type(answer.output).__name__
    return Answer(problem=f"the generator gave {kind}. Expected str")


def _check_category(guard: Guard, category: str) -> None:
    (scores,) = guard.score_prompts([""])
    if category != ANY and category not in scores:
        raise InputError(
            f"--category {category}: policy '{guard.policy.policy}' does not score it. "
            f"Expected any, or one of {', '.join(scores)}."
        )


def _check_head(path: Path, found: Head, head: Head) -> None:
    was, wanted = msgspec.to_builtins(found), msgspec.to_builtins(head)
    differs = [name for name in wanted if was[name] != wanted[name]]
    if differs:
        told = ", ".join(f"{name} was {was[name]}, now {wanted[name]}" for name in differs)
        raise InputError(f"{path}: is of another run: {told}. Name another --out, or remove it.")


def _check_hope(lines: dict[int, Line], row: int) -> None:
    if row + 1 == _HOPELESS and not any(lines[at].y for at in range(_HOPELESS)):
        told = next(iter(problems_of(list(lines.values()))))
        raise InputError(
            f"the generator gave nothing for the first {_HOPELESS} prompts, mostly: {told}."
        )
