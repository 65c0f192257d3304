"""`guardkit check --image`: what it shows of a picture, and the edited one it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guardkit.cli.main import main
from guardkit.image.decode import decode
from tests.conftest import WriteFile
from tests.pictures import BLUE, RED, encoded, plain
from tests.tiny_image import build_tiny_faces, build_tiny_images

POLICY = """
policy: faces
output-image:
  scorers: [face-detector]
  editors: [fill-faces]
  rules:
    - {name: faces, when: {category: privacy, at_least: 0.5}, action: edit, using: fill-faces}
"""


@pytest.fixture
def policy(tmp_path: Path, write_file: WriteFile, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = build_tiny_faces(build_tiny_images(tmp_path / "models"))
    monkeypatch.setenv("GUARDKIT_MODELS", str(folder))
    return str(write_file("faces.yaml", POLICY))


@pytest.fixture
def face(tmp_path: Path) -> Path:
    picture = plain(BLUE, width=128, height=128)
    picture[40:44, 64:68] = RED
    path = tmp_path / "face.png"
    path.write_bytes(encoded(picture))
    return path


@pytest.mark.parametrize("ending", [".png", ".JPG", ".jpeg", ".webp"])
def test_the_edited_picture_is_written(
    policy: str, face: Path, tmp_path: Path, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"edited{ending}"
    assert main(["check", "--policy", policy, "--image", str(face), "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "regions: face 1.00 [50, 26, 82, 58] fill-faces" in told
    assert f"use instead: {out}" in told
    pixels = decode(out).frames[0]
    assert pixels.shape == (128, 128, 3)
    assert (pixels[40:44, 64:68, 0] < 60).all()  # no red dot any more


@pytest.mark.parametrize("edits", [True, False])
def test_the_json_names_the_file_that_was_written(
    policy: str, face: Path, tmp_path: Path, edits: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "edited.png"
    if not edits:
        face.write_bytes(encoded(plain(BLUE)))
    main(["check", "--policy", policy, "--json", "--image", str(face), "--out", str(out)])
    answer = json.loads(capsys.readouterr().out)
    assert answer["image"] == (str(out) if edits else None)
    assert [region["editor"] for region in answer["regions"]] == ["fill-faces"] * edits
    assert out.exists() is edits


def test_a_prompt_goes_with_the_picture(
    policy: str, face: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(policy)
    file.write_text(
        POLICY.replace("face-detector", "public-figures").replace("privacy", "public-figure")
    )
    check = ["check", "--policy", policy, "--image", str(face)]
    assert main([*check, "--prompt", "Albert Einstein on a beach"]) == 0
    assert capsys.readouterr().out.startswith("edit ")
    assert main([*check, "--prompt", "a man on a beach"]) == 0
    assert capsys.readouterr().out.startswith("allow ")
    assert main(check) == 1
    assert "prompt: not given" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(["a text", "--out", "a.png"], "--out: goes with --image", id="text"),
        pytest.param(["a text", "--prompt", "b"], "--prompt: goes with --image", id="prompt"),
        pytest.param(["--video", "a", "--out", "b.png"], "--out: goes with --image", id="film"),
        pytest.param(["--video", "a", "--image", "b"], "both are given", id="film-and-image"),
        pytest.param(["--image", "a", "b", "--out", "c.png"], "2 images for one file", id="two"),
        pytest.param(["--image", "a", "--out", "c.tiff"], "ending '.tiff'. Expected", id="ending"),
        pytest.param(["--image", "a", "--out", "none/c.png"], "no folder none", id="folder"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(
    policy: str, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--policy", policy, *arguments]) == 2
    assert told in capsys.readouterr().err


def test_a_picture_that_cannot_be_written_is_an_error(
    policy: str, face: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.png"
    out.mkdir()
    assert main(["check", "--policy", policy, "--image", str(face), "--out", str(out)]) == 2
    assert "cannot be written" in capsys.readouterr().err
