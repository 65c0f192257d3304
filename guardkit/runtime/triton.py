"""The `triton` backend: an artifact's graph, run by a Triton Inference Server.

Imported inside `open_runner` only: the client is the extra `triton`. The artifact here is what reads
and calibrates; so the server's model has to be that very one, which its config says by digest
(`guardkit triton repository` writes it there). It is asked for at the start, after every failure, and
every 30 seconds: a server that was given another model is refused, not believed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from guardkit.artifacts import Artifact, RunnerOptions
from guardkit.errors import DeadlineError, ServerError
from guardkit.runtime.base import Arrays, RunnerInfo, check_graph
from guardkit.runtime.breaker import CircuitBreaker
from guardkit.runtime.clock import Stop, check_time
from guardkit.runtime.padding import padded, without_padding
from guardkit.runtime.pbtxt import DIGEST, TYPES
from guardkit.runtime.wire import Unreachable, Wire, open_wire

T = TypeVar("T")

_TRUSTED_S = 30.0
_FIRST_WAIT_S = 0.01
_CONNECT_S = 10.0  # for a start, which may wait longer than a check
_DTYPES = {kind.removeprefix("TYPE_"): dtype for dtype, kind in TYPES.items()}


class TritonRunner:
    """An artifact's graph at a server; safe to share between threads, and usable after a fork."""

    def __init__(
        self, artifact: Artifact, options: RunnerOptions, *, wire: Wire | None = None
    ) -> None:
        """Connect, and hold the server's model to the artifact.

        Args:
            artifact: What the server has to serve; its graph stays unread here.
            options: `options.triton` says where, and how patiently.
            wire: The connection; None: that of the protocol the options name.

        Raises:
            MissingExtraError: The client is not installed.
            ServerError: The server cannot be reached, or serves another model or none of that name.
        """
        if options.triton is None:
            raise ServerError(
                f"{artifact.manifest.id}: backend triton needs to know where. "
                "Expected models.<name>.triton.url."
            )
        manifest = artifact.manifest
        self._manifest = manifest
        self._options = options.triton
        self._model = options.triton.model or manifest.name
        self._where = f"{options.triton.protocol} {options.triton.url}, model '{self._model}'"
        self._wire = wire or open_wire(options.triton)
        self._breaker = CircuitBreaker(options.triton.breaker)
        self._trusted_until_s = 0.0
        self._outputs = [spec.name for spec in manifest.outputs]
        self._info = RunnerInfo.of(manifest, backend="triton", provider="server")
        self._with_retries(self._verify, time.monotonic() + _CONNECT_S)

    @property
    def info(self) -> RunnerInfo:
        """What is really running."""
        return self._info

    def run(self, inputs: Arrays, *, stop: Stop | None = None) -> Arrays:
        """Have the server run the graph once; see `Runner.run`.

        Raises:
            RunError: The server failed, answered nonsense, or is left alone after failures in a row.
            ServerError: It serves another model by now.
            DeadlineError: There was no answer in time.
        """
        check_time(stop, self._info.name)
        until_s = time.monotonic() + self._options.call_ms / 1000
        until_s = until_s if stop is None else min(until_s, stop.at_s)
        sent = padded(inputs, self._manifest, to=self._options.pad_to)

        def call(left_s: float) -> Arrays:
            if time.monotonic() >= self._trusted_until_s:
                self._verify(left_s)
            return self._wire.infer(self._model, sent, self._outputs, until_s - time.monotonic())

        with self._breaker.attempt(self._where):
            outputs = self._with_retries(call, until_s)
            return without_padding(outputs, inputs, self._manifest)

    def _verify(self, left_s: float) -> None:
        """Hold the server's model to the artifact."""
        until_s = time.monotonic() + left_s
        said = self._wire.describe(self._model, left_s)
        wanted = self._info.digest
        found = said.parameters.get(DIGEST)
        if found != wanted:
            raise ServerError(
                f"{self._where}: serves a model with digest {(found or 'none')[:12]}, the artifact "
                f"{self._manifest.id} has {wanted[:12]}. Serve what guardkit triton repository "
                "made of it, or install the version that is served."
            )
        check_graph(_specs(said.inputs), self._manifest, where=self._where, kind="input")
        check_graph(_specs(said.outputs), self._manifest, where=self._where, kind="output")
        if time.monotonic() > until_s:
            raise DeadlineError(f"{self._where}: no time was left.")
        self._trusted_until_s = time.monotonic() + _TRUSTED_S

    def _with_retries(self, call: Callable[[float], T], until_s: float) -> T:
        """Call with the seconds that are left; once more, a little later, while nobody answers."""
        wait_s = _FIRST_WAIT_S
        for tries_left in range(self._options.retries, -1, -1):
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                break
            try:
                return call(left_s)
            except Unreachable as e:
                self._trusted_until_s = 0.0
                # Full jitter: callers that failed together must not come back together.
                pause_s = random.uniform(0, wait_s)  # noqa: S311  not a secret
                if not tries_left or time.monotonic() + pause_s >= until_s:
                    raise ServerError(f"{self._where}: {e}. Is it running, and ready?") from None
                time.sleep(pause_s)
                wait_s *= 4
        raise DeadlineError(f"{self._where}: no answer in time.")


def _specs(
    tensors: Mapping[str, tuple[str, tuple[int, ...]]],
) -> dict[str, tuple[str, tuple[int | str | None, ...]]]:
    """What a server says of its tensors, as `check_graph` compares it; -1 is a size that varies."""
    return {
        name: (_DTYPES.get(dtype, dtype), tuple(None if size < 0 else size for size in shape))
        for name, (dtype, shape) in tensors.items()
    }
