"""Cards of the models that a benchmark measures, from what it left: `docs/generate.py` writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from guardkit.artifacts import Manifest

_RESULTS = Path(__file__).parent.parent / "bench" / "results"


def tagger_card(manifest: Manifest) -> str:
    """The card of `pii-tagger`."""
    found = json.loads((_RESULTS / "privacy.json").read_text())
    size_mb = manifest.files[manifest.model].size_bytes / 1e6
    return f"""# {manifest.id}

Marks people (`PERSON`), postal addresses (`ADDRESS`) and places (`PLACE`) in prompts and messages, in any case: one score a kind for
every token, and one a text, category `privacy`. MiniLM-L6 (sentence-transformers/all-MiniLM-L6-v2, Apache-2.0) with one linear layer, int8,
{size_mb:.0f} MB. Made by `guardkit train pii-tagger` and `guardkit export pii-tagger`. Licence: {manifest.licence}.

A policy names it under `scorers`, beside `identifiers`, which finds what has a form. People and addresses count unless
`models.pii-tagger.kinds` says otherwise: most pictures have a place, and a place alone is nobody's. Names of the list of
`public-figures` are left to that scorer. A list of ordinary words comes with the model (`1/words.gz`): a text of nothing else is not read by it,
and nothing that consists of them counts as somebody's name.

## Training data

Prompts and messages with slots, written for guardkit (`data/written/people`), filled with names and addresses from Faker (over
50 countries), US census lists, labelled US addresses (usaddress) and, for their shapes, the names of public figures
(Pantheon); COCO captions, as they are and with a name in place of "a man"; labelled sentences of presidio-research, tweets of the Broad
Twitter Corpus and WNUT-17; prompts of DiffusionDB, whose artists are not people to hide; ToxiGen and others as texts that name nobody; rare words
of a dictionary (web2) in place of others. Licences: `THIRD_PARTY.md`. Half of the texts in lower case. A text's score is that of its surest token, as training left it; a span's
likewise. Both count from .5.

## Measured

`python -m bench.privacy --data <shared data>`, threshold .5, on {found["models"][0]}; 95 % Wilson intervals. A name is
right when its span begins and ends where the label does.

{_tables(found, ("names of private people, strict spans", "addresses written apart", "prompts without a private person that anonymizing changes", "restored exactly", "cost at up to 32 tokens, CPU ms, median"))}
Three sets of names were written by other hands than the training texts. The first was looked at after a first training, which it guided to more
roles, titles, languages and rare nouns; the harmless texts of the second before a third, for rare nouns; the third set was not looked at.

## Limits

- English above all. A few templates in 17 other languages; other scripts are read letter by letter. Nothing of this was measured by language.
- A given name alone that is a word too ("rose", "mark") is taken for whichever the words around it suggest.
- A public figure whose name private people have as well is taken for a private person.
- Addresses outside the usual orders of the countries above may be found in part; what is left of one still tells.
- Names in a picture, in code or in another language's spelling of a foreign name were not measured.
"""


def _tables(found: dict[str, Any], titles: tuple[str, ...]) -> str:
    return "\n".join(_table(title, found[title]) for title in titles)


def _table(title: str, rows: list[dict[str, str]]) -> str:
    columns = [name for name in rows[0] if name != "what"]
    lines = [f"| {title} | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    lines += [f"| {row['what']} | {' | '.join(row[name] for name in columns)} |" for row in rows]
    return "\n".join(lines) + "\n"
