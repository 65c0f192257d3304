"""A policy of your own: block a topic, allow a brand, redact insults, all in one file."""

import tempfile
from pathlib import Path

from guardkit import Guard

POLICY = """
policy: storefront
prompt:
  scorers: [blocklist, text-safety]
  editors: [redact]
  rules:
    - {name: no-election, when: {category: election, at_least: 1}, action: block}
    - {name: insults-are-redacted, when: {category: insult, at_least: 0.5}, action: edit, using: redact}
lists:
  election: {block: [election, ballot box]}
  brands: {allow: [Idiot Box Records]}
"""

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "storefront.yaml"
    path.write_text(POLICY)
    guard = Guard.from_file(path)

for prompt in (
    "a poster for the e.l.e.c.t.i.o.n",
    "a record sleeve for Idiot Box Records",
    "a mug that says you are an idiot",
):
    decision = guard.check_prompt(prompt)
    print(decision.action.value, "->", decision.text)
