"""Inputs through memory that a server on this machine reads too: an image's crops need not cross a connection.

    /dev/shm/guardkit-<process>-<random>   made, named to the server, and at once without its name again

The server maps a region when it is registered, so the name is needed no longer than that: a process that crashes
leaves nothing behind in /dev/shm, and a server that restarts cannot take one region for another. What the server keeps
mapped of a process that crashed goes with the server's next start.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
import time
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guardkit.errors import GuardkitError, RunError, ServerError
from guardkit.runtime.base import Arrays
from guardkit.runtime.wire import Described, Placed, RegionWire, Unreachable

_FOLDER = Path("/dev/shm")  # noqa: S108  where Linux keeps shared memory
_LEAST_BYTES = 2**20  # chosen: six crops of 224 pixels
_ALIGNED = 64  # bytes; a line of the cache
_GOODBYE_S = 0.5  # longest wait for a server to let go of a region


class Region:
    """Memory that two processes can map."""

    def __init__(self, size: int) -> None:
        """Take memory, under a name that nobody else has.

        Raises:
            ServerError: There is none left, or this system has no such folder.
        """
        self.name = f"guardkit-{os.getpid()}-{secrets.token_hex(8)}"
        self.size = size
        self.is_proven = False
        """Whether the server has answered from it."""
        self._path = _FOLDER / self.name
        try:
            file = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(
                    file, 0, size
                )  # memory that is not there must fail here, not kill later
                self._memory = mmap.mmap(file, size)
            except OSError:
                self.forget_name()
                raise
            finally:
                os.close(file)
        except OSError as e:
            raise ServerError(
                f"{_FOLDER}: no {size} bytes of shared memory ({e.strerror}). Expected Linux with room "
                "there (docker: shm_size), or triton.shared_memory: false."
            ) from e

    def forget_name(self) -> None:
        """Leave the memory to those that have mapped it."""
        self._path.unlink(missing_ok=True)

    def place(self, inputs: Arrays) -> dict[str, Placed]:
        """Copy arrays into it, one behind the other."""
        placed, offset = {}, 0
        for name, array in inputs.items():
            target: NDArray[Any] = np.ndarray(array.shape, array.dtype, self._memory, offset)
            target[...] = array
            placed[name] = Placed(self.name, offset, array.nbytes, array.shape, array.dtype)
            offset += _room(array)
        return placed


@dataclass(slots=True)
class _Regions:
    """The regions of one process that no call uses; taking and giving back are atomic."""

    process: int
    free: deque[Region]


class SharedMemoryWire:
    """A `Wire` that leaves inputs in regions, one a call at a time; usable by threads and after a fork."""

    def __init__(self, wire: RegionWire, where: str) -> None:
        """Put regions before a connection.

        Args:
            wire: The connection.
            where: The server, for errors.
        """
        self._wire = wire
        self._where = where
        self._held = _Regions(os.getpid(), deque())
        weakref.finalize(self, _let_go, wire, self._held)

    def describe(self, model: str, timeout_s: float) -> Described:
        """Ask what a model is, and whether the server can read memory of ours; see `Wire`."""
        until_s = time.monotonic() + timeout_s
        said = self._wire.describe(model, timeout_s)
        regions = self._regions
        if not regions.free:
            regions.free.append(self._registered(_LEAST_BYTES, until_s))
        return said

    def infer(self, model: str, inputs: Arrays, outputs: Sequence[str], timeout_s: float) -> Arrays:
        """Have a model run; see `Wire`.

        A server that was started again does not know a region any longer: it gets a new one, once.
        """
        until_s = time.monotonic() + timeout_s
        regions, size = self._regions, sum(map(_room, inputs.values()))
        while True:
            region = self._taken(regions, size, until_s)
            try:
                placed = region.place(inputs)
                answer = self._wire.infer(model, placed, outputs, until_s - time.monotonic())
            except RunError:
                self._discard(region)
                if not region.is_proven:
                    raise
                continue
            except (Unreachable, GuardkitError):
                # A call that is late may still be read from it; whatever it then says, nobody listens.
                regions.free.append(region)
                raise
            region.is_proven = True
            regions.free.append(region)
            return answer

    @property
    def _regions(self) -> _Regions:
        """This process's: a fork must not write into what its parent's calls are read from."""
        if self._held.process != os.getpid():
            self._held = _Regions(os.getpid(), deque())
            weakref.finalize(self, _let_go, self._wire, self._held)
        return self._held

    def _taken(self, regions: _Regions, size: int, until_s: float) -> Region:
        with contextlib.suppress(IndexError):
            region = regions.free.pop()
            if region.size >= size:
                return region
            self._discard(region)
        return self._registered(max(_LEAST_BYTES, 1 << (size - 1).bit_length()), until_s)

    def _registered(self, size: int, until_s: float) -> Region:
        region = Region(size)
        try:
            self._wire.register(region.name, size, until_s - time.monotonic())
        except RunError as e:
            raise ServerError(
                f"{self._where}: does not take shared memory ({e}). Expected a server on this machine that sees its "
                f"{_FOLDER} (docker: --ipc=host), runs as the same user or as root, and allows it; or "
                "triton.shared_memory: false."
            ) from None
        finally:
            region.forget_name()
        return region

    def _discard(self, region: Region) -> None:
        with contextlib.suppress(Unreachable, GuardkitError):  # it may not know it any longer
            self._wire.unregister(region.name, _GOODBYE_S)


def _room(array: NDArray[Any]) -> int:
    return -(-array.nbytes // _ALIGNED) * _ALIGNED


def _let_go(wire: RegionWire, regions: _Regions) -> None:
    """Tell the server that this process needs its regions no longer."""
    if regions.process != os.getpid():
        return
    with contextlib.suppress(IndexError, Exception):  # at the end of a process nobody could be told
        while True:
            wire.unregister(regions.free.pop().name, _GOODBYE_S)
