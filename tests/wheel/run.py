"""The wheels work where nothing of ours is: empty folder, empty environment, network blocked.

Builds the wheel, installs it with its `cpu` extra into a fresh environment, checks its size, then
checks a prompt in an empty folder under a Python whose sockets raise; likewise the data-only wheel.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

_ROOT = Path(__file__).parent.parent.parent
_LARGEST_WHEEL = 100_000_000  # bytes; product.md section 5
# Bytes with [cpu], its helpers and every model of the wheel. Issue 2 asked 220 MB with text-safety alone: it has that without
# pii-tagger (24 MB), what finds personal data (7 MB), prompt-rewriter (34 MB), and bottlenecks with what drives them (3 MB), which came later.
# The image models have a wheel of their own.
_LARGEST_INSTALL = 290_000_000

_OFFLINE = """
import socket

def refuse(*args, **kwargs):
    raise AssertionError("the network was used")

socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
"""
_CHECK = """
from pathlib import Path
import guardkit
from guardkit import Action, Guard
assert "site-packages" in guardkit.__file__, guardkit.__file__
guard = Guard.from_preset("text-to-image")
assert "site-packages" in str(Path(guardkit.__file__).parent / "exported_models")
assert guard.check_prompt("a quiet harbour at dawn").action is Action.ALLOW
assert guard.check_prompt("I will find you and kill you").action is Action.BLOCK
try:
    socket.create_connection(("127.0.0.1", 9))
except AssertionError:
    print("wheel: two prompts checked, offline")  # the block itself works
"""
_CHECK_IMAGES = """
import numpy
from guardkit import Action, Guard
grey = numpy.full((300, 400, 3), 127, "uint8")
for preset in ("generated-images", "hidden-faces"):
    decision = Guard.from_preset(preset).check_output(image=grey)
    assert decision.action is Action.ALLOW, decision
edit = Guard.from_preset("image-edits").check_edit(before=grey, after=grey, prompt="crop it")
assert edit.action is Action.ALLOW, edit
print("image wheel: a grey picture checked three times, offline")
"""
_CHECK_LANGUAGES = """
from guardkit import Action, Guard
guard = Guard.from_preset("multilingual")
decision = guard.check_prompt("Ich werde dich finden und dann bringe ich dich um")
assert (decision.language, decision.action) == ("de", Action.BLOCK), decision
decision = guard.check_prompt("Morgen gehen wir mit den Kindern in den Zoo")
assert (decision.language, decision.action) == ("de", Action.ALLOW), decision
print("data wheel: two German prompts checked, offline")
"""
_DECIDE = """
from guardkit import Guard
Guard.from_preset("text-to-image").check_prompt("a quiet harbour at dawn")
"""
_BARE = """
import guardkit
from guardkit import Guard, GuardkitError
from guardkit.policy.load import load_preset
load_preset("text-to-image")
try:
    Guard.from_preset("text-to-image")
except GuardkitError as e:
    assert 'pip install "guardkit[cpu]"' in str(e), e
    print("bare wheel: validates a policy, names the missing extra")
"""


def main() -> None:
    """Build, install twice (bare, then with the runtime), check."""
    with tempfile.TemporaryDirectory() as folder:
        dist, empty, home = Path(folder) / "dist", Path(folder) / "empty", Path(folder) / "env"
        empty.mkdir()
        wheel = _build(_ROOT, dist / "main")
        images = _build(_ROOT / "wheels" / "image-models", dist / "images")
        languages = _build(_ROOT / "wheels" / "text-safety-multi", dist / "languages")
        size = wheel.stat().st_size
        assert size < _LARGEST_WHEEL, f"{wheel.name}: {size} bytes"
        _run(sys.executable, "-m", "venv", str(home))
        python = str(home / "bin" / "python")
        before = _size(home)
        install = ("-m", "pip", "install", "-q", "-c", str(_ROOT / "constraints.txt"))
        _run(python, *install, str(wheel))
        _run(python, "-c", _BARE, cwd=empty)
        _run(python, *install, f"{wheel}[cpu]")
        installed = _size(home) - before
        assert installed < _LARGEST_INSTALL, f"installed: {installed} bytes"
        first, later = (_cpu_s(python, "-c", _DECIDE, cwd=empty) for _ in range(2))
        _run(python, "-c", _OFFLINE + _CHECK, cwd=empty)
        _run(str(home / "bin" / "guardkit"), "models", "verify", cwd=empty)
        _run(str(home / "bin" / "guardkit"), "doctor", cwd=empty)
        _run(python, *install, f"{wheel}[cpu,image]")
        _run(python, *install, str(images))
        _run(python, "-c", _OFFLINE + _CHECK_IMAGES, cwd=empty)
        _run(str(home / "bin" / "guardkit"), "models", "verify", cwd=empty)
        _run(python, *install, str(languages))
        _run(python, "-c", _OFFLINE + _CHECK_LANGUAGES, cwd=empty)
        _run(str(home / "bin" / "guardkit"), "doctor", cwd=empty)
        print(f"image wheel {images.stat().st_size / 1e6:.1f} MB")
        print(f"data wheel {languages.stat().st_size / 1e6:.1f} MB")
        print(f"wheel {size / 1e6:.1f} MB, installed with [cpu] {installed / 1e6:.0f} MB")
        print(f"first decision, CPU: {first:.2f} s after installation, {later:.2f} s later")


def _build(project: Path, out: Path) -> Path:
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation")
    _run(*build, "--outdir", str(out), str(project))
    (wheel,) = out.glob("*.whl")
    return wheel


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def _cpu_s(*command: str, cwd: Path) -> float:
    """CPU seconds of a whole process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _run(*command, cwd=cwd)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _run(*command: str, cwd: Path | None = None) -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("GUARDKIT_")
    }
    subprocess.run(command, check=True, cwd=cwd, env=environment, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
