"""The rewriter: pairs, lessons, training and export on a few rows and a tiny encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.edit_tagger import tags_of
from guardkit.errors import InputError
from guardkit.export.rewriter import Writer
from guardkit.text.encode import Encoder
from guardkit.text.rewrite import NOWHERE
from guardkit.train.data import CATEGORIES
from guardkit.train.loop import fit
from guardkit.train.repairs import KEEP, MENDED, Pair, load_twins_of_repairs, written_pairs
from guardkit.train.rewriter import (
    END,
    Lesson,
    RewriterBatch,
    RewriterModel,
    RewriterSettings,
    collate,
    lessons_of,
    loss_of,
    plan_of,
    train_rewriter,
    vocabulary_of,
    with_bans,
)
from tests.training.conftest import tiny_bert

WRITTEN = Path(__file__).parent.parent.parent / "data" / "written" / "repairs"


def test_an_alignment_says_what_is_copied(encoder: Encoder) -> None:
    (lesson,) = lessons_of([Pair("my idiot neighbour", "my neighbour.")], encoder)
    assert lesson.copied == (1, 3, -1)
    assert [lesson.target[2]] == vocabulary_of([lesson], rarest=1)[2:]


def test_the_exported_writer_is_the_trained_decoder(encoder: Encoder) -> None:
    pairs = [
        Pair("my idiot neighbour", "my neighbour."),
        Pair("you are a fool", "you are a."),
        Pair("a fool", "a."),
    ]
    lessons = lessons_of(pairs, encoder)
    pieces = vocabulary_of(lessons, rarest=1)
    model = RewriterModel(tiny_bert(), 24, torch.tensor(pieces)).eval()
    batch = collate(lessons, {token: at for at, token in enumerate(pieces)})
    with torch.no_grad():
        states, _, _ = model.encode(batch.input_ids, batch.attention_mask)
        scores = model.decode(
            states, batch.attention_mask, batch.banned, batch.written, batch.copied
        )
        banned = torch.zeros(batch.attention_mask.shape)
        writer = Writer(model).eval()
        shared = states, batch.attention_mask, banned
        wanted, nothing = scores.argmax(-1), writer.nothing(states)
        best, kept = writer(*shared, batch.written, batch.copied, nothing)
        assert torch.equal(best, wanted)
        first, past = writer(*shared, batch.written[:, :2], batch.copied[:, :2], nothing)
        rest, whole = writer(*shared, batch.written[:, 2:], batch.copied[:, 2:], past)
    assert torch.equal(torch.cat([first, rest], dim=1), wanted)
    assert torch.allclose(whole, kept, atol=1e-5)
    assert len(pieces) > END


def test_what_is_banned_is_not_copied(encoder: Encoder) -> None:
    lessons = lessons_of([Pair("my idiot neighbour", "my neighbour")] * 2, encoder)
    pieces = vocabulary_of(lessons, rarest=1)
    model = RewriterModel(tiny_bert(), 24, torch.tensor(pieces)).eval()
    batch = collate(lessons, {token: at for at, token in enumerate(pieces)})
    with torch.no_grad():
        states, _, _ = model.encode(batch.input_ids, batch.attention_mask)
        banned = torch.ones(batch.attention_mask.shape)
        writer = Writer(model).eval()
        best, _ = writer(states, batch.attention_mask, banned, batch.written, batch.copied, writer.nothing(states))  # fmt: skip
    assert int(best.max()) < len(pieces)


def test_a_line_of_another_form_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("insult | my idiot => my\ninsult | my idiot\n")
    with pytest.raises(InputError, match=r"a\.txt:2: expected 'category"):
        list(written_pairs(tmp_path, split="train"))


def test_both_splits_together_are_all_written_pairs() -> None:
    count = sum(len(path.read_text().splitlines()) for path in WRITTEN.glob("*.txt"))
    parts = [list(written_pairs(WRITTEN, split=split)) for split in ("train", "valid")]
    assert sum(map(len, parts)) == count
    assert 0.05 < len(parts[1]) / count < 0.15
    assert not any("{" in pair.source for pair in parts[1])


# --- bans -----------------------------------------------------------------------------------------------

LESSON = Lesson(
    source=(1, 11, 12, 13, 14, 15, 2), target=(11, 30, 14, 15), copied=(1, NOWHERE, 4, 5)
)
COLUMNS = {1: 0, 2: 1, 30: 2, 11: 3, 14: 4}  # fmt: skip


def test_bans_fall_on_what_is_left_out_and_what_they_reach_is_written_anew() -> None:
    drawn = [with_bans(LESSON, COLUMNS, np.random.default_rng(seed)) for seed in range(400)]
    assert {2, 3} <= {place for lesson in drawn for place in lesson.banned} <= {1, 2, 3, 4}
    for lesson in drawn:
        assert not lesson.banned & set(lesson.copied)
        assert 5 not in lesson.banned  # its piece cannot be written
        kept = zip(LESSON.copied, lesson.copied, strict=True)
        assert all(now in (NOWHERE, before) for before, now in kept)
    plain = sum(not lesson.banned for lesson in drawn) / len(drawn)
    assert 0.45 < plain < 0.75


def test_the_model_learns_what_is_wrong_and_what_is_not(encoder: Encoder) -> None:
    pairs = [Pair("my idiot neighbour", "my neighbour"), Pair("my neighbour", "my neighbour", KEEP)]
    lessons = lessons_of([*pairs, Pair("a fool", "a", MENDED)], encoder)
    assert [lesson.is_wrong for lesson in lessons] == [True, False, None]
    pieces = vocabulary_of(lessons, rarest=1)
    model, teacher = RewriterModel(tiny_bert(), 24, torch.tensor(pieces)), tiny_bert()
    batch = collate(lessons, {token: at for at, token in enumerate(pieces)})
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(40):
        loss = loss_of(model, teacher, batch, RewriterSettings())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    risk = model.eval().encode(batch.input_ids, batch.attention_mask)[2]
    assert risk[0] > 0 > risk[1]


def test_a_decoder_trained_alone_leaves_what_it_reads(encoder: Encoder, tmp_path: Path) -> None:
    lessons = lessons_of([Pair("my idiot neighbour", "my neighbour")] * 4, encoder)
    pieces = vocabulary_of(lessons, rarest=1)
    model, teacher = RewriterModel(tiny_bert(), 24, torch.tensor(pieces)), tiny_bert()
    batch = collate(lessons, {token: at for at, token in enumerate(pieces)})
    settings = RewriterSettings(decoder_only=True, batch=4, checkpoint_steps=8)
    model.freeze_reader()
    before = model.eval().encode(batch.input_ids, batch.attention_mask)
    losses = list[float]()

    def loss(one: RewriterBatch) -> torch.Tensor:
        found = loss_of(model, teacher, one, settings)
        losses.append(found.item())
        return found

    fit(model, [batch] * 24, loss, tmp_path, plan_of(96, settings))
    after = model.eval().encode(batch.input_ids, batch.attention_mask)
    assert all(map(torch.equal, before, after))
    assert losses[-1] < losses[0]


def test_a_decoder_alone_needs_a_reader(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Give start"):
        train_rewriter("none", tmp_path, tmp_path, tmp_path, RewriterSettings(decoder_only=True))


# --- pairs as labelled texts, and as tags ----------------------------------------------------------------


def test_pairs_are_texts_with_something_and_with_nothing_wrong() -> None:
    pool = load_twins_of_repairs(WRITTEN, split="valid")
    wrong, mended = pool.labels[::2], pool.labels[1::2]
    assert not mended.any()
    assert (wrong * pool.weights[::2]).any(axis=1).mean() > 0.7
    assert pool.labels.shape[1] == len(CATEGORIES)


def test_what_did_not_stay_is_marked_unless_a_slot_would_move_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(
        "insult | my idiot neighbour => my neighbour\nbias | a lazy {group} nap => a calm {group} nap\n"
    )
    pool = load_twins_of_repairs(tmp_path, split="train")
    assert dict(zip(pool.texts, pool.spans, strict=True)) == {
        "my idiot neighbour": [(3, 8)],
        "my neighbour": [],
        "a lazy {group} nap": None,
        "a calm {group} nap": None,
    }


def test_a_category_without_labels_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("spam | buy this => this\n")
    with pytest.raises(InputError, match="unknown category 'spam'"):
        load_twins_of_repairs(tmp_path, split="train")


@pytest.mark.parametrize(
    ("target", "copied"),
    [
        pytest.param((11, 30, 14, 15), (1, NOWHERE, 4, 5), id="replaced"),
        pytest.param((11, 14, 15), (1, 4, 5), id="left out"),
        pytest.param((30, 11, 12, 13, 14, 15), (NOWHERE, 1, 2, 3, 4, 5), id="put before"),
        pytest.param(
            (11, 30, 30, 30, 30, 30, 14, 15), (1, *[NOWHERE] * 5, 4, 5), id="many for two"
        ),
        pytest.param((11, 12, 13, 14, 15, 30), (1, 2, 3, 4, 5, NOWHERE), id="put behind"),
    ],
)
def test_tags_make_the_target_of_the_source(
    target: tuple[int, ...], copied: tuple[int, ...]
) -> None:
    tags = tags_of(Lesson(LESSON.source, target, copied), COLUMNS)
    assert tags is not None
    pieces = {column: token for token, column in COLUMNS.items()}
    made = list[int]()
    for token, own, after in zip(LESSON.source, tags.own, tags.after, strict=True):
        made += [token] if own == 0 else [pieces[own - 2]] if own >= 2 else []
        made += [pieces[after - 1]] if after else []
    assert tuple(made[1:-1]) == target


def test_what_takes_more_than_two_pieces_a_token_has_no_tags() -> None:
    lesson = Lesson(LESSON.source, (11, *[30] * 6, 14, 15), (1, *[NOWHERE] * 6, 4, 5))
    assert tags_of(lesson, COLUMNS) is None
