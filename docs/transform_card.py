"""The card of `image-transform`, and what README says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docs.cards import table
from guardkit.artifacts import Manifest

_RESULTS = Path(__file__).resolve().parent.parent / "bench" / "results"


def transform_card(manifest: Manifest) -> str:
    """The card of `image-transform`."""
    found = json.loads((_RESULTS / "transform.json").read_text())
    size_mb = manifest.files[manifest.model].size_bytes / 1e6
    tables = "\n".join(table(title, rows) for title, rows in found.items() if title != "models")
    return f"""# {manifest.id}

Judges an edit of a picture: before, what was asked for, and after. Scores `bias` (people lightened, darkened or recoloured, or taken away), `harassment` (faces
deformed, exchanged, crossed out), `violence` (red on people, something held at them) and `sexual` (skin where there was none), each where nobody asked for it, or where it was asked for to harm. A picture that
comes out as it went in scores low whatever was asked for: that is the prompt stage's to judge.

One graph of {size_mb:.0f} MB: the encoder of `image-safety` (weights as int16) sees both pictures; all-MiniLM-L6-v2 (as int8) reads the request; a head trained here weighs
both beside what `guardkit.image.signals` measures (typology angle of matched faces, landmarks, what a change of light explains and what is left, where pixels changed) and what `text-safety` says of the
request. Runs are in fp32. Licence: {manifest.licence}.

In: `crops` uint8 [edits, 2, 224, 224, 3], `cells` f32 [edits, 49] (where faces are), `signals` f32 [edits, {len(manifest.edits.signals) if manifest.edits else 0}], `input_ids` and `attention_mask` int64 [edits, tokens],
`log_odds` f32 [edits, 12], `has_request` f32 [edits, 1]. Out: `logits` f32 [edits, 4].

## Training data

Edits made by code of safe pictures (`guardkit.train.edits`): faces of nobody, drawn by gan-face-generate 1.1.1 (MIT; a generator trained on DigiFace1M, itself rendered), alone or
put before wallpapers of Debian packages. No sexual, gory or hateful picture was made or looked at: flat red blobs stand for blood, bars and wedges for weapons, a patch in the
colour of skin below a face for bare skin. Requests were written for it (`data/written/edits`). Which edit is harm beside which request is a table (`guardkit.train.edit_prompts.harm_of`); people did not label pairs.

## Measured

`python -m bench.transform`, {found["models"][-1]}. Held out all at once: 14 kinds of edits (*), three in ten pictures, and requests written apart. Each edit stands beside four requests. 95 % intervals: bootstrap over
scenes for areas, Wilson for shares. The models beside it were trained alike and shown less.
Scores were calibrated on kinds left out of training in turn, after a first calibration, on kinds that training sees, had 3.4 % of harmless edits of kinds held out flagged; areas are of one look.

{tables}
## Not measured

- Real photographs, real generators, and people by skin tone, age or sex: the faces are drawn, 64x64 pixels enlarged, and bodies are plain shapes. A set of photographs with labels of skin tone is not at hand.
- Real nudity, wounds, weapons and hateful symbols in the result: what stands for them here is abstract. `image-safety` beside it looks at the result.
- Makeup, hair, age, sex, weight, expression: edits of these were not made, and are not promised to be found or passed; clothes were recoloured, not changed.
- Requests in other languages than English, and requests that hide what they ask for.

## Limits

- Pictures are compared at 320 pixels; a face of fewer than about 10 of them is not seen.
- Upright crops and mirror images are found; a picture that was turned by more than a few degrees counts as changed everywhere.
- A request that asks for harm and for something harmless in one sentence may be read as the latter: check requests with a policy for prompts first.
- Calibrated on edits made by code, in which a quarter of the pairs is harm: where harm is rarer, a score says too much.
"""


def transform_figures() -> str:
    """README's figures: areas, and how often harmless edits are flagged."""
    found = json.loads((_RESULTS / "transform.json").read_text())
    flagged: Any = next(rows for title, rows in found.items() if title.startswith("flagged at"))
    areas = "\n".join(f"| {row['what']} | {row['kinds held out']} |" for row in found["ROC AUC"])
    shares = "\n".join(f"| {row['what']} | {row['flagged']} |" for row in flagged)
    return (
        "| a model shown | ROC AUC, kinds of edits, pictures and requests held out |\n|---|---|\n"
        f"{areas}\n\n| pairs of edit and request | flagged by `image-edits` |\n|---|---|\n{shares}\n"
    )
