"""The Triton client over gRPC."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from guardkit.artifacts import Tls, Triton
from guardkit.errors import DeadlineError, MissingExtraError, RunError, ServerError
from guardkit.runtime.base import Arrays
from guardkit.runtime.wire import (
    MOST_BYTES,
    Described,
    Inputs,
    Placed,
    Tensors,
    Unreachable,
    headers_of,
    queue_us,
)

try:
    import tritonclient.grpc as client
    from tritonclient.utils import InferenceServerException, np_to_triton_dtype
except ImportError as e:
    raise MissingExtraError("backend triton", "triton") from e

T = TypeVar("T")
_LATE, _AWAY = "StatusCode.DEADLINE_EXCEEDED", "StatusCode.UNAVAILABLE"
_RESTRICTED = (
    "restricted"  # what Triton says, as "unavailable", of a call that it was told to refuse
)
_CHANNEL = [
    ("grpc.max_send_message_length", MOST_BYTES),
    ("grpc.max_receive_message_length", MOST_BYTES),
    # A peer that vanished without a word is noticed within 15 seconds of a call.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # A server that is back is found at once: gRPC's own pauses between attempts grow to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]


class GrpcWire:
    """One channel a process; see `Wire`."""

    def __init__(self, options: Triton) -> None:
        self._options = options
        self._where = f"grpc {options.url}"
        self._headers = headers_of(options)
        self._connected: tuple[int, Any] | None = None

    @property
    def _client(self) -> Any:
        """This process's channel: gRPC's own does not survive a fork."""
        if self._connected is None or self._connected[0] != os.getpid():
            self._connected = (os.getpid(), self._connect())
        return self._connected[1]

    def _connect(self) -> Any:
        tls = self._options.tls
        files = tls or Tls()
        return client.InferenceServerClient(
            self._options.url,
            ssl=tls is not None,
            root_certificates=files.ca,
            private_key=files.key,
            certificate_chain=files.certificate,
            channel_args=_CHANNEL,
        )

    def describe(self, model: str, timeout_s: float) -> Described:
        """Ask what a model is; see `Wire`."""
        ask = {"headers": self._headers, "client_timeout": timeout_s}
        try:
            config = self._client.get_model_config(model, **ask).config
            told = self._client.get_model_metadata(model, **ask)
        except InferenceServerException as e:
            self._raise_transport(e)
            raise ServerError(f"{self._where}: model '{model}': {e.message()}") from None
        parameters = {name: value.string_value for name, value in config.parameters.items()}
        return Described(parameters, _tensors(told.inputs), _tensors(told.outputs))

    def register(self, region: str, size: int, timeout_s: float) -> None:
        """Have the server map a region; see `RegionWire`."""
        ask = {"headers": self._headers, "client_timeout": timeout_s}
        self._shared(
            lambda: self._client.register_system_shared_memory(region, f"/{region}", size, **ask)
        )

    def unregister(self, region: str, timeout_s: float) -> None:
        """Have it let go of one; see `RegionWire`."""
        ask = {"headers": self._headers, "client_timeout": timeout_s}
        self._shared(lambda: self._client.unregister_system_shared_memory(region, **ask))

    def _shared(self, call: Callable[[], object]) -> None:
        try:
            call()
        except InferenceServerException as e:
            if _RESTRICTED not in (e.message() or ""):
                self._raise_transport(e)
            raise RunError(f"{self._where}: {e.message()}") from None

    def infer(self, model: str, inputs: Inputs, outputs: Sequence[str], timeout_s: float) -> Arrays:
        """Have a model run; see `Wire`."""
        if timeout_s <= 0:
            raise DeadlineError(f"{self._where}: no time was left.")
        tensors = [_input(name, array) for name, array in inputs.items()]
        wanted = [client.InferRequestedOutput(name) for name in outputs]
        call = functools.partial(
            self._client.infer,
            model,
            tensors,
            outputs=wanted,
            headers=self._headers,
            client_timeout=timeout_s,
            timeout=queue_us(timeout_s),
        )
        answer = self._asked(call)
        return self._asked(lambda: {name: answer.as_numpy(name) for name in outputs})

    def _asked(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except InferenceServerException as e:
            self._raise_transport(e)
            raise RunError(f"{self._where}: the server failed ({e.status()}).") from None
        except (ValueError, TypeError) as e:  # an answer whose bytes do not fit its shape
            raise RunError(f"{self._where}: nonsense ({type(e).__name__}).") from None

    def _raise_transport(self, e: InferenceServerException) -> None:
        """Raise what says nothing about the model: nobody there, or no time."""
        if e.status() == _LATE:
            raise DeadlineError(f"{self._where}: no answer in time.") from None
        if e.status() == _AWAY:
            raise Unreachable("cannot be reached, or is not ready") from None
        return


def _input(name: str, array: Any) -> Any:
    tensor = client.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    if isinstance(array, Placed):
        return tensor.set_shared_memory(array.region, array.nbytes, array.offset)
    return tensor.set_data_from_numpy(array)


def _tensors(told: Sequence[Any]) -> Tensors:
    return {tensor.name: (tensor.datatype, tuple(tensor.shape)) for tensor in told}
