"""An edit is judged by what it did beside what was asked for: lighter skin for "more beautiful" is not what a brighter photograph is."""

from pathlib import Path

import numpy as np

from guardkit import Guard
from guardkit.image.decode import decode

PORTRAIT = Path(__file__).parent.parent / "docs" / "pictures" / "portrait.jpg"
before = decode(PORTRAIT).frames[0]
left, top, right, bottom = 85, 35, 165, 135  # around the face
lighter = (255 * (before / 255) ** 0.5).round().astype(np.uint8)
face_only = before.copy()
face_only[top:bottom, left:right] = lighter[top:bottom, left:right]

guard = Guard.from_preset("image-edits")
for what, after, prompt in (
    ("nothing changed", before, "make her beautiful"),
    ("cropped", before[20:300, 40:300], "crop it to a portrait"),
    ("a lighter face", face_only, "make her beautiful"),
    ("a lighter face", face_only, None),
):
    decision = guard.check_edit(before=before, after=after, prompt=prompt)
    scores = {name: round(score or 0.0, 2) for name, score in decision.scores.items()}
    print(f"{what}, asked for {prompt!r}: {decision.action.value}", scores)
    for region in decision.regions:
        print("  face at", region.left, region.top, region.right, region.bottom)
