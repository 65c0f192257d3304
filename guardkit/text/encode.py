"""Words to token arrays: windows for long input, nothing truncated.

Training, export, parity tests, the SDK and the Triton wing all encode with this class.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer

from guardkit.artifacts import Artifact
from guardkit.errors import ManifestError

Ints = NDArray[np.int64]

CONTEXT_TOKENS = 64  # chosen: two or three short turns, and half a window of extra work at most
LONGEST_CONTEXT = CONTEXT_TOKENS + 1
"""Tokens that a context puts before a window, beyond `max_tokens`; its separator is one of them."""
_CONTEXT_CHARACTERS = 400  # hold 64 tokens of any prose, and fit one window
_SPECIAL = "["  # in every special token of BERT's; a text that holds it goes to the full tokenizer


@dataclass(frozen=True, slots=True)
class Windows:
    """Token arrays of one or more texts, each cut into overlapping windows.

    `inputs` is what the graph reads: `input_ids` and `attention_mask`, int64 [windows, tokens], 0 = padding.
    """

    inputs: dict[str, Ints]
    texts: Sequence[int]
    """One a window: index of the text it belongs to."""
    encodings: Sequence[Encoding]
    """One a window, as the tokenizer gave it."""
    shifts: Sequence[int] | None = None
    """One a window: tokens of context that stand before its text; None where no text has any."""

    @property
    def owners(self) -> Ints:
        """int64 [windows]: `texts` as an array."""
        return np.array(self.texts, np.int64)

    @property
    def offsets(self) -> Ints:
        """int64 [windows, tokens, 2]: half-open character range of each token; (0, 0) for none.

        Made when asked for: most texts have no spans, and it costs as much as the token ids.
        """
        offsets = np.zeros((*self.inputs["input_ids"].shape, 2), np.int64)
        for row, encoding in enumerate(self.encodings):
            shift = self.shifts[row] if self.shifts else 0
            offsets[row, shift + 1 : shift + len(encoding.ids)] = encoding.offsets[1:]
        return offsets


class Encoder:
    """A tokenizer with fixed window size and overlap; safe to share between threads."""

    def __init__(self, tokenizer_json: bytes, *, max_tokens: int, overlap: int) -> None:
        """Read a `tokenizer.json`.

        Args:
            tokenizer_json: The file's bytes (a tokenizers-library file).
            max_tokens: Longest window, special tokens included.
            overlap: Tokens that two neighbouring windows of one text share.
        """
        self._tokenizer = Tokenizer.from_buffer(tokenizer_json)
        self._tokenizer.no_padding()  # files in the wild carry padding to 128: 4x the cost of a prompt
        self._tokenizer.enable_truncation(max_length=max_tokens, stride=overlap)
        self._has_words = isinstance(self._tokenizer.model, WordPiece)
        self._plain = _plain_twin(self._tokenizer, max_tokens=max_tokens, overlap=overlap)
        self._ones = np.ones((1, max_tokens + LONGEST_CONTEXT), np.int64)
        self._ones.flags.writeable = False  # shared by every window
        self._pad_id = self._tokenizer.token_to_id("[PAD]") or 0

    @classmethod
    def of(cls, artifact: Artifact) -> Encoder:
        """The encoder of an artifact that reads text.

        Raises:
            ManifestError: It does not.
        """
        options = artifact.manifest.text
        if options is None:
            raise ManifestError(
                f"{artifact.path}: task '{artifact.manifest.task}' does not read text."
            )
        return cls(
            artifact.read(options.tokenizer), max_tokens=options.max_tokens, overlap=options.overlap
        )

    def words(self) -> Container[str]:
        """The vocabulary's whole words in lower case, which `normalize` undoes disguises towards.

        None for a vocabulary of pieces (Unigram, BPE): it does not tell words from parts of words.
        """
        return _Vocabulary(self._tokenizer) if self._has_words else frozenset()

    def encode(self, texts: Sequence[str], contexts: Sequence[str] | None = None) -> Windows:
        """Tokenize texts into one padded batch of windows.

        Args:
            texts: Normalised texts; a text longer than a window takes several.
            contexts: What `context.describe` gave, one a text, "" for none. Its last 64 tokens
                stand before every window of the text, beyond `max_tokens`: [CLS] context [SEP] text [SEP].

        Returns:
            The windows of all texts, in the order of the texts.
        """
        encodings: list[Encoding] = []
        owners: list[int] = []
        for index, text in enumerate(texts):
            # One by one: encode_batch starts a thread pool that does not survive a fork.
            first = self._encode(text)
            for window in (first, *first.overflowing):
                encodings.append(window)
                owners.append(index)
        if contexts is None or not any(contexts):
            return Windows(self._inputs([e.ids for e in encodings]), owners, encodings)
        before = [self._context_ids(context) for context in contexts]
        rows = [
            [encoding.ids[0], *before[owner], *encoding.ids[1:]]
            for owner, encoding in zip(owners, encodings, strict=True)
        ]
        shifts = [len(before[owner]) for owner in owners]
        return Windows(self._inputs(rows), owners, encodings, shifts)

    def _context_ids(self, context: str) -> list[int]:
        """The last tokens of a context and the separator behind them; nothing for ""."""
        if not context:
            return []
        ids = self._encode(context[-_CONTEXT_CHARACTERS:]).ids
        return [*ids[1:-1][-CONTEXT_TOKENS:], ids[-1]]

    def _encode(self, text: str) -> Encoding:
        if self._plain is not None and text.isascii() and _SPECIAL not in text:
            return self._plain.encode(text.lower())
        return self._tokenizer.encode(text)

    def _inputs(self, rows: Sequence[Sequence[int]]) -> dict[str, Ints]:
        if len(rows) == 1:  # nearly every prompt; nothing to pad
            ones = self._ones[:, : len(rows[0])]  # a numpy fill costs 40 us after a model run
            return {"input_ids": np.array(rows, np.int64), "attention_mask": ones}
        shape = (len(rows), max(map(len, rows), default=0))
        input_ids = np.full(shape, self._pad_id, np.int64)
        attention_mask = np.zeros(shape, np.int64)
        for index, row in enumerate(rows):
            input_ids[index, : len(row)] = row
            attention_mask[index, : len(row)] = 1
        return {"input_ids": input_ids, "attention_mask": attention_mask}


def stacked(inputs: Sequence[dict[str, Ints]]) -> dict[str, Ints]:
    """The inputs of several texts of one window each as one batch, padded to the longest.

    What stands under the padding is of no account: the attention mask leaves it out.
    """
    if len(inputs) == 1:
        return inputs[0]
    longest = max(one["input_ids"].shape[1] for one in inputs)
    batch = {name: np.zeros((len(inputs), longest), np.int64) for name in inputs[0]}
    for row, one in enumerate(inputs):
        for name, array in one.items():
            batch[name][row, : array.shape[1]] = array[0]
    return batch


def _plain_twin(tokenizer: Tokenizer, *, max_tokens: int, overlap: int) -> Tokenizer | None:
    """A tokenizer that gives the same for lower-case ASCII without normalising it.

    BERT's normaliser takes 0.1 ms of every prompt right after a model run, and on ASCII it only
    lowers case (control characters are gone by then). The vocabulary is shared, not copied. None when
    the tokenizer normalises in another way, or knows special tokens of another form.
    """
    normalizer = tokenizer.normalizer
    if not isinstance(normalizer, BertNormalizer) or not normalizer.lowercase:
        return None
    added = tokenizer.get_added_tokens_decoder().values()
    if any(_SPECIAL not in token.content for token in added):
        return None
    twin = Tokenizer(tokenizer.model)
    twin.pre_tokenizer = tokenizer.pre_tokenizer
    twin.post_processor = tokenizer.post_processor
    twin.enable_truncation(max_length=max_tokens, stride=overlap)
    return twin


class _Vocabulary:
    """Answers one word at a time: listing a vocabulary costs 50 ms of every start."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def __contains__(self, word: object) -> bool:
        if not isinstance(word, str) or len(word) < 2 or not word.isalpha():
            return False
        return self._tokenizer.token_to_id(word) is not None
