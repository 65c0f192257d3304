"""The Triton client over HTTP: the client library's request bodies, urllib3's connections.

The library's own HTTP client may not cross threads and knows no time limit a call; urllib3's pool does both.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

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
    import tritonclient.http as client
    import urllib3
    from tritonclient.utils import InferenceServerException, np_to_triton_dtype
    from urllib3.exceptions import HTTPError, ReadTimeoutError
except ImportError as e:
    raise MissingExtraError("backend triton over HTTP", "triton") from e

_JSON_LENGTH = "Inference-Header-Content-Length"
_AWAY = (502, 503, 504)
_OK = 200
_CONNECTIONS = 64  # kept, a process: above the threads of a web server
_CHUNK = 65536
_MOST_TOLD = 200  # characters of a server's reason


class HttpWire:
    """A pool of connections a process; see `Wire`."""

    def __init__(self, options: Triton) -> None:
        self._options = options
        self._where = f"http {options.url}"
        self._headers = headers_of(options)
        self._base = f"{'https' if options.tls else 'http'}://{options.url}/v2"
        self._connected: tuple[int, urllib3.PoolManager] | None = None

    @property
    def _pool(self) -> urllib3.PoolManager:
        """This process's pool: a fork must not share its parent's connections."""
        if self._connected is None or self._connected[0] != os.getpid():
            files = self._options.tls or Tls()
            self._connected = (
                os.getpid(),
                urllib3.PoolManager(
                    maxsize=_CONNECTIONS,
                    ca_certs=files.ca,
                    cert_file=files.certificate,
                    key_file=files.key,
                ),
            )
        return self._connected[1]

    def describe(self, model: str, timeout_s: float) -> Described:
        """Ask what a model is; see `Wire`."""
        until_s = time.monotonic() + timeout_s
        config = self._json(f"models/{model}/config", until_s)
        told = self._json(f"models/{model}", until_s)
        try:
            parameters = {
                name: str(value.get("string_value", ""))
                for name, value in config.get("parameters", {}).items()
            }
            return Described(parameters, _tensors(told["inputs"]), _tensors(told["outputs"]))
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise ServerError(f"{self._where}: no Triton server ({type(e).__name__}).") from None

    def register(self, region: str, size: int, timeout_s: float) -> None:
        """Have the server map a region; see `RegionWire`."""
        told = json.dumps({"key": f"/{region}", "offset": 0, "byte_size": size}).encode()
        self._shared(f"systemsharedmemory/region/{region}/register", timeout_s, told)

    def unregister(self, region: str, timeout_s: float) -> None:
        """Have it let go of one; see `RegionWire`."""
        self._shared(f"systemsharedmemory/region/{region}/unregister", timeout_s, b"")

    def _shared(self, path: str, timeout_s: float, body: bytes) -> None:
        status, _, answer = self._request("POST", path, time.monotonic() + timeout_s, body)
        if status != _OK:
            told = answer[:_MOST_TOLD].decode("utf-8", "replace")
            raise RunError(f"{self._where}: HTTP {status} {told}")

    def infer(self, model: str, inputs: Inputs, outputs: Sequence[str], timeout_s: float) -> Arrays:
        """Have a model run; see `Wire`."""
        tensors = [_input(name, array) for name, array in inputs.items()]
        wanted = [client.InferRequestedOutput(name, binary_data=True) for name in outputs]
        body, json_length = client.InferenceServerClient.generate_request_body(
            tensors, wanted, timeout=queue_us(timeout_s)
        )
        headers = {} if json_length is None else {_JSON_LENGTH: str(json_length)}
        status, told, answer = self._request(
            "POST", f"models/{model}/infer", time.monotonic() + timeout_s, body, headers
        )
        if status != _OK:
            raise RunError(f"{self._where}: the server failed (HTTP {status}).")
        try:
            length = told.get(_JSON_LENGTH)
            result = client.InferenceServerClient.parse_response_body(
                answer, header_length=None if length is None else int(length)
            )
            return {name: result.as_numpy(name) for name in outputs}
        except (InferenceServerException, ValueError, TypeError, KeyError, IndexError) as e:
            raise RunError(f"{self._where}: nonsense ({type(e).__name__}).") from None

    def _json(self, path: str, until_s: float) -> dict[str, Any]:
        status, _, body = self._request("GET", path, until_s)
        try:
            found = json.loads(body)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ServerError(f"{self._where}: no Triton server (HTTP {status}, no JSON).")
        if status != _OK:
            raise ServerError(f"{self._where}/{path}: {found.get('error', f'HTTP {status}')}")
        return found

    def _request(
        self,
        method: str,
        path: str,
        until_s: float,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            raise DeadlineError(f"{self._where}: no time was left.")
        try:
            response = self._pool.request(
                method,
                f"{self._base}/{path}",
                body=body,
                headers={**self._headers, **(headers or {})},
                timeout=urllib3.Timeout(total=left_s),
                retries=False,
                preload_content=False,
            )
            content = self._read(response, until_s)
        except ReadTimeoutError:
            raise DeadlineError(f"{self._where}: no answer in time.") from None
        except HTTPError as e:
            raise Unreachable(f"cannot be reached ({type(e).__name__})") from None
        if response.status in _AWAY:
            raise Unreachable(f"is not ready (HTTP {response.status})")
        return response.status, response.headers, content

    def _read(self, response: Any, until_s: float) -> bytes:
        """The body, however slowly it comes, as long as there is time."""
        parts, size = [], 0
        for part in iter(lambda: response.read1(_CHUNK), b""):
            parts.append(part)
            size += len(part)
            if time.monotonic() > until_s or size > MOST_BYTES:
                response.close()
                raise DeadlineError(f"{self._where}: no whole answer in time.")
        response.release_conn()
        return b"".join(parts)


def _input(name: str, array: Any) -> Any:
    tensor = client.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    if isinstance(array, Placed):
        return tensor.set_shared_memory(array.region, array.nbytes, array.offset)
    return tensor.set_data_from_numpy(array, binary_data=True)


def _tensors(told: Sequence[Mapping[str, Any]]) -> Tensors:
    return {one["name"]: (one["datatype"], tuple(map(int, one["shape"]))) for one in told}
