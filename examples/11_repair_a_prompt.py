"""Repair prompts instead of refusing them, and show what changed where."""

from guardkit import Guard

guard = Guard.from_preset("text-to-image")
prompts = [
    "two soldiers shooting a prisoner in a snowy courtyard, oil painting",
    "Image of John Doe from 12 Elm Street in the shower",
    "a harbour at dawn",
]
for prompt in prompts:
    decision = guard.check_prompt(prompt)
    print(decision.action.value, "->", decision.text)
    for edit in decision.edits:
        print(f"  {edit.editor}: '{prompt[edit.start : edit.end]}' -> '{edit.replacement}'")

# The text alone, rewritten and scored again; None: it cannot be repaired.
print(guard.rewrite("an astronaut aiming a rifle at his crewmate on Mars"))
