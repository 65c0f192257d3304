"""Windows lose no token, overlap as promised and are padded no further than the longest."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer

from guardkit.artifacts import Artifact
from guardkit.text.encode import Encoder, Windows

# The tiny artifact's tokenizer frames a window with [CLS] and [SEP]: 16 tokens hold 14 of the text,
# and with 4 shared the next window starts 10 tokens later.
MAX_TOKENS, OVERLAP, STEP = 16, 4, 10
PAD_ID, CLS_ID, SEP_ID = 0, 2, 3


@pytest.fixture(scope="session")
def encoder(tiny_artifact: Artifact) -> Encoder:
    return encoder_of(tiny_artifact.read("1/tokenizer.json"))


def encoder_of(tokenizer_json: bytes) -> Encoder:
    return Encoder(tokenizer_json, max_tokens=MAX_TOKENS, overlap=OVERLAP)


def words_of(windows: Windows, row: int) -> list[int]:
    """Which words of a text of one-letter words a window holds."""
    is_text = windows.offsets[row, :, 1] > windows.offsets[row, :, 0]
    return [int(start) // 2 for start in windows.offsets[row, is_text, 0]]


def test_a_short_text_is_one_window_without_padding(encoder: Encoder) -> None:
    windows = encoder.encode(["hello world"])
    assert windows.inputs["input_ids"].shape == (1, 4)
    assert windows.inputs["attention_mask"].tolist() == [[1, 1, 1, 1]]
    assert windows.offsets.tolist() == [[[0, 0], [0, 5], [6, 11], [0, 0]]]


def test_padding_written_into_a_tokenizer_file_is_ignored(tiny_artifact: Artifact) -> None:
    tokenizer = Tokenizer.from_buffer(tiny_artifact.read("1/tokenizer.json"))
    tokenizer.enable_padding(length=128)
    windows = encoder_of(tokenizer.to_str().encode()).encode(["hello world"])
    assert windows.inputs["input_ids"].shape == (1, 4)


@pytest.mark.parametrize(
    ("words", "windows"),
    [
        pytest.param(1, 1, id="one-word"),
        pytest.param(14, 1, id="exactly-full"),
        pytest.param(15, 2, id="one-too-many"),
        pytest.param(24, 2, id="two-full"),
        pytest.param(25, 3, id="two-full-and-one"),
        pytest.param(40, 4, id="four"),
    ],
)
def test_a_text_takes_as_many_windows_as_it_needs(
    encoder: Encoder, words: int, windows: int
) -> None:
    assert encoder.encode(["a " * words]).inputs["input_ids"].shape[0] == windows


def test_neighbouring_windows_share_the_overlap(encoder: Encoder) -> None:
    windows = encoder.encode(["a " * 40])
    assert [words_of(windows, row) for row in range(4)] == [
        list(range(14)),
        list(range(10, 24)),
        list(range(20, 34)),
        list(range(30, 40)),
    ]


@pytest.mark.parametrize("words", [1, 13, 14, 15, 23, 24, 25, 333])
def test_every_token_is_in_some_window(encoder: Encoder, words: int) -> None:
    windows = encoder.encode(["a " * words])
    found = {word for row in range(len(windows.owners)) for word in words_of(windows, row)}
    assert found == set(range(words))


def test_shorter_windows_are_padded_and_masked(encoder: Encoder) -> None:
    windows = encoder.encode(["hello", "hello world sea"])
    assert windows.inputs["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    ids = windows.inputs["input_ids"]
    assert ids[0, 3:].tolist() == [PAD_ID, PAD_ID]
    assert windows.offsets[0, 3:].tolist() == [[0, 0], [0, 0]]
    assert (ids[:, 0] == CLS_ID).all()
    assert (ids[0, 2], ids[1, 4]) == (SEP_ID, SEP_ID)


def test_windows_know_the_text_they_belong_to(encoder: Encoder) -> None:
    windows = encoder.encode(["hello", "a " * 20, "world"])
    assert windows.owners.tolist() == [0, 1, 1, 2]


def test_arrays_are_int64(encoder: Encoder) -> None:
    windows = encoder.encode(["hello"])
    arrays = (*windows.inputs.values(), windows.owners, windows.offsets)
    assert {array.dtype for array in arrays} == {np.dtype(np.int64)}


def test_an_empty_text_is_a_window_without_text(encoder: Encoder) -> None:
    windows = encoder.encode([""])
    assert windows.inputs["input_ids"].tolist() == [[CLS_ID, SEP_ID]]


def test_no_texts_are_no_windows(encoder: Encoder) -> None:
    assert encoder.encode([]).inputs["input_ids"].shape == (0, 0)


@pytest.mark.parametrize(
    ("word", "is_known"),
    [
        pytest.param("idiot", True, id="word"),
        pytest.param("a", False, id="one-letter"),
        pytest.param("##s", False, id="ending"),
        pytest.param("[CLS]", False, id="special-token"),
        pytest.param("zebra", False, id="stranger"),
    ],
)
def test_known_words_are_the_whole_words_of_the_vocabulary(
    encoder: Encoder, word: str, is_known: bool
) -> None:
    assert (word in encoder.words()) is is_known


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("You are an IDIOT, my neighbour!", id="capitals"),
        pytest.param("hello\tworld\nhello  world", id="white-space"),
        pytest.param("the [SEP] sea [PAD]", id="special-tokens-in-the-text"),
        pytest.param("hello " * 40 + "idiot", id="several-windows"),
        pytest.param("", id="empty"),
    ],
)
def test_plain_text_is_encoded_as_the_tokenizer_alone_would(
    tiny_artifact: Artifact, text: str
) -> None:
    tokenizer_json = tiny_artifact.read("1/tokenizer.json")
    reference = Tokenizer.from_buffer(tokenizer_json)
    reference.enable_truncation(max_length=16, stride=4)
    expected = reference.encode(text)
    windows = Encoder(tokenizer_json, max_tokens=16, overlap=4).encode([text])
    pairs = zip(windows.encodings, [expected, *expected.overflowing], strict=True)
    for found, wanted in pairs:
        assert (found.ids, found.offsets) == (wanted.ids, wanted.offsets)
