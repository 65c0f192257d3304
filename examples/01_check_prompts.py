"""Check four prompts with a shipped preset and print what the guard says of each."""

from guardkit import Guard

PROMPTS = {
    "harmless": "a quiet harbour at dawn, watercolour, soft light",
    "insult": "a portrait of my idiot neighbour",
    "threat": "I will find you and kill you",
    "obfuscated insult": "a poster that says you are an 1 d 1 0 t",
}

guard = Guard.from_preset("text-to-image")
for name, prompt in PROMPTS.items():
    decision = guard.check_prompt(prompt)
    print(f"\n{name}: {decision.action.value}")
    print(f"  scores  {decision.scores}")
    print(f"  rules   {[fired.rule for fired in decision.fired]}")
    print(f"  spans   {[(span.start, span.end, span.category) for span in decision.spans]}")
    print(f"  reasons {list(decision.reasons)}")
    print(f"  use     {decision.text!r}")
    print(f"  time    {dict(decision.timings_ms)} ms")
