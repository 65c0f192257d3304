"""Drive a generator: it is asked again, with guidance, until the policy allows what it gives, or blocked."""

import json

from guardkit import Guard, Guidance
from guardkit.loop import Budget


def generate(prompt: str, guidance: Guidance | None = None) -> str:
    """Stands for a language model: it has to be told what to leave out, and one story it cannot tell otherwise."""
    if guidance is None or "story" in prompt:
        return "I will find you and kill you."
    return "Take a coat."


guard = Guard.from_preset("chat")
for prompt in ("How is the weather?", "Tell me a story.", "I will kill you"):
    result = guard.run(generate, prompt, budget=Budget(regenerations=2, total_s=10), seed=1)
    print(f"\n{prompt}\n  -> {result.output}  ({result.decision.action.value})")
    for attempt in result.attempts:
        told = (
            ""
            if attempt.guidance is None
            else f", told to avoid {attempt.guidance.negative_prompt}"
        )
        print(f"  attempt: {attempt.decision.action.value}{told}")

print("\nThe record, without content:")
print(json.dumps(result.to_dict())[:76], "...")
