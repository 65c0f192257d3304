"""What checking an image costs on this machine: `python -m bench.images`.

CPU time of `Guard.check_output`, decoding included, one thread, of files held in memory: drawn pictures with the
spectrum of photographs, so that a JPEG has a photograph's size. Peak memory is that of a process that did nothing else.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from PIL import Image

from bench.tables import rendered
from guardkit import Guard, Policy
from guardkit.artifacts import RunnerOptions
from guardkit.bench.machine import describe_machine
from guardkit.bench.probe import peak_memory_bytes
from guardkit.policy.rules import ImageLimits, Rule, StagePolicy, When
from guardkit.types import Action

_WARM, _REPEATS = 3, 40
_BATCH = 8
_POLICY = Policy("images", output_image=StagePolicy(scorers=("image-safety",)))
_MODES = ("fast", "precise")
_HIDING = ("every face blurred",)
_PORTRAIT = Path("docs/pictures/portrait.jpg")
_SIDE = math.isqrt(ImageLimits().max_pixels)


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("bench/results/images.json"))
    parser.add_argument("--memory", nargs=2, metavar=("MODE", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        return _check_and_tell_memory(*arguments.memory)
    square = _file(1024, 1024, "JPEG", quality=90)
    files = {
        f"JPEG 1024x1024, {len(square) // 1024} kB, one crop": square,
        "JPEG 1920x1080, three crops": _file(1920, 1080, "JPEG", quality=90),
        "PNG 1024x1024": _file(1024, 1024, "PNG"),
    }
    found = {
        "models": [*(one.id for one in _guard("precise").info()), describe_machine(load_before=0).name],
        "one image, CPU ms": [_cost(what, mode, file) for what, file in files.items() for mode in _MODES],
        f"{_BATCH} images in one call, JPEG 1024x1024, CPU ms an image": [_batch(mode, square) for mode in _MODES],
        "decoding and cropping alone, JPEG 1024x1024, CPU ms": _preparing(square),
        "faces and editors, CPU ms": _editing(square),
        "peak memory of a process, MB": [
            *_memory("JPEG 1024x1024", square, _MODES),
            *_memory(f"PNG {_SIDE}x{_SIDE} with alpha", _large(), _MODES),
            *_memory("JPEG 1024x1024 of a face", _face(1024, "JPEG"), _HIDING),
            *_memory(f"PNG {_SIDE}x{_SIDE} of a face", _face(_SIDE, "PNG"), _HIDING),
        ],
    }  # fmt: skip
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(rendered(found))
    return 0


def drawn_photograph(width: int, height: int, *, seed: int = 7) -> NDArray[np.uint8]:
    """Noise whose amplitude falls with frequency, as that of photographs does; uint8 [height, width, 3]."""
    random = np.random.default_rng(seed)
    down, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    slope = 1 / np.maximum(np.hypot(down, across), 1 / max(width, height)) ** 1.2
    phases = random.uniform(0, 2 * np.pi, (3, *slope.shape))
    waves = np.fft.irfft2(slope * np.exp(1j * phases), s=(height, width))
    waves = 0.7 * waves.mean(axis=0) + 0.3 * waves  # colours mostly agree
    levels = 128 + 48 * waves / waves.std()
    return levels.clip(0, 255).astype(np.uint8).transpose(1, 2, 0)


def _file(width: int, height: int, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(drawn_photograph(width, height)).save(buffer, kind, **options)
    return buffer.getvalue()


def _large() -> bytes:
    """The largest picture that the default limits let through, in the mode that takes most memory."""
    buffer = io.BytesIO()
    Image.new("RGBA", (_SIDE, _SIDE), (200, 120, 40, 128)).save(buffer, "PNG")
    return buffer.getvalue()


def _face(side: int, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.open(_PORTRAIT).resize((side, side)).save(buffer, kind)
    return buffer.getvalue()


def _guard(mode: Any) -> Guard:
    if mode in _HIDING:
        return Guard.from_preset("hidden-faces")
    return Guard(replace(_POLICY, models={"image-safety": RunnerOptions(mode=mode)}))


def _cost(what: str, mode: str, file: bytes) -> dict[str, Any]:
    guard = _guard(mode)
    return {"what": f"{what}, {mode}", **_times(lambda: guard.check_output(image=file))}


def _batch(mode: str, file: bytes) -> dict[str, Any]:
    guard = _guard(mode)
    return {"what": mode, **_times(lambda: guard.score_images([file] * _BATCH), share=_BATCH)}


def _preparing(file: bytes) -> list[dict[str, Any]]:
    from guardkit.image.decode import decode
    from guardkit.image.prepare import crops_of

    return [
        {"what": "at a fraction of its size", **_times(lambda: crops_of(decode(file, shortest=224), side=224))},
        {"what": "every pixel", **_times(lambda: crops_of(decode(file), side=224))},
    ]  # fmt: skip


def _editing(square: bytes) -> list[dict[str, Any]]:
    """What finding faces adds to a check, and what edits cost; a map at its worst, where no region is enough."""
    faces = Guard.from_preset("hidden-faces")
    rule = Rule(
        "all", When("sexual", 0.0), Action.EDIT, "blur"
    )  # reached by any score, so never undone
    stage = StagePolicy(("image-safety",), ("blur",), (rule,), after_edit="allow")
    mapped = {
        mode: Guard(
            replace(_POLICY, output_image=stage, models={"image-safety": RunnerOptions(mode=mode)})
        )
        for mode in _MODES
    }
    face = _face(1024, "JPEG")
    if faces.check_output(image=face).action is not Action.EDIT:
        raise SystemExit("bench.images: the face was not blurred")
    return [
        {"what": "check with face-detector, JPEG 1024x1024 without a face", **_times(lambda: faces.check_output(image=square))},
        {"what": "the same with a face, blurred and scored again", **_times(lambda: faces.check_output(image=face))},
        *(
            {"what": f"blur by an occlusion map, JPEG 1024x1024, one crop, {mode}", **_times(functools.partial(guard.check_output, image=square), repeats=8)}
            for mode, guard in mapped.items()
        ),
    ]  # fmt: skip


def _times(
    work: Callable[[], object], *, share: int = 1, repeats: int = _REPEATS
) -> dict[str, str]:
    """CPU milliseconds of a call, divided by `share`."""
    took = []
    for _ in range(_WARM + repeats):
        began = time.process_time()
        work()
        took.append((time.process_time() - began) * 1000 / share)
    p50, p95 = np.percentile(took[_WARM:], [50, 95])
    return {"p50": f"{p50:.1f}", "p95": f"{p95:.1f}", "least": f"{min(took[_WARM:]):.1f}"}


def _memory(what: str, file: bytes, modes: Sequence[str]) -> list[dict[str, Any]]:
    """In a process each, for memory that was once taken stays in the peak."""
    path = Path("bench/results/.picture")
    path.write_bytes(file)
    try:
        return [
            {
                "what": f"{what}, {mode}",
                "peak": subprocess.run(
                    [sys.executable, "-m", "bench.images", "--memory", mode, str(path)],
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout.strip(),
            }
            for mode in modes
        ]
    finally:
        path.unlink()


def _check_and_tell_memory(mode: str, file: str) -> int:
    guard = _guard(mode)
    for _ in range(_WARM):
        guard.check_output(image=file)
    print(round(peak_memory_bytes() / 1e6))
    return 0


if __name__ == "__main__":
    sys.exit(main())
