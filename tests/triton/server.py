"""A real Triton server, out of the wheel nvidia-pytriton, for the tests.

The wheel holds the server (2.51) with the `python` backend alone, which is why the repositories of
these tests say `--backend python`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import site
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytriton

_WHEEL = Path(pytriton.__file__).parent / "tritonserver"
_LIBRARIES = Path(pytriton.__file__).parent.with_name("nvidia_pytriton.libs")
_STUB = "triton_python_backend_stub"
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class TritonServer:
    """A server process on a model repository; its ports stay the same over a restart."""

    def __init__(self, models: Path, work: Path, *options: str) -> None:
        self._work = work
        self.http_port, self.grpc_port, self.metrics_port = _free_ports(3)
        self.http, self.grpc = f"127.0.0.1:{self.http_port}", f"127.0.0.1:{self.grpc_port}"
        self._command = [
            str(_WHEEL / "bin" / "tritonserver"),
            f"--model-repository={models}",
            f"--backend-directory={_backends(work)}",
            f"--cache-directory={_WHEEL / 'caches'}",
            f"--http-port={self.http_port}",
            f"--grpc-port={self.grpc_port}",
            f"--metrics-port={self.metrics_port}",
            "--http-address=127.0.0.1",
            "--grpc-address=127.0.0.1",
            "--metrics-address=127.0.0.1",
            *options,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What the server printed."""
        return (self._work / "triton.log").read_text("utf-8", "replace")

    def start(self, timeout_s: float = 120) -> None:
        """Start, and wait until every model is ready."""
        with (self._work / "triton.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=_environment(), start_new_session=True
            )
        until_s = time.monotonic() + timeout_s
        while not self.is_ready():
            if self._process.poll() is not None or time.monotonic() > until_s:
                raise RuntimeError(f"Triton did not start:\n{self.log[-8000:]}")
            time.sleep(0.1)

    def is_ready(self) -> bool:
        """Whether it answers and every model is loaded."""
        try:
            with urllib.request.urlopen(f"http://{self.http}/v2/health/ready", timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        """End it at once, with the processes of its models."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):  # it ended by itself
                os.killpg(self._process.pid, 9)
            self._process.wait()
            self._process = None


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _backends(work: Path) -> Path:
    """The python backend with the stub of this Python, which the wheel keeps elsewhere."""
    folder = work / "backends" / "python"
    if not folder.exists():
        shutil.copytree(_WHEEL / "backends" / "python", folder)
        shutil.copy(_WHEEL / "python_backend_stubs" / _PYTHON / _STUB, folder / _STUB)
        (folder / _STUB).chmod(0o755)
    return work / "backends"


def _environment() -> dict[str, str]:
    """The stub embeds the Python that PATH finds first: it has to be this one, with its numpy 1.26."""
    libraries = [
        str(_LIBRARIES),
        sysconfig.get_config_var("LIBDIR") or "",
        os.environ.get("LD_LIBRARY_PATH", ""),
    ]
    return {
        **os.environ,
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries)),
        "PATH": os.pathsep.join([str(Path(sys.prefix) / "bin"), os.environ.get("PATH", "")]),
        "VIRTUAL_ENV": sys.prefix,
        "PYTHONPATH": os.pathsep.join([*site.getsitepackages(), str(Path(__file__).parents[2])]),
        "OMP_NUM_THREADS": "1",
    }
