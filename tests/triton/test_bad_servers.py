"""Servers that are none, say nothing, say nonsense or stop in the middle: an error in time, never an answer."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from msgspec.structs import replace

from guardkit import Action, Guard, Policy
from guardkit.artifacts import RunnerOptions, Triton, find_artifact
from guardkit.errors import BackendError, DeadlineError, RunError, ServerError
from guardkit.runtime.base import warm_inputs
from guardkit.runtime.pbtxt import DIGEST
from guardkit.runtime.triton import TritonRunner
from guardkit.types import Status

Behave = Callable[[socket.socket, bytes], None]
ARTIFACT = find_artifact("text-safety")


@contextmanager
def a_server(behave: Behave) -> Iterator[int]:
    """A port where every connection is answered by a function of the request's first bytes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=_answer, args=(connection, behave), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


def _answer(connection: socket.socket, behave: Behave) -> None:
    with connection:
        try:
            while request := connection.recv(65536):
                behave(connection, request)
        except OSError:
            pass  # the client went away


def reply(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Length: {len(body)}",
        *(f"{k}: {v}" for k, v in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def described(request: bytes) -> bytes | None:
    """What an honest server says of the model; None: the request is an inference."""
    specs = {
        kind: [
            {
                "name": spec.name,
                "datatype": {"int64": "INT64", "float32": "FP32"}[spec.dtype],
                "shape": [-1 if isinstance(size, str) else size for size in spec.shape],
            }
            for spec in tensors
        ]
        for kind, tensors in (
            ("inputs", ARTIFACT.manifest.inputs),
            ("outputs", ARTIFACT.manifest.outputs),
        )
    }
    digest = ARTIFACT.manifest.files[ARTIFACT.manifest.model].sha256
    if b"/config" in request.split(b"\r\n")[0]:
        return reply(json.dumps({"parameters": {DIGEST: {"string_value": digest}}}).encode())
    return reply(json.dumps(specs).encode()) if request.startswith(b"GET") else None


def then(*parts: bytes, pause_s: float = 0.0) -> Behave:
    """Honest about the model; an inference gets these bytes."""

    def behave(connection: socket.socket, request: bytes) -> None:
        if (told := described(request)) is not None:
            connection.sendall(told)
            return
        for part in parts:
            connection.sendall(part)
            time.sleep(pause_s)

    return behave


def opened(port: int, protocol: str = "http", **changes: object) -> TritonRunner:
    settings = {"url": f"127.0.0.1:{port}", "protocol": protocol, "call_ms": 500, **changes}
    return TritonRunner(ARTIFACT, RunnerOptions(backend="triton", triton=Triton(**settings)))  # type: ignore[arg-type]


def garbage(connection: socket.socket, _: bytes) -> None:
    connection.sendall(b"\x00\x01SSH-2.0-nothing\r\n" * 4)
    connection.close()


def silence(connection: socket.socket, request: bytes) -> None:
    """A half-open connection: it was made, and nobody is behind it."""


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_nobody_at_the_port_is_an_error_at_the_start(protocol: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ServerError, match="Is it running"):
        opened(port, protocol, retries=1)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_something_else_at_the_port_is_an_error_at_the_start(protocol: str) -> None:
    with a_server(garbage) as port, pytest.raises(BackendError):
        opened(port, protocol, retries=0)


def test_a_web_server_that_is_no_triton_is_refused() -> None:
    def behave(connection: socket.socket, _: bytes) -> None:
        connection.sendall(reply(b"<html>hello</html>"))

    with a_server(behave) as port, pytest.raises(ServerError, match="no Triton server"):
        opened(port)


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        pytest.param([reply(b"{}")], RunError, id="no outputs"),
        pytest.param([reply(b"nonsense")], RunError, id="no JSON"),
        pytest.param([reply(b"[]", **{"Inference-Header-Content-Length": "99"})], RunError, id="length"),
        pytest.param([reply(b"{}", "500 Internal Server Error")], RunError, id="error"),
        pytest.param([reply(b"{}", "503 Service Unavailable")], ServerError, id="not ready"),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\nhalf"], DeadlineError, id="half an answer"),
        pytest.param([], DeadlineError, id="no answer"),
        pytest.param([reply(b'{"outputs": [{"name": "logits", "datatype": "FP64", "shape": [4, 12], "data": []}]}')], RunError, id="another dtype"),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_an_error_in_time(
    parts: list[bytes], error: type[Exception]
) -> None:
    with a_server(then(*parts)) as port:
        runner = opened(port, retries=1)
        started = time.monotonic()
        with pytest.raises(error):
            runner.run(warm_inputs(ARTIFACT.manifest))
        assert time.monotonic() - started < 3


def test_an_answer_that_drips_is_cut_off_in_time() -> None:
    start = b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"
    with a_server(then(start, *[b"x"] * 100, pause_s=0.1)) as port:
        runner = opened(port)
        started = time.monotonic()
        with pytest.raises(DeadlineError):
            runner.run(warm_inputs(ARTIFACT.manifest))
        assert time.monotonic() - started < 2


def test_a_server_that_hangs_up_in_the_middle_is_tried_again_and_then_an_error() -> None:
    calls = []

    def behave(connection: socket.socket, request: bytes) -> None:
        if (told := described(request)) is not None:
            connection.sendall(told)
        else:
            calls.append(1)
            connection.close()

    with a_server(behave) as port:
        runner = opened(port, retries=2)
        with pytest.raises(ServerError):
            runner.run(warm_inputs(ARTIFACT.manifest))
    assert len(calls) == 3


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_half_open_connection_ends_with_the_time_of_the_call(protocol: str) -> None:
    with a_server(silence) as port:
        started = time.monotonic()
        with pytest.raises((DeadlineError, ServerError)):
            opened(port, protocol, retries=0)
        assert time.monotonic() - started < 15


def test_a_slow_server_leaves_a_text_to_on_timeout(policy: Policy) -> None:
    with a_server(then()) as port:
        options = RunnerOptions(
            backend="triton", triton=Triton(url=f"127.0.0.1:{port}", protocol="http"), cascade=False
        )
        guard = Guard(replace(policy, timeout_ms=200, models={"text-safety": options}))
        started = time.monotonic()
        decision = guard.check_prompt("hello there")
        assert time.monotonic() - started < 2
    assert decision.action is Action.BLOCK
    assert decision.status is Status.ERROR
