"""A text to one that may pass: `prompt-rewriter`, and the protocol by which anybody's model can stand in for it.

    encode   source -> states, embedding, risk                once
    decode   states, what is written so far -> what is next   a few times

A passage that nobody blamed and that the model finds nothing wrong with (risk) stays as it is. Else the model first changes
what it would by itself, which reads best. Where that leaves untouched what the scorers blamed (the spans of the rules that fired), it
writes once more, and may not copy from there: it has to leave that out or to find other words for it.
The rest it mostly copies. So each of its runs is given the rest of the source as a guess, and all that it would
have copied one by one is taken at once ("aggressive decoding", Sun et al. 2021, arXiv 2106.04970): the outcome is
that of greedy decoding, at a run an edit instead of a run a word. What a run computed of what is taken is kept for
the next. What is copied keeps its case and spaces; a passage that was changed is tidied as people do it (`spelling.tidied`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Protocol

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from guardkit.artifacts import Artifact
from guardkit.errors import ManifestError
from guardkit.runtime.base import Runner
from guardkit.steps import REWRITE
from guardkit.text.edit import Editor
from guardkit.text.encode import Encoder
from guardkit.text.normalize import Prompt, normalize
from guardkit.text.spelling import spelled, tidied
from guardkit.types import Edit, Span

START, END = 0, 1
"""Places of the two in the vocabulary of written pieces; END is what ends a text."""
NOWHERE = -1
"""Source position of a piece that was not copied."""
PIECES = "1/pieces.txt"
"""The file of an artifact that holds that vocabulary: `token id` and `piece`, a line each."""
LEAST_SIMILARITY = 0.5
"""Cosine of the embeddings of a text and its rewriting, below which the meaning counts as lost."""
_MOST_PIECES = 95
_MOST_RUNS = 24  # edits of one passage; a text that needs more is given up
_AHEAD = 10  # pieces that are guessed behind an edit; the first run guesses all


class Rewriter(Protocol):
    """Makes a text harmless. `Guard` takes one of your own."""

    def rewrite(self, text: str, spans: Sequence[Span] = ()) -> str | None:
        """The text made harmless; itself when nothing is wrong; None when it cannot be.

        Args:
            text: Any string.
            spans: What the scorers blamed in it, in characters; there may be more that is wrong, or nothing.
        """
        ...


# --- the shipped model ----------------------------------------------------------------------------------


class ModelRewriter:
    """The opened artifacts `prompt-rewriter` and `prompt-rewriter-decoder`; safe to share between threads."""

    def __init__(
        self, artifact: Artifact, encoder: Runner, decoder: Runner, *, past: Sequence[int]
    ) -> None:
        """Put a tokenizer before the two runners.

        Args:
            artifact: `prompt-rewriter`.
            encoder: Runs it.
            decoder: Runs `prompt-rewriter-decoder`.
            past: Fixed sizes of the decoder's input `past` (`past_of`): twice its layers, heads, size of a head.

        Raises:
            ManifestError: The artifact does not read text, or lists no pieces.
        """
        self.manifest = artifact.manifest
        self._encoder, self._decoder = encoder, decoder
        self._tokens = Encoder.of(artifact)
        self._pieces = read_pieces(artifact)
        self._columns = {token: at for at, (token, _) in enumerate(self._pieces)}
        layers, heads, size = past
        self._nothing_kept = np.zeros((1, layers, heads, 0, size), np.float32)

    def rewrite(self, text: str, spans: Sequence[Span] = ()) -> str | None:
        """Rewrite a text of any length, a passage at a time.

        Where the model by itself would leave all that the spans of a passage touch, no word of that is copied.

        Returns:
            None: the model went on without end, or the meaning is lost (`LEAST_SIMILARITY`).

        Raises:
            RunError: A graph failed.
        """
        out, start = "", 0
        for passage in passages(text):
            end = start + len(passage)
            blamed = [(max(one.start, start) - start, min(one.end, end) - start) for one in spans]
            rewritten = self._passage(passage, [(a, b) for a, b in blamed if a < b])
            if rewritten is None:
                return None
            out, start = out + rewritten, end
        return out

    def _passage(self, text: str, blamed: Sequence[tuple[int, int]]) -> str | None:
        prompt = normalize(text, words=self._tokens.words())
        if not prompt.text.strip():
            return text
        source = self._read(prompt)
        if source is None:
            return None
        if not blamed and source.risk <= 0:
            return text
        freely = self._decode(source)
        if not blamed:
            return self._checked(text, source, freely)
        banned = source.with_bans(blamed)
        # By itself, which reads best; without what is blamed; and where it has no other words, or the same ones, with that left out.
        attempts: tuple[Callable[[], Sequence[_Item] | None], ...] = (
            lambda: freely if freely and source.touches(blamed, freely) else None,
            lambda: self._decode(banned),
            lambda: _rest_of(banned, []),
        )
        for attempt in attempts:
            rewritten = self._checked(text, source, attempt())
            if rewritten not in (None, text):
                return rewritten
        return None

    def _checked(self, text: str, source: _Source, items: Sequence[_Item] | None) -> str | None:
        """The items as text; None when there are none, or its meaning is another."""
        if items is None:
            return None
        rewritten = spelled(text, source.ranges, [self._piece(item) for item in items])
        if rewritten == text:
            return text
        rewritten = tidied(rewritten)
        again = self._read(normalize(rewritten, words=self._tokens.words()))
        if again is None or float(source.embedding @ again.embedding) < LEAST_SIMILARITY:
            return None
        return rewritten

    def _piece(self, item: _Item) -> str | int:
        """As `spelled` takes it."""
        return self._pieces[item.column][1] if item.place == NOWHERE else item.place

    def _read(self, prompt: Prompt) -> _Source | None:
        windows = self._tokens.encode([prompt.text])
        if len(windows.texts) != 1:
            return None
        outputs = self._encoder.run(windows.inputs)
        ranges = tuple(
            prompt.to_original(int(start), int(end)) if end > start else (0, 0)
            for start, end in windows.offsets[0]
        )
        ids = tuple(windows.inputs["input_ids"][0].tolist())
        return _Source(
            ids,
            ranges,
            np.zeros((1, len(ids)), np.float32),
            outputs["states"],
            outputs["embedding"][0],
            float(outputs["risk"][0]),
        )

    def _decode(self, source: _Source) -> list[_Item] | None:
        """What to write, item by item; None when it does not come to an end."""
        items: list[_Item] = []
        kept = self._nothing_kept
        for run in range(_MOST_RUNS):
            guess = _rest_of(source, items)[: _AHEAD if run else None]
            best, kept = self._next(source, items, guess, kept)
            for item, column in zip([*guess, None], best.tolist(), strict=True):
                found = _item(column, len(self._pieces))
                if found.column == END:
                    return items
                items.append(found)
                if found != item:
                    break
            kept = kept[..., : len(items), :]
            if len(items) > _MOST_PIECES:
                return None
        return None

    def _next(
        self,
        source: _Source,
        items: Sequence[_Item],
        guess: Sequence[_Item],
        kept: NDArray[np.float32],
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The best continuation after the last item and after each one guessed.

        Args:
            source: The passage.
            items: What is written already.
            guess: What may follow.
            kept: Keys and values of the start and all items but the last: f32 [1, 2 * layers, heads, items, d].

        Returns:
            int64 [1 + guess], and the keys and values with those of the last item and the guess.
        """
        asked = [*items[-1:], *guess]
        written = [self._column(source, item) for item in asked]
        copied = [item.place for item in asked]
        if not items:
            written, copied = [START, *written], [NOWHERE, *copied]
        outputs = self._decoder.run(
            {
                "states": source.states,
                "attention_mask": np.ones((1, len(source.ids)), np.int64),
                "banned": source.banned,
                "written": np.array([written], np.int64),
                "copied": np.array([copied], np.int64),
                "past": np.ascontiguousarray(kept),
            }
        )
        return outputs["best"][0], outputs["kept"]

    def _column(self, source: _Source, item: _Item) -> int:
        if item.place == NOWHERE:
            return item.column
        return self._columns.get(source.ids[item.place], END)


@dataclass(frozen=True, slots=True)
class _Source:
    """A passage as the model reads it."""

    ids: tuple[int, ...]
    ranges: tuple[tuple[int, int], ...]
    """One a token: characters of the passage."""
    banned: NDArray[np.float32]
    """[1, tokens]: 1 for what may not be copied."""
    states: NDArray[np.float32]
    embedding: NDArray[np.float32]
    risk: float
    """Above 0: something is wrong with the passage, whatever the scorers say."""

    def with_bans(self, blamed: Sequence[tuple[int, int]]) -> _Source:
        """The same; nothing may be copied from tokens that ranges of characters touch."""
        banned = [[self._within(one, blamed) for one in self.ranges]]
        return replace(self, banned=np.array(banned, np.float32))

    def touches(self, blamed: Sequence[tuple[int, int]], items: Sequence[_Item]) -> bool:
        """Whether something in ranges of characters was not copied; True without ranges."""
        copied = {item.place for item in items}
        left = [one for place, one in enumerate(self.ranges) if place not in copied]
        return not blamed or any(self._within(one, left) for one in blamed)

    @staticmethod
    def _within(one: tuple[int, int], others: Sequence[tuple[int, int]]) -> bool:
        return any(start < one[1] and one[0] < end for start, end in others)


@dataclass(frozen=True, slots=True)
class _Item:
    """One piece of a rewriting: written from the vocabulary, or copied from a place of the source."""

    column: int
    place: int = NOWHERE


def _item(best: int, vocabulary: int) -> _Item:
    return _Item(best) if best < vocabulary else _Item(START, best - vocabulary)


def _rest_of(source: _Source, items: Sequence[_Item]) -> list[_Item]:
    """The guess: the source goes on after what was copied last."""
    places = [item.place for item in items if item.place != NOWHERE]
    first = places[-1] + 1 if places else 1
    room = _MOST_PIECES - len(items)
    free = np.flatnonzero(source.banned[0, first:-1] == 0) + first
    return [_Item(START, place) for place in free.tolist()][:room]


def read_pieces(artifact: Artifact) -> list[tuple[int, str]]:
    """(token id, piece) of the vocabulary of written pieces."""
    lines = artifact.read(PIECES).decode().splitlines()
    return [(int(token), piece) for token, _, piece in (line.partition(" ") for line in lines)]


# --- passages --------------------------------------------------------------------------------

_SENTENCE = re.compile(r"[^.!?\n]*(?:[.!?\n]+\s*|\Z)")
_PASSAGE = 300  # characters: about 75 tokens


def passages(text: str) -> list[str]:
    """Sentences, joined as long as they fit one run; together they are the text.

    >>> passages("One. Two.")
    ['One. Two.']
    """
    parts: list[str] = []
    for sentence in _SENTENCE.findall(text):
        if parts and len(parts[-1]) + len(sentence) <= _PASSAGE:
            parts[-1] += sentence
        elif sentence:
            parts.append(sentence)
    return parts


# --- what changed ------------------------------------------------------------------------------------------

_UNIT = re.compile(r"\w+|\s+|[^\w\s]")


def edits_between(before: str, after: str) -> tuple[Edit, ...]:
    """The changes from one text to another, word by word, each where it stands in the first.

    >>> [(one.start, one.end, one.replacement) for one in edits_between("a b c", "a x c")]
    [(2, 3, 'x')]
    """
    old, new = _UNIT.findall(before), _UNIT.findall(after)
    starts = [0]
    for unit in old:
        starts.append(starts[-1] + len(unit))
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    return tuple(
        Edit(REWRITE, starts[first], starts[last], "".join(new[begin:end]))
        for kind, first, last, begin, end in matcher.get_opcodes()
        if kind != "equal"
    )


# --- anybody's language model -------------------------------------------------------------------------------

_ASK = """Rewrite the text between the lines so that it is harmless, changing as little as possible. Replace the unsafe \
element itself by a harmless one that fits; add no disclaimer. Answer with one JSON object and nothing else:
{"label": "safe" | "rewritten" | "refused", "text": "...", "explanation": "at most 20 words"}
"safe": nothing is wrong with it, text is the text as it is. "refused": it cannot be made harmless, text is "".
----
%s
----"""


class Answer(Struct, frozen=True, forbid_unknown_fields=True):
    """What a language model has to answer."""

    label: Literal["safe", "rewritten", "refused"]
    text: str
    explanation: Annotated[str, Meta(max_length=400)] = ""


class LanguageModelRewriter:
    """A language model of your own as a rewriter; what it answers is checked, and scored like any text.

    >>> model = LanguageModelRewriter(lambda ask: '{"label": "rewritten", "text": "a calm person"}')
    >>> model.rewrite("a mad person")
    'a calm person'
    """

    def __init__(self, ask: Callable[[str], str]) -> None:
        """Use a model.

        Args:
            ask: Instructions with the text in them to the model's answer.
        """
        self._ask = ask

    def rewrite(self, text: str, spans: Sequence[Span] = ()) -> str | None:  # noqa: ARG002
        """Rewrite with the model; None when it refuses, or answers anything but the JSON it was asked for.

        An answer that cannot be read is never "safe".
        """
        answer = read_answer(self._ask(_ASK % text))
        if answer is None or answer.label == "refused":
            return None
        if answer.label == "safe":
            return text
        return answer.text.strip() or None


def read_answer(answer: object) -> Answer | None:
    """The one JSON object of an answer; None when there is none, or it is another.

    >>> read_answer('Sure! {"label": "safe", "text": ""}') is None
    True
    """
    if not isinstance(answer, str):
        return None
    try:
        return msgspec.json.decode(answer.strip(), type=Answer)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None


def editor_of(rewriter: Rewriter) -> Editor:
    """The editor `rewrite`: nothing is edited where the rewriter gives up or finds nothing wrong."""

    def edit(text: str, spans: Sequence[Span]) -> tuple[str, tuple[Edit, ...]]:
        rewritten = rewriter.rewrite(text, spans)
        if rewritten is None or not rewritten.strip():
            return text, ()
        return rewritten, edits_between(text, rewritten)

    return edit


def past_of(decoder: Artifact) -> tuple[int, ...]:
    """The fixed sizes of a decoder's input `past`.

    Raises:
        ManifestError: It has no such input.
    """
    specs = [one for one in decoder.manifest.inputs if one.name == "past"]
    sizes = tuple(size for one in specs for size in one.shape if isinstance(size, int))
    if len(sizes) != 3:
        raise ManifestError(
            f"{decoder.path}: no input 'past' of three fixed sizes. Install guardkit again."
        )
    return sizes


def check_pair(encoder: Artifact, decoder: Artifact) -> None:
    """Refuse a decoder that was not made for the encoder.

    Raises:
        ManifestError: It was not.
    """
    fitted = decoder.manifest.fitted
    if fitted is None or fitted.scores_digest != encoder.manifest.scores_digest:
        raise ManifestError(
            f"{decoder.path}: was not made for {encoder.manifest.id}. Install both from one release."
        )
