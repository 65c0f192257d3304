"""What a Triton client can do, whichever protocol it speaks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from guardkit.artifacts import Tls, Triton
from guardkit.errors import ServerError
from guardkit.runtime.base import Arrays

MOST_BYTES = 256 * 2**20
"""Of one message; chosen: far above any answer of a model here."""


class Unreachable(Exception):  # noqa: N818  a state, and never seen by callers
    """Nobody answered, or the server said that it is not ready: another try may go better."""


Tensors = Mapping[str, tuple[str, tuple[int, ...]]]
"""Name -> Triton's dtype, and shape; -1 is a size that varies."""


@dataclass(frozen=True, slots=True)
class Described:
    """What a server says of a model."""

    parameters: Mapping[str, str]
    inputs: Tensors
    outputs: Tensors


@dataclass(frozen=True, slots=True)
class Placed:
    """An input that lies in a region of shared memory which the server knows."""

    region: str
    offset: int
    """Bytes before it."""
    nbytes: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


Inputs = Mapping[str, NDArray[Any] | Placed]


class Wire(Protocol):
    """A connection that may be shared between threads, and opens itself anew after a fork.

    Both methods raise Unreachable, DeadlineError when the time is over, and RunError or ServerError for
    an answer that says no or that cannot be understood; no message of a server's about an inference is passed on,
    for it may quote the input.
    """

    def describe(self, model: str, timeout_s: float) -> Described:
        """Ask what a model is."""
        ...

    def infer(self, model: str, inputs: Arrays, outputs: Sequence[str], timeout_s: float) -> Arrays:
        """Have a model run."""
        ...


class RegionWire(Protocol):
    """A connection to a server that may read shared memory; errors as of `Wire`, RunError when it will not."""

    def describe(self, model: str, timeout_s: float) -> Described:
        """Ask what a model is."""
        ...

    def infer(self, model: str, inputs: Inputs, outputs: Sequence[str], timeout_s: float) -> Arrays:
        """Have a model run."""
        ...

    def register(self, region: str, size: int, timeout_s: float) -> None:
        """Have the server map a file of /dev/shm, of `size` bytes."""
        ...

    def unregister(self, region: str, timeout_s: float) -> None:
        """Have it let go of one."""
        ...


def open_wire(options: Triton) -> Wire:
    """The client of the protocol the options name; nothing is sent yet.

    Raises:
        MissingExtraError: It is not installed.
        ServerError: A file of `tls` cannot be read, or the environment does not hold the token.
    """
    _check_files(options.tls)
    wire = _connection(options)
    if not options.shared_memory:
        return wire
    from guardkit.runtime.shared_memory import SharedMemoryWire  # of Linux alone

    return SharedMemoryWire(wire, f"{options.protocol} {options.url}")


def _connection(options: Triton) -> RegionWire:
    if options.protocol == "http":
        from guardkit.runtime.wire_http import HttpWire  # optional packages

        return HttpWire(options)
    from guardkit.runtime.wire_grpc import GrpcWire

    return GrpcWire(options)


def _check_files(tls: Tls | None) -> None:
    for file in (tls.ca, tls.certificate, tls.key) if tls else ():
        if file is not None and not os.access(file, os.R_OK):
            raise ServerError(f"{file}: cannot be read. Expected a PEM file (triton.tls).")


def queue_us(timeout_s: float) -> int:
    """How long a server may let a request wait, in its unit: not longer than somebody waits for it."""
    return max(1, int(timeout_s * 1e6))


def headers_of(options: Triton) -> dict[str, str]:
    """The bearer token, where the options name one.

    Raises:
        ServerError: The environment does not hold it.
    """
    if options.token_env is None:
        return {}
    token = os.environ.get(options.token_env)
    if not token:
        raise ServerError(
            f"{options.url}: the environment variable {options.token_env} is not set."
        )
    return {"authorization": f"Bearer {token}"}
