"""Training and export on a tiny encoder and a made-up pool: the whole chain, in seconds."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from guardkit import Guard
from guardkit.artifacts import RunnerOptions, load_artifact
from guardkit.cli.main import main
from guardkit.errors import InputError, ParityError
from guardkit.export.card import Measured, bootstrap, wilson
from guardkit.export.multi_card import write_multi_card
from guardkit.export.text_safety import TEXT_SAFETY_MULTI, export_text_safety, fit_calibration
from guardkit.export.verify import load_card, verify
from guardkit.policy.load import policy_from_dict
from guardkit.runtime.base import open_runner
from guardkit.train.classifier import Batch, Settings, build, draw, load_trained, loss_of, train
from guardkit.train.data import CATEGORIES, halves, known_labels, load_pool
from guardkit.train.mixture import Folders, load_mixture
from guardkit.train.multilingual import LANGUAGES
from guardkit.train.start import blend_with, start_from
from guardkit.train.vary import fill, mistype
from guardkit.train.written import digest, load_written, parse_categories, relabelled


def test_restricted_rows_are_left_out_and_splits_are_kept(data: Path) -> None:
    train_pool, valid_pool = load_pool(data, split="train"), load_pool(data, split="valid")
    # 600 rows, a quarter valid; of the twelve restricted ones six have an index divisible by four.
    assert (len(train_pool.texts), len(valid_pool.texts)) == (450 - 6 + 4, 150 - 6 + 4)


def test_unknown_labels_have_no_weight_or_a_lower_one(data: Path) -> None:
    pool = load_pool(data, split="train")
    row = next(i for i, text in enumerate(pool.texts) if text.endswith(" 1"))
    column = CATEGORIES.index("sexual")
    assert pool.weights[row, column] < 1
    assert not known_labels(pool)[row, column]


def test_halves_share_no_text_and_lose_none(data: Path) -> None:
    pool = load_pool(data, split="valid")
    first, second = halves(pool)
    assert set(first.texts).isdisjoint(second.texts)
    assert sorted(first.texts + second.texts) == sorted(pool.texts)


def test_a_folder_without_a_pool_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unified\.parquet: no such file"):
        load_pool(tmp_path, split="train")


def test_training_starts_again_where_it_stopped(
    base: Path, folders: Folders, work: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "checkpoint.pt").write_bytes((work / "checkpoint.pt").read_bytes())
    settings = Settings(
        rows=5000, encoder_rate=2e-3, head_rate=5e-3, threads=1, checkpoint_steps=10
    )
    with caplog.at_level("INFO"):
        train(str(base), folders, tmp_path, settings)
    assert "resumed at step" in caplog.text
    first, again = load_trained(work), load_trained(tmp_path)
    ids = torch.tensor([[2, 6, 3]])
    # The last few steps ran again, at a learning rate near zero and with another dropout.
    assert torch.allclose(first(ids, ids * 0 + 1)[0], again(ids, ids * 0 + 1)[0], atol=0.05)


def test_a_multilingual_classifier_says_its_languages_and_its_card_reports_them(
    work: Path, folders: Folders, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    shutil.copytree(folders.own, own)
    (own / "written" / "languages").mkdir()
    lines = [f"insult toxicity | chat | du idiot {at}" for at in range(150)]
    lines += [f"- | chat | du friend {at}" for at in range(150)]
    (own / "written" / "languages" / "de.txt").write_text("\n".join(lines) + "\n")
    mine = Folders(folders.data, own)
    artifact = export_text_safety(work, mine, tmp_path, version="9.9.9", kind=TEXT_SAFETY_MULTI)
    assert (artifact.manifest.name, artifact.manifest.licence) == (
        "text-safety-multi",
        "OpenRAIL++",
    )
    assert artifact.manifest.languages == LANGUAGES
    assert verify(artifact).holds
    monkeypatch.setenv("GUARDKIT_MODELS", str(models))
    policy = policy_from_dict({"policy": "demo", "prompt": {"scorers": ["text-safety"]}})
    card = write_multi_card(artifact.path, mine, policy, fp32=work / "fp32" / artifact.path.name)
    text = card.read_text()
    assert "| de | " in text
    assert "OpenRAIL++" in text
    assert "What int8 costs" in text


def test_the_exported_model_learned_what_the_pool_says(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUARDKIT_MODELS", str(models))
    guard = Guard(policy_from_dict({"policy": "demo", "prompt": {"scorers": ["text-safety"]}}))
    insult, calm = guard.score_prompts(["you are the idiot", "you are the friend"])
    assert (insult["insult"] or 0) > 0.5 > (calm["insult"] or 0)


def test_spaced_out_words_reach_the_model_as_words(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUARDKIT_MODELS", str(models))
    guard = Guard(policy_from_dict({"policy": "demo", "prompt": {"scorers": ["text-safety"]}}))
    plain, spaced = guard.score_prompts(["you are the idiot", "you are the i d i o t"])
    assert plain == spaced


def test_the_exported_artifact_verifies_and_a_changed_reference_does_not(models: Path) -> None:
    artifact = load_artifact(models / "text-safety")
    assert verify(artifact).holds
    card = load_card(artifact)
    assert card.worst <= card.tolerance
    spoiled = json.loads(artifact.read("parity.json"))
    spoiled["logits"][0][0] += 100.0
    folder = models.parent / "spoiled"
    _copy_with_parity(models / "text-safety", folder, json.dumps(spoiled).encode())
    with pytest.raises(ParityError, match="logits differ by"):
        verify(load_artifact(folder))


def _copy_with_parity(source: Path, target: Path, parity: bytes) -> None:
    shutil.copytree(source, target)
    (target / "parity.json").write_bytes(parity)
    manifest = json.loads((target / "manifest.json").read_text())
    entry = {"sha256": hashlib.sha256(parity).hexdigest(), "size_bytes": len(parity)}
    manifest["files"]["parity.json"] = entry
    (target / "manifest.json").write_text(json.dumps(manifest))


def test_the_onnx_graph_gives_what_torch_gives_in_fp32(work: Path, models: Path) -> None:
    artifact = load_artifact(work / "fp32" / "text-safety")
    ids = np.array([[2, 4, 6, 8, 3], [2, 7, 9, 3, 0]], np.int64)
    mask = (ids > 0).astype(np.int64)
    outputs = open_runner(artifact, RunnerOptions()).run({"input_ids": ids, "attention_mask": mask})
    with torch.no_grad():
        logits, token_logits = load_trained(work)(torch.tensor(ids), torch.tensor(mask))
    np.testing.assert_allclose(outputs["logits"], logits, atol=1e-4)
    real = mask.astype(bool)
    np.testing.assert_allclose(outputs["token_logits"][real], token_logits[real], atol=1e-4)


def test_the_card_holds_a_row_a_category_and_the_harmless_sources(
    models: Path, folders: Folders, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUARDKIT_MODELS", str(models))
    own = ["--own", str(folders.own)]
    arguments = ["--data", str(folders.data), *own, "--models", str(models)]
    policy = models.parent / "plain.yaml"
    policy.write_text("policy: plain\nprompt:\n  scorers: [text-safety]\n")
    fp32 = ["--fp32", str(work / "fp32" / "text-safety"), "--policy", str(policy)]
    assert main(["export", "card", *arguments, *fp32]) == 0
    card = (models / "text-safety" / "CARD.md").read_text()
    assert all(f"| {category} | " in card for category in CATEGORIES)
    assert "| coco_captions |" in card
    assert "macro AUPRC" in card


def test_wilson_interval_matches_the_published_example() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I: 81 of 263 -> .2553 to .3662.
    share = wilson(81, 263)
    assert share is not None
    assert (round(share.low, 4), round(share.high, 4)) == (0.2553, 0.3662)


def test_bootstrap_interval_holds_the_value() -> None:
    truth = np.array([True, False] * 50)
    values = np.where(truth, 0.9, 0.1)
    assert bootstrap(lambda t, v: float((t == (v > 0.5)).mean()), truth, values) == Measured(
        1, 1, 1
    )


def test_calibration_puts_one_half_where_the_classes_meet(folders: Folders) -> None:
    pool = load_mixture(folders, split="valid")
    truth = pool.labels >= 0.5
    logits = np.where(truth, 3.0, 1.0) + np.random.default_rng(0).normal(0, 0.8, truth.shape)
    fitted = fit_calibration(logits, pool)["insult"]
    middle = -fitted.shift / fitted.scale
    assert 1.0 < middle < 3.0


def test_masked_labels_do_not_move_the_loss(base: Path) -> None:
    torch.manual_seed(0)
    model = build(str(base)).eval()
    ids = torch.tensor([[2, 4, 6, 3]])
    shape, categories = (1, 4), len(CATEGORIES)
    weights = torch.zeros(1, categories)
    weights[0, 0] = 1.0
    tokens = torch.zeros(*shape, categories)

    def loss(labels: torch.Tensor) -> float:
        batch = Batch(ids, torch.ones_like(ids), labels, weights, tokens, tokens)
        return loss_of(model, batch, Settings()).item()

    changed = torch.ones(1, categories)
    changed[0, 0] = 0.0
    assert loss(torch.zeros(1, categories)) == pytest.approx(loss(changed))
    assert loss(torch.zeros(1, categories)) != pytest.approx(loss(torch.ones(1, categories)))


def test_a_written_line_says_yes_no_and_do_not_know(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("violence threat? | message | bring a dentist\\nor two\n")
    pool = load_written(tmp_path, split="train")
    threat, violence = CATEGORIES.index("threat"), CATEGORIES.index("violence")
    assert pool.texts == ["bring a dentist\nor two"]
    assert (pool.labels[0, violence], pool.weights[0, violence]) == (1, 1)
    assert pool.weights[0, threat] == 0
    assert pool.weights[0].sum() == len(CATEGORIES) - 1


def test_a_written_line_of_another_form_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("- | chat | fine\nviolence, no bars\n")
    with pytest.raises(InputError, match=r"a\.txt:2: expected"):
        load_written(tmp_path, split="train")
    with pytest.raises(InputError, match="unknown category 'violens'"):
        parse_categories("violens", where="here")


def test_written_texts_are_split_and_those_of_valid_are_filled(folders: Folders) -> None:
    train_pool, valid_pool = (load_mixture(folders, split=s) for s in ("train", "valid"))
    written = [
        [t for t, s in zip(p.texts, p.sources, strict=True) if s == "written-demo"]
        for p in (train_pool, valid_pool)
    ]
    assert all(written)
    assert not any("{" in text for text in valid_pool.texts)
    assert len(written[0]) + len(written[1]) == 160
    assert len(written[0]) > 4 * len(written[1])


def test_own_labels_replace_those_of_the_pool(folders: Folders, tmp_path: Path) -> None:
    pool = load_pool(folders.data / "text", split="train")
    (tmp_path / "a.csv").write_text(f"digest,source,categories\n{digest(pool.texts[3])},x,hate\n")
    changed = relabelled(pool, tmp_path)
    assert changed.labels[3, CATEGORIES.index("hate")] == 1
    assert changed.weights[3].min() == 1
    assert (changed.labels[4] == pool.labels[4]).all()


def test_a_draw_fills_slots_anew_and_keeps_the_labels(folders: Folders) -> None:
    drawn = draw(load_mixture(folders, split="train"), Settings(rows=3000))
    named = {t for t, s in zip(drawn.texts, drawn.sources, strict=True) if s == "written-demo"}
    assert not any("{name}" in text for text in drawn.texts)
    assert len({text.split()[-2] for text in named}) > 5
    assert any(drawn.contexts)


def test_slots_of_one_text_name_the_same_people() -> None:
    for seed in range(20):
        first, second = fill("{group}/{group}", np.random.default_rng(seed)).split("/")
        assert first == second


def test_mistyping_changes_little() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        changed = mistype("a perfectly ordinary sentence", rng)
        assert changed
        assert abs(len(changed) - len("a perfectly ordinary sentence")) <= 1
    assert mistype("a b c", rng) == "a b c"


def test_training_can_go_on_from_an_artifact(base: Path, work: Path, models: Path) -> None:
    model = build(str(base)).eval()
    start_from(model, models / "text-safety")
    ids = torch.tensor([[2, 6, 3, 4, 5]])
    with torch.no_grad():
        again, trained = (m(ids, ids * 0 + 1)[0] for m in (model, load_trained(work)))
        fresh = build(str(base)).eval()(ids, ids * 0 + 1)[0]
    assert (again - trained).abs().max() < 0.1 < (fresh - trained).abs().max()


@pytest.mark.parametrize("share", [pytest.param(at, id=str(at)) for at in (0.0, 0.25, 1.0)])
def test_a_blend_lies_between_its_two_models(base: Path, work: Path, share: float) -> None:
    model, trained = build(str(base)), load_trained(work)
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    blend_with(model, work, share=share)
    theirs = trained.state_dict()
    for name, tensor in model.state_dict().items():
        wanted = share * own[name] + (1 - share) * theirs[name]
        torch.testing.assert_close(tensor, wanted if own[name].is_floating_point() else own[name])


def test_a_blend_with_another_model_is_refused(base: Path, tmp_path: Path) -> None:
    save_file({"bias": torch.zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="Name what --work began from"):
        blend_with(build(str(base)), tmp_path, share=0.5)


def test_int8_does_not_depend_on_the_neighbours_in_a_batch(models: Path) -> None:
    artifact = load_artifact(models / "text-safety")
    runner = open_runner(artifact, RunnerOptions())
    ids = np.array([[2, 4, 6, 8, 3], [2, 7, 9, 3, 0]], np.int64)
    mask = (ids > 0).astype(np.int64)
    both = runner.run({"input_ids": ids, "attention_mask": mask})["logits"]
    alone = runner.run({"input_ids": ids[1:, :4], "attention_mask": mask[1:, :4]})["logits"]
    np.testing.assert_allclose(both[1], alone[0], atol=1e-5)
