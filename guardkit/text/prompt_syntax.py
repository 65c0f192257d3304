r"""The prompt language of image generators, as the texts that a generator reads while it works.

    (words)  ((words))   stronger, 1.1 each            [words]          weaker, 1 / 1.1
    (words:1.3)          as strong as it says          \( \[ \|         the character itself
    [before:after:when]  another text from a step on   [after:when]  [before::when]
    [one|two|three]      another text at each step     BREAK            a space
    one AND two :0.5     several prompts at once       <lora:name:0.8>  a network; no words

As in AUTOMATIC1111's stable-diffusion-webui (modules/prompt_parser.py, modules/extra_networks.py). A filter that reads the
raw prompt reads something else than the generator: `(har:1.2)(bour:1)` is a harbour.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from guardkit.errors import InputError

_STRONGER = 1.1
_FAINT = 0.5  # chosen: what is weaker may have no say in the picture, and must not hide what has
_DEEPEST = 50  # brackets in brackets; chosen: 1.1 ** 50 is over 100
_AND = re.compile(r"\bAND\b")
_BREAK = re.compile(r"\bBREAK\b")
_NETWORK = re.compile(r"<(\w+):([^>]+)>")
_NUMBER = re.compile(r"\s*[-+]?(?:\d+\.?\d*|\.\d+)\s*")
_CLOSES = {")": "(", "]": "["}


@dataclass(frozen=True, slots=True)
class Emphasis:
    """Words that count for more, or less."""

    inside: tuple[Node, ...]
    factor: float


@dataclass(frozen=True, slots=True)
class Turns:
    """Texts that take turns, one a step; or two, the second from a step on."""

    options: tuple[tuple[Node, ...], ...]
    when: float | None
    """Below 1: a share of the steps; from 1: a step. None: one after the other, from the first again."""


Node = str | Emphasis | Turns


@dataclass(frozen=True, slots=True)
class Subprompt:
    """One of the prompts that AND joins."""

    nodes: tuple[Node, ...]
    weight: float

    def texts_at(self, step: int, steps: int) -> tuple[str, ...]:
        """What it says at a step: all of it; and without the words that hardly count, where there are such."""
        pieces = list(_pieces(self.nodes, 1.0, step, steps))
        whole = _joined(text for text, _ in pieces)
        strong = _joined(text for text, weight in pieces if weight >= _FAINT)
        return (whole,) if strong == whole else (whole, strong)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A prompt, read."""

    subprompts: tuple[Subprompt, ...]
    networks: tuple[str, ...]
    """Names of the networks it loads, which no check of text can judge."""


def parse_prompt(prompt: str) -> Parsed:
    """Read a prompt as an image generator does; brackets that do not match stand for themselves.

    Raises:
        InputError: Brackets are nested deeper than 50.

    >>> parsed = parse_prompt("a (quiet:1.3) [harbour|beach] AND fog :0.5")
    >>> [(one.texts_at(1, 20)[0], one.weight) for one in parsed.subprompts]
    [('a quiet harbour', 1.0), ('fog', 0.5)]
    """
    end = (
        prompt.rfind(">") + 1
    )  # no network ends after it; searched for there, many that never end take long
    named = (found[2].split(":")[0] for found in _NETWORK.finditer(prompt, 0, end))
    networks = tuple(dict.fromkeys(named))
    plain = _BREAK.sub(" ", _NETWORK.sub("", prompt[:end]) + prompt[end:])
    return Parsed(tuple(_subprompt(text) for text in _AND.split(plain)), networks)


def _subprompt(text: str) -> Subprompt:
    before, colon, after = text.rpartition(":")
    number = _number(after) if colon else None
    said, weight = (text, 1.0) if number is None else (before, number)
    return Subprompt(_Reader(said).read(0, len(said), 0), weight)


class _Reader:
    """Reads one prompt; which bracket closes which is known from the start, so no text takes long."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._closing = _pairs(text)

    def read(self, start: int, end: int, depth: int) -> tuple[Node, ...]:
        if depth > _DEEPEST:
            raise InputError(f"prompt: brackets are nested deeper than {_DEEPEST}. Use fewer.")
        nodes: list[Node] = []
        at = start
        while at < end:
            closing = self._closing.get(at)
            if closing is not None:
                nodes.append(self._bracket(at, closing, depth + 1))
                at = closing + 1
            elif self._text[at] == "\\" and at + 1 < end:
                nodes.append(self._text[at + 1])
                at += 2
            else:
                nodes.append(self._text[at])
                at += 1
        return tuple(nodes)

    def _bracket(self, opening: int, closing: int, depth: int) -> Node:
        start, end = opening + 1, closing
        colons = self._places(":", start, end)
        number = _number(self._text[colons[-1] + 1 : end]) if colons else None
        if self._text[opening] == "(":
            end = end if number is None else colons[-1]
            return Emphasis(self.read(start, end, depth), _STRONGER if number is None else number)
        if bars := self._places("|", start, end):
            cuts = [start, *(bar + 1 for bar in bars)]
            ends = [*bars, end]
            options = tuple(self.read(one, two, depth) for one, two in zip(cuts, ends, strict=True))
            return Turns(options, None)
        if number is None:
            return Emphasis(self.read(start, end, depth), 1 / _STRONGER)
        return self._scheduled(start, colons, number, depth)

    def _scheduled(self, start: int, colons: Sequence[int], when: float, depth: int) -> Turns:
        if len(colons) == 1:
            return Turns(((), self.read(start, colons[0], depth)), when)
        before = self.read(start, colons[0], depth)
        return Turns((before, self.read(colons[0] + 1, colons[-1], depth)), when)

    def _places(self, character: str, start: int, end: int) -> list[int]:
        """Where a character stands between brackets, and not within inner ones."""
        found, at = [], start
        while at < end:
            if at in self._closing:
                at = self._closing[at]
            elif self._text[at] == "\\":
                at += 1
            elif self._text[at] == character:
                found.append(at)
            at += 1
        return found


def _pairs(text: str) -> dict[int, int]:
    """Place of an opening bracket -> place of the one that closes it."""
    open_at: dict[str, list[int]] = {"(": [], "[": []}
    pairs: dict[int, int] = {}
    at = 0
    while at < len(text):
        character = text[at]
        if character == "\\":
            at += 1
        elif character in open_at:
            open_at[character].append(at)
        elif character in _CLOSES and (opened := open_at[_CLOSES[character]]):
            pairs[opened[-1]] = at
            begun = opened.pop()
            for (
                others
            ) in open_at.values():  # opened within, never closed: they stand for themselves
                while others and others[-1] > begun:
                    others.pop()
        at += 1
    return pairs


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


def _pieces(
    nodes: Sequence[Node], weight: float, step: int, steps: int
) -> Iterator[tuple[str, float]]:
    """The text at a step, and how much each piece of it counts."""
    for node in nodes:
        if isinstance(node, str):
            yield node, weight
        elif isinstance(node, Emphasis):
            yield from _pieces(node.inside, weight * node.factor, step, steps)
        else:
            yield from _pieces(_turn(node, step, steps), weight, step, steps)


def _turn(node: Turns, step: int, steps: int) -> tuple[Node, ...]:
    if node.when is None:
        return node.options[(step - 1) % len(node.options)]
    last = math.floor(node.when * steps) if node.when < 1 else int(node.when)
    return node.options[0] if step <= last else node.options[1]


def _joined(texts: Iterator[str]) -> str:
    return " ".join("".join(texts).split())
