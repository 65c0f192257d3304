"""A prompt, a picture, a decision with boxes, and an edited picture: faces of a named public figure are blurred."""

import tempfile
from pathlib import Path

from guardkit import Action, Guard
from guardkit.image.write import write_image
from guardkit.policy.load import policy_from_dict

PORTRAIT = Path(__file__).parent.parent / "docs" / "pictures" / "portrait.jpg"
RULE = {
    "name": "known-faces-are-blurred",
    "when": {"category": "public-figure", "at_least": 0.3},
    "action": "edit",
    "using": "blur-faces",
}
STAGE = {
    "scorers": ["image-safety", "public-figures"],
    "editors": ["blur-faces"],
    "rules": [RULE],
}
guard = Guard(policy_from_dict({"policy": "known-faces", "output-image": STAGE}))
for prompt in ("a portrait of an astronaut", "a portrait of Neil Armstrong in his space suit"):
    decision = guard.check_output(image=PORTRAIT, prompt=prompt)
    print(f"{prompt}: {decision.action.value}")
    for region in decision.regions:
        print(" ", region.kind, region.left, region.top, region.right, region.bottom, region.editor)
    if decision.action is Action.EDIT:
        with tempfile.TemporaryDirectory() as folder:
            write_image(decision.image, Path(folder) / "edited.png")
            print("  wrote", [file.name for file in Path(folder).iterdir()])
