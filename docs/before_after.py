"""Write README's picture of a portrait before and after `hidden-faces`: python -m docs.before_after.

The portrait is an astronaut's (NASA, public domain; THIRD_PARTY.md).
"""

from __future__ import annotations

import sys
from pathlib import Path

from msgspec.structs import replace
from PIL import Image

from guardkit import Guard
from guardkit.policy.load import load_preset

PORTRAIT = Path(__file__).parent / "pictures" / "portrait.jpg"
TARGET = Path(__file__).parent / "pictures" / "hidden_faces.jpg"
_GAP = 8  # pixels between the two


def before_after() -> Image.Image:
    """The portrait, and what the preset makes of it, side by side."""
    before = Image.open(PORTRAIT)
    guard = Guard(replace(load_preset("hidden-faces"), timeout_ms=None))  # however busy the machine
    after = Image.fromarray(guard.check_output(image=PORTRAIT).image)
    both = Image.new("RGB", (2 * before.width + _GAP, before.height), "white")
    both.paste(before, (0, 0))
    both.paste(after, (before.width + _GAP, 0))
    return both


def main() -> int:
    """Write it."""
    before_after().save(TARGET, quality=88, optimize=True)
    print(f"wrote {TARGET}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
