"""What checking an image costs on this machine: `python -m bench.images`.

CPU time of `Guard.check_output`, decoding included, one thread, of files held in memory: drawn pictures with the
spectrum of photographs, so that a JPEG has a photograph's size. Peak memory is that of a process that did nothing else. With `--nudenet PYTHON`
(`bench/nudenet_worker.py`) NudeNet reads the same file, call by call between guardkit's, from a path as it wants it.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
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
from guardkit.policy.load import find_policy, load_policy
from guardkit.policy.rules import ImageLimits, Rule, StagePolicy, When
from guardkit.types import Action, Status

_WARM, _REPEATS = 3, 40
_BATCH = 8
_POLICY = Policy("images", output_image=StagePolicy(scorers=("image-safety",)))
_MODES = ("fast", "precise")
_IN_TURN = "one JPEG 1024x1024 in turn with a peer, CPU ms"
_HIDING = ("every face blurred",)
_PORTRAIT = Path("docs/pictures/portrait.jpg")
_SIDE = math.isqrt(ImageLimits().max_pixels)


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("bench/results/images.json"))
    parser.add_argument("--nudenet", type=Path, help="python of an environment with NudeNet")
    parser.add_argument("--only", nargs="*", help="words of titles: leave other tables as they are")
    parser.add_argument("--memory", nargs=2, metavar=("MODE", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        return _check_and_tell_memory(*arguments.memory)
    tables = _tables(arguments.nudenet)
    before = json.loads(arguments.out.read_text()) if arguments.only else {}
    machine = describe_machine(load_before=0).name
    models = [*(one.id for one in _guard("precise").info()), machine]
    found: dict[str, Any] = {"models": models, **before}
    for title, measure in tables.items():
        if not arguments.only or any(word in title for word in arguments.only):
            found[title] = measure()
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(rendered(found))
    return 0


def _tables(nudenet: Path | None) -> dict[str, Callable[[], list[dict[str, Any]]]]:
    """Title -> what measures its rows."""
    square = _file(1024, 1024, "JPEG", quality=90)
    files = {
        f"JPEG 1024x1024, {len(square) // 1024} kB, one crop": square,
        "JPEG 1920x1080, three crops": _file(1920, 1080, "JPEG", quality=90),
        "PNG 1024x1024": _file(1024, 1024, "PNG"),
    }
    tables: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "one image, CPU ms": lambda: [_cost(what, mode, file) for what, file in files.items() for mode in _MODES],
        f"{_BATCH} images in one call, JPEG 1024x1024, CPU ms an image": lambda: [_batch(mode, square) for mode in _MODES],
        "decoding and cropping alone, JPEG 1024x1024, CPU ms": lambda: _preparing(square),
        "faces and editors, CPU ms": lambda: _editing(square),
        "peak memory of a process, MB": lambda: [
            *_memory("JPEG 1024x1024", square, _MODES),
            *_memory(f"PNG {_SIDE}x{_SIDE} with alpha", _large(), _MODES),
            *_memory("JPEG 1024x1024 of a face", _face(1024, "JPEG"), _HIDING),
            *_memory(f"PNG {_SIDE}x{_SIDE} of a face", _face(_SIDE, "PNG"), _HIDING),
        ],
    }  # fmt: skip
    if find_spec("av") is not None:  # the extra `video`
        tables["one video, 1280x720, 10 s, 25 frames a second, CPU ms"] = _videos
    if nudenet is not None:
        tables[_IN_TURN] = lambda: _in_turn(square, nudenet)
    return tables


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
        return _hiding()
    return Guard(replace(_POLICY, models={"image-safety": RunnerOptions(mode=mode)}))


def _hiding() -> Guard:
    """The preset `hidden-faces`, with time enough on a busy machine."""
    policy = load_policy(find_policy("hidden-faces"))
    return Guard(replace(policy, timeout_ms=120_000))


def _cost(what: str, mode: str, file: bytes) -> dict[str, Any]:
    guard = _guard(mode)
    return {"what": f"{what}, {mode}", **times(lambda: guard.check_output(image=file))}


def _batch(mode: str, file: bytes) -> dict[str, Any]:
    """Eight in one call and eight one at a time, by turns: in turns of their own they differed by 9 % with their neighbours."""
    guard = _guard(mode)
    ways: list[Callable[[], object]] = [
        lambda: guard.score_images([file] * _BATCH),
        lambda: [guard.score_images([file]) for _ in range(_BATCH)],
    ]
    took: tuple[list[float], list[float]] = [], []
    for turn in range(_WARM + _REPEATS):
        for way in (0, 1) if turn % 2 else (1, 0):
            began = time.process_time()
            ways[way]()
            took[way].append((time.process_time() - began) * 1000 / _BATCH)
    together, alone = (np.array(of[_WARM:]) for of in took)
    ratio = f"{np.median(together / alone):.3f}"
    return {"what": mode, **_quantiles(took[0]), "times one at a time": ratio}


def _in_turn(file: bytes, python: Path) -> list[dict[str, Any]]:
    """guardkit in both modes and NudeNet, one call each by turns, so that all have the same neighbours."""
    guards = {f"guardkit, {mode}": _guard(mode) for mode in _MODES}
    took: dict[str, list[float]] = {name: [] for name in (*guards, "NudeNet 3.4.2, 320n")}
    command = [str(python), "bench/nudenet_worker.py"]
    with _kept(file) as path, subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as peer:  # fmt: skip
        assert peer.stdin is not None  # noqa: S101  a pipe, as asked for
        assert peer.stdout is not None  # noqa: S101
        for _ in range(_WARM + _REPEATS):
            for name, guard in guards.items():
                began = time.process_time()
                guard.check_output(image=path)
                took[name].append((time.process_time() - began) * 1000)
            peer.stdin.write(f"{path}\n")
            peer.stdin.flush()
            took["NudeNet 3.4.2, 320n"].append(float(peer.stdout.readline().split()[0]))
        peer.stdin.close()
    base, machine = np.median(took["guardkit, fast"][_WARM:]), describe_machine(load_before=0).name
    return [
        {
            "what": f"{name}, {machine}",
            **_quantiles(of),
            "times fast": f"{np.median(of[_WARM:]) / base:.2f}",
        }
        for name, of in took.items()
    ]


def _videos() -> list[dict[str, Any]]:
    """`Guard.check_output(video=...)` with the default 16 frames, three crops each; a key frame every two seconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = _video(Path(folder) / "drawn.mp4")
        guards = {mode: _guard(mode) for mode in _MODES}
        if guards["fast"].check_output(video=path).status is not Status.OK:
            raise SystemExit("bench.images: the video was not measured")
        return [
            {"what": mode, **times(functools.partial(guard.check_output, video=path), repeats=5)}
            for mode, guard in guards.items()
        ]


def _video(path: Path) -> Path:
    """A slow pan over a drawn photograph."""
    import av

    wide = drawn_photograph(1280 + 250, 720)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "veryfast", "g": "50"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for left in range(250):
            frame = np.ascontiguousarray(wide[:, left : left + 1280])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def _preparing(file: bytes) -> list[dict[str, Any]]:
    from guardkit.image.decode import decode
    from guardkit.image.prepare import crops_of

    return [
        {"what": "at a fraction of its size", **times(lambda: crops_of(decode(file, shortest=224), side=224))},
        {"what": "every pixel", **times(lambda: crops_of(decode(file), side=224))},
    ]  # fmt: skip


def _editing(square: bytes) -> list[dict[str, Any]]:
    """What finding faces adds to a check, and what edits cost; a map at its worst, where no region is enough."""
    faces = _hiding()
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
        {"what": "check with face-detector, JPEG 1024x1024 without a face", **times(lambda: faces.check_output(image=square))},
        {"what": "the same with a face, blurred and scored again", **times(lambda: faces.check_output(image=face))},
        *(
            {"what": f"blur by an occlusion map, JPEG 1024x1024, one crop, {mode}", **times(functools.partial(guard.check_output, image=square), repeats=8)}
            for mode, guard in mapped.items()
        ),
    ]  # fmt: skip


def times(work: Callable[[], object], *, share: int = 1, repeats: int = _REPEATS) -> dict[str, str]:
    """CPU milliseconds of a call, divided by `share`."""
    took = []
    for _ in range(_WARM + repeats):
        began = time.process_time()
        work()
        took.append((time.process_time() - began) * 1000 / share)
    return _quantiles(took)


def _quantiles(took: Sequence[float]) -> dict[str, str]:
    """Without the first calls, which warm up."""
    p50, p95 = np.percentile(took[_WARM:], [50, 95])
    return {"p50": f"{p50:.1f}", "p95": f"{p95:.1f}", "least": f"{min(took[_WARM:]):.1f}"}


@contextlib.contextmanager
def _kept(file: bytes) -> Iterator[Path]:
    """A file on disk, for as long as it is needed."""
    path = Path("bench/results/.picture")
    path.write_bytes(file)
    try:
        yield path
    finally:
        path.unlink()


def _memory(what: str, file: bytes, modes: Sequence[str]) -> list[dict[str, Any]]:
    """In a process each, for memory that was once taken stays in the peak."""
    with _kept(file) as path:
        command = [sys.executable, "-m", "bench.images", "--memory"]
        return [
            {
                "what": f"{what}, {mode}",
                "peak": subprocess.run(
                    [*command, mode, str(path)], check=True, capture_output=True, text=True
                ).stdout.strip(),
            }
            for mode in modes
        ]


def _check_and_tell_memory(mode: str, file: str) -> int:
    guard = _guard(mode)
    for _ in range(_WARM):
        decision = guard.check_output(image=file)
        if decision.status is not Status.OK or (mode in _HIDING) != (
            decision.action is Action.EDIT
        ):
            raise SystemExit(f"bench.images: {decision.reasons}")
        del decision  # it holds the edited picture
    print(round(peak_memory_bytes() / 1e6))
    return 0


if __name__ == "__main__":
    sys.exit(main())
