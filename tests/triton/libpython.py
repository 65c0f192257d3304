"""Make sure that the python backend finds libpython: from Debian when root, else say what to install."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

NAME = f"libpython{sys.version_info.major}.{sys.version_info.minor}"


def is_there() -> bool:
    """Whether the loader finds it, or this Python brings it."""
    if (Path(sysconfig.get_config_var("LIBDIR") or "/") / f"{NAME}.so.1.0").is_file():
        return True
    try:
        ctypes.CDLL(f"{NAME}.so.1.0")
    except OSError:
        return False
    return True


def main() -> None:
    if not is_there() and os.geteuid() == 0 and (apt := shutil.which("apt-get")):
        subprocess.run([apt, "update", "-qq"], check=False)
        subprocess.run([apt, "install", "-y", "-qq", NAME], check=False)
    if not is_there():
        sys.exit(f"Triton's python backend needs {NAME}.so.1.0. Install it: apt-get install {NAME}")


if __name__ == "__main__":
    main()
