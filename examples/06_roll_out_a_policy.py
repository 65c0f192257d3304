"""Roll a policy out: a candidate beside the live one, decisions on record, the file read again when it changes."""

import tempfile
from pathlib import Path

from guardkit import Guard
from guardkit.rollout import Beside, Pair, PolicyFile, Recorder

LIVE = "policy: storefront\nextends: chat\n"
RULE = "{name: no-insults, when: {category: insult, at_least: 0.5}, action: block}"
STRICTER = f"{LIVE}prompt: {{rules: [{RULE}]}}\n"
TEXTS = (
    "a poster for the harbour",
    "a mug that says you are an idiot",
    "I will find you and kill you",
)


def tell(pair: Pair) -> None:
    """What the two policies said; nobody acts on the candidate."""
    print(f"  live {pair.live.action.value}, candidate {pair.candidate.action.value}", *pair.why)


with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "storefront.yaml"
    path.write_text(STRICTER)
    candidate = Guard.from_file(path)
    path.write_text(LIVE)
    live = PolicyFile(path)  # live.watch() reads it again by itself
    recorder = Recorder(Path(folder) / "decisions.jsonl")
    beside = Beside(live.guard, candidate, tell)
    for text in TEXTS:
        recorder.write(beside.check_prompt(text), text=text)
    beside.close()
    print("record:", recorder.path.read_text().splitlines()[1][:60], "...")
    path.write_text(STRICTER)
    print("reloaded:", live.reload(), live.guard.check_prompt(TEXTS[1]).action.value)
