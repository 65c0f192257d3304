"""`guardkit export image-safety` and `face-detector` take the models they tell of, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardkit.cli.main import main


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(None, "cannot be read", id="missing"),
        pytest.param(b"other weights", "image-safety is made of fef443ed68ae", id="other-weights"),
    ],
)
def test_other_weights_are_refused(
    content: bytes | None, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "a.onnx", tmp_path / "out"
    if content is not None:
        file.write_bytes(content)
    arguments = ["--first", str(file), "--second", str(file), "--out", str(out)]
    assert main(["export", "image-safety", *arguments]) == 2
    assert told in capsys.readouterr().err
    assert not out.exists()


def test_another_face_detector_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "a.onnx", tmp_path / "out"
    file.write_bytes(b"other weights")
    assert main(["export", "face-detector", "--source", str(file), "--out", str(out)]) == 2
    assert "face-detector is made of 09189deaaf86" in capsys.readouterr().err
    assert not out.exists()
