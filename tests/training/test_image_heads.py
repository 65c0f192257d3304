"""Heads of one's own on an image encoder, and concepts of a CLIP model: tiny ones with random weights."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoTokenizer, CLIPModel
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from guardkit import Guard
from guardkit.artifacts import load_artifact
from guardkit.cli.main import main
from guardkit.export.image_heads import FusedHeads
from guardkit.export.verify import verify
from guardkit.metrics.ranking import roc_auc
from guardkit.policy.load import policy_from_dict
from guardkit.train.effnet_lite import SIDE as EFFNET_SIDE
from guardkit.train.effnet_lite import EfficientNetLite0
from guardkit.train.image_encoder import open_encoder
from guardkit.train.image_heads import (
    ABOUT,
    HeadSettings,
    HeadsFile,
    ImageHead,
    fit_head,
    picture_logits,
)
from tests.training.tiny_clip import SIDE, WIDTH, build_clip, draw_picture, write_pictures

RED, GREEN = 0, 1
QUICK = HeadSettings(epochs=25, rate=2e-3)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def trained(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trainings on the same encoder: `symbols` knows red discs, `others` green ones."""
    folder = tmp_path_factory.mktemp("heads")
    for work, category, colour in (("symbols", "hate-symbol", RED), ("others", "gore", GREEN)):
        data = write_pictures(folder / f"{work}-data", {category: colour})
        assert main(training(clip, data, folder / work)) == 0
    return folder


def training(base: Path, data: Path, work: Path) -> list[str]:
    options = ["--base", str(base), "--data", str(data), "--work", str(work)]
    return ["train", "image-head", *options, "--pairs", "100", "--epochs", "60"]


def exporting(works: list[Path], out: Path, *options: str) -> list[str]:
    named = [str(work) for work in works]
    return [
        "export",
        "image-heads",
        "--work",
        *named,
        "--name",
        "mine",
        "--out",
        str(out),
        *options,
    ]


# --- a head ---------------------------------------------------------------------------------------


def test_a_head_recovers_a_planted_direction() -> None:
    random = np.random.default_rng(1)
    planted = random.normal(size=WIDTH)
    features = random.normal(size=(900, WIDTH))
    truth = features @ planted > 0
    bags = [torch.tensor(row, dtype=torch.float32)[None] for row in features]
    head = fit_head(bags[:600], truth[:600], QUICK)
    with torch.no_grad():
        logits = picture_logits(head, bags[600:]).double().numpy()
    area = roc_auc(truth[600:], logits)
    assert area is not None
    assert area > 0.97


def test_one_crop_of_the_category_is_enough() -> None:
    random = np.random.default_rng(2)
    planted = np.eye(WIDTH)[0] * 4

    def bag(is_positive: bool) -> torch.Tensor:
        crops = random.normal(size=(3, WIDTH))
        if is_positive:
            crops[random.integers(3)] += planted
        return torch.tensor(crops, dtype=torch.float32)

    truth = np.arange(600) % 2 == 0
    bags = [bag(one) for one in truth.tolist()]
    head = fit_head(bags[:400], truth[:400], QUICK)
    with torch.no_grad():
        area = roc_auc(truth[400:], picture_logits(head, bags[400:]).double().numpy())
    assert area is not None
    assert area > 0.97


def test_five_fused_heads_give_what_they_give_one_by_one() -> None:
    torch.manual_seed(4)
    heads = [ImageHead(WIDTH) for _ in range(5)]
    for head in heads:  # as after a training: a batch norm that does something
        head.norm.running_mean.normal_()
        head.norm.running_var.uniform_(0.2, 3)
        torch.nn.init.normal_(head.norm.weight)
        torch.nn.init.normal_(head.norm.bias)
        head.eval()
    features = torch.randn(64, WIDTH)
    with torch.no_grad():
        apart = torch.stack([head(features) for head in heads], dim=1)
        fused = FusedHeads(heads)(features)
    assert apart.std() > 0.1
    torch.testing.assert_close(fused, apart, atol=1e-5, rtol=1e-5)


# --- from pictures to decisions -------------------------------------------------------------------


def test_two_trainings_become_one_artifact_that_a_policy_names(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    works = [trained / "symbols", trained / "others"]
    assert main(exporting(works, tmp_path, "--licence", "MIT")) == 0
    assert capsys.readouterr().out.endswith("scores hate-symbol, gore\n")
    artifact = load_artifact(tmp_path / "mine")
    assert verify(artifact).holds
    assert (artifact.manifest.id, artifact.manifest.licence) == ("mine@0.1.0", "MIT")
    monkeypatch.setenv("GUARDKIT_MODELS", str(tmp_path))
    rules = [
        {
            "name": "symbols",
            "when": {"category": "hate-symbol", "at_least": 0.5},
            "action": "block",
        },
        {"name": "gore", "when": {"category": "gore", "at_least": 0.5}, "action": "regenerate"},
    ]
    stage = {"scorers": ["mine"], "rules": rules}
    guard = Guard(policy_from_dict({"policy": "demo", "output-image": stage}))
    random = np.random.default_rng(99)
    clean = [draw_picture(random, disc=False) for _ in range(40)]
    # neither head has seen the other's discs: only what each was trained on is asked of it
    for category, rule, colour in (("hate-symbol", "symbols", RED), ("gore", "gore", GREEN)):
        discs = [draw_picture(random, disc=True, colour=colour) for _ in range(40)]
        scores = np.array([one[category] for one in guard.score_images([*discs, *clean])], float)
        area = roc_auc(np.arange(80) < 40, scores)
        assert area is not None
        assert area > 0.95
        surest, cleanest = discs[int(scores[:40].argmax())], clean[int(scores[40:].argmin())]
        assert rule in fired_by(guard, surest)
        assert rule not in fired_by(guard, cleanest)


def fired_by(guard: Guard, picture: NDArray[np.uint8]) -> set[str]:
    """The names of the rules that a picture fires."""
    return {one.rule for one in guard.check_output(image=picture).fired}


def test_what_was_measured_is_kept_with_the_heads(trained: Path) -> None:
    about = msgspec.json.decode((trained / "symbols" / ABOUT).read_bytes(), type=HeadsFile)
    report = about.measured["hate-symbol"]
    assert (report.positives, report.pictures) == (8, 16)  # a fifth of 40 and of 40
    assert report.whole_auc is not None
    assert report.whole_auc > 0.95
    assert report.pasted_auc is not None
    assert report.pasted_auc > 0.9


def test_a_table_of_pictures_trains_too(clip: Path, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", {"hate-symbol": RED}, count=12)
    rows = [
        f"pictures/{one.parent.name}/{one.name},{int(one.parent.name != 'safe')}"
        for one in sorted(pictures.rglob("*.png"))
    ]
    (tmp_path / "table.csv").write_text("image,hate-symbol\n" + "\n".join(rows) + "\n")
    assert main(training(clip, tmp_path / "table.csv", tmp_path / "work")) == 0
    assert (tmp_path / "work" / ABOUT).is_file()


def test_the_effnet_graph_gives_what_its_module_gives(tmp_path: Path) -> None:
    torch.manual_seed(5)
    network = EfficientNetLite0()
    published = {_published(name): one for name, one in network.state_dict().items()}
    published["_fc.bias"] = torch.zeros(1000)  # of the classifier, which heads do not need
    torch.save(published, tmp_path / "weights.pth")
    encoder = open_encoder(str(tmp_path / "weights.pth"))
    assert (encoder.look.side, encoder.look.width) == (EFFNET_SIDE, 1280)
    crops = torch.randint(0, 256, (2, EFFNET_SIDE, EFFNET_SIDE, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected = network.eval()((crops.permute(0, 3, 1, 2) / 255 - 0.498) / 0.502)
        torch.testing.assert_close(encoder(crops), expected, atol=1e-4, rtol=1e-4)


def _published(name: str) -> str:
    """`blocks.0.bn1.weight` -> `_blocks.0._bn1.weight`, as the published file has it."""
    head, *rest = name.split(".")
    if head == "blocks":
        return "._".join(["_blocks." + rest[0], ".".join(rest[1:])])
    return "_" + name


# --- concepts -------------------------------------------------------------------------------------

CONCEPTS = """
hate-symbol:
  - {text: a red disc, at_least: 0.1}
  - {text: a photo of a disc, at_least: -0.2}
gore:
  - {text: the sea, at_least: 0.3}
"""


def test_concepts_score_what_both_towers_of_clip_say(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "concepts.yaml").write_text(CONCEPTS)
    assert main(concepts_command(clip, tmp_path)) == 0
    assert verify(load_artifact(tmp_path / "seen")).holds
    monkeypatch.setenv("GUARDKIT_MODELS", str(tmp_path))
    guard = Guard(policy_from_dict({"policy": "demo", "output-image": {"scorers": ["seen"]}}))
    random = np.random.default_rng(6)
    pictures = [random.integers(0, 256, (SIDE, SIDE, 3), np.uint8) for _ in range(4)]
    pictures += [np.full((SIDE, SIDE, 3), colour, np.uint8) for colour in (0, 128, 255)]
    scores = guard.score_images(pictures)
    found = [[one["hate-symbol"], one["gore"]] for one in scores]
    expected = cosines(clip, pictures) - np.array([0.1, -0.2, 0.3])
    assert np.ptp(expected, axis=0).min() > 0.02
    scale = CLIPModel.from_pretrained(clip).logit_scale.exp().item()
    odds = scale * np.stack([expected[:, :2].max(axis=1), expected[:, 2]], axis=1)
    np.testing.assert_allclose(np.array(found, float), 1 / (1 + np.exp(-odds)), atol=1e-4)


def cosines(clip: Path, pictures: list[np.ndarray]) -> np.ndarray:
    """What transformers itself says: f64 [pictures, texts]."""
    model, tokenizer = CLIPModel.from_pretrained(clip).eval(), AutoTokenizer.from_pretrained(clip)
    texts = ["a red disc", "a photo of a disc", "the sea"]
    pixels = (np.stack(pictures) / 255 - OPENAI_CLIP_MEAN) / OPENAI_CLIP_STD
    with torch.no_grad():
        outputs = model(
            **tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False),
            pixel_values=torch.tensor(pixels.transpose(0, 3, 1, 2), dtype=torch.float32),
        )
    cosines: np.ndarray = (outputs.image_embeds @ outputs.text_embeds.T).double().numpy()
    return cosines


def concepts_command(clip: Path, folder: Path) -> list[str]:
    named = ["--clip", str(clip), "--concepts", str(folder / "concepts.yaml"), "--name", "seen"]
    return ["export", "image-concepts", *named, "--out", str(folder)]


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("", "the file is empty", id="empty"),
        pytest.param("insult:\n  - {text: a, at_least: 0.2}\n", "unknown category", id="of-text"),
        pytest.param("gore: []\n", "gore: found no concept", id="no-concept"),
        pytest.param("gore:\n  - {text: a, at_least: 2}\n", "at_least", id="no-cosine"),
        pytest.param("gore:\n  - {text: a}\n", "at_least", id="no-threshold"),
    ],
)
def test_concepts_with_faults_are_refused(
    text: str, told: str, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "concepts.yaml").write_text(text)
    assert main(concepts_command(clip, tmp_path)) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "seen").exists()


def test_a_folder_without_clip_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "concepts.yaml").write_text(CONCEPTS)
    assert main(concepts_command(tmp_path, tmp_path)) == 2
    assert "no CLIP model" in capsys.readouterr().err


def test_too_few_pictures_are_refused(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_pictures(tmp_path / "data", {"gore": RED}, count=9)
    assert main(training(clip, data, tmp_path / "work")) == 2
    assert "gore: 9 pictures of it and 9 that are not" in capsys.readouterr().err


def test_safe_pictures_alone_are_refused(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_pictures(tmp_path / "data", {}, count=10)
    assert main(training(clip, data, tmp_path / "work")) == 2
    assert "no picture of any category" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nothing-there", "weights.pth"])
def test_another_base_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    data = write_pictures(tmp_path / "data", {"gore": RED}, count=10)
    (tmp_path / "weights.pth").write_bytes(b"other weights")
    assert main(training(tmp_path / name, data, tmp_path / "work")) == 2
    assert "EfficientNet-Lite0" in capsys.readouterr().err


def test_heads_of_another_encoder_are_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = build_clip(tmp_path / "other", seed=9)
    command = exporting([trained / "symbols"], tmp_path / "out", "--base", str(other))
    assert main(command) == 2
    assert "Heads fit the one they were trained on" in capsys.readouterr().err
    assert not (tmp_path / "out" / "mine").exists()


def test_a_category_has_one_head(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(exporting([trained / "symbols", trained / "symbols"], tmp_path)) == 2
    assert "hate-symbol: another --work has a head for it" in capsys.readouterr().err


def test_a_folder_without_heads_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(exporting([tmp_path], tmp_path / "out")) == 2
    assert "Expected what guardkit train image-head left" in capsys.readouterr().err


def test_an_artifact_that_stands_is_not_overwritten(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    assert main(exporting([trained / "symbols"], tmp_path)) == 2
    assert "exists already" in capsys.readouterr().err
