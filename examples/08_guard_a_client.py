"""Put a guard around an OpenAI-style client: prompts and answers are checked, and the answer stays the client's own."""

from types import SimpleNamespace as Shape
from typing import Any

from guardkit import Blocked, Guard
from guardkit.integrations.openai import Terms, guarded


def create(*, messages: list[dict[str, Any]], stream: bool = False, **_: Any) -> Any:
    """Stands for `openai.OpenAI().chat.completions.create`: it is rude, until it is told not to be."""
    said = messages[-1]["content"]
    text = "Take a coat." if "without" in said or "weather" in said else "I will kill you."
    if not stream:
        return Shape(choices=[Shape(message=Shape(role="assistant", content=text))])
    deltas = [Shape(role="assistant", content=text[at : at + 3]) for at in range(0, len(text), 3)]
    return iter(Shape(choices=[Shape(delta=one, finish_reason=None)]) for one in deltas)


client = guarded(
    Shape(chat=Shape(completions=Shape(create=create))),
    Guard.from_preset("chat"),
    Terms(on_result=lambda done: print(f"  {len(done.attempts)} calls, {done.decision.action}")),
)
for prompt in ("How is the weather?", "Greet me.", "I will kill you"):
    print(prompt)
    try:
        answer = client.chat.completions.create(messages=[{"role": "user", "content": prompt}])
        print(f"  -> {answer.choices[0].message.content}")
    except Blocked as blocked:
        print(f"  blocked: {blocked.decision.reasons[0]}")

print("streamed:")
asked = [{"role": "user", "content": "How is the weather?"}]
for chunk in client.chat.completions.create(messages=asked, stream=True):
    print(f"  {chunk.choices[0].delta.content!r}")
