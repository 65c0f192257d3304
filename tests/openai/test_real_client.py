"""The package `openai` itself, guarded, against a server of our own on this machine: make test-openai."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import openai
import pytest

from guardkit import Blocked, Guard, Policy
from guardkit.errors import InputError
from guardkit.integrations.openai import aguarded, guarded
from guardkit.policy.rules import StagePolicy
from guardkit.types import Action
from tests.fake_steps import FakeScorer, finds, rule
from tests.pictures import encoded, plain

OUTPUT = StagePolicy(
    ("mine", "threats"),
    editors=("redact",),
    rules=(rule("insult", Action.EDIT, "redact"), rule("threat", Action.BLOCK)),
)
POLICY = Policy("server", prompt=OUTPUT, output_text=OUTPUT)


class Stub(BaseHTTPRequestHandler):
    """Says back what the user said, whole or streamed by letters; draws a blue square."""

    asked: list[dict[str, Any]]

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)  # type: ignore[attr-defined]
        if self.path.endswith("images/generations"):
            picture = base64.b64encode(encoded(plain((0, 0, 255)))).decode()
            self._send("application/json", json.dumps({"created": 1, "data": [{"b64_json": picture}]}))  # fmt: skip
            return
        if self.path.endswith("responses"):
            self._respond(asked)
            return
        said = asked["messages"][-1]["content"]
        if said == "limit":
            self._send("application/json", json.dumps({"error": {"message": "slow down"}}), 429)
        elif asked.get("stream"):
            deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
            deltas += [{"content": letter} for letter in said]
            events = [_chunk(delta, None) for delta in deltas] + [_chunk({}, "stop")]
            lines = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
            self._send("text/event-stream", f"{lines}data: [DONE]\n\n")
        else:
            message = {"role": "assistant", "content": said}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "echo"}
            self._send("application/json", json.dumps({**answer, "choices": [choice]}))

    def _respond(self, asked: dict[str, Any]) -> None:
        said = asked["input"][-1]["content"]
        if not asked.get("stream"):
            self._send("application/json", json.dumps(_response(said, "completed")))
            return
        events = [{"type": "response.created", "response": _response(None, "in_progress")}]
        place = {"item_id": "m1", "output_index": 0, "content_index": 0, "logprobs": []}
        delta = {"type": "response.output_text.delta", **place}
        events += [{**delta, "delta": letter} for letter in said]
        events += [{"type": "response.output_text.done", "text": said, **place}]
        events += [{"type": "response.completed", "response": _response(said, "completed")}]
        lines = [
            f"event: {event['type']}\ndata: {json.dumps({**event, 'sequence_number': number})}\n\n"
            for number, event in enumerate(events)
        ]
        self._send("text/event-stream", "".join(lines))

    def _send(self, kind: str, body: str, status: int = 200) -> None:
        content = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _chunk(delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "echo"}
    return {**head, "choices": [choice]}


def _response(said: str | None, status: str) -> dict[str, Any]:
    """As the API answers; None: nothing is said yet."""
    part = {"type": "output_text", "text": said, "annotations": []}
    message = {"type": "message", "id": "m1", "role": "assistant", "status": status}
    return {
        "id": "r1",
        "object": "response",
        "created_at": 1,
        "model": "echo",
        "status": status,
        "output": [] if said is None else [{**message, "content": [part]}],
        "parallel_tool_calls": False,
        "tool_choice": "none",
        "tools": [],
    }


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Stub) as opened:
        opened.asked = []  # type: ignore[attr-defined]
        threading.Thread(target=opened.serve_forever, daemon=True).start()
        yield opened
        opened.shutdown()


@pytest.fixture
def guard() -> Guard:
    threats = FakeScorer(finds("kill", "threat"), "threats", ("threat",))
    return Guard(POLICY, scorers=[FakeScorer(finds("idiot")), threats])


def options(server: ThreadingHTTPServer) -> dict[str, Any]:
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    return {"base_url": url, "api_key": "none", "max_retries": 0}


def asked(text: str) -> dict[str, Any]:
    return {"model": "echo", "messages": [{"role": "user", "content": text}]}


def test_a_completion_goes_through(server: ThreadingHTTPServer, guard: Guard) -> None:
    with openai.OpenAI(**options(server)) as client:
        answer = guarded(client, guard).chat.completions.create(**asked("you idiot"))
    assert isinstance(answer, openai.types.chat.ChatCompletion)
    assert "idiot" not in answer.choices[0].message.content
    assert "idiot" not in str(server.asked)  # type: ignore[attr-defined]


def test_a_prompt_is_blocked_and_an_error_of_the_server_stays_the_packages(
    server: ThreadingHTTPServer, guard: Guard
) -> None:
    with openai.OpenAI(**options(server)) as client:
        chat = guarded(client, guard).chat.completions
        with pytest.raises(Blocked):
            chat.create(**asked("I kill"))
        with pytest.raises(openai.RateLimitError):
            chat.create(**asked("limit"))


def test_the_async_client_and_its_stream(server: ThreadingHTTPServer, guard: Guard) -> None:
    async def work() -> tuple[Any, list[Any]]:
        async with openai.AsyncOpenAI(**options(server)) as client:
            chat: Any = aguarded(client, guard).chat.completions
            whole = await chat.create(**asked("hello"))
            stream = await chat.create(**asked("take a coat"), stream=True)
            return whole, [chunk async for chunk in stream]

    whole, found = asyncio.run(work())
    assert whole.choices[0].message.content == "hello"
    assert "".join(one.choices[0].delta.content or "" for one in found) == "take a coat"
    assert found[-1].choices[0].finish_reason == "stop"


def test_a_stream_of_letters_is_checked(server: ThreadingHTTPServer) -> None:
    bare = Policy("output", output_text=StagePolicy(("threats",), rules=OUTPUT.rules[1:]))
    guard = Guard(bare, scorers=[FakeScorer(finds("kill", "threat"), "threats", ("threat",))])
    with openai.OpenAI(**options(server)) as client:
        stream = guarded(client, guard).chat.completions.create(**asked("I kill you"), stream=True)
        found = list(stream)
    assert "kill" not in "".join(one.choices[0].delta.content or "" for one in found)
    assert found[-1].choices[0].finish_reason == "content_filter"
    assert stream.end.decision.action is Action.BLOCK


def test_a_picture_goes_through(server: ThreadingHTTPServer) -> None:
    class Calm(FakeScorer):
        def score(self, pictures: Any) -> Any:
            assert np.all(pictures[0].frames[0] == (0, 0, 255))
            return super().score([type("P", (), {"text": ""})() for _ in pictures])

    stage = StagePolicy(("mine",), rules=(rule("gore", Action.BLOCK),))
    scorer: Any = Calm(finds("x", "gore"), categories=("gore",))
    guard = Guard(Policy("pictures", output_image=stage), image_scorers=[scorer])
    with openai.OpenAI(**options(server)) as client:
        answer = guarded(client, guard).images.generate(model="draw", prompt="a boat")
    assert isinstance(answer, openai.types.ImagesResponse)


def test_the_other_client_is_named(server: ThreadingHTTPServer, guard: Guard) -> None:
    client = openai.AsyncOpenAI(**options(server))
    with pytest.raises(InputError, match="Use aguarded"):
        guarded(client, guard).chat.completions.create(**asked("hello"))


def test_a_response_goes_through(server: ThreadingHTTPServer, guard: Guard) -> None:
    with openai.OpenAI(**options(server)) as client:
        responses = guarded(client, guard).responses
        answer = responses.create(model="echo", input="you idiot")
        with pytest.raises(Blocked):
            responses.create(model="echo", input="I kill")
    assert isinstance(answer, openai.types.responses.Response)
    assert answer.output_text
    assert "idiot" not in answer.output_text + str(server.asked)  # type: ignore[attr-defined]


def test_a_streamed_response_is_checked(server: ThreadingHTTPServer) -> None:
    bare = Policy("output", output_text=StagePolicy(("mine",), editors=("redact",), rules=OUTPUT.rules[:1]))  # fmt: skip
    guard = Guard(bare, scorers=[FakeScorer(finds("idiot"))])
    with openai.OpenAI(**options(server)) as client:
        found = list(guarded(client, guard).responses.create(model="echo", input="you idiot", stream=True))  # fmt: skip
    said = "".join(one.delta for one in found if one.type == "response.output_text.delta")
    assert said.startswith("you ")
    assert "idiot" not in said
    assert found[-1].type == "response.completed"
    assert found[-1].response.output_text == said


def test_a_streamed_response_is_withheld_and_the_async_client_says_so(
    server: ThreadingHTTPServer,
) -> None:
    bare = Policy("output", output_text=StagePolicy(("threats",), rules=OUTPUT.rules[1:]))
    guard = Guard(bare, scorers=[FakeScorer(finds("kill", "threat"), "threats", ("threat",))])

    async def work() -> list[Any]:
        async with openai.AsyncOpenAI(**options(server)) as client:
            responses: Any = aguarded(client, guard).responses
            stream = await responses.create(model="echo", input="I kill you", stream=True)
            return [event async for event in stream]

    found = asyncio.run(work())
    assert [one.type for one in found] == ["response.created", "response.incomplete"]
    assert found[-1].response.incomplete_details.reason == "content_filter"
