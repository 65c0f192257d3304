"""The Responses API of a guarded client: inputs, answers, streams of events, and what is not checked."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator
from types import SimpleNamespace as Shape
from typing import Any

import pytest

from guardkit import Blocked
from guardkit.errors import InputError
from guardkit.integrations.openai import Terms, aguarded, guarded
from guardkit.types import RunResult
from tests.unit.test_integrations_openai import CALM, AsyncClient, Client, guard

ASKED = [
    {"role": "developer", "content": "Be kind to the idiot."},
    {"role": "user", "content": "Is he an idiot?"},
    {"type": "function_call_output", "call_id": "1", "output": "idiot"},
    {"role": "user", "content": [{"type": "input_text", "text": "Why not, idiot?"}]},
]


def part(text: str, **more: Any) -> Shape:
    return Shape(**{"type": "output_text", "text": text, "annotations": [], "logprobs": ["p"], **more})  # fmt: skip


def message(*texts: str, **more: Any) -> Shape:
    return Shape(id="m", type="message", role="assistant", content=[part(one, **more) for one in texts])  # fmt: skip


def response(*output: Any) -> Shape:
    return Shape(id="r", output=list(output), status="completed", incomplete_details=None)


def events(*texts: str) -> list[Shape]:
    """As the API sends them: what begins, the text in pieces, what ends, each with a number."""
    whole = "".join(texts)
    place = {"output_index": 0, "content_index": 0}
    found = [
        Shape(type="response.created", response=response()),
        Shape(type="response.in_progress", response=response()),
        Shape(type="response.output_item.added", output_index=0, item=message()),
        Shape(type="response.content_part.added", part=part(""), **place),
        *(
            Shape(type="response.output_text.delta", delta=one, logprobs=["p"], **place)
            for one in texts
        ),
        Shape(type="response.output_text.done", text=whole, logprobs=["p"], **place),
        Shape(type="response.content_part.done", part=part(whole), **place),
        Shape(type="response.output_item.done", output_index=0, item=message(whole)),
        Shape(type="response.completed", response=response(message(whole))),
    ]
    for number, one in enumerate(found):
        one.sequence_number = number
    return found


def ask(answers: Any, given: Any = "Hi", *, is_async: bool = False, **asked: Any) -> tuple[Any, Client]:  # fmt: skip
    """One call of either kind of client; the events of a stream, as a list."""
    terms = Terms(**{name: asked.pop(name) for name in ("on_result", "pass_unchecked") if name in asked})  # fmt: skip
    client = (AsyncClient if is_async else Client)(*answers)
    client.responses = Shape(create=client._answer)
    if not is_async:
        answer = guarded(client, guard(), terms).responses.create(input=given, **asked)
        return (list(answer) if asked.get("stream") else answer), client

    async def work() -> Any:
        got: Any = await aguarded(client, guard(), terms).responses.create(input=given, **asked)  # type: ignore[misc]
        return [event async for event in got] if asked.get("stream") else got

    return asyncio.run(work()), client


BOTH = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


def deltas(found: list[Any]) -> str:
    return "".join(one.delta for one in found if one.type == "response.output_text.delta")


@BOTH
def test_an_answer_that_is_allowed_is_the_clients_own(is_async: bool) -> None:
    answer = response(Shape(type="reasoning", summary=[], content=None), message("Take ", "a coat."))  # fmt: skip
    got, client = ask([answer], "Hello", is_async=is_async, model="m")
    assert got is answer
    assert client.asked == [{"input": [{"role": "user", "content": "Hello"}], "model": "m"}]


@BOTH
def test_every_text_of_the_user_is_edited_and_nothing_else_is(is_async: bool) -> None:
    before = copy.deepcopy(ASKED)
    _, client = ask([response(message(CALM))], ASKED, is_async=is_async)
    developer, first, result, second = client.asked[0]["input"]
    assert (developer, result) == (ASKED[0], ASKED[2])
    assert "idiot" not in first["content"]
    assert second["content"][0]["type"] == "input_text"
    assert "idiot" not in second["content"][0]["text"]
    assert before == ASKED


@BOTH
@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_is_blocked_never_reaches_the_client(is_async: bool, stream: bool) -> None:
    asked = [{"role": "user", "content": "I kill"}, {"role": "user", "content": "Hi"}]
    for given in ("I kill", asked):
        with pytest.raises(Blocked):
            ask([AssertionError("it was asked")], given, is_async=is_async, stream=stream)


@BOTH
def test_an_answer_is_asked_for_again_with_guidance(is_async: bool) -> None:
    records: list[RunResult] = []
    answers = [response(message("You idiot.")), response(message(CALM))]
    got, client = ask(answers, is_async=is_async, on_result=records.append)
    assert got is answers[1]
    assert client.asked[1]["input"][0]["content"] == "Hi\n\nAnswer without insults."
    assert len(records[0].attempts) == 2


def test_answers_that_are_never_allowed_and_answers_of_nothing_are_blocked() -> None:
    with pytest.raises(Blocked):
        ask([response(message("You idiot."))])
    with pytest.raises(Blocked, match="gave nothing"):
        ask([response()])


@BOTH
def test_an_answer_that_is_edited_is_a_copy_without_the_tokens_of_the_original(
    is_async: bool,
) -> None:
    original = response(message("So much ", "gloom."))
    got, _ = ask([original], is_async=is_async)
    (only,) = got.output[0].content
    assert only.text.startswith("So much ")
    assert "gloom" not in only.text
    assert only.logprobs == []
    assert [one.text for one in original.output[0].content] == ["So much ", "gloom."]


def test_a_refusal_is_checked_as_text() -> None:
    refused = Shape(type="message", content=[Shape(type="refusal", refusal="So much gloom.")])
    got, _ = ask([response(refused)])
    assert "gloom" not in got.output[0].content[0].refusal


UNCHECKED = [
    pytest.param(Shape(type="function_call", arguments="{}"), r"output\[1\] \(function_call\)", id="tool"),
    pytest.param(Shape(type="reasoning", summary=["I think"], content=None), r"output\[1\] \(reasoning\)", id="reasoning"),
    pytest.param(message("x", annotations=["a page"]), "content", id="annotations"),
]  # fmt: skip


@pytest.mark.parametrize(("item", "where"), UNCHECKED)
def test_what_nothing_checks_is_refused_unless_it_may_pass(item: Any, where: str) -> None:
    answer = response(message(CALM), item)
    with pytest.raises(InputError, match=f"{where}: no stage"):
        ask([answer])
    assert ask([answer], pass_unchecked=True)[0] is answer


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        pytest.param(None, "input is NoneType", id="none"),
        pytest.param([], "none of 0 items has the role 'user'", id="nothing"),
        pytest.param([{"role": "user", "content": [{"type": "input_image"}]}], r"input\[0\]\.content\[0\]: no stage", id="picture"),
    ],
)  # fmt: skip
def test_an_input_that_cannot_be_checked_is_refused_before_it_is_sent(
    given: Any, problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        ask([AssertionError("it was asked")], given)


@pytest.mark.parametrize("stream", [False, True])
def test_a_template_of_the_servers_is_refused_unless_it_may_pass(stream: bool) -> None:
    template = {"id": "pmpt_1", "variables": {"name": "kill"}}
    with pytest.raises(InputError, match="prompt: no stage"):
        ask([AssertionError("it was asked")], prompt=template, stream=stream)
    answer = events(CALM) if stream else response(message(CALM))
    ask([answer], prompt=template, stream=stream, pass_unchecked=True)


# --- streams ------------------------------------------------------------------------------------------


@BOTH
def test_a_stream_that_is_allowed_comes_out_whole(is_async: bool) -> None:
    sent = events("Take ", "a co", "at.")
    found, client = ask([sent], is_async=is_async, stream=True)
    assert deltas(found) == CALM
    kinds = list(dict.fromkeys(one.type for one in found))
    assert kinds == list(dict.fromkeys(one.type for one in sent))
    assert found[-1].response.output[0].content[0].text == CALM
    assert [one.sequence_number for one in found] == list(range(len(found)))
    assert client.asked[0]["stream"] is True


@BOTH
def test_a_stream_that_is_blocked_ends_as_the_api_ends_what_it_withholds(is_async: bool) -> None:
    found, _ = ask([events("I will ", "ki", "ll.")], is_async=is_async, stream=True)
    assert found[-1].type == "response.incomplete"
    assert found[-1].response.incomplete_details.reason == "content_filter"
    assert found[-1].response.status == "incomplete"
    assert "kill" not in str(found)


@BOTH
def test_a_stream_is_edited_across_events_and_in_those_that_hold_the_whole(is_async: bool) -> None:
    sent = events("So much glo", "om.")
    found, _ = ask([sent], is_async=is_async, stream=True)
    assert deltas(found).startswith("So much ")
    assert "gloom" not in str(found)
    assert found[-1].response.output[0].content[0].text == deltas(found)
    assert sent[-1].response.output[0].content[0].text == "So much gloom."
    assert not any(getattr(one, "logprobs", None) for one in found)


def test_a_refusal_in_a_stream_is_checked() -> None:
    sent = events()
    place = {"output_index": 0, "content_index": 0}
    sent[4:5] = [
        Shape(type="response.refusal.delta", delta="So much gloom.", **place),
        Shape(type="response.refusal.done", refusal="So much gloom.", **place),
    ]
    found, _ = ask([sent], stream=True)
    assert "gloom" not in str(found)
    assert [one.type for one in found].count("response.refusal.done") == 1


def test_what_nothing_checks_in_a_stream_is_refused_unless_it_may_pass() -> None:
    tool = Shape(type="response.function_call_arguments.delta", delta="{}")
    item = Shape(type="response.output_item.added", item=Shape(type="function_call"))
    for unchecked, name in ((tool, "function_call_arguments"), (item, r"\(function_call\)")):
        sent = events(CALM)
        sent.insert(4, unchecked)
        with pytest.raises(InputError, match=f"{name}.*no stage"):
            ask([sent], stream=True)
        found, _ = ask([sent], stream=True, pass_unchecked=True)
        assert unchecked in found
        assert deltas(found) == CALM


def test_a_second_text_or_something_that_is_no_event_is_refused() -> None:
    sent = events(CALM)
    second = copy.copy(sent[4])
    second.output_index = 1
    with pytest.raises(InputError, match="second text"):
        ask([[*sent[:5], second]], stream=True)
    with pytest.raises(InputError, match="gave int"):
        ask([[3]], stream=True)


@pytest.mark.parametrize("at", [0, 2, 3])
def test_a_text_that_comes_before_its_deltas_is_refused(at: int) -> None:
    sent = events(CALM)
    early = (Shape(response=response(message("kill"))), None, Shape(item=message("kill")), Shape(part=part("kill")))  # fmt: skip
    vars(sent[at]).update(vars(early[at]))
    with pytest.raises(InputError, match="holds a text already"):
        ask([sent], stream=True)


def test_a_whole_text_that_its_deltas_did_not_spell_is_not_believed() -> None:
    sent = events(CALM)
    sent[-4].text = sent[-3].part.text = sent[-1].response.output[0].content[0].text = (
        "I will kill you."
    )
    found, _ = ask([sent], stream=True)
    assert found[-1].response.output[0].content[0].text == CALM
    assert "kill" not in str(found)


def test_what_breaks_off_before_it_begins_gives_nothing_out() -> None:
    def broken() -> Iterator[Any]:
        yield events()[0]
        raise ConnectionError

    client = Client(None)
    client.responses = Shape(create=lambda **_: broken())
    stream = guarded(client, guard()).responses.create(input="Hi", stream=True)
    with pytest.raises(ConnectionError):
        list(stream)
