"""A guarded client of OpenAI's shape: prompts, answers, regeneration, streams, pictures, and what is not checked."""

from __future__ import annotations

import asyncio
import base64
import copy
import io
from collections.abc import AsyncIterator, Iterator, Sequence
from types import SimpleNamespace as Shape
from typing import Any

import numpy as np
import pytest
from PIL import Image

from guardkit import Blocked, Guard, Policy, RunResult
from guardkit.errors import InputError
from guardkit.integrations.openai import Terms, aguarded, guarded
from guardkit.policy.rules import Limits, StagePolicy
from guardkit.types import Action
from tests.fake_steps import rule
from tests.pictures import BLUE, encoded, plain
from tests.unit.test_guard_image_edits import MINE, Pointing, striped
from tests.unit.test_loop_run import POLICY, Words

CALM, SEED = "Take a coat.", 5
ASKED = [
    {"role": "system", "content": "Be kind to the idiot."},
    {"role": "user", "content": "Is he an idiot?"},
    {"role": "assistant", "content": "No."},
    {"role": "user", "content": [{"type": "text", "text": "Why not, idiot?"}]},
]


def guard() -> Guard:
    return Guard(POLICY, scorers=[Words()])


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def completion(text: str | None, **more: Any) -> Shape:
    message = Shape(role="assistant", content=text, refusal=None, tool_calls=None, **more)
    return Shape(id="1", choices=[Shape(message=message, logprobs=["p"], finish_reason="stop")])


def chunks(*texts: str, finish: str = "stop", **more: Any) -> list[Shape]:
    """As the API sends them: the role, the text in pieces, why it ended, what it used."""
    deltas = [Shape(role="assistant", content="", tool_calls=None)]
    deltas += [Shape(role=None, content=text, tool_calls=None, **more) for text in texts]
    made = [Shape(choices=[Shape(delta=one, finish_reason=None, logprobs=1)]) for one in deltas]
    end = Shape(delta=Shape(role=None, content=None, tool_calls=None), finish_reason=finish)
    return [*made, Shape(choices=[end]), Shape(choices=[], usage=7)]


class Client:
    """Answers with one thing after the other, the last one for ever; remembers what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.asked: list[dict[str, Any]] = []
        self._answers = list(answers)
        self.chat = Shape(completions=Shape(create=self._answer))
        self.images = Shape(generate=self._answer)

    def _answer(self, **asked: Any) -> Any:
        self.asked.append(copy.deepcopy(asked))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return iter(answer) if isinstance(answer, list) else answer


class AsyncClient(Client):
    """The same, awaited."""

    def _answer(self, **asked: Any) -> Any:
        async def answer() -> Any:
            found = super(AsyncClient, self)._answer(**asked)
            return apart(found) if isinstance(found, Iterator) else found

        return answer()


async def apart(items: Iterator[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


def ask(client: Client, messages: Sequence[Any], *, is_async: bool = False, **asked: Any) -> Any:
    """One call, of either kind of client; the chunks of a stream, as a list."""
    terms = {name: asked.pop(name) for name in ("on_result", "pass_unchecked") if name in asked}
    if not is_async:
        answer = guarded(client, guard(), Terms(**terms)).chat.completions.create(messages=messages, **asked)  # fmt: skip
        return list(answer) if asked.get("stream") else answer

    async def work() -> Any:
        wrapped = aguarded(client, guard(), Terms(**terms))
        answer: Any = await wrapped.chat.completions.create(messages=messages, **asked)  # type: ignore[misc]
        return [chunk async for chunk in answer] if asked.get("stream") else answer

    return asyncio.run(work())


BOTH = pytest.mark.parametrize(
    ("kind", "is_async"), [pytest.param(Client, False, id="sync"), pytest.param(AsyncClient, True, id="async")]
)  # fmt: skip


def text_of(found: Sequence[Any]) -> str:
    return "".join(one.choices[0].delta.content or "" for one in found if one.choices)


@BOTH
def test_an_answer_that_is_allowed_is_the_clients_own(kind: type[Client], is_async: bool) -> None:
    answer = completion(CALM)
    client = kind(answer)
    assert ask(client, user("Hello"), is_async=is_async, model="m", temperature=0.5) is answer
    assert client.asked == [{"messages": user("Hello"), "model": "m", "temperature": 0.5}]


@BOTH
def test_every_text_of_the_user_is_edited_and_nothing_else_is(
    kind: type[Client], is_async: bool
) -> None:
    client, before = kind(completion(CALM)), copy.deepcopy(ASKED)
    ask(client, ASKED, is_async=is_async)
    (asked,) = client.asked
    system, first, assistant, second = asked["messages"]
    assert (system, assistant) == (ASKED[0], ASKED[2])
    assert "idiot" not in first["content"]
    assert "idiot" not in second["content"][0]["text"]
    assert before == ASKED


@BOTH
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("at", [1, 3])
def test_a_prompt_that_is_blocked_never_reaches_the_client(
    at: int, stream: bool, kind: type[Client], is_async: bool
) -> None:
    client, asked = kind(completion(CALM)), copy.deepcopy(ASKED)
    asked[at]["content"] = "I kill"
    with pytest.raises(Blocked):
        ask(client, asked, is_async=is_async, stream=stream)
    assert not client.asked


@BOTH
def test_an_answer_is_asked_for_again_with_guidance_and_another_seed(
    kind: type[Client], is_async: bool
) -> None:
    records: list[RunResult] = []
    client = kind(completion("You idiot."), completion(CALM))
    answer = ask(client, user("Hello"), is_async=is_async, seed=SEED, on_result=records.append)
    assert answer.choices[0].message.content == CALM
    first, second = client.asked
    assert first["seed"] == SEED != second["seed"]
    assert second["messages"][0]["content"] == "Hello\n\nAnswer without insults."
    assert [len(record.attempts) for record in records] == [2]


@BOTH
def test_an_answer_that_is_edited_is_a_copy_without_the_tokens_of_the_original(
    kind: type[Client], is_async: bool
) -> None:
    original = completion("So much gloom.")
    answer = ask(kind(original), user("Hello"), is_async=is_async)
    (choice,) = answer.choices
    assert "gloom" not in choice.message.content
    assert choice.logprobs is None
    assert original.choices[0].message.content == "So much gloom."
    assert answer.id == original.id


@BOTH
def test_answers_that_are_never_allowed_are_blocked_with_the_record_kept(
    kind: type[Client], is_async: bool
) -> None:
    records: list[RunResult] = []
    with pytest.raises(Blocked) as blocked:
        ask(kind(completion("You idiot.")), user("Hi"), is_async=is_async, on_result=records.append)
    assert len(records[0].attempts) == 3
    assert blocked.value.decision is records[0].decision


@BOTH
def test_what_the_client_raises_is_raised_as_it_is(kind: type[Client], is_async: bool) -> None:
    error = ConnectionError("no route")
    with pytest.raises(ConnectionError) as raised:
        ask(kind(error), user("Hi"), is_async=is_async)
    assert raised.value is error


def test_an_answer_of_nothing_is_blocked() -> None:
    with pytest.raises(Blocked, match="gave nothing"):
        ask(Client(completion(None)), user("Hi"))


def test_a_refusal_is_checked_as_text() -> None:
    refused = completion(None)
    refused.choices[0].message.refusal = "So much gloom."
    message = ask(Client(refused), user("Hi")).choices[0].message
    assert message.content is None
    assert "gloom" not in message.refusal


UNCHECKED = [
    pytest.param({"tool_calls": ["call"]}, "tool_calls", id="tool-call"),
    pytest.param({"reasoning": "I think"}, "reasoning", id="field-of-a-server"),
    pytest.param({"audio": "sound"}, "audio", id="sound"),
]


@pytest.mark.parametrize(("held", "name"), UNCHECKED)
def test_what_nothing_checks_is_refused_unless_it_may_pass(held: dict[str, Any], name: str) -> None:
    answer = completion(CALM)
    vars(answer.choices[0].message).update(held)
    with pytest.raises(InputError, match=rf"message\.{name}: no stage .* pass_unchecked"):
        ask(Client(answer), user("Hi"))
    assert ask(Client(answer), user("Hi"), pass_unchecked=True) is answer


def test_a_call_of_a_tool_that_says_nothing_may_pass() -> None:
    answer = completion(None)
    answer.choices[0].message.tool_calls = ["call"]
    assert ask(Client(answer), user("Hi"), pass_unchecked=True) is answer


def test_a_picture_of_the_users_is_refused_unless_it_may_pass() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:"}}
    asked = [
        {"role": "user", "content": [{"type": "text", "text": "You idiot, what is it?"}, picture]}
    ]
    with pytest.raises(InputError, match=r"messages\[0\]\.content\[1\]: no stage"):
        ask(Client(completion(CALM)), asked)
    client = Client(completion(CALM))
    ask(client, asked, pass_unchecked=True)
    said, passed = client.asked[0]["messages"][0]["content"]
    assert "idiot" not in said["text"]
    assert passed == picture


@pytest.mark.parametrize(
    ("messages", "more", "problem"),
    [
        pytest.param("Hello", {}, "messages is str. Expected a list", id="a-str"),
        pytest.param([], {}, "none of 0 has the role 'user'", id="none"),
        pytest.param([{"content": "Hi"}], {}, r"messages\[0\]: dict has no role", id="no-role"),
        pytest.param(
            [{"role": "user", "content": None}], {}, r"content is NoneType", id="no-content"
        ),
        pytest.param(user("Hi"), {"n": 3}, "n is 3. Expected 1", id="several"),
        pytest.param(user("Hi"), {"n": 3, "stream": True}, "n is 3. Expected 1", id="streams"),
    ],
)
def test_a_call_that_cannot_be_checked_is_refused_before_it_is_made(
    messages: Any, more: dict[str, Any], problem: str
) -> None:
    client = Client(completion(CALM))
    with pytest.raises(InputError, match=problem):
        ask(client, messages, **more)
    assert not client.asked


def test_a_client_of_the_other_kind_is_named() -> None:
    with pytest.raises(InputError, match="Use aguarded"):
        ask(AsyncClient(completion(CALM)), user("Hi"))
    with pytest.raises(InputError, match="Use guarded"):
        ask(Client(completion(CALM)), user("Hi"), is_async=True)


@BOTH
def test_a_stream_that_is_allowed_comes_out_whole(kind: type[Client], is_async: bool) -> None:
    client = kind(chunks("Take ", "a co", "at."))
    found = ask(client, user("Hello"), is_async=is_async, stream=True)
    assert text_of(found) == CALM
    assert found[0].choices[0].delta.role == "assistant"
    assert found[-2].choices[0].finish_reason == "stop"
    assert found[-1].usage == 7
    assert client.asked[0]["stream"] is True


@BOTH
def test_a_stream_that_is_blocked_ends_with_the_finish_reason_of_the_api(
    kind: type[Client], is_async: bool
) -> None:
    found = ask(kind(chunks("I will ", "ki", "ll.")), user("Hi"), is_async=is_async, stream=True)
    assert "kill" not in text_of(found)
    assert found[-2].choices[0].finish_reason == "content_filter"
    assert found[-1].usage == 7


@BOTH
def test_a_stream_is_edited_across_chunks_and_holds_no_tokens_of_the_original(
    kind: type[Client], is_async: bool
) -> None:
    found = ask(kind(chunks("So much glo", "om.")), user("Hi"), is_async=is_async, stream=True)
    assert "gloom" not in text_of(found)
    assert text_of(found).startswith("So much ")
    assert all(one.choices[0].logprobs is None for one in found[:-2])


def test_a_tool_call_in_a_stream_is_refused_unless_it_may_pass() -> None:
    sent = chunks("Take a coat.")
    sent[1].choices[0].delta.tool_calls = ["call"]
    with pytest.raises(InputError, match=r"delta\.tool_calls: no stage"):
        ask(Client(sent), user("Hi"), stream=True)
    found = ask(Client(sent), user("Hi"), stream=True, pass_unchecked=True)
    assert text_of(found) == CALM
    assert [one.choices[0].delta.tool_calls for one in found if one.choices].count(["call"]) == 1


class Connection:
    """Chunks over a connection that somebody has to give back; the last one may be an error."""

    def __init__(self, *sent: Any) -> None:
        self._sent = iter(sent)
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        for one in self._sent:
            if isinstance(one, Exception):
                raise one
            yield one

    def close(self) -> None:
        self.closed += 1


def streamed(source: Connection) -> Any:
    return guarded(Client(source), guard()).chat.completions.create(
        messages=user("Hi"), stream=True
    )


def test_a_stream_that_is_blocked_left_or_never_read_gives_the_connection_back() -> None:
    source = Connection(*chunks("I will kill.", *["And so on."] * 500))
    list(streamed(source))
    assert source.closed
    source = Connection(*chunks(*[f"{CALM} "] * 500))
    with streamed(source) as stream:
        next(stream)
    assert source.closed
    source = Connection(*chunks(CALM))
    streamed(source).close()
    assert source.closed


def test_an_error_in_the_middle_of_a_stream_is_raised_and_the_connection_given_back() -> None:
    source = Connection(*chunks(CALM)[:2], ConnectionError("reset"))
    with pytest.raises(ConnectionError, match="reset"):
        list(streamed(source))
    assert source.closed


def test_a_stream_is_not_asked_for_when_no_stage_would_check_it() -> None:
    client = Client(chunks(CALM))
    bare = Guard(Policy("bare", prompt=POLICY.prompt), scorers=[Words()])
    with pytest.raises(InputError, match="'bare' has no stage output-text"):
        guarded(client, bare).chat.completions.create(messages=user("Hi"), stream=True)
    assert not client.asked


def test_what_is_no_stream_is_named() -> None:
    with pytest.raises(InputError, match=r"stream gave int\. Expected chunks"):
        ask(Client([1]), user("Hi"), stream=True)


NO_STRIPES = StagePolicy(("mine",), editors=("fill",), rules=(MINE,))
PICTURES = Policy("pictures", prompt=POLICY.prompt, output_image=NO_STRIPES)
AGAIN = Policy(
    "again",
    output_image=StagePolicy(("mine",), rules=(rule("hate-symbol", Action.REGENERATE),)),
    limits=Limits(regenerations=1),
)
STRIPED = encoded(striped(slice(2, 12), slice(20, 30)))
BOX = (18, 0, 32, 14)


def pictured(image: bytes | None, **more: Any) -> Shape:
    held = None if image is None else base64.b64encode(image).decode()
    return Shape(created=3, data=[Shape(b64_json=held, url=None, **more)])


def draw(client: Client, policy: Policy = PICTURES, **asked: Any) -> Any:
    checked = Guard(policy, scorers=[Words()], image_scorers=[Pointing(BOX)])
    if isinstance(client, AsyncClient):
        answer: Any = aguarded(client, checked).images.generate(**asked)
        return asyncio.run(answer)
    return guarded(client, checked).images.generate(**asked)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_picture_that_is_allowed_is_the_clients_own(kind: type[Client]) -> None:
    answer = pictured(encoded(plain(BLUE)))
    client = kind(answer)
    assert draw(client, prompt="an idiot in a boat", size="64x64") is answer
    (asked,) = client.asked
    assert asked["size"] == "64x64"
    assert "idiot" not in asked["prompt"]


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_picture_that_is_edited_comes_in_a_copy(kind: type[Client]) -> None:
    original = pictured(STRIPED, revised_prompt="a wall with stripes")
    answer = draw(kind(original), prompt="a wall")
    (datum,) = answer.data
    edited = np.asarray(Image.open(io.BytesIO(base64.b64decode(datum.b64_json))))
    before = np.asarray(Image.open(io.BytesIO(STRIPED)))
    assert len(np.unique(edited[0:14, 18:32].reshape(-1, 3), axis=0)) == 1
    assert edited[20:, :10].tolist() == before[20:, :10].tolist()
    assert datum.revised_prompt is None  # nobody checked it
    assert original.data[0].revised_prompt == "a wall with stripes"
    assert answer.created == 3


def test_a_picture_is_asked_for_again_with_what_the_server_takes() -> None:
    client = Client(pictured(STRIPED), pictured(encoded(plain(BLUE))))
    body = {"negative_prompt": "blur", "seed": SEED, "steps": 9}
    draw(client, AGAIN, prompt="a wall", extra_body=body)
    first, second = client.asked
    assert first["extra_body"] == body
    assert second["extra_body"]["negative_prompt"] == "blur, hateful symbols"
    assert second["extra_body"]["seed"] != SEED
    assert second["extra_body"]["steps"] == 9
    assert second["prompt"] == "a wall"


def test_pictures_that_are_never_allowed_are_blocked() -> None:
    client = Client(pictured(STRIPED))
    with pytest.raises(Blocked):
        draw(client, AGAIN, prompt="a wall")
    assert [asked.get("extra_body") for asked in client.asked] == [None, None]


@pytest.mark.parametrize(
    ("answer", "more", "problem"),
    [
        pytest.param(pictured(None), {}, "guardkit downloads nothing: ask for", id="a-url"),
        pytest.param(Shape(data=[Shape(b64_json="?")]), {}, "is no base64", id="no-base64"),
        pytest.param(Shape(data=[]), {}, r"data: found 0 of them\. Expected one", id="none"),
        pytest.param(7, {}, "int.data: found none", id="no-answer"),
        pytest.param(pictured(STRIPED), {"n": 2}, "n is 2. Expected 1", id="several"),
        pytest.param(pictured(STRIPED), {"stream": True}, "checked whole", id="a-stream"),
    ],
)
def test_a_picture_that_cannot_be_checked_is_refused(
    answer: Any, more: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        draw(Client(answer), prompt="a wall", **more)


def test_bytes_that_are_no_picture_are_answered_by_on_failure() -> None:
    with pytest.raises(Blocked):
        draw(Client(pictured(b"no picture")), prompt="a wall")
