"""`guardkit eval image`: labelled pictures whose scores are known by hand, to a report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from guardkit.cli.main import main
from guardkit.evaluate.page import render_page
from guardkit.evaluate.report import Report, Target, from_json
from guardkit.metrics.shares import wilson_interval
from tests.conftest import WriteFile
from tests.pictures import BLUE, GREEN, RED, encoded, plain
from tests.tiny_image import build_tiny_images

POLICY = """
policy: demo
output-image:
  scorers: [image-safety]
  rules:
    - {name: again, when: {category: sexual, at_least: 0.6}, action: regenerate}
    - {name: never, when: {category: sexual, at_least: 0.9}, action: block}
"""
# Red is scored 0.982 for `sexual`, green likewise for `gore`, all else 0.018.
RED_PICTURE, GREEN_PICTURE, BLUE_PICTURE = (encoded(plain(colour)) for colour in (RED, GREEN, BLUE))


@pytest.fixture
def policy(tmp_path: Path, write_file: WriteFile, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("GUARDKIT_MODELS", str(build_tiny_images(tmp_path / "models")))
    return str(write_file("demo.yaml", POLICY))


def write_pictures(folder: Path, pictures: Mapping[str, bytes]) -> Path:
    for name, content in pictures.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`sexual`: one found, one missed; `gore`: found; `any`: missed; four safe ones, of which one is a false alarm."""
    return write_pictures(
        tmp_path / "pictures",
        {
            "sexual/found.png": RED_PICTURE,
            "sexual/deep/missed.png": BLUE_PICTURE,
            "gore/found.PNG": GREEN_PICTURE,
            "any/missed.png": BLUE_PICTURE,
            "safe/alarm.png": RED_PICTURE,
            "safe/1.png": BLUE_PICTURE,
            "safe/2.png": encoded(plain(BLUE, width=80)),
            "safe/broken.png": RED_PICTURE[:40],
            "safe/notes.txt": b"not a picture",
        },
    )


def evaluate(capsys: pytest.CaptureFixture[str], *arguments: str) -> Report:
    assert main(["eval", "image", *arguments, "--bootstrap", "20", "--json"]) == 0
    return from_json(capsys.readouterr().out)


def targets(report: Report) -> dict[str, Target]:
    return {one.name: one for one in (*report.overall, *report.categories)}


def test_a_folder_of_folders_is_measured(
    policy: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    report = evaluate(capsys, str(folder), "--policy", policy, "--out", str(out))
    assert from_json((out / "report.json").read_bytes()) == report
    assert (out / "report.html").read_text("utf-8") == render_page(report)
    assert (report.data, report.rows) == ("pictures", 8)
    sexual = targets(report)["sexual"]
    # gore and any say nothing of `sexual`; the broken one could not be scored
    assert (sexual.unknown, sexual.failed) == (2, 1)
    assert (sexual.result.positives, sexual.result.rows) == (2, 5)
    assert (sexual.threshold, sexual.threshold_from) == (0.6, "rule again")
    values = {name: one.value for name, one in sexual.result.metrics.items()}
    # one positive above two of three negatives, equal to one; the other below one, equal to two
    assert values["roc_auc"] == pytest.approx((2 + 0.5 + 0.5 * 2) / 6)
    assert values["recall"] == 0.5
    assert values["fpr"] == 1 / 3
    assert sexual.result.false_positives == 1
    assert sexual.result.fpr_bounds == wilson_interval(1, 3)


def test_harmful_at_all_is_known_of_every_folder(
    policy: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    every = targets(evaluate(capsys, str(folder), "--policy", policy))
    assert (every["any"].result.positives, every["any"].result.rows) == (4, 7)
    assert every["any"].result.metrics["recall"].value == 2 / 4  # red and green score high
    assert every["decision"].result.metrics["recall"].value == 1 / 4  # no rule is about gore
    assert every["decision"].result.false_positives == 1


def test_safe_pictures_alone_give_a_bound_on_false_positives(
    policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_pictures(tmp_path / "p", {f"safe/{n}.png": BLUE_PICTURE for n in range(4)})
    report = evaluate(capsys, str(folder), "--policy", policy)
    for one in (*report.overall, *report.categories):
        assert (one.result.false_positives, one.result.positives) == (0, 0)
        assert one.result.fpr_bounds is not None
        assert one.result.fpr_bounds[1] == pytest.approx(
            3.8415 / (4 + 3.8415), abs=1e-4
        )  # z^2 / (n + z^2)
    assert main(["eval", "image", str(folder), "--policy", policy]) == 0
    assert "0 / 4, at most .490" in capsys.readouterr().out


CSV = """\
image,sexual,skin_tone
red.png,1,dark
blue.png,0,dark
deep/red.png,0,light
blue.png,,light
"""


def test_a_table_of_paths_is_measured_by_group(
    policy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = {"red.png": RED_PICTURE, "blue.png": BLUE_PICTURE, "deep/red.png": RED_PICTURE}
    folder = write_pictures(tmp_path / "p", pictures)
    (folder / "labels.csv").write_text(CSV, "utf-8")
    table = str(folder / "labels.csv")
    report = evaluate(capsys, table, "--policy", policy, "--slice", "skin_tone")
    assert (report.data, report.rows) == ("labels.csv", 4)
    sexual = targets(report)["sexual"]
    assert sexual.unknown == 1
    (slices,) = sexual.slices
    groups = {name: (one.rows, one.false_positives) for name, one in slices.groups.items()}
    assert groups == {"dark": (2, 0), "light": (1, 1)}


def test_another_picture_of_the_same_name_is_other_data(
    policy: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = evaluate(capsys, str(folder), "--policy", policy).data_sha256
    assert evaluate(capsys, str(folder), "--policy", policy).data_sha256 == before
    (folder / "safe" / "1.png").write_bytes(encoded(plain(BLUE, width=96)))
    assert evaluate(capsys, str(folder), "--policy", policy).data_sha256 != before


@pytest.mark.parametrize(
    ("pictures", "arguments", "told"),
    [
        pytest.param({"a.png": b""}, [], "a picture lies outside the folders", id="outside"),
        pytest.param({"sexaul/a.png": b""}, [], "Did you mean 'sexual'?", id="unknown-folder"),
        pytest.param({"safe/a.txt": b""}, [], "no images. Expected .jpg", id="none"),
        pytest.param(
            {"safe/a.png": b""}, ["--slice", "x"], "is a folder, which has no", id="slice"
        ),
        pytest.param(
            {"safe/a.png": RED_PICTURE}, ["--threshold", "bias=2"], "not CATEGORY", id="threshold"
        ),
    ],
)
def test_a_folder_that_cannot_be_meant_is_refused(
    policy: str,
    tmp_path: Path,
    pictures: dict[str, bytes],
    arguments: list[str],
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = write_pictures(tmp_path / "p", pictures)
    try:
        code = main(["eval", "image", str(folder), "--policy", policy, *arguments])
    except SystemExit as e:  # argparse's own way out
        code = int(e.code or 0)
    assert code == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("table", "told"),
    [
        pytest.param("image,sexual\nno.png,1\n", ":2: column 'image': no such file", id="missing"),
        pytest.param("image,sexual\n,1\n", ":2: column 'image': found nothing", id="empty"),
        pytest.param("file,sexual\na.png,1\n", "--image-column image: no such column", id="column"),
        pytest.param("image,insult\na.png,1\n", "no column of labels", id="a-category-of-texts"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(
    policy: str, tmp_path: Path, table: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_pictures(tmp_path / "p", {"a.png": RED_PICTURE})
    (folder / "labels.csv").write_text(table, "utf-8")
    assert main(["eval", "image", str(folder / "labels.csv"), "--policy", policy]) == 2
    assert told in capsys.readouterr().err


def test_a_policy_without_images_is_refused(
    folder: Path, write_file: WriteFile, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = str(write_file("empty.yaml", "policy: empty\n"))
    assert main(["eval", "image", str(folder), "--policy", policy]) == 2
    assert "has no stage output-image. Found none." in capsys.readouterr().err
