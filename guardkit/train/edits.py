"""Edits of pictures, made by code: what a generator may do to a picture, harmless or not, without a harmful picture anywhere.

A skin tone is shifted, paint is put on a face, a face is warped, exchanged, crossed out or taken away; red blobs stand for blood, a dark bar for a
weapon, a patch in the colour of skin below a face for bare skin. Each kind is a function of a `Scene` and a random generator.
"""

from __future__ import annotations

from guardkit.train.edit_scene import Effect, Kind, Scene, suits
from guardkit.train.face_edits import FACES
from guardkit.train.light_edits import LIGHTS
from guardkit.train.mark_edits import MARKS
from guardkit.train.people_edits import PEOPLE
from guardkit.train.place_edits import PLACES
from guardkit.train.plain_edits import PLAIN
from guardkit.train.skin_edits import SKINS
from guardkit.train.style_edits import STYLES

__all__ = ["ADDED", "HELD_OUT", "KINDS", "LATER", "MORE", "Effect", "Kind", "Scene", "suits"]

KINDS: dict[str, Kind] = {
    **PLAIN,
    **PEOPLE,
    **MARKS,
    **LIGHTS,
    **STYLES,
    **PLACES,
    **SKINS,
    **FACES,
}
"""Name -> kind."""
ADDED = (
    "background-gradient",
    "background-pattern",
    "black-bars",
    "person-plain",
    "stick",
    "wedge",
)
"""Those that were added when kinds of training itself, held out of it, showed that one neighbour is too few."""
MORE = (*ADDED, "person-removed", "bar", "bare", "red-patch")
"""Those that a last shard of edits has more of."""
_MARKED = ("red-wash", "red-slash", "red-pool", "red-smear", "hammer", "club", "arrow")
LATER = (*LIGHTS, *STYLES, *PLACES, *SKINS, *FACES, *_MARKED)
"""Those of 0.2.0: two to nine more an effect, for more of the same kinds did not help."""
HELD_OUT = frozenset(
    {
        "gain-up", "sepia", "mirror", "background-swap", "vignette", "frame",
        "person-lighter", "face-paint", "face-stretched", "face-swap", "crossed-out", "person-covered", "red-splatter", "blade",
    }
)  # fmt: skip
"""Kinds that no training sees: six harmless ones, eight that are harm unless asked for. Chosen before anything was trained."""
